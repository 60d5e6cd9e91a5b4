"""Conditions that select a step's row, and the parameters they take.

Statements that run for every step are built once, with parameters: building one anew takes
longer than running it.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import and_, bindparam, or_

from strongroom.state.errors import StateUnkept
from strongroom.state.records import Claim, RunStep, StepState
from strongroom.state.sql import now
from strongroom.state.tables import steps

STEP: Final = and_(
    steps.c.run == bindparam("at_run"),
    steps.c.kind == bindparam("at_kind"),
    steps.c.piece == bindparam("at_piece"),
    steps.c.target == bindparam("at_target"),
)
"""One step's row; takes :func:`at`."""

HELD: Final = and_(
    STEP,
    steps.c.state == StepState.RUNNING.value,
    steps.c.dispatch == bindparam("at_dispatch"),
    steps.c.fence == bindparam("at_fence"),
)
"""One step's row, as long as a claim holds it; takes :func:`held_by`. The dispatch number
is part of it, since a run that is started over starts its fences afresh."""

FARTHEST: Final = 3600.0
"""Seconds: no lease, and no pause before a step's next try, ends later than this from now. It is the most
that ``limits.lease_seconds`` may be."""

AHEAD: Final = 60.0
"""Seconds by which a clock that is set right may go back unnoticed."""

LAPSED: Final = or_(
    steps.c.lease_expires.is_(None),
    steps.c.lease_expires < now(),
    steps.c.lease_expires > now() + FARTHEST,
)
"""A RUNNING step's lease ran out, or ends later than any can: the row was edited, or the clock set back."""

DUE: Final = or_(steps.c.not_before <= now(), steps.c.not_before > now() + FARTHEST)
"""A READY step may begin; the same of its pause."""


def at(run: str, step: RunStep) -> dict[str, Any]:
    """Return the parameters of :data:`STEP`."""
    return {"at_run": run, "at_kind": step.kind.value, "at_piece": step.piece, "at_target": step.target}


def unkept(run: str, step: RunStep) -> StateUnkept:
    """Return what to raise where a row that fits a change was not changed by it.

    Somebody's trigger or rule makes nothing of it. Whoever went on would do the same step for ever.
    """
    return StateUnkept(f"the state database did not keep a change to step {step} of run {run}")


def held_by(claim: Claim) -> dict[str, Any]:
    """Return the parameters of :data:`HELD`."""
    ticket = claim.ticket
    return at(ticket.run, ticket.step) | {"at_dispatch": ticket.dispatch, "at_fence": claim.fence}
