"""Private keys that lie with backups are found, whatever they are called and wherever they lie."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from strongroom.errors import TargetError
from strongroom.keys.hpke import HpkeIdentity
from strongroom.keys.keyfile import generate_key_file
from strongroom.operations.keys.trial import keys_on, keys_under
from strongroom.targets import Target
from strongroom.targets.directory import DirectoryTarget
from strongroom.targets.memory import MemoryTarget

PEM = b"-----BEGIN EC PRIVATE KEY-----\nCANARY\n"
ID = "0" * 32


def put(target: Target, name: str, content: bytes) -> None:
    target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())


def test_on_a_target_of_any_kind_keys_are_told_by_what_is_in_them(tmp_path: Path) -> None:
    generate_key_file(tmp_path / "file")
    target = MemoryTarget()
    put(target, "notes/backup", (tmp_path / "file").read_bytes())
    put(target, "keys/hsm.pem", PEM)
    put(target, "emergency/readme", b"This is no key, and no -----BEGIN PRIVATE KEY----- either.")
    put(target, f"keys/{ID}/00000002", PEM)  # Strongroom's own names are not read
    put(target, "large", PEM + bytes(20_000))

    assert keys_on(target) == ["keys/hsm.pem", "notes/backup"]


def test_in_a_directory_no_name_and_no_link_hides_a_key(tmp_path: Path) -> None:
    place = tmp_path / "target"
    target = DirectoryTarget(place, name="t", region="r")
    target.prepare()
    elsewhere = tmp_path / "recovery.key"
    HpkeIdentity.generate().save(elsewhere)
    (place / ".hidden").mkdir()
    (place / ".hidden" / "a key").write_bytes(b"\n" + PEM)
    (place / "link").symlink_to(elsewhere)
    (place / "public.pub").write_text(str(HpkeIdentity.load(elsewhere).public))

    assert sorted(keys_on(target)) == [".hidden/a key", "link"]
    assert list(keys_under(place, deep=False)) == ["link"]


def test_a_place_that_is_not_there_is_not_called_free_of_keys(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="cannot be looked through"):
        list(keys_under(tmp_path / "nowhere"))
