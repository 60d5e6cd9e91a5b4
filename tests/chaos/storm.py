"""One storm: a backup is asked for while parts of a machine fail, then the sky clears. Prints JSON.

``python -m tests.chaos.storm SEED FOLDER`` is a process of its own, in a mount namespace of its own: any
number of them run side by side.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from strongroom.errors import StrongroomError
from strongroom.state.records import Run, RunKind, RunState
from tests.chaos import clear_sky, errands
from tests.chaos.errands import Approvers, Errand, Errands
from tests.chaos.place import POLICY
from tests.chaos.plan import Progress
from tests.chaos.site import Site, site
from tests.chaos.weather import LATEST, Action, Undo, begin, gusts, plan

BACKUP: Final = "backup"
GUARD: Final = 300.0
"""Seconds from when everything is well again: a run that has not ended by then hangs."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a storm showed. ``broken`` is empty if every rule held."""

    seed: int
    database: str
    seconds: float
    actions: tuple[str, ...]
    ended: str
    said: str
    broken: tuple[str, ...]


class Storm:
    """Asks for a backup, lets the planned actions happen, and waits until all is over."""

    def __init__(self, at: Site, actions: list[Action], asked: list[Errand], people: Approvers) -> None:
        self._site, self._asked, self._people = at, list(asked), people
        self._left = list(actions)
        self._undo: list[tuple[float, Undo]] = []
        self._began = time.monotonic()
        self._next_up = self._next_asked = 0.0
        self.happened: list[str] = []
        self.accepted: list[str] = []

    def through(self) -> None:
        """Go through the storm."""
        self._act(-1.0)
        self._ask()
        while self._left or self._undo:
            self._tend()
            self._act(self._progress())
            self._calm(time.monotonic())
            self._ask()
            time.sleep(0.05)
        while self._asked:  # what was not accepted is asked for again, as its answer says
            self._tend()
            self._ask()
            time.sleep(0.5)
        self.settle()

    def settle(self) -> None:
        """Wait until no run is under way."""
        self.wait(lambda: not self._site.store.active())

    def wait(self, over: Callable[[], bool]) -> bool:
        """Wait for something with the cluster kept up; tell whether it came."""
        end = time.monotonic() + GUARD
        while time.monotonic() < end:
            self._tend()
            self._people.look()
            try:
                if over():
                    return True
            except StrongroomError:
                pass
            time.sleep(0.2)
        return False

    def _ask(self) -> None:
        """Ask for what comes next, if it is time to, and have people look at what waits for them."""
        self._people.look()
        if not self._asked or time.monotonic() < self._next_asked:
            return
        if self._asked[0].ask(self._site):
            self.accepted.append(self._asked.pop(0).name)
        self._next_asked = time.monotonic() + 1.0

    def _act(self, progress: float) -> None:
        late = time.monotonic() - self._began > LATEST
        for action in [one for one in self._left if progress >= one.at or (late and progress >= 0)]:
            undo = begin(self._site, action)
            if undo is None and not late:
                continue  # not just now
            self._left.remove(action)
            if undo is not None:
                self.happened.append(str(action))
                self._undo.append((time.monotonic() + action.lasts, undo))

    def _calm(self, now: float) -> None:
        for until, undo in [one for one in self._undo if one[0] <= now]:
            self._undo.remove((until, undo))
            try:
                undo()
            except (OSError, subprocess.CalledProcessError):  # another action is in its way
                self._undo.append((now + 1.0, undo))

    def _progress(self) -> float:
        """Return how far the newest backup's uploads are; 0 while nobody can tell."""
        try:
            runs = self._site.store.runs_of(POLICY, RunKind.BACKUP, limit=1)
            if not runs or "plan" not in runs[0].facts:
                return 0.0
            tally = self._site.store.tally(runs[0].id)
            return (
                1.0 if runs[0].state.final else Progress.of(tally, runs[0].facts["plan"]["pieces"]).uploaded
            )
        except StrongroomError:
            return 0.0

    def _tend(self) -> None:
        """Type "up" again where the supervisor is gone, as its unit does."""
        process = self._site.cluster.process
        if process is not None and process.poll() is not None and time.monotonic() >= self._next_up:
            self._next_up = time.monotonic() + 3.0
            try:
                self._site.cluster.start(wait=False)
            except OSError:  # its log lies on a full disk
                return


def run(seed: int, root: Path, *, containers: int, postgresql: bool, mounts: bool) -> Result:
    """Make one storm under ``root``, which must not exist."""
    began = time.monotonic()
    besides = errands.plan(seed, clock=mounts and shutil.which("gcc") is not None)
    with site(
        root, containers=containers, seed=seed, postgresql=postgresql, mounts=mounts, errands=besides
    ) as made:
        people = Approvers(made, besides)
        asked = [Errand(BACKUP, "backup", "--cluster", "--policy", POLICY), *errands.asked(made, besides)]
        storm = Storm(made, plan(seed, postgresql=postgresql, mounts=mounts), asked, people)
        storm.through()
        first = backups(made)
        broken = list(_hanging(made)) or [*_errands(made, besides, storm, people)]
        broken = broken or list(clear_sky.broken(made, storm, first))
        newest = first[0] if first else None
        result = Result(
            seed=seed,
            database="postgresql" if postgresql else "sqlite",
            seconds=round(time.monotonic() - began, 1),
            actions=(*storm.happened, *done_besides(made, besides)),
            ended=newest.state.value if newest else "no run",
            said=(newest.error or "") if newest else "",
            broken=tuple(broken),
        )
        if broken:
            shutil.copytree(root, root.with_name(f"{root.name}.broken"), symlinks=True)
    return result


def backups(at: Site) -> list[Run]:
    """Return the backups on record that were asked for in the storm, the newest first."""
    return [run for run in at.store.runs_of(POLICY, RunKind.BACKUP, limit=100) if run.id not in at.older]


def done_besides(at: Site, besides: Errands) -> Iterator[str]:
    """Yield what was done besides the backup."""
    yield from (f"{name}@asked" for name in besides.names)
    if besides.restore:
        yield "undo@asked"
    if gone := errands.pruned(at):
        yield f"deleted@{gone} replicas"


def _errands(at: Site, besides: Errands, storm: Storm, people: Approvers) -> Iterator[str]:
    """Yield what the storm broke of what was asked for besides; undo the restores while more goes wrong."""
    yield from people.broken
    yield from errands.judge_older(at)
    if not besides.restore:
        return
    yield from errands.judge_restore(at)
    if not any(run.state is RunState.DONE for run in errands.restores(at)):
        yield from _again(at, storm, *errands.asked(at, besides)[:1])
        yield from errands.judge_restore(at)
    for run in [one for one in errands.restores(at) if one.state is RunState.DONE]:
        undo = Errand("undo", "restore", "undo", run.id, "--cluster")
        gust = gusts(besides.pick, postgresql=at.postgres is not None, mounts=at.mounts)
        second = Storm(at, gust, [undo], people)
        second.through()
        storm.happened += second.happened
        yield from _hanging(at)
        if at.store.load(undo.run).state is not RunState.DONE:
            yield from _again(at, storm, undo)
    yield from people.broken
    yield from errands.judge_undo(at)


def _again(at: Site, storm: Storm, errand: Errand) -> Iterator[str]:
    """Ask once more under a clear sky: then it has to be done."""
    if not storm.wait(lambda: errand.ask(at)) or not storm.wait(lambda: not at.store.active()):
        yield f"the {errand.name} under a clear sky was not accepted, or has not ended"
    elif (ended := at.store.load(errand.run)).state is not RunState.DONE:
        yield f"the {errand.name} under a clear sky ended {ended.state}: {ended.error}"


def _hanging(at: Site) -> Iterator[str]:
    for one in at.store.active():
        rows = [row for row in at.store.rows(one.id) if not row.state.settled]
        said = "; ".join(f"{row.step} {row.state} {row.error or ''}" for row in rows[:3])
        yield f"{one.spec.kind} {one.id} has not ended: {said}"


def main() -> int:
    """Make one storm and print its result."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.storm", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("root", type=Path)
    parser.add_argument("--containers", type=int, default=24)
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--mounts", action="store_true")
    given = parser.parse_args()
    result = run(
        given.seed,
        given.root,
        containers=given.containers,
        postgresql=given.postgresql,
        mounts=given.mounts,
    )
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
    return 1 if result.broken else 0


if __name__ == "__main__":
    sys.exit(main())
