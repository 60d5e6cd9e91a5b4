"""Wycheproof's vectors (https://github.com/C2SP/wycheproof) on every primitive the format uses.

``STRONGROOM_WYCHEPROOF`` names the folder of its JSON files.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from strongroom.container import cobblestone
from strongroom.container.cobblestone import keyed_hash
from strongroom.container.errors import FormatError

Case = dict[str, Any]


def cases(name: str, count: int) -> list[tuple[Case, Case]]:
    """Return every group and case of a file; skip if the files are not at hand."""
    folder = os.environ.get("STRONGROOM_WYCHEPROOF")
    if not folder:
        pytest.skip("STRONGROOM_WYCHEPROOF does not name the folder of Wycheproof's vectors")
    content = json.loads(Path(folder, name).read_text(encoding="utf-8"))
    found = [(group, case) for group in content["testGroups"] for case in group["tests"]]
    assert len(found) == content["numberOfTests"] >= count
    return found


def raw(case: Case, field: str) -> bytes:
    return bytes.fromhex(case[field])


def message(case: Case) -> bytes:
    """Return a chunked message, which these files hold compressed."""
    return zlib.decompress(raw(case, "ct"))


def test_cobblestone_opens_every_valid_message_and_refuses_every_other() -> None:
    for _, case in cases("c2sp_chunked_encryption_aes_256_gcm_test.json", 35):
        try:
            plain = cobblestone.open_(raw(case, "key"), message(case), context=raw(case, "ctx"))
        except (FormatError, ValueError):
            assert case["result"] == "invalid", case["tcId"]
            continue
        assert case["result"] == "valid", case["tcId"]
        assert hashlib.sha512(plain).hexdigest() == case["msgSha512"]
        assert len(plain) == case["msgLength"]


def test_cobblestone_seals_every_valid_message_to_the_same_bytes() -> None:
    for _, case in cases("c2sp_chunked_encryption_aes_256_gcm_test.json", 35):
        if case["result"] != "valid":
            continue
        key, sealed, context = raw(case, "key"), message(case), raw(case, "ctx")
        plain = cobblestone.open_(key, sealed, context=context)
        again = cobblestone.seal(key, plain, context=context, _salt=sealed[: cobblestone.SALT])
        assert again == sealed, case["tcId"]
        assert cobblestone.plain_length(len(sealed)) == len(plain)


def test_aes_gcm_does_what_wycheproof_expects() -> None:
    for _, case in cases("aes_gcm_test.json", 316):
        sealed = raw(case, "ct") + raw(case, "tag")
        try:
            plain = AESGCM(raw(case, "key")).decrypt(raw(case, "iv"), sealed, raw(case, "aad"))
        except (InvalidTag, ValueError):
            # The format's nonces have 12 bytes; the library takes those of 8 to 128.
            assert case["result"] != "valid" or not 16 <= len(case["iv"]) <= 256, case["tcId"]
            continue
        assert case["result"] != "invalid", case["tcId"]
        assert plain == raw(case, "msg")


def test_hkdf_sha512_does_what_wycheproof_expects() -> None:
    for _, case in cases("hkdf_sha512_test.json", 83):
        try:
            kdf = HKDF(SHA512(), case["size"], raw(case, "salt"), raw(case, "info"))
            derived = kdf.derive(raw(case, "ikm"))
        except ValueError:
            assert case["result"] == "invalid", case["tcId"]
            continue
        assert case["result"] != "invalid", case["tcId"]
        assert derived == raw(case, "okm")


def test_hmac_sha256_does_what_wycheproof_expects() -> None:
    for group, case in cases("hmac_sha256_test.json", 174):
        tag = keyed_hash(raw(case, "key"))(raw(case, "msg"))[: group["tagSize"] // 8]
        assert (tag == raw(case, "tag")) == (case["result"] != "invalid"), case["tcId"]


def test_pbkdf2_does_what_wycheproof_expects_in_both_libraries() -> None:
    for _, case in cases("pbkdf2_hmacsha256_test.json", 60):
        password, salt = raw(case, "password"), raw(case, "salt")
        rounds, length = case["iterationCount"], case["dkLen"]
        assert case["result"] != "invalid"
        assert hashlib.pbkdf2_hmac("sha256", password, salt, rounds, length) == raw(case, "dk")
        assert PBKDF2HMAC(SHA256(), length, salt, rounds).derive(password) == raw(case, "dk")
