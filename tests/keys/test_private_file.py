"""Files of keys: whole or refused, closed to others, never overwritten."""

from __future__ import annotations

import hashlib
import os
import resource
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from strongroom.errors import ConfigError, UsageError
from strongroom.keys.hpke import HpkeIdentity
from strongroom.keys.keyfile import generate_key_file, load_key_file
from strongroom.system import files
from strongroom.system.errors import KeyFileExposed, KeyFileUnreadable, TargetFull

pytestmark = pytest.mark.durable

KIND = "strongroom-test-1"
CONTENT = bytes(range(100, 132))


def write(path: Path) -> None:
    files.write_line(path, kind=KIND, variety="thing", content=CONTENT)


def read(path: Path) -> tuple[str, bytes]:
    return files.read_line(path, kind=KIND)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "some.key"
    write(made)
    return made


def refused(path: Path, kind: type[ConfigError] = KeyFileUnreadable) -> ConfigError:
    """Read, expect a refusal that shows nothing of the key, and return it."""
    with pytest.raises(kind) as caught:
        read(path)
    said = str(caught.value) + caught.value.hint + repr(caught.value.__context__)
    assert CONTENT.hex()[:8] not in said
    assert str(path) in caught.value.message
    return caught.value


# -- writing -------------------------------------------------------------------


def test_what_was_written_reads_back(path: Path) -> None:
    assert read(path) == ("thing", CONTENT)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_a_file_is_its_owners_alone_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write(tmp_path / "key")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


@pytest.mark.parametrize("make", [generate_key_file, lambda path: HpkeIdentity.generate().save(path)])
def test_nothing_is_ever_overwritten(tmp_path: Path, make: Callable[[Path], None]) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("elsewhere")

    for name in ("file", "folder", "link", "dangling"):
        with pytest.raises(UsageError, match="never overwritten"):
            make(tmp_path / name)

    assert (tmp_path / "file").read_text() == "precious"
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory") as caught:
        write(tmp_path / "missing" / "key")

    assert str(tmp_path / "missing") in caught.value.message


@pytest.mark.parametrize("room", [0, 20])
def test_a_disk_without_room_leaves_no_half_a_key(tmp_path: Path, room: int) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(TargetFull, match="cannot be written"):
            write(tmp_path / "key")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert list(tmp_path.iterdir()) == []


def test_what_an_interrupted_installation_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".role.key.0123456789abcdef.part").write_text("half")

    files.write_line(tmp_path / "role.key", kind=KIND, variety="thing", content=CONTENT)

    assert read(tmp_path / "role.key") == ("thing", CONTENT)
    assert [each.name for each in tmp_path.iterdir()] == ["role.key"]


# -- damage --------------------------------------------------------------------


def test_every_cut_is_told_from_a_wrong_key(path: Path) -> None:
    whole = path.read_bytes().rstrip()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        said = refused(path).message
        assert "is cut short" in said or length <= len(KIND), length


def test_every_mistyped_character_is_told_from_a_wrong_key(path: Path) -> None:
    whole = path.read_text().rstrip()
    for position, character in enumerate(whole):
        typed = "0" if character != "0" else "1"
        path.write_text(whole[:position] + typed + whole[position + 1 :] + "\n")
        refused(path)


def test_every_flipped_bit_is_told_from_a_wrong_key(path: Path) -> None:
    whole = path.read_bytes().rstrip()
    for position in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << bit
            path.write_bytes(flipped)
            refused(path)


def test_two_digits_in_the_wrong_order_are_told_as_mistyped(path: Path) -> None:
    whole = path.read_text()
    path.write_text(whole.replace("6465", "6564"))

    assert "mistyped" in refused(path).message


def test_something_after_the_line_is_refused(path: Path) -> None:
    path.write_text(path.read_text() + "more\n")

    assert "damaged" in refused(path).message


@pytest.mark.parametrize("around", ["{}", "{}\n", "{}\r\n", "\n  {}  \n\n"])
def test_white_space_that_an_editor_or_a_copy_adds_does_no_harm(path: Path, around: str) -> None:
    path.write_text(around.format(path.read_text().strip()))

    assert read(path) == ("thing", CONTENT)


@pytest.mark.parametrize("content", [b"", b"\n", b"-----BEGIN KEY-----\n", b"strongroom-key-1 AES256 00 11"])
def test_another_kind_of_file_is_named_as_such(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    assert f"not a {KIND} file" in refused(path).message


def test_a_key_that_is_no_hex_is_refused_though_its_checksum_is_right(path: Path) -> None:
    body = f"{KIND} thing {'0g' * 32}"
    path.write_text(f"{body} {hashlib.sha256(body.encode()).hexdigest()[: files.CHECKSUM]}\n")

    assert "not written in hex" in refused(path).message


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"x" * 20_000, b"\x80" * 100])
def test_a_file_that_is_no_small_text_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    assert "not a small text file" in refused(path).message


def test_a_long_private_text_is_refused_and_not_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    path.touch(0o600)
    path.write_text("x" * files.LIMIT)
    assert files.read_private(path) == "x" * files.LIMIT

    path.write_text("x" * (files.LIMIT + 1))
    with pytest.raises(KeyFileUnreadable, match="small text"):
        files.read_private(path)


# -- rights and places -----------------------------------------------------------


@pytest.mark.parametrize("mode", [0o601, 0o602, 0o604, 0o610, 0o620, 0o640, 0o644, 0o666, 0o777])
def test_a_file_that_others_may_use_is_refused_with_the_way_to_mend_it(path: Path, mode: int) -> None:
    path.chmod(mode)

    assert refused(path, KeyFileExposed).hint.startswith(f"Run: chmod 600 '{path}'.")


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_a_file_that_only_its_owner_may_use_is_read(path: Path, mode: int) -> None:
    path.chmod(mode)

    assert read(path) == ("thing", CONTENT)


def test_a_link_counts_as_what_it_leads_to(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path)
    assert read(link) == ("thing", CONTENT)

    path.chmod(0o644)
    refused(link, KeyFileExposed)


def test_a_missing_file_a_folder_and_a_pipe_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(0o700)

    for name in ("missing", "folder", "pipe"):
        refused(tmp_path / name)
        with pytest.raises(KeyFileUnreadable):
            files.read_private(tmp_path / name)


def test_a_key_file_is_refused_in_the_same_way(tmp_path: Path) -> None:
    path = tmp_path / "backup.key"
    generate_key_file(path)
    path.chmod(0o644)

    with pytest.raises(KeyFileExposed, match="others may use"):
        load_key_file(path)


@pytest.mark.parametrize(
    ("mode", "owner", "who", "exposed"),
    [
        (0o600, 10001, 10001, False),
        (0o400, 0, 0, False),
        (0o440, 0, 10001, False),  # systemd's LoadCredential, and a secret of Kubernetes with fsGroup
        (0o440, 0, 0, True),
        (0o440, 10001, 10001, True),
        (0o640, 0, 10001, False),
        (0o460, 0, 10001, True),
        (0o444, 0, 10001, True),
        (0o404, 0, 10001, True),
    ],
)
def test_a_file_of_roots_may_be_given_to_a_group(
    monkeypatch: pytest.MonkeyPatch, mode: int, owner: int, who: int, *, exposed: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: who)
    status = os.stat_result((stat.S_IFREG | mode, 1, 1, 1, owner, 0, 1, 0, 0, 0))

    assert files.is_exposed(status) is exposed
