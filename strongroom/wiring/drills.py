"""What a drill is asked for, filled in from the settings where nothing was said."""

from __future__ import annotations

from collections.abc import Mapping

from strongroom.config import Settings
from strongroom.errors import ConfigError, UsageError
from strongroom.operations.drills.facts import LOCAL, DrillOptions
from strongroom.operations.recovery_objective import DrillScope
from strongroom.wiring.adapters import check_scratch


def drill_options(
    settings: Settings,
    drill: str = DrillScope.FULL.value,
    *,
    secret: str = "",
    tags: Mapping[str, str] | None = None,
    target: str = "",
    into: str = "",
    within_days: float = 0.0,
    objective_seconds: float | None = None,
) -> DrillOptions:
    """Return the options of a drill.

    Raises:
        ConfigError: no drill may restore into what is named.
        UsageError: there is no such drill.
    """
    if drill not in {scope.value for scope in DrillScope}:
        known = ", ".join(scope.value for scope in DrillScope)
        raise UsageError(f"There is no drill '{drill}'.", hint=f"One of: {known}.")
    kind, into = DrillScope(drill), into or settings.drill.into
    if into != LOCAL:
        check_scratch(into, settings)
    objective: int = getattr(settings.drill.objective_seconds, kind.value)
    return DrillOptions(
        drill=kind,
        secret=secret,
        tags=dict(tags or {}),
        target=target or (settings.drill.cut_off or "" if kind is DrillScope.FAILOVER else ""),
        into=into,
        within_days=within_days,
        objective_seconds=objective if objective_seconds is None else objective_seconds,
    )


def drilled_policy(settings: Settings, drill: str) -> str:
    """Return the policy that a drill rehearses where none is named: of an emergency the offline one.

    Raises:
        ConfigError: there is none.
    """
    if drill != DrillScope.EMERGENCY:
        name = settings.drilled
    else:
        policies = settings.policies.items()
        name = next((name for name, policy in policies if policy.offline and policy.kind == "full"), "")
    if not name and drill == DrillScope.EMERGENCY:
        raise ConfigError(
            "No full policy is offline, so there is no medium to recover from.",
            hint="See docs/how-to/make-an-emergency-backup.md, or name a policy with --policy.",
        )
    if not name:
        raise ConfigError("No policy backs up values, so there is nothing to recover.", hint="Add one.")
    return name
