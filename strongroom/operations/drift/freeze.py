"""The hold that stops deletion after a mass change, until a person has looked."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from strongroom.model import prepare
from strongroom.operations.archive import holds
from strongroom.operations.services import Services
from strongroom.state.records import Run

_BY = "drift run "


class Frozen(Struct, frozen=True, kw_only=True):
    """Whether such a run placed the hold that is in force, or a person did for a reason of their own.
    ``unmarked`` says on which targets it could not be written, and why."""

    ours: bool
    unmarked: Mapping[str, str] = {}


prepare(Frozen)


def freeze(run: Run, services: Services, *, reason: str) -> Frozen:
    """Have nothing of a policy deleted any more. A hold that stands without an end is enough."""
    policy = run.spec.policy
    found = holds.said_last(services, "policy", policy)
    if found is not None and found.state == "held" and not found.until:
        return Frozen(ours=found.by.startswith(_BY))
    unmarked = holds.hold(services, "policy", policy, reason=reason, by=f"{_BY}{run.id}")
    return Frozen(ours=True, unmarked=unmarked)


def was_released(services: Services, policy: str) -> bool:
    """Tell whether somebody released the newest hold on a policy: not whether it is merely gone."""
    found = holds.said_last(services, "policy", policy)
    return found is not None and found.state == "released"
