"""Undoing on the local store: killed at every step, gone on with, and nothing is done twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import TypeVar

import msgspec
import pytest
from msgspec.structs import replace

from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.model import Secret
from strongroom.operations.engine.drive import drive
from strongroom.operations.restore import take_back
from strongroom.operations.restore.job import submit_restore
from strongroom.operations.restore.journal import DONE, JOURNAL, Journal, RestoreAccount
from strongroom.operations.restore.plan import PlanEntry
from strongroom.operations.restore.restore import plan_restore
from strongroom.operations.restore.staged import RestoreOptions
from strongroom.plugins.conformance.sources import secret, versions
from strongroom.sources import Destination, Refuse, SecretChange
from strongroom.sources.local import LocalStore
from strongroom.sources.memory import MemoryStore
from tests.operations.restoring import Restoring
from tests.operations.world import made_up, make_world

COUNT = 7
T = TypeVar("T")


class Dying(LocalStore):
    """A store whose process is gone just before or after a write or a removal."""

    calls = 0

    def __init__(self, folder: Path, *, at: int) -> None:
        super().__init__(folder)
        self._at = at

    def kept(self, one: Secret) -> Secret:
        return one

    def write(self, changes: Iterable[SecretChange], *, refuse: Refuse | None = None) -> int:
        return self._die_around(lambda: LocalStore.write(self, changes, refuse=refuse))

    def delete_unchanged(self, heads: Mapping[str, int]) -> Sequence[str]:
        return self._die_around(lambda: LocalStore.delete_unchanged(self, heads))

    def _die_around(self, work: Callable[[], T]) -> T:
        self._step()
        done = work()
        self._step()
        return done

    def _step(self) -> None:
        if self.calls == self._at:
            os._exit(9)  # as kill -9 does: no handler runs
        self.calls += 1


@pytest.fixture
def restoring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Restoring:
    monkeypatch.setattr(Destination, "written_at_once", 2)
    monkeypatch.setattr(take_back, "_AT_ONCE", 2)
    return Restoring(root=tmp_path / "undo", identity=KeyFileIdentity(bytes(32)))


def fill(folder: Path) -> list[Secret]:
    """Fill a store; return what a backup of an earlier time holds."""
    store = LocalStore(folder)
    for number in range(COUNT):
        store.import_([replace(secret(f"changed/{number}"), versions=versions(1, 2), tags={"team": "new"})])
    return [
        secret(f"{kind}/{number}", "CANARY-old", tags={"team": "old"}, expires_at="2031-01-01")
        for number in range(COUNT)
        for kind in ("changed", "created")
    ]


def current(folder: Path) -> dict[str, Secret]:
    """Return what everybody reads there, whatever its number."""
    store = LocalStore(folder)
    found = (one for one in store.read(list(store.list())) if one)
    plain = {"updated_at": None, "created_at": None}
    return {
        one.name: replace(one, versions=(replace(one.current, number=1, created_at=None),), **plain)
        for one in found
    }


def heads(folder: Path) -> dict[str, int]:
    store = LocalStore(folder)
    return store.heads([entry.name for entry in store.list()])


def in_a_process(work: Callable[[], object]) -> bool:
    """Do it in a process that may die of it; say whether it came to its end."""
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def newest(restoring: Restoring) -> str:
    return max(folder.name for folder in restoring.root.iterdir())


KILLED = [1, 4, 7, 12]


@pytest.mark.parametrize("at", [*KILLED, *(pytest.param(n, marks=pytest.mark.long) for n in range(16))])
def test_a_restore_that_was_killed_and_gone_on_with_is_undone_whole(
    restoring: Restoring, tmp_path: Path, at: int
) -> None:
    folder = tmp_path / "there"
    wanted = fill(folder)
    before, numbers = current(folder), heads(folder)
    killed = not in_a_process(lambda: restoring.restore(wanted, Dying(folder, at=at)))
    assert killed is (at < 14)
    restoring.number = 1
    if killed:
        restoring.restore(wanted, LocalStore(folder))
    assert heads(folder) == {one.name: numbers.get(one.name, 0) + 1 for one in wanted}  # nothing twice
    done = restoring.undo(newest(restoring), LocalStore(folder)).counts
    assert (done.left, done.not_done) == (0, 0)
    assert current(folder) == before


@pytest.mark.parametrize("at", [*KILLED, *(pytest.param(n, marks=pytest.mark.long) for n in range(14))])
def test_a_plan_that_was_killed_and_done_again_does_nothing_twice_and_nothing_has_moved(
    restoring: Restoring, tmp_path: Path, at: int
) -> None:
    folder = tmp_path / "there"
    wanted = fill(folder)
    before, numbers = current(folder), heads(folder)
    plan: list[PlanEntry] = []
    plan_restore(lambda: wanted, LocalStore(folder), overwrite=True, note=plan.append)
    assert not in_a_process(lambda: restoring.restore(wanted, Dying(folder, at=at), plan=plan))
    restoring.number = 1
    done = restoring.restore(wanted, LocalStore(folder), plan=plan).counts
    assert (done.moved, done.left, done.not_done) == (0, 0, 0)
    assert heads(folder) == {one.name: numbers.get(one.name, 0) + 1 for one in wanted}
    run = newest(restoring)
    assert restoring.undo(run, LocalStore(folder)).counts.left == 0
    assert current(folder) == before


@pytest.mark.parametrize("at", [*KILLED, *(pytest.param(n, marks=pytest.mark.long) for n in range(16))])
def test_an_undo_that_was_killed_is_gone_on_with_and_does_nothing_twice(
    restoring: Restoring, tmp_path: Path, at: int
) -> None:
    folder = tmp_path / "there"
    wanted = fill(folder)
    before, numbers = current(folder), heads(folder)
    restoring.restore(wanted, LocalStore(folder))
    run = newest(restoring)
    assert not in_a_process(lambda: restoring.undo(run, Dying(folder, at=at)))
    restoring.number = 2
    done = restoring.undo(run, LocalStore(folder)).counts
    assert (done.left, done.not_done) == (0, 0)
    assert current(folder) == before
    assert heads(folder) == {name: head + 2 for name, head in numbers.items()}
    assert restoring.undo(run, LocalStore(folder)).counts.written == 0


@pytest.mark.parametrize("at", [4, 12])
def test_a_killed_restore_can_be_undone_without_finishing_it(
    restoring: Restoring, tmp_path: Path, at: int
) -> None:
    folder = tmp_path / "there"
    wanted = fill(folder)
    before = current(folder)
    assert not in_a_process(lambda: restoring.restore(wanted, Dying(folder, at=at)))
    restoring.number = 1
    done = restoring.undo(newest(restoring), LocalStore(folder)).counts
    assert (done.left, done.not_done) == (0, 0)
    assert current(folder) == before


def test_who_writes_while_an_undo_removes_keeps_what_was_written(
    restoring: Restoring, tmp_path: Path
) -> None:
    folder = tmp_path / "there"
    wanted = [one for one in fill(folder) if one.name.startswith("created/0")]
    restoring.restore(wanted, LocalStore(folder))

    class Busy(LocalStore):
        def delete_unchanged(self, heads: Mapping[str, int]) -> Sequence[str]:
            self.write([SecretChange(secret=secret("created/0", "CANARY-somebody"), expected=1)])
            return super().delete_unchanged(heads)

    done = restoring.undo(newest(restoring), Busy(folder))
    assert (done.counts.removed, done.by_code) == (0, {"Conflict": 1})
    assert heads(folder)["created/0"] == 2


def test_a_restore_of_the_cluster_is_undone_by_the_id_of_its_run(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    backup = world.back_up().id
    there = MemoryStore(made_up(3, size=99), name="there")
    before = {one.name: one.current.value for one in there.read(list(there.list())) if one}
    services = world.services(destinations={"there": there})
    options = RestoreOptions(destination="there", overwrite=True)
    run = drive(*submit_restore(services, backup=backup, options=options), services, processes=1)
    assert run.facts["restore"]["changed"] == 3
    restoring = Restoring(root=tmp_path / "undo", identity=world.identity)
    done = restoring.undo(run.id, there).counts
    assert (done.changed, done.removed, done.left) == (3, 27, 0)
    assert {one.name: one.current.value for one in there.read(list(there.list())) if one} == before


def test_who_waited_for_a_late_attempt_in_the_same_folder_knows_what_it_was_writing_when_it_was_killed(
    tmp_path: Path,
) -> None:
    journal = Journal(started_at="2026-01-01T00:00:00Z", backup="b", to="there", goes_on="")
    seen, began = os.pipe()
    child = os.fork()
    if not child:
        late = RestoreAccount(tmp_path / "piece", journal)
        late.begin()
        os.write(began, b"1")
        signal.pause()
    os.read(seen, 1)
    waiting = RestoreAccount(tmp_path / "piece", journal)
    thread = Thread(target=waiting.begin)
    thread.start()
    assert waiting.tried == frozenset()
    written = replace(journal, writing=("app/1", "app/2"))
    (tmp_path / "piece" / JOURNAL).write_bytes(msgspec.json.encode(written))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    thread.join()
    assert waiting.tried == {"app/1", "app/2"}
    waiting.end(DONE)
