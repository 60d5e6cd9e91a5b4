"""A key file meets the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.errors import ConfigError, UsageError
from strongroom.keys.keyfile import (
    KIND,
    KeyFileIdentity,
    KeyFileRecipient,
    generate_key_file,
    load_key_file,
)
from strongroom.plugins.conformance.recipients import CONTEXT, KEY, RecipientConformance
from strongroom.system import files

SECRET = bytes(range(200, 232))
OTHER = bytes(range(32, 64))


class TestKeyFile(RecipientConformance):
    post_quantum = True
    words = "anyone with the key file `recovery`"

    @pytest.fixture
    def recipient(self) -> KeyFileRecipient:
        return KeyFileRecipient(SECRET, label="recovery")

    @pytest.fixture
    def same(self) -> KeyFileRecipient:
        return KeyFileRecipient(SECRET, label="recovery")

    @pytest.fixture
    def identity(self) -> KeyFileIdentity:
        return KeyFileIdentity(SECRET)

    @pytest.fixture
    def stranger(self) -> KeyFileIdentity:
        return KeyFileIdentity(OTHER)

    @pytest.fixture
    def secrets(self) -> list[bytes]:
        return [SECRET]


def test_a_generated_file_seals_and_opens(tmp_path: Path) -> None:
    path = tmp_path / "backup.key"
    generate_key_file(path, algorithm="AES256")
    key = load_key_file(path)

    stanza = KeyFileRecipient(key).wrap(KEY, context=CONTEXT)

    assert KeyFileIdentity(load_key_file(path)).unwrap(stanza, context=CONTEXT) == KEY


def test_a_file_is_one_line_that_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "backup.key"
    generate_key_file(path)

    kind, algorithm, digits, checksum = path.read_text().split(" ")

    assert (kind, algorithm, bytes.fromhex(digits)) == (KIND, "AES256", load_key_file(path))
    assert len(checksum) == 9
    assert checksum.endswith("\n")


def test_every_file_holds_another_key(tmp_path: Path) -> None:
    generate_key_file(tmp_path / "a")
    generate_key_file(tmp_path / "b")

    assert load_key_file(tmp_path / "a") != load_key_file(tmp_path / "b")


@pytest.mark.parametrize("algorithm", ["", "aes256", "AES128", "AES256 ", "Fernet"])
def test_another_algorithm_is_refused_and_nothing_written(tmp_path: Path, algorithm: str) -> None:
    with pytest.raises(UsageError, match="unknown algorithm") as caught:
        generate_key_file(tmp_path / "backup.key", algorithm)

    assert "AES256" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("variety", "size"), [("AES256", 31), ("AES256", 33), ("AES512", 32)])
def test_a_whole_file_with_another_kind_of_key_is_refused(tmp_path: Path, variety: str, size: int) -> None:
    path = tmp_path / "backup.key"
    files.write_line(path, kind=KIND, variety=variety, content=bytes(size))

    with pytest.raises(ConfigError, match="unknown kind"):
        load_key_file(path)


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_that_is_not_32_bytes_is_refused(size: int) -> None:
    for made in (KeyFileRecipient, KeyFileIdentity):
        with pytest.raises(UsageError, match="32 bytes"):
            made(bytes(size))


def test_without_a_label_its_fingerprint_tells_it_apart() -> None:
    recipient = KeyFileRecipient(SECRET)

    assert recipient.fingerprint.removeprefix("keyfile:") in recipient.describe()
    assert recipient.fingerprint.removeprefix("keyfile:") in KeyFileIdentity(SECRET).describe()
