"""What asks for approvals where a configuration may have rules for them."""

from __future__ import annotations

from typing import Any

from strongroom.cli.shared.services import open_services
from strongroom.model import COMMAND, ApprovalAction
from strongroom.operations.engine.approvals import command_request, rules_for
from strongroom.operations.engine.approving import end_approval, require_approval
from strongroom.operations.errors import ApprovalNeeded
from strongroom.operations.restore.plan import RestorePlan
from strongroom.operations.restore.staged import plan_request
from strongroom.system.process import who

_PLAN = (
    "Nothing was changed. Make a plan that people can approve: repeat the command with --plan-out FILE. "
    "Then 'strongroom restore --plan FILE' asks for that."
)


def ask(action: ApprovalAction, what: object, *, lasting: bool = False, **about: Any) -> str:
    """Ask for what a command will do; return by which name. If it is ``lasting``, the same command goes on
    with it after an interruption, until it is ended."""
    request = command_request(action, what, requester=who(), **about)
    require_approval(open_services(), request, holder=request.subject if lasting else "", again=lasting)
    return request.subject


def ask_for_plan(plan: RestorePlan, *, policy: str, kept: bool) -> None:
    """Ask for a restore plan. One that is in no file cannot be approved, if a rule asks for that."""
    services = open_services()
    request = plan_request(
        ApprovalAction.RESTORE,
        subject=plan.id,
        digest=plan.digest,
        requester=plan.by,
        policy="" if policy == COMMAND else policy,
        plan=plan,
        relocation=plan.relocation,
    )
    if not kept and rules_for(services.approvals, request):
        raise ApprovalNeeded("Other people have to approve this restore first.", hint=_PLAN)
    require_approval(services, request, holder=plan.id)


def end(subject: str) -> None:
    """Let nobody use again what a plan or command was approved for."""
    end_approval(open_services(), subject)
