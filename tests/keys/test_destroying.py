"""Destroying keys that lie in files: nothing else is overwritten, and nothing is left under the name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from strongroom.errors import ConfigError
from strongroom.keys.destroying import Fate, attempt, is_destroyed
from strongroom.keys.destroying.services import FileDestroyer
from strongroom.keys.errors import KeyNotDestroyed, KeyServiceUnavailable, PinRefused
from strongroom.keys.keyfile import TYPE, KeyFileIdentity, generate_key_file, load_key_file
from strongroom.plugins.conformance.recipients import CONTEXT, KEY


def load(path: Path) -> KeyFileIdentity:
    return KeyFileIdentity(load_key_file(path))


def destroyer(path: Path) -> FileDestroyer:
    return FileDestroyer("k", path, type=TYPE, public=lambda: load(path).recipient().fingerprint, load=load)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    generate_key_file(tmp_path / "k")
    return tmp_path / "k"


def test_the_file_is_gone_its_bytes_are_overwritten_and_nothing_opens(path: Path) -> None:
    secret = load_key_file(path).hex()
    stanza = load(path).recipient().wrap(KEY, context=CONTEXT)
    made = destroyer(path)
    assert attempt(made, 0, stanza, CONTEXT) == (True, "opened")
    held = os.open(path, os.O_RDONLY)  # as an undeleted copy of the same blocks would be read
    try:
        made.destroy(0)
        assert secret not in os.read(held, 1000).decode("ascii", "replace")
    finally:
        os.close(held)
    assert (made.look(0).fate, is_destroyed(path)) == (Fate.GONE, True)
    opened, said = attempt(made, 0, stanza, CONTEXT)
    assert (opened, bool(said)) == (False, True)
    made.destroy(0)  # again: nothing is there, and that is fine


def test_half_destroyed_it_is_destroyed_again(path: Path) -> None:
    path.write_bytes(bytes(100))
    made = destroyer(path)
    assert made.look(0).fate is Fate.THERE
    made.destroy(0)
    assert made.look(0).fate is Fate.GONE


@pytest.mark.parametrize("kind", ["link", "second name", "folder"])
def test_what_is_no_file_of_one_name_is_left_alone(path: Path, tmp_path: Path, kind: str) -> None:
    before = path.read_bytes()
    other = tmp_path / "other"
    if kind == "link":
        other.symlink_to(path)
    elif kind == "second name":
        other.hardlink_to(path)
    else:
        other.mkdir()
    with pytest.raises(KeyNotDestroyed):
        destroyer(other).destroy(0)
    assert path.read_bytes() == before
    assert os.path.lexists(other)


def test_a_missing_file_that_nobody_destroyed_is_not_called_destroyed(tmp_path: Path) -> None:
    assert not is_destroyed(tmp_path / "lost")


def test_a_key_service_that_is_away_or_lets_us_not_try_has_refused_nothing(path: Path) -> None:
    stanza = load(path).recipient().wrap(KEY, context=CONTEXT)
    for error in (KeyServiceUnavailable("away"), PinRefused("not tried")):

        class Silent(FileDestroyer):
            def identity(self, version: int, *, error: Exception = error) -> KeyFileIdentity:
                del version
                raise error

        with pytest.raises(type(error)):
            attempt(Silent("k", path, type=TYPE, public=str, load=load), 0, stanza, CONTEXT)
    broken = FileDestroyer("k", path.with_name("none"), type=TYPE, public=str, load=load)
    assert attempt(broken, 0, stanza, CONTEXT)[0] is False
    with pytest.raises(ConfigError):
        broken.identity(0)
