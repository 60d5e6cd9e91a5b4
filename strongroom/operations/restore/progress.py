"""How far a restore run is, how fast it goes, and how it stands to its objective: from the record alone."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from strongroom.model import prepare
from strongroom.operations.restore.facts import RunRestored, facts_of, objective_of, options_of
from strongroom.operations.runs.job import read_result
from strongroom.state.records import Run, RunKind, StepKind, StepRow, StepState


class Progress(Struct, frozen=True, kw_only=True):
    """How far a restore is.

    ``done`` of ``total`` secrets are as the plan wants them, or were left. ``seconds`` is how long the run
    takes so far, or took, and ``objective_seconds`` how long it may take (0: nobody said). ``rate`` is how
    many secrets a second it does, and ``left_seconds`` how long the rest takes at that; zero where it is not
    known.
    """

    done: int
    total: int
    seconds: float
    objective_seconds: float
    rate: float = 0.0
    left_seconds: float = 0.0


prepare(Progress)


def progress_of(run: Run, rows: Iterable[StepRow], *, now: float) -> Progress | None:
    """Return how far a restore or an undo is; ``None`` before it has a plan. Raises RecordRefused."""
    facts = facts_of(run)
    if facts.restore_plan is None:
        return None
    pieces = [row for row in rows if row.step.kind is StepKind.RESTORE]
    ended = [row for row in pieces if row.state is StepState.DONE]
    done = sum(read_result(run, row.step, row.result, RunRestored).total for row in ended)
    total = facts.restore_plan.counts.total
    began = min((row.started_at for row in pieces if row.started_at), default=now)
    until = max((row.finished_at for row in ended if row.finished_at), default=now)
    rate = done / max(until - began, 0.001) if done else 0.0
    compared = facts.restore_compare
    options = options_of(run) if run.spec.kind is not RunKind.UNDO else None
    return Progress(
        done=done,
        total=total,
        seconds=compared.seconds if compared else (run.finished_at or now) - run.created_at,
        objective_seconds=objective_of(options, run.spec.selection) if options else 0.0,
        rate=rate,
        left_seconds=(total - done) / rate if rate else 0.0,
    )
