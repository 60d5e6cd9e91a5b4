"""Old Fernet files."""

from __future__ import annotations

import base64

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from strongroom.container.errors import FormatError, LegacyFormat, NotABackup, WrongKey
from strongroom.container.legacy import is_legacy, open_legacy
from strongroom.container.ranges import BytesReader
from strongroom.container.reader import Container

PLAIN = b'{"secrets": {"a": {"value": "CANARY-old"}}}'
SALT = bytes(range(16))


@pytest.fixture(scope="module")
def old() -> bytes:
    key = PBKDF2HMAC(SHA256(), 32, SALT, 100_000).derive(b"the old passphrase")
    return SALT + Fernet(base64.urlsafe_b64encode(key)).encrypt(PLAIN)


def test_an_old_file_opens_with_its_passphrase(old: bytes) -> None:
    assert open_legacy(old, "the old passphrase") == PLAIN


def test_an_old_file_is_never_opened_by_the_way(old: bytes) -> None:
    assert is_legacy(old)
    with pytest.raises(LegacyFormat):
        Container.open(BytesReader(old), [], trusted=None)


def test_a_wrong_passphrase_and_damage_look_alike_and_the_message_says_so(old: bytes) -> None:
    with pytest.raises(WrongKey, match="cannot tell"):
        open_legacy(old, "another")
    damaged = bytearray(old)
    damaged[60] = ord("A") if damaged[60] != ord("A") else ord("B")
    with pytest.raises(WrongKey, match="cannot tell"):
        open_legacy(bytes(damaged), "the old passphrase")


def test_no_cut_of_an_old_file_opens(old: bytes) -> None:
    for length in range(len(old)):
        with pytest.raises(FormatError) as caught:
            open_legacy(old[:length], "the old passphrase")
        expected = "NotABackup" if length < 21 else "Truncated"
        assert caught.value.code == expected, length


def test_other_files_are_not_taken_for_old_ones() -> None:
    with pytest.raises(NotABackup):
        open_legacy(b"x" * 500, "p")
