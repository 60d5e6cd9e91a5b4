"""What people approve of a restore run, or of an undo: the very plan that its workers signed and will do."""

from __future__ import annotations

import msgspec

from strongroom.model import COMMAND, EVERY_POLICY, ApprovalAction, prepare
from strongroom.operations.approval.request import Request
from strongroom.operations.approval.require import require_approval
from strongroom.operations.restore.facts import StagedPlan
from strongroom.operations.restore.staged import staged_plan_of
from strongroom.operations.services import Services
from strongroom.state.records import Run, RunKind, Step

UNKNOWN = "somebody (the host that asked did not say who)"


class Approved(msgspec.Struct, frozen=True, kw_only=True):
    """A run may go on: nothing asks for approvals, or enough were there. Each piece asks again."""


prepare(Approved)


def approve_step(run: Run, step: Step, services: Services) -> Approved:
    """Wait until enough people approved the plan, if this worker's configuration asks for that."""
    require_plan_approval(run, staged_plan_of(run, services), services)
    return Approved()


def require_plan_approval(run: Run, plan: StagedPlan, services: Services) -> None:
    """Return if the plan may be done. Whoever edits the rows of steps gets past the step, and not past this.

    Raises:
        ApprovalNeeded, NotApproved: as :func:`~strongroom.operations.approval.require.require_approval`.
    """
    require_approval(services, _request(run, plan), holder=run.id)


def _request(run: Run, plan: StagedPlan) -> Request:
    undoes, to = run.spec.kind is RunKind.UNDO, plan.destination
    named = run.spec.policy not in (COMMAND, EVERY_POLICY)
    return Request(
        action=ApprovalAction.UNDO if undoes else ApprovalAction.RESTORE,
        subject=run.id,
        digest=plan.digest,
        requester=str(run.spec.options.get("requester") or UNKNOWN),
        destination=to.name,
        policy=run.spec.policy if named else "",
        size=plan.writes,
        lines=(
            f"{plan.backup if undoes else f'restore backup {plan.backup}'}, made at {plan.made_at}",
            f"into {to.kind} '{to.name}' {to.address}".rstrip(),
            *_counts(plan, undoes=undoes),
        ),
    )


def _counts(plan: StagedPlan, *, undoes: bool) -> tuple[str, ...]:
    """Say what is written, in numbers."""
    counts = plan.counts
    done = f"create {counts.created:,}, change {counts.changed:,}"
    if undoes:
        return (f"{done}, remove {counts.removed:,}",)
    return (f"{done}, leave {counts.left:,} that differ",)
