"""One run of chaos: a fresh machine and cluster, a backup, kills, and what came of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

from msgspec import Struct

from strongroom.errors import RunNotFound
from strongroom.model import Secret
from strongroom.state.records import Run, StepKind
from strongroom.state.store import RunStore
from tests.chaos.monkey import Killed, Monkey
from tests.chaos.place import POLICY, Place, made_up, make_place
from tests.chaos.plan import LEAST, Kill, Phase, Progress, plan
from tests.chaos.verdict import broken
from tests.workers.cluster import RunningCluster, until

POOLS = ("control", "seal", "transfer", "verify")
GUARD_SECONDS = 900.0
"""A hang guard: ten times what a run takes on a loaded machine."""
_SUBMIT = f"from tasks.backup import full_backup; print(full_backup.delay(policy={POLICY!r}).id)"


class Outcome(Struct, frozen=True, kw_only=True):
    """What one run showed. ``violations`` is empty if every promise held; ``stall`` is the
    longest time in seconds in which no step ended."""

    seed: int
    seconds: float
    pieces: int
    captures: int
    kills: tuple[Killed, ...]
    reconciled: int
    stall: float
    violations: tuple[str, ...]

    @property
    def phases(self) -> set[Phase]:
        """The phases in which something was killed."""
        return {killed.kill.phase for killed in self.kills}


def attempt(seed: int, root: Path, *, containers: int) -> Outcome:
    """Make one run of chaos under ``root``, which must not exist.

    The folder goes when every promise held, and stays for whoever looks into it if not.
    """
    secrets = made_up(containers, seed)
    place = make_place(root, secrets)
    cluster = RunningCluster(place.state, *POOLS, environment=place.environment)
    with closing(RunStore(f"sqlite:///{place.state / 'state.db'}")) as store:
        try:
            cluster.start()
            outcome = _through(cluster, place, store, seed, secrets)
        finally:
            cluster.close()
    if not outcome.violations:
        shutil.rmtree(root)
    return outcome


def _through(
    cluster: RunningCluster, place: Place, store: RunStore, seed: int, secrets: list[Secret]
) -> Outcome:
    began = time.monotonic()
    run = _submit(place, store)
    monkey = Monkey(plan(seed), cluster, store, run, seed=seed)
    ended = _follow(run, store, monkey)
    seconds = time.monotonic() - began
    wrong = _stop(cluster)
    kills = _proven(store, run, monkey.killed)
    if len(kills) < LEAST:
        wrong.append(f"only {len(kills)} kills fell between first capture and commit; left: {monkey.left}")
    wrong += broken(place, store, ended, secrets, monkey.killed)
    rows = store.rows(run, StepKind.CAPTURE)
    return Outcome(
        seed=seed,
        seconds=seconds,
        pieces=len(rows),
        captures=sum(row.attempts for row in rows),
        kills=kills,
        reconciled=sum(event.kind.startswith("reconcile.") for event in store.events(run=run)),
        stall=_longest_stall(store, run),
        violations=tuple(wrong),
    )


def _submit(place: Place, store: RunStore) -> str:
    """Ask for a backup as a person does in a plain shell; return the run's id."""
    told = subprocess.run(
        [sys.executable, "-c", _SUBMIT],
        env={**os.environ, **place.environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    request = told.stdout.strip()
    return until(lambda: _known(store, request), what="the run", seconds=120).id


def _known(store: RunStore, request: str) -> Run | None:
    try:
        return store.find(request)
    except RunNotFound:
        return None


def _follow(run: str, store: RunStore, monkey: Monkey) -> Run:
    """Look at the run record again and again, let the monkey act on it, until the run ends."""
    end = time.monotonic() + GUARD_SECONDS
    while not (record := store.load(run)).state.final and time.monotonic() < end:
        progress = None
        if "plan" in record.facts:
            progress = Progress.of(store.tally(run), record.facts["plan"]["pieces"])
            monkey.act(progress)
        time.sleep(_pause(progress, monkey.left))
    return record


def _pause(progress: Progress | None, left: Sequence[Kill]) -> float:
    """How long to look away, in seconds: hardly, when the commit is near and to be hit."""
    near = progress is not None and progress.uploaded > 0.97
    return 0.002 if near and left else 0.02


def _proven(store: RunStore, run: str, killed: Sequence[Killed]) -> tuple[Killed, ...]:
    """Keep the kills that the record shows to lie between the first capture and the commit."""
    began = min((row.started_at or 0.0 for row in store.rows(run, StepKind.CAPTURE)), default=0.0)
    commits = [row.finished_at for row in store.rows(run, StepKind.COMMIT)]
    ended = commits[0] if commits and commits[0] is not None else float("inf")
    return tuple(one for one in killed if began < one.at < ended)


def _longest_stall(store: RunStore, run: str) -> float:
    ends = sorted(row.finished_at for row in store.rows(run) if row.finished_at is not None)
    return max((later - earlier for earlier, later in pairwise(ends)), default=0.0)


def _stop(cluster: RunningCluster) -> list[str]:
    status = cluster.stop()
    left = cluster.left_over()
    return [f"the supervisor ended with {status}"] * (status != 0) + [f"still running: {left}"] * bool(left)
