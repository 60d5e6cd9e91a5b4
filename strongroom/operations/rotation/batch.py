"""rewrap: a slice of a rotation's plan in one step, since a step costs more than a re-wrapping.

A backup of a slice that fails becomes a ``ROTATE`` step of its own, with its own retries, pauses and row.
So it costs the others nothing. When a step's time is up, the rest of its slice becomes further slices. So a
slow key or a rate limit makes short steps, no step outlives a limit, and idle workers take from the rest.

Both are recorded in the transaction that inserts the steps they lead to. A process that dies before it
loses only time: the next one finds each envelope that is there. A slice that was started too often without
an outcome falls apart into steps of single backups, and the one that kills its worker is found among them.

Where a slice ends follows from where it begins, so nothing has to be agreed on, or frozen.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from strongroom.errors import StrongroomError
from strongroom.operations.rotation.results import BackupRotated, SliceRewrapped, backups_of
from strongroom.operations.rotation.rotate import BackupRotator, options_of
from strongroom.operations.services import Services
from strongroom.state.records import Run, RunStep, StepKind

log = logging.getLogger(__name__)

SLICE, MOST = 32, 128
"""Backups in the last and in the first slices of a plan. A step costs some ten milliseconds, a re-wrapping
one or two. So there are few steps while much is left, and short ones at the end, so that all processes end
together."""

STEP_SECONDS = 5.0
"""After so long a step begins no further backup. So little is done again if its process dies."""


def end_of(start: int, backups: int) -> int:
    """Return the place in the plan before which the slice ends that begins at ``start``.

    The first has one backup: what is wrong with a rotation shows before others are begun, and who
    forks others off has been asked by then for what has to be asked. The next ones have a quarter of
    what is left, as a power of two from :data:`SLICE` to :data:`MOST`; one that begins within these
    ends where the largest power of two that fits does, so that a rest makes several (2, 4, 16 of 22)
    for several processes. So no slice reaches beyond one that it began within.
    """
    if start == 0:
        return min(1, backups)
    at = start - 1
    share = max(SLICE, min(MOST, (backups - start) // 4))
    size = min(1 << share.bit_length() - 1, at & -at or MOST)
    return min(start + size, backups)


def slices(begin: int, end: int, *, backups: int) -> Iterator[RunStep]:
    """Yield the steps that re-wrap this part of a plan of so many ``backups``."""
    while begin < end:
        yield RunStep(StepKind.REWRAP, begin)
        begin = end_of(begin, backups)


def first_steps(run: Run, backups: int) -> tuple[RunStep, ...]:
    """Return the steps that a plan of so many backups leads to."""
    if options_of(run).reencrypt:
        return tuple(RunStep(StepKind.ROTATE, piece) for piece in range(backups))
    return tuple(slices(0, backups, backups=backups))


def following(run: Run, step: RunStep, rewrapped: SliceRewrapped | None) -> tuple[RunStep, ...]:
    """Return the steps that a slice leads to; ``rewrapped`` is ``None`` if it was given up."""
    backups = len(backups_of(run))
    end = end_of(step.piece, backups)
    alone = range(step.piece, end) if rewrapped is None else rewrapped.alone
    rest = () if rewrapped is None else slices(rewrapped.rest, end, backups=backups)
    return (*(RunStep(StepKind.ROTATE, piece) for piece in alone), *rest)


def rewrap(run: Run, step: RunStep, services: Services) -> SliceRewrapped:
    """Re-wrap the backups of a slice."""
    plan = backups_of(run)
    end = end_of(step.piece, len(plan))
    rotator = BackupRotator(run, services, plan[step.piece : end])
    done: list[BackupRotated] = []
    alone: list[int] = []
    until = time.monotonic() + STEP_SECONDS
    for piece in range(step.piece, end):
        if piece > step.piece and time.monotonic() > until:
            return SliceRewrapped(backups=tuple(done), alone=tuple(alone), rest=piece)
        try:
            done.append(rotator.rotate(plan[piece]))
        except StrongroomError as error:
            log.info("rewrap-alone", extra={"run": run.id, "piece": piece, "error_class": error.code})
            alone.append(piece)
    return SliceRewrapped(backups=tuple(done), alone=tuple(alone), rest=end)
