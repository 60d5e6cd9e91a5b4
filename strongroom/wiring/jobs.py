"""Policies as this process's own configuration has them: what a run must agree with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from msgspec import structs

from strongroom.config import PolicySettings, Settings
from strongroom.config.failure_domains import home_of, is_lost_with
from strongroom.errors import ConfigError
from strongroom.keys import Recipient
from strongroom.operations.keep_rules import ConfiguredPolicy, KeepRules
from strongroom.operations.run_integrity import pin_target
from strongroom.operations.services import Pinned
from strongroom.schedule import zone
from strongroom.state.records import RecipientPin, RunKind, Spec, TargetPin
from strongroom.targets import Target
from strongroom.wiring import keys
from strongroom.wiring.prompts import Ask
from strongroom.words import nearest


def pinned(
    settings: Settings, targets: Mapping[str, Target], *, seals: bool, ask: Ask | None
) -> Callable[[str], Pinned]:
    """Return what looks a policy up.

    Args:
        seals: whether this process needs the recipients themselves, too.
    """

    @cache
    def look_up(name: str) -> Pinned:
        if name not in settings.policies:
            raise ConfigError(f"there is no policy '{name}'", hint=nearest(name, settings.policies))
        policy = settings.policies[name]
        named = policy.recipients if policy.sealed else ()
        recipients = tuple(keys.recipient(key, settings, ask) for key in named) if seals else ()
        pins = tuple(keys.pin(key, settings, ask) for key in named)
        return Pinned(
            spec=_spec(name, policy, settings, targets, pins),
            recipients=recipients,
            index_recipients=_index_recipients(recipients, settings, ask),
        )

    return look_up


def _index_recipients(
    recipients: tuple[Recipient, ...], settings: Settings, ask: Ask | None
) -> tuple[Recipient, ...]:
    """Return for whom a policy's index of names is sealed. What is not sealed needs none to be read."""
    if not recipients or not settings.index.enabled:
        return ()
    return tuple(keys.recipient(key, settings, ask) for key in settings.index.recipients) or recipients


def configured(settings: Settings, targets: Mapping[str, Target]) -> dict[str, ConfiguredPolicy]:
    """Return each policy as it is configured, but for its recipients. No key service is asked."""
    return {
        name: ConfiguredPolicy(
            spec=_spec(name, policy, settings, targets, ()),
            schedule=policy.schedule,
            time_zone=settings.calendar.zone_of(policy.time_zone),
            offline=policy.offline,
            keep=_keep_rules(policy, settings),
            legal_hold=policy.legal_hold or "",
            grace_days=settings.prune.grace_days,
        )
        for name, policy in settings.policies.items()
    }


def _keep_rules(policy: PolicySettings, settings: Settings) -> KeepRules:
    return KeepRules(
        **(structs.asdict(policy.keep) if policy.keep else {}),
        minimum_days=policy.minimum_retention_days,
        minimum_count=policy.minimum_retention_count,
        zone=zone(settings.calendar.zone_of(policy.time_zone)),
    )


def _spec(
    name: str,
    policy: PolicySettings,
    settings: Settings,
    targets: Mapping[str, Target],
    recipients: tuple[RecipientPin, ...],
) -> Spec:
    return Spec(
        kind=RunKind.BACKUP,
        policy=name,
        source=policy.source,
        values=policy.kind == "full",
        sealed=policy.sealed,
        selection=policy.selection,
        targets=tuple(_target(target, policy, settings, targets) for target in policy.targets),
        recipients=recipients,
        quorum=policy.quorum,
        regions=policy.regions,
        providers=policy.providers,
        minimum_retention_days=policy.minimum_retention_days,
        depth=policy.verify,
        container_bytes=settings.limits.container_bytes,
    )


def _target(
    name: str, policy: PolicySettings, settings: Settings, targets: Mapping[str, Target]
) -> TargetPin:
    counts = not is_lost_with(settings, name, home_of(settings, policy.source))
    return pin_target(name, targets[name], counts=counts)
