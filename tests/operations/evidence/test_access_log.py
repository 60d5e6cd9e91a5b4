"""Who opened what: noted without a database, and taken over into the record of events."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from strongroom.operations.evidence.access_log import (
    APART,
    FILE,
    LONGEST,
    OPENED,
    RESTORED,
    UNREADABLE,
    by_whom,
    record_access,
    take,
)
from strongroom.operations.evidence.ledger import check
from strongroom.state.errors import StateError
from strongroom.state.store import RunStore
from tests.patience import PATIENCE

pytestmark = pytest.mark.durable


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(f"sqlite:///{tmp_path / 'state.db'}")


def test_a_user_without_a_name_is_noted_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run as a number that no user has, for Python's own way in too."""
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert by_whom("python")["by"] == "uid 54321"


def test_what_was_noted_is_in_the_record_once_and_the_chain_holds(tmp_path: Path, store: RunStore) -> None:
    record_access(tmp_path, OPENED, backup="b1", command="get")
    record_access(tmp_path, RESTORED, backup="b1", command="restore", created=3)

    assert take(tmp_path, store) == 2
    assert take(tmp_path, store) == 0

    events = store.events()
    assert [(event.kind, event.detail["command"]) for event in events] == [
        (OPENED, "get"),
        (RESTORED, "restore"),
    ]
    assert events[0].detail["noted"] <= events[0].at
    assert check(store).events == 2


def test_nobody_else_may_read_the_file_and_a_link_is_not_followed(tmp_path: Path) -> None:
    record_access(tmp_path, OPENED)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        record_access(tmp_path, OPENED)
    assert not (tmp_path / "elsewhere").exists()


def test_a_line_that_was_cut_short_costs_no_other(tmp_path: Path, store: RunStore) -> None:
    record_access(tmp_path, OPENED, backup="b1")
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole + whole[:20])
    record_access(tmp_path, OPENED, backup="b2")

    assert take(tmp_path, store) == 3
    assert [(event.kind, event.detail.get("backup")) for event in store.events()] == [
        (OPENED, "b1"),
        (UNREADABLE, None),
        (OPENED, "b2"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe",
        b"[" * 100_000,
        json.dumps({"id": "x", "at": 1.0, "kind": "run.finished", "detail": {}}).encode(),
        json.dumps({"id": "x", "at": "CANARY", "kind": OPENED, "detail": {}}).encode(),
    ],
)
def test_what_somebody_wrote_into_it_is_told_and_not_believed(
    tmp_path: Path, store: RunStore, line: bytes
) -> None:
    (tmp_path / FILE).write_bytes(line + b"\n")
    assert take(tmp_path, store) == 1
    [event] = store.events()
    assert (event.kind, event.detail) == (UNREADABLE, {"bytes": len(line)})


def test_lines_stay_until_the_record_has_them(tmp_path: Path, store: RunStore) -> None:
    record_access(tmp_path, OPENED, backup="b1")
    (tmp_path / "state.db").mkdir()
    with pytest.raises(StateError):
        take(tmp_path, store)
    (tmp_path / "state.db").rmdir()
    assert take(tmp_path, store) == 1


def test_many_at_once_lose_none(tmp_path: Path, store: RunStore) -> None:
    def one(number: int) -> int:
        record_access(tmp_path, OPENED, backup=f"b{number}")
        return take(tmp_path, store) if number % 10 == 0 else 0

    with ThreadPoolExecutor(8) as pool:
        taken = sum(pool.map(one, range(200))) + take(tmp_path, store)
    assert taken == 200
    assert {event.detail["backup"] for event in store.events()} == {f"b{number}" for number in range(200)}


def test_no_command_waits_while_the_database_does_not_answer(tmp_path: Path, store: RunStore) -> None:
    record_access(tmp_path, OPENED, backup="b1")
    asked, answered = Event(), Event()

    class Slow(RunStore):
        def append(self, entries: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
            asked.set()
            assert answered.wait(PATIENCE)
            super().append(entries)

    with ThreadPoolExecutor(2) as pool:
        taking = pool.submit(take, tmp_path, Slow(f"sqlite:///{tmp_path / 'state.db'}"))
        assert asked.wait(PATIENCE)
        noting = pool.submit(record_access, tmp_path, OPENED, backup="b2")
        try:
            noting.result(timeout=PATIENCE)
        finally:
            answered.set()
        assert taking.result() == 1
    assert take(tmp_path, store) == 1
    assert [event.detail["backup"] for event in store.events()] == ["b1", "b2"]


def test_what_was_set_apart_by_a_process_that_died_is_taken_by_the_next(
    tmp_path: Path, store: RunStore
) -> None:
    record_access(tmp_path, OPENED, backup="b1")
    (tmp_path / FILE).rename(tmp_path / APART)
    record_access(tmp_path, OPENED, backup="b2")
    assert take(tmp_path, store) == 2
    assert [event.detail["backup"] for event in store.events()] == ["b1", "b2"]


_LIMITED = """
import resource, sys
from pathlib import Path
from strongroom.operations.evidence.access_log import record_access
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
for number in range(9):
    record_access(Path(sys.argv[1]), "access.opened", backup=f"b{number}")
"""


def test_a_line_for_which_there_is_no_room_is_said_and_leaves_no_half(
    tmp_path: Path, store: RunStore
) -> None:
    died = subprocess.run([sys.executable, "-c", _LIMITED, tmp_path], capture_output=True, check=False)
    assert b"OSError: [Errno 28]" in died.stderr
    assert (tmp_path / FILE).read_bytes().endswith(b"}\n")
    assert take(tmp_path, store) > 0
    assert {event.kind for event in store.events()} == {OPENED}


@pytest.mark.platform
@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files that the workers cannot open")
def test_what_root_leaves_belongs_to_the_installation(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 1234, 1235)
    record_access(state, OPENED)
    found = (state / FILE).stat()
    assert (found.st_uid, found.st_gid) == (1234, 1235)
    (state / FILE).unlink()
    other = tmp_path / "another's"
    other.touch()
    (state / FILE).hardlink_to(other)
    record_access(state, OPENED)
    assert other.stat().st_uid == 0


def test_a_line_says_its_own_number_and_time_whatever_its_detail_does(
    tmp_path: Path, store: RunStore
) -> None:
    line = {"id": "own", "at": 1.0, "kind": OPENED, "detail": {"id": "forged", "noted": 2.0}}
    long = {"id": "long", "at": 1.0, "kind": OPENED, "detail": {"x": "x" * LONGEST}}
    (tmp_path / FILE).write_bytes(b"".join(json.dumps(one).encode() + b"\n" for one in (line, long)))
    assert take(tmp_path, store) == 2
    [first, second] = store.events()
    assert first.detail == {"id": "own", "noted": 1.0}
    assert second.kind == UNREADABLE
