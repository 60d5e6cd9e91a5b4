"""What people approve of a rotation: which secrets get a new value, by which rotators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from strongroom.model import ApprovalAction
from strongroom.operations.approval.request import UNKNOWN, ApprovalRequest
from strongroom.operations.approval.require import require_approval
from strongroom.operations.rotators.records import RotateSecretsOptions, RotationApproved, SecretsPlanned
from strongroom.operations.runs.job import read_facts
from strongroom.operations.services import Services
from strongroom.state.records import Run, RunStep
from strongroom.words import plural


def approve_step(run: Run, step: RunStep, services: Services) -> RotationApproved:
    """Wait until enough people approved the rotation, if this process's configuration asks for that."""
    require_rotation_approval(run, services)
    return RotationApproved()


def require_rotation_approval(run: Run, services: Services) -> None:
    """Return if the secrets may be rotated. Each step asks: whoever edits rows gets past the approving step.

    Raises:
        ApprovalNeeded, NotApproved: as :func:`~strongroom.operations.approval.require.require_approval`.
    """
    planned, options = read_facts(run, SecretsPlanned), RotateSecretsOptions.of(run)
    by_rotator = Counter(name for name in planned.rotators if name)
    request = ApprovalRequest(
        action=ApprovalAction.ROTATE_SECRET,
        subject=run.id,
        digest=planned.digest,
        requester=options.by or UNKNOWN,
        destination=run.spec.source,
        size=by_rotator.total(),
        lines=tuple(_lines(run, by_rotator)),
    )
    require_approval(services, request, holder=run.id)


def _lines(run: Run, by_rotator: Counter[str]) -> Iterator[str]:
    yield f"give {plural(by_rotator.total(), 'secret')} of '{run.spec.source}' a new value"
    for name, count in sorted(by_rotator.items())[:20]:
        yield f"{plural(count, 'secret')} by rotator '{name}'"
