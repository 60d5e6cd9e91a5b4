"""From facts to alerts: every rule there is, and nothing but facts decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from strongroom.watch import backups, trust, upkeep
from strongroom.watch.facts import Facts, Limits
from strongroom.watch.kinds import Alert, worst_first

Rule = Callable[[Facts, Limits], Iterator[Alert]]

RULES: Final[tuple[Rule, ...]] = (
    trust.state,
    backups.backups,
    trust.damage,
    trust.strangers,
    upkeep.rotations,
    upkeep.waiting,
    upkeep.keys,
    upkeep.drills,
    upkeep.places,
)


def judge(facts: Facts, limits: Limits) -> tuple[Alert, ...]:
    """Return what is wrong, the worst first; nothing if all is well."""
    return worst_first([alert for rule in RULES for alert in rule(facts, limits)])
