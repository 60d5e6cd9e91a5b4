"""The hold that stops deletion after a mass change, until a person has looked.

It is a signed mark on the targets, so every host heeds it, and it outlives the state database.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from msgspec import Struct

from strongroom.container.marks import HOLD, HoldMark
from strongroom.errors import StrongroomError
from strongroom.model import prepare
from strongroom.operations.archive.marks import MarksThere, newest_mark, write_mark
from strongroom.operations.services import Services
from strongroom.state.records import Run
from strongroom.targets.errors import TargetUnavailable
from strongroom.timestamps import rfc3339

FROZEN = "retention.frozen"
_BY = "drift run "


class Frozen(Struct, frozen=True, kw_only=True):
    """Whether such a run placed the hold that is in force, or a person did for a reason of their own.
    ``unmarked`` says where it could not be written, and why."""

    ours: bool
    unmarked: Mapping[str, str] = {}


prepare(Frozen)


def freeze(run: Run, services: Services, *, reason: str) -> Frozen:
    """Have nothing of a policy deleted any more.

    Raises:
        TargetUnavailable: no target took the hold.
    """
    policy = run.spec.policy
    if (hold := _newest(services, policy)) is not None and hold.state == "held" and not hold.until:
        return Frozen(ours=hold.by.startswith(_BY))
    targets = list(services.targets.values())
    unmarked = write_mark(
        targets,
        HOLD,
        _hold(policy, reason=reason, by=f"{_BY}{run.id}"),
        signer=services.signers("control"),
        trusted=services.signer_fingerprints,
    )
    if len(unmarked) == len(targets):
        why = "; ".join(f"{name}: {error}" for name, error in unmarked.items())
        raise TargetUnavailable(f"no target took the hold on policy '{policy}': {why}")
    services.store.event(FROZEN, run=run.id, policy=policy, reason=reason)
    return Frozen(ours=True, unmarked=unmarked)


def was_released(services: Services, policy: str) -> bool:
    """Tell whether somebody released the newest hold on a policy: not whether it is merely gone."""
    found = _newest(services, policy)
    return found is not None and found.state == "released"


def _newest(services: Services, policy: str) -> HoldMark | None:
    folder = _hold(policy, reason="", by="").folder
    return newest_mark(_places(services, folder), HOLD, folder)


def _places(services: Services, folder: str) -> Iterator[MarksThere[HoldMark]]:
    for target in services.targets.values():
        try:
            yield MarksThere(target, HOLD, trusted=services.signer_fingerprints, folder=folder)
        except StrongroomError:  # one that is away holds nothing
            continue


def _hold(policy: str, *, reason: str, by: str) -> HoldMark:
    at = rfc3339(time.time())
    return HoldMark(
        kind="policy", subject=policy, number=1, state="held", reason=reason, by=by, at=at, until=""
    )
