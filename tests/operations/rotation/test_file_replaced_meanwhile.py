"""A backup file that somebody writes anew while it is being rotated or signed: theirs is not written over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from strongroom.operations.backup.single_file import backup_to_file
from strongroom.operations.procedures import re_sign
from strongroom.operations.procedures.re_sign import re_sign_backup
from strongroom.operations.rotation import single_file as rotate
from strongroom.operations.rotation.single_file import reencrypt_file, rewrap_file
from strongroom.system.errors import Conflict
from tests.operations.incident.test_re_sign_files import Leaked

Way = Callable[[Leaked], object]

WAYS: dict[str, Way] = {
    "rewrap": lambda at: rewrap_file(at.path, at.rotation()),
    "reencrypt": lambda at: reencrypt_file(at.path, at.rotation(), digest_key=b"d" * 32, remove=False),
    "remove": lambda at: reencrypt_file(at.path, at.rotation(), digest_key=b"d" * 32, remove=True),
    "re-sign": lambda at: re_sign_backup(at.services(), at.entry()),
}


def backed_up_again(at: Leaked) -> None:
    """What ``backup SAME --force`` does."""
    backup_to_file(
        at.path,
        source=at.world.source,
        recipients=[at.world.identity.recipient()],
        services=at.world.services(),
        replace_existing=True,
    )


def written_into(at: Leaked) -> None:
    with at.path.open("ab") as file:
        file.write(b"more")


def reached(
    monkeypatch: pytest.MonkeyPatch, module: object, step: str, happens: Callable[[], object]
) -> None:
    """Have something happen as a step ends: the new file is whole then, and about to take its place."""
    real = getattr(module, step)

    def stepped(*words: object, **named: object) -> object:
        done = real(*words, **named)
        happens()
        return done

    monkeypatch.setattr(module, step, stepped)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("meanwhile", [backed_up_again, written_into])
def test_what_came_meanwhile_stays_and_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, meanwhile: Callable[[Leaked], None]
) -> None:
    at = Leaked(tmp_path)
    theirs: list[tuple[int, bytes]] = []

    def happens() -> None:
        meanwhile(at)
        theirs.append((at.path.stat().st_ino, at.path.read_bytes()))

    module, step = (re_sign, "read_back") if way == "re-sign" else (rotate, "_read_back")
    recorded = at.entry()
    reached(monkeypatch, module, step, happens)
    with pytest.raises(Conflict, match="changed while it was being rewritten"):
        WAYS[way](at)
    assert theirs == [(at.path.stat().st_ino, at.path.read_bytes())]
    assert [path.name for path in tmp_path.glob("*a.sr*")] == ["a.sr"]
    assert at.entry() == recorded


def test_what_comes_after_the_old_file_was_given_its_second_name_stays_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = Leaked(tmp_path)
    reached(monkeypatch, rotate, "_keep", lambda: backed_up_again(at))
    with pytest.raises(Conflict):
        WAYS["reencrypt"](at)
    assert at.path.exists()
    assert [path.name for path in tmp_path.glob("*a.sr*")] == ["a.sr"]


@pytest.mark.parametrize("way", WAYS)
def test_one_that_was_taken_away_meanwhile_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    at = Leaked(tmp_path)
    module, step = (re_sign, "read_back") if way == "re-sign" else (rotate, "_read_back")
    reached(monkeypatch, module, step, at.path.unlink)
    with pytest.raises(Conflict, match="changed while it was being rewritten"):
        WAYS[way](at)
    assert not list(tmp_path.glob("*a.sr*"))
