"""From facts to alerts: every rule there is, and nothing but facts decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from strongroom.operations.alerts import backup_rules, trust_rules, upkeep_rules
from strongroom.operations.alerts.alert_kinds import Alert, worst_first
from strongroom.operations.facts.records import Facts, Limits

Rule = Callable[[Facts, Limits], Iterator[Alert]]

RULES: Final[tuple[Rule, ...]] = (
    trust_rules.state,
    backup_rules.backups,
    trust_rules.damage,
    trust_rules.mended,
    trust_rules.strangers,
    trust_rules.approvals,
    trust_rules.intrusions,
    trust_rules.incidents,
    trust_rules.recoveries,
    trust_rules.channels,
    upkeep_rules.rotations,
    upkeep_rules.prunes,
    upkeep_rules.waiting,
    upkeep_rules.keys,
    upkeep_rules.drills,
    upkeep_rules.drifts,
    upkeep_rules.verification,
    upkeep_rules.places,
    upkeep_rules.settings,
    upkeep_rules.checks,
    upkeep_rules.calendar,
    upkeep_rules.hooks,
)


def judge(facts: Facts, limits: Limits) -> tuple[Alert, ...]:
    """Return what is wrong, the worst first; nothing if all is well."""
    return worst_first([alert for rule in RULES for alert in rule(facts, limits)])
