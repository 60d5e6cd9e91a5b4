"""How far a run is, how fast it goes and how long the rest takes: from the record alone."""

from __future__ import annotations

from contextlib import suppress

from strongroom.operations.backup.facts import replica_facts
from strongroom.operations.facts.records import RunPace
from strongroom.operations.restore.progress import progress_of
from strongroom.state.errors import RecordRefused
from strongroom.state.records import RESTORES, Run, RunKind, StepKind, StepState
from strongroom.state.store import RunStore

COPIED = (StepKind.CAPTURE, StepKind.UPLOAD, StepKind.VERIFY)
ENDED = (StepState.DONE, StepState.MISSED, StepState.POISONED)


def pace_of(run: Run, store: RunStore, *, now: float) -> RunPace:
    """Return how far a run is. An odd row hides how far its run is, and nothing else."""
    with suppress(RecordRefused):
        if run.spec.kind in RESTORES:
            rows = store.rows(run.id, StepKind.RESTORE)
            if found := progress_of(run, rows, now=now):
                rate, left = (found.rate, found.left_seconds) if found.rate else (None, None)
                return RunPace(unit="secret", done=found.done, total=found.total, rate=rate, left=left)
        if run.spec.kind is RunKind.BACKUP and (plan := replica_facts(run).plan):
            return _of_steps(run, store, COPIED, plan.pieces * (1 + 2 * len(run.spec.targets)), now)
    return _of_steps(run, store, tuple(StepKind), 0, now)


def _of_steps(run: Run, store: RunStore, kinds: tuple[StepKind, ...], total: int, now: float) -> RunPace:
    """Count steps. Of a run that makes its steps as it goes, nobody knows how long it takes yet."""
    tally = store.tally(run.id)
    done = sum(tally.of(kind, states=ENDED) for kind in kinds)
    known = sum(tally.of(kind) for kind in kinds)
    rate = done / max((run.finished_at or now) - run.created_at, 0.001) if done else None
    left = max(0, total - done) / rate if rate and total else None
    return RunPace(unit="step", done=done, total=max(total, known), rate=rate, left=left)
