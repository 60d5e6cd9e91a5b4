"""A restore run as it is shown: how far it is, how fast, how it stands to its objective, what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from strongroom.cli.terminal.output import plural
from strongroom.durations import about, at_least, measured
from strongroom.operations.drills.facts import Proved
from strongroom.operations.recovery.run_steps import RecoveryFacts, RunValidated, recovery_facts_of
from strongroom.operations.restore.facts import Compared, RunRestored
from strongroom.operations.restore.progress import Progress, progress_of
from strongroom.state.errors import RecordRefused
from strongroom.state.records import RESTORES, RESTORING, Run, StepRow

_DID = {
    "created": "created",
    "changed": "changed",
    "removed": "removed",
    "unchanged": "as they were to be",
    "left": "left as they are",
    "moved": "changed since the plan, and left",
    "not_done": "not restored",
}


_SHOWN = ("restore", "restore_compare", "recovery_check", "recovery_validate")


START = "strongroom up --with-recover"


def restore_document(run: Run, rows: list[StepRow]) -> dict[str, Any] | None:
    """Return for machines how far a restore or an undo is, and what it did; nothing for any other run."""
    known = _known(run, rows)
    if known is None:
        return None
    facts, progress = known
    named = {name: getattr(facts, name) for name in _SHOWN}
    plan = facts.restore_plan
    counts = {"digest": plan.digest, "counts": plan.counts} if plan else None
    document: dict[str, Any] = msgspec.to_builtins({"plan": counts, "progress": progress, **named})
    return document


def restore_fields(run: Run, rows: list[StepRow]) -> Iterator[tuple[str, object]]:
    """Yield the same for people."""
    known = _known(run, rows)
    if known is None:
        return
    facts, progress = known
    asked = [row for row in rows if row.step.kind in RESTORING]
    if asked and not run.state.final and not any(row.attempts for row in asked):
        yield "needs", f"the recover workers, which normally do not run: '{START}'"
    if progress is not None:
        yield from _going(run, progress)
    yield from _host(facts.recovery_check)
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
    if facts.recovery_validate is not None:
        yield "validated", _validated(facts.recovery_validate)


def _known(run: Run, rows: list[StepRow]) -> tuple[RecoveryFacts, Progress | None] | None:
    if run.spec.kind not in RESTORES:
        return None
    try:
        progress = progress_of(run, rows, now=time.time()) if rows else None  # a list of runs has no steps
        return recovery_facts_of(run), progress
    except RecordRefused:  # an odd row must not keep a person from seeing the others
        return None


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


def _host(check: Proved | None) -> Iterator[tuple[str, object]]:
    """Yield how the host of the worker stood, and what is wrong or worth a look there."""
    if check is None:
        return
    bad = [one for one in check.checks if one.state != "good"]
    more = f", {len(bad)} not" if bad else ""
    yield "host", f"{plural(len(check.checks) - len(bad), 'check')} good{more}"
    yield from (("", f"{one.state}: {one.check}: {one.what}. {one.to_do}".strip()) for one in bad)


def _validated(validated: RunValidated) -> str:
    found = {"wrong": validated.wrong, "to look at": validated.remarks}
    told = [f"{count:,} {what}: {check}" for what, by in found.items() for check, count in by.items()]
    return f"{plural(validated.secrets, 'secret')}, {'; '.join(told) or 'each is well by itself'}"


def _done(done: RunRestored, *, ended: bool) -> str:
    counts = [f"{count:,} {words}" for name, words in _DID.items() if (count := getattr(done, name))]
    return ", ".join(counts) or ("nothing was to be written" if ended else "nothing is written yet")


def _compared(compared: Compared) -> str:
    differ = f", {compared.differ:,} not" if compared.differ else ""
    return f"{plural(compared.same, 'secret')} equal to the backup{differ}"
