"""The process dies at every point where it touches anything outside itself, one at a time.

A crash is an exception that no code catches, thrown before or after one call to the source,
the stage, a target or the state database. Then a fresh process takes over. Whatever the
point, the backup ends complete and verified, once, with nothing left over.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from strongroom.operations.archive.open import open_backup
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.services import Services
from strongroom.state.records import RunState, StepKind
from strongroom.state.store import RunStore
from tests.operations.world import POLICY, World, made_up, make_world, names_on
from tests.seed import drawn

WATCHED = {
    "store": (
        "claim",
        "finish",
        "fail",
        "take_ready",
        "rows",
        "row",
        "load",
        "tally",
        "put_backup",
        "set_replica",
    ),
    "stage": ("put", "read", "list", "delete", "abort_incomplete"),
    "target": ("put", "read", "stat", "list", "delete", "abort_incomplete"),
    "source": ("list", "read"),
}


class Crash(BaseException):
    """The process is gone. Not an Exception: nothing may handle it."""


class Fuse:
    """Lets so many calls pass, then burns once: before that call does its work, or after."""

    def __init__(self, calls: int, *, after: bool) -> None:
        self._left = calls
        self._after = after
        self.burnt = False

    def call(self, work: Callable[[], Any]) -> Any:
        self._left -= 1
        last = self._left == 0  # now: a put calls the stage's read while it works
        if last and not self._after:
            self._burn()
        result = work()
        if last and self._after:
            self._burn()
        return result

    def _burn(self) -> None:
        self.burnt = True
        raise Crash


class Fused:
    """A part of the installation whose watched calls go through a fuse."""

    def __init__(self, part: Any, kind: str, fuse: Fuse) -> None:
        self._part = part
        self._watched = WATCHED[kind]
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if name not in self._watched:
            return found
        return lambda *args, **kwargs: self._fuse.call(lambda: found(*args, **kwargs))


def with_fuse(own: Services, fuse: Fuse) -> Services:
    return replace(
        own,
        store=Fused(own.store, "store", fuse),  # type: ignore[arg-type]
        stage=Fused(own.stage, "stage", fuse),
        targets={name: Fused(target, "target", fuse) for name, target in own.targets.items()},
        sources={name: Fused(source, "source", fuse) for name, source in own.sources.items()},
    )


def crash_points(world_of: Callable[[int], World], *, after: bool, every: int) -> Iterator[tuple[World, str]]:
    """Run a backup into a crash at one call, a later one and so on, until none is left."""
    for number in count(drawn("crash").randint(1, every), every):
        world = world_of(number)
        fuse = Fuse(number, after=after)
        run, tickets = submit_backup(world.services(), policy=POLICY)
        try:
            drive(run, tickets, with_fuse(world.services(), fuse), processes=1)
        except Crash:
            yield world, run
        if not fuse.burnt:
            return


@pytest.mark.timeout(900)
@pytest.mark.parametrize("every", [17, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("after", [False, True], ids=["before-the-call", "after-the-call"])
def test_a_crash_at_any_call_loses_nothing_and_leaves_nothing(
    tmp_path: Path, *, after: bool, every: int
) -> None:
    def world_of(number: int) -> World:
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(template, folder / "state.db")
        return make_world(folder, secrets=made_up(6), pieces=2)

    template = migrated(tmp_path / "template.db")
    points = 0
    for world, run in crash_points(world_of, after=after, every=every):
        points += 1
        services = world.services()
        ended = drive(run, [], services, processes=1)
        assert ended.state is RunState.DONE, ended.error
        check_clean(world, run, services)
    assert points > 60 // every


def migrated(path: Path) -> Path:
    """Make an empty database of the current schema: migrating anew for each point is slow."""
    store = RunStore(f"sqlite:///{path}")
    store.check()
    store.close()
    return path


def check_clean(world: World, run: str, services: Services) -> None:
    captures = services.store.rows(run, StepKind.CAPTURE)
    kept = {row.result["receipt"]["sha256"] for row in captures if row.result is not None}
    expected = sorted([f"manifests/{run}.json", *(f"containers/{run}/{digest}" for digest in kept)])
    assert sum(row.attempts for row in captures) <= len(captures) + 1
    assert names_on(world.stage) == []
    for target in world.targets.values():
        assert names_on(target) == expected
        backup = open_backup(target, identities=[world.identity], trusted=services.signer_fingerprints)
        assert sorted(secret.name for secret in backup.secrets()) == [f"app/{n:04}" for n in range(6)]
    assert {replica.target for replica in services.store.replicas(run) if replica.good} == set(world.targets)
