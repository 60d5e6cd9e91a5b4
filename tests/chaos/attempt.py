"""One run of chaos: a fresh machine and cluster, a backup, kills, and what came of it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from msgspec import Struct

from strongroom.state.records import StepKind
from strongroom.state.store import RunStore
from tests.chaos.machine import Machine, machine
from tests.chaos.monkey import Killed, Monkey
from tests.chaos.plan import LEAST, Progress, plan
from tests.chaos.verdict import broken

TRIES = 5
"""How often a run is made until enough of its kills fell."""


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


def attempt(seed: int, root: Path, *, containers: int, database: str | None = None) -> Outcome:
    """Make one run of chaos under ``root``, which must not exist.

    On a busy machine a run may end between two looks at it, before its kills fell: that shows nothing
    yet, and the run is made again. The folder goes when every promise held, and stays if not.
    """
    tries = TRIES
    while True:
        with machine(root, containers=containers, seed=seed, database=database) as made:
            outcome = _through(made, seed)
        tries -= 1
        again = tries > 0 and len(outcome.kills) < LEAST and len(outcome.violations) == 1
        if again or not outcome.violations:
            shutil.rmtree(root)
        if not again:
            return outcome


def stopped_short(seed: int, wrong: BaseException) -> Outcome:
    """Return the outcome of a run in which the test itself got no further."""
    words = f"{type(wrong).__name__}: {wrong}"
    return Outcome(
        seed=seed, seconds=0.0, pieces=0, captures=0, kills=(), reconciled=0, stall=0.0, violations=(words,)
    )


def _through(made: Machine, seed: int) -> Outcome:
    began = time.monotonic()
    run = made.submit()
    monkey = Monkey(plan(seed), made.cluster, made.store, run, seed=seed)
    ended = made.follow(run, monkey.act, pause=lambda progress: _pause(progress, monkey))
    seconds = time.monotonic() - began
    wrong = stopped(made)
    kills = _proven(made.store, run, monkey.killed)
    if len(kills) < LEAST:
        wrong.append(f"only {len(kills)} kills fell between first capture and commit; left: {monkey.left}")
    wrong += broken(made.place, made.store, ended, made.secrets, kills)
    rows = made.store.rows(run, StepKind.CAPTURE)
    return Outcome(
        seed=seed,
        seconds=seconds,
        pieces=len(rows),
        captures=sum(row.attempts for row in rows),
        kills=kills,
        reconciled=sum(event.kind.startswith("reconcile.") for event in made.store.events(run=run)),
        stall=_longest_stall(made.store, run),
        violations=tuple(wrong),
    )


def _pause(progress: Progress | None, monkey: Monkey) -> float:
    """Hardly look away when the commit is near and to be hit."""
    near = progress is not None and progress.uploaded > 0.97
    return 0.002 if near and monkey.left else 0.02


def stopped(made: Machine) -> list[str]:
    """Stop the cluster; return what did not go as it should."""
    status = made.cluster.stop()
    left = made.cluster.left_over()
    return [f"the supervisor ended with {status}"] * (status != 0) + [f"still running: {left}"] * bool(left)


def _proven(store: RunStore, run: str, killed: Sequence[Killed]) -> tuple[Killed, ...]:
    """Keep the kills that the record shows to lie between the first capture and the commit."""
    began = min((row.started_at or 0.0 for row in store.rows(run, StepKind.CAPTURE)), default=0.0)
    commits = [row.finished_at for row in store.rows(run, StepKind.COMMIT)]
    ended = commits[0] if commits and commits[0] is not None else float("inf")
    return tuple(one for one in killed if began < one.at < ended)


def _longest_stall(store: RunStore, run: str) -> float:
    ends = sorted(row.finished_at for row in store.rows(run) if row.finished_at is not None)
    return max((later - earlier for earlier, later in pairwise(ends)), default=0.0)
