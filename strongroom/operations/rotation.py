"""Creates rotations; apart from what performs them, which the steps import."""

from __future__ import annotations

import msgspec

from strongroom.errors import UsageError
from strongroom.operations.rotate import RotateOptions
from strongroom.operations.services import Services
from strongroom.operations.steps import FIRST
from strongroom.operations.submit import Submitted
from strongroom.state.records import RunKind

RECENT = 1000
"""How many runs back an unfinished rotation is looked for."""


def submit_rotation(
    services: Services,
    *,
    policy: str,
    options: RotateOptions | None = None,
    request_id: str | None = None,
) -> Submitted:
    """Create a rotation of a policy's backups to the recipients that it names now.

    Raises:
        UsageError: another rotation of this policy is going on; or the policy seals nothing.
    """
    spec = services.pinned(policy).spec
    if not spec.sealed:
        raise UsageError(f"Policy '{policy}' seals nothing, so there is nothing to rotate.", hint="")
    _refuse_second(services, policy, request_id)
    asked = msgspec.to_builtins(options or RotateOptions())
    run = services.store.create(
        msgspec.structs.replace(spec, kind=RunKind.ROTATE, options=asked),
        first=(FIRST[RunKind.ROTATE],),
        request_id=request_id,
    )
    assert run is not None  # only a slot can be taken already
    return run.id, services.store.take_ready(run.id, window=services.limits.window)


def _refuse_second(services: Services, policy: str, request_id: str | None) -> None:
    """Two at once lose nothing, but take turns in undoing each other's work."""
    for run in services.store.runs(RECENT):
        same = request_id is not None and run.request_id == request_id
        if run.spec.kind is RunKind.ROTATE and run.spec.policy == policy and not (run.state.final or same):
            raise UsageError(
                f"Rotation {run.id} of policy '{policy}' is going on.",
                hint=f"Let it end, or end it with 'strongroom cancel {run.id}'.",
            )
