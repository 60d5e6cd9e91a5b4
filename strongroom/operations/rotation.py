"""Creates rotations; apart from what performs them, which the steps import."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from strongroom.errors import UsageError
from strongroom.operations.drive import drive
from strongroom.operations.rotate import RotateOptions
from strongroom.operations.services import Services
from strongroom.operations.steps import FIRST, recover
from strongroom.operations.submit import Submitted
from strongroom.state.records import Run, RunKind, StepKind, StepState

RECENT = 1000
"""How many runs back an unfinished rotation is looked for."""


def submit_rotation(
    services: Services,
    *,
    policy: str,
    options: RotateOptions | None = None,
    request_id: str | None = None,
    take_over: bool = False,
) -> Submitted:
    """Create a rotation of a policy's backups to the recipients that it names now.

    Args:
        take_over: end an unfinished one that nobody is working on: its process died, or the
            pool that would perform it is stopped. What it did is found and not done again.

    Raises:
        UsageError: another rotation of this policy is going on; or the policy seals nothing.
    """
    spec = services.pinned(policy).spec
    if not spec.sealed:
        raise UsageError(f"Policy '{policy}' seals nothing, so there is nothing to rotate.", hint="")
    for other in _others(services, policy, request_id):
        _end(other, services, take_over=take_over)
    asked = msgspec.to_builtins(options or RotateOptions())
    run = services.store.create(
        msgspec.structs.replace(spec, kind=RunKind.ROTATE, options=asked),
        first=(FIRST[RunKind.ROTATE],),
        request_id=request_id,
    )
    assert run is not None  # only a slot can be taken already
    return run.id, services.store.take_ready(run.id, window=services.limits.window)


def _others(services: Services, policy: str, request_id: str | None) -> Iterator[Run]:
    for run in services.store.runs(RECENT):
        same = request_id is not None and run.request_id == request_id
        if run.spec.kind is RunKind.ROTATE and run.spec.policy == policy and not (run.state.final or same):
            yield run


def _end(run: Run, services: Services, *, take_over: bool) -> None:
    """Two at once lose nothing, but take turns in undoing each other's work."""
    recover(services)
    worked_on = services.store.tally(run.id).of(StepKind.ROTATE, states=(StepState.RUNNING,))
    if worked_on or not take_over:
        raise UsageError(
            f"Rotation {run.id} of policy '{run.spec.policy}' is going on.",
            hint=f"Let it end, or end it with 'strongroom cancel {run.id}'. If its process died, wait until "
            f"its lease of {services.limits.lease:g} s ends.",
        )
    services.store.cancel(run.id, error="another rotation took over")
    drive(run.id, services.store.take_ready(run.id, window=1), services, processes=1)
