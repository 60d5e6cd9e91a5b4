"""Wycheproof's vectors on what wraps keys: PBKDF2 as ours, and the AES key wraps of tokens and KMS.

``STRONGROOM_WYCHEPROOF`` names the folder of its JSON files.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import keywrap

from strongroom.keys.passphrase import pbkdf2
from tests.container.test_wycheproof import cases, raw

Wrap = Callable[[bytes, bytes], bytes]


def test_our_pbkdf2_does_what_wycheproof_expects() -> None:
    for _, case in cases("pbkdf2_hmacsha256_test.json", 60):
        derived = pbkdf2(raw(case, "password"), raw(case, "salt"), case["iterationCount"], case["dkLen"])
        assert (derived == raw(case, "dk")) == (case["result"] != "invalid"), case["tcId"]


@pytest.mark.parametrize(
    ("name", "count", "wrap", "unwrap"),
    [
        ("aes_wrap_test.json", 165, keywrap.aes_key_wrap, keywrap.aes_key_unwrap),
        (
            "aes_kwp_test.json",
            254,
            keywrap.aes_key_wrap_with_padding,
            keywrap.aes_key_unwrap_with_padding,
        ),
    ],
)
def test_aes_key_wrap_does_what_wycheproof_expects(name: str, count: int, wrap: Wrap, unwrap: Wrap) -> None:
    for _, case in cases(name, count):
        key, message, wrapped = raw(case, "key"), raw(case, "msg"), raw(case, "ct")
        try:
            opened = unwrap(key, wrapped)
        except (keywrap.InvalidUnwrap, ValueError):
            assert case["result"] != "valid", case["tcId"]
            continue
        assert case["result"] != "invalid", case["tcId"]
        assert opened == message
        assert wrap(key, message) == wrapped
