"""From facts to one judgement: every rule there is, and nothing but facts decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from strongroom.operations.facts.records import AlertLimits, InstallationFacts
from strongroom.operations.findings import Finding
from strongroom.operations.judge import backups, keys, runs, targets, trust
from strongroom.operations.judge.kinds import KINDS, alerts_of

Rule = Callable[[InstallationFacts, AlertLimits], Iterator[Finding]]

RULES: Final[tuple[Rule, ...]] = (
    trust.state,
    backups.backups,
    targets.answering,
    targets.replicas,
    targets.verification,
    targets.host,
    trust.strangers,
    trust.ledger,
    trust.approvals,
    trust.intrusions,
    trust.cases,
    trust.told,
    runs.runs,
    runs.rotations,
    runs.prunes,
    runs.drills,
    runs.calendar,
    runs.beat,
    runs.checks,
    keys.keys,
)


def judge(facts: InstallationFacts, limits: AlertLimits) -> tuple[Finding, ...]:
    """Return what is wrong, remarkable, unknown and good, in the order of kinds."""
    order = {kind: place for place, kind in enumerate(KINDS)}
    found = (finding for rule in RULES for finding in rule(facts, limits))
    return tuple(sorted(found, key=lambda finding: (order[finding.kind], finding.subject)))


def alerts(facts: InstallationFacts, limits: AlertLimits) -> tuple[Finding, ...]:
    """Return what people are told of, the worst first; nothing if all is well."""
    return alerts_of(judge(facts, limits))
