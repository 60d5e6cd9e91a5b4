"""What frameworks and the yearly review rest on: the configuration, the installation and the record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from strongroom.config import Settings
from strongroom.operations.evidence.controls import Demands, require
from strongroom.operations.findings import Finding, attempted, unknown
from strongroom.operations.health.ledger import RECORD, record
from strongroom.state.errors import RecordRefused, StateError
from strongroom.wiring.read_only import looking_services

_UNYIELDING = frozenset({"compliance", "locked"})


def evidence(settings: Settings, areas: Iterable[Finding], *, now: float) -> Iterator[Finding]:
    """Yield all findings. ``areas`` are those of the installation, as check sees it."""
    yield from require(_demands(settings), told=len(settings.routes) + bool(settings.alerts.email))
    yield from areas
    try:
        services = looking_services(settings)
    except (StateError, RecordRefused) as error:
        yield unknown(RECORD, error)
        return
    yield from attempted(RECORD, lambda: record(services, settings.online, now=now), unknown)


def _demands(settings: Settings) -> Iterator[Demands]:
    for name, policy in settings.policies.items():
        locks = {target: getattr(settings.targets[target], "lock", "none") for target in policy.targets}
        yield Demands(
            name=name,
            values=policy.kind == "full",
            sealed=policy.sealed,
            schedule=policy.schedule,
            offline=policy.offline,
            erasable=policy.erasable,
            quorum=policy.quorum,
            regions=policy.regions,
            locking=tuple(target for target, lock in locks.items() if lock != "none"),
            unyielding=tuple(target for target, lock in locks.items() if lock in _UNYIELDING),
            minimum_retention_days=policy.minimum_retention_days,
            why_short=policy.short_retention_reason,
            keys={key: settings.keys[key].kind for key in policy.recipients},
        )
