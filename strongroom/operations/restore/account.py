"""What a restore, a recovery or an undo tells of itself: how far it is, how fast, and what it did."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from strongroom.durations import about, at_least, measured
from strongroom.operations.restore.facts import RestoreComparison, RestoreFacts, RunRestored
from strongroom.operations.restore.progress import Progress, progress_of
from strongroom.operations.runs.job import RunAccount
from strongroom.state.records import RESTORING, Run, StepRow
from strongroom.words import plural

START = "strongroom up --with-recover"
_DID = {
    "created": "created",
    "changed": "changed",
    "removed": "removed",
    "unchanged": "as they were to be",
    "left": "left as they are",
    "moved": "changed since the plan, and left",
    "not_done": "not restored",
}


def restore_account(
    run: Run, rows: Sequence[StepRow], facts: RestoreFacts, *, shown: Mapping[str, object] | None = None
) -> RunAccount:
    """Return what a run that restores tells of itself. ``shown``: what machines are to be told besides."""
    progress = progress_of(run, rows, now=time.time()) if rows else None  # a list of runs has no steps
    plan = facts.restore_plan
    document = {
        "plan": {"digest": plan.digest, "counts": plan.counts} if plan else None,
        "progress": progress,
        "restore": facts.restore,
        "restore_compare": facts.restore_compare,
        **(shown or {}),
    }
    told: dict[str, Any] = msgspec.to_builtins({"restore": document, "undo_by": _undo(run, facts)})
    return RunAccount(tuple(_pairs(run, rows, facts, progress)), told)


def _pairs(
    run: Run, rows: Sequence[StepRow], facts: RestoreFacts, progress: Progress | None
) -> Iterator[tuple[str, object]]:
    asked = [row for row in rows if row.step.kind in RESTORING]
    if asked and not run.state.final and not any(row.attempts for row in asked):
        yield "needs", f"the recover workers, which normally do not run: '{START}'"
    if progress is not None:
        yield from _going(run, progress)
    if facts.restore is not None:
        yield "did" if run.state.final else "so far", _done(facts.restore, ended=run.state.final)
        yield from (("not as it was", loss) for loss in facts.restore.losses[:3])
        more = len(facts.restore.losses) - 3
        yield "", f"and {more:,} more such lines, which --json has" if more > 0 else None
        yield "on record in", facts.restore.record
        for target, why in facts.restore.away.items():
            yield f"not from {target}", f"{why} (read from another target instead)"
    if facts.restore_compare is not None:
        yield "compared", _compared(facts.restore_compare)
    yield "undo", _undo(run, facts)


def _undo(run: Run, facts: RestoreFacts) -> str | None:
    """Return the command that takes back what a run wrote, if it wrote something."""
    done = facts.restore if run.state.final else None
    wrote = done is not None and (done.created or done.changed or done.removed)
    by_the_cluster = " --cluster" if run.spec.targets else ""
    return f"strongroom restore undo {run.id}{by_the_cluster}" if wrote else None


def _going(run: Run, progress: Progress) -> Iterator[tuple[str, object]]:
    if not run.state.final:
        share = f" ({progress.done / progress.total:.0%})" if progress.total else ""
        yield "progress", f"{progress.done:,} of {plural(progress.total, 'secret')}{share}"
        if progress.rate:
            left = at_least(progress.left_seconds) if progress.done < progress.total else "none"
            yield "pace", f"{progress.rate:,.0f} secrets a second; left: {left}, then all is compared"
    if objective := progress.objective_seconds:
        met = "met" if progress.seconds <= objective else "MISSED"
        took = f"took {measured(progress.seconds)}: {met}"
        if not run.state.final:
            left = f"{about(objective - progress.seconds)} left" if met == "met" else met
            took = f"{measured(progress.seconds)} so far: {left}"
        yield "objective", f"{about(objective)}; {took}"


def _done(done: RunRestored, *, ended: bool) -> str:
    counts = [f"{count:,} {words}" for name, words in _DID.items() if (count := getattr(done, name))]
    return ", ".join(counts) or ("nothing was to be written" if ended else "nothing is written yet")


def _compared(compared: RestoreComparison) -> str:
    differ = f", {compared.differ:,} not" if compared.differ else ""
    return f"{plural(compared.same, 'secret')} equal to the backup{differ}"
