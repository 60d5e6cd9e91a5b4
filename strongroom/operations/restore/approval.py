"""What people approve of a restore run, or of an undo: the very plan that its workers signed and will do."""

from __future__ import annotations

from strongroom.model import COMMAND, EVERY_POLICY, ApprovalAction
from strongroom.operations.approval.request import UNKNOWN, ApprovalRequest, shown, shown_lines
from strongroom.operations.approval.require import require_approval
from strongroom.operations.restore.facts import StagedPlan, options_of
from strongroom.operations.restore.plan import (
    IN_PLACE,
    Relocation,
    RestorePlan,
    name_destination,
    require_same_place,
)
from strongroom.operations.services import Services
from strongroom.state.records import Run, RunKind


def require_plan_approval(run: Run, plan: StagedPlan, services: Services) -> None:
    """Return if the plan may be done. Whoever edits the rows of steps gets past the step, and not past this.

    Raises:
        PlanMismatch: the destination's name stands for another place by now than people approved.
        ApprovalNeeded, NotApproved: as :func:`~strongroom.operations.approval.require.require_approval`.
    """
    name = plan.destination.name
    require_same_place(plan.destination, name_destination(services.destination(name), name))
    require_approval(services, _request(run, plan), holder=run.id)


def _request(run: Run, plan: StagedPlan) -> ApprovalRequest:
    named = run.spec.policy not in (COMMAND, EVERY_POLICY)
    return plan_request(
        ApprovalAction.UNDO if run.spec.kind is RunKind.UNDO else ApprovalAction.RESTORE,
        subject=run.id,
        digest=plan.digest,
        requester=str(run.spec.options.get("requester") or UNKNOWN),
        policy=run.spec.policy if named else "",
        plan=plan,
        relocation=IN_PLACE if run.spec.kind is RunKind.UNDO else options_of(run).relocation,
    )


def plan_request(
    action: ApprovalAction,
    *,
    subject: str,
    digest: str,
    requester: str,
    policy: str,
    plan: StagedPlan | RestorePlan,
    relocation: Relocation = IN_PLACE,
) -> ApprovalRequest:
    """Return what people approve of a plan."""
    counts = plan.counts if isinstance(plan, StagedPlan) else plan.totals
    undoes, to = action is ApprovalAction.UNDO, plan.destination
    rest = f"remove {counts.removed:,}" if undoes else f"leave {counts.left:,} that differ"
    return ApprovalRequest(
        action=action,
        subject=subject,
        digest=digest,
        requester=shown(requester),
        destination=to.name,
        policy=policy,
        size=counts.written,
        lines=shown_lines(
            (
                f"{plan.backup if undoes else f'restore backup {plan.backup}'}, planned at {plan.made_at}",
                f"into {to.kind} '{to.name}' {to.address}".rstrip(),
                *(
                    [f"what is called '{relocation.source}…' becomes '{relocation.to}…'"]
                    if relocation != IN_PLACE
                    else []
                ),
                f"create {counts.created:,}, change {counts.changed:,}, {rest}",
            )
        ),
    )
