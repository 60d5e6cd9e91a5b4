"""What frameworks demand of backups, control by control, held against what was found.

A control is no better than the worst finding of the checks that it rests on. What no program can see, such
as whether a safe is locked, is said beside it and is never called met. This is evidence, not a certificate.

Numbers and titles: AICPA Trust Services Criteria (2017, points of focus 2022); ISO/IEC 27001:2022 Annex A;
Regulation (EU) 2016/679; PCI DSS 4.0.1. Titles are in words of our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from msgspec import Struct

from strongroom.operations.evidence.controls import (
    COPIES,
    CUSTODY,
    ERASURE,
    LOCKS,
    MONITORING,
    OFFLINE,
    RETENTION,
    SCHEDULE,
    SEALING,
)
from strongroom.operations.findings import Finding, State, worst_first

RECORD = "record"
BACKUPS, REPLICAS, SLOTS, DRILLS, KEYS = "backups", "replicas", "slots", "drills", "keys"


class Framework(StrEnum):
    """What can be asked for."""

    SOC2 = "SOC2"
    ISO27001 = "ISO27001"
    GDPR = "GDPR"
    PCI_DSS = "PCI-DSS"


class Verdict(StrEnum):
    """How a control stands; the order is that of how bad it is."""

    UNMET = "not met"
    UNKNOWN = "could not tell"
    REMARKED = "met, with remarks"
    MET = "met"
    YOURS = "yours to show"


class Control(Struct, frozen=True, kw_only=True):
    """One control: its number, what it demands of backups, and the checks that it rests on.

    ``beyond`` is what nobody can tell from here. Of ``strict`` checks a remark is as good as nothing.
    """

    number: str
    demands: str
    checks: tuple[str, ...] = ()
    beyond: str = ""
    strict: frozenset[str] = frozenset()


class Assessed(Struct, frozen=True, kw_only=True):
    """A control, how it stands, and the findings of its checks that decide that, the worst first."""

    number: str
    demands: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    beyond: str


def _of(number: str, demands: str, *checks: str, beyond: str = "", strict: str = DRILLS) -> Control:
    strictly = frozenset({strict}) & frozenset(checks)
    return Control(number=number, demands=demands, checks=checks, beyond=beyond, strict=strictly)


_NEEDED = "what is no longer required"
_ACTS = "who acts on alerts, and how fast"

FRAMEWORKS: Mapping[Framework, tuple[Control, ...]] = {
    Framework.SOC2: (
        _of("CC6.1", "what is confidential is encrypted, and its keys are protected", SEALING, CUSTODY, KEYS),
        _of("CC6.7", "what leaves the system is protected on its way and where it lies", SEALING),
        _of("CC7.2", "the system is watched for what is out of order", MONITORING, SLOTS, beyond=_ACTS),
        _of("CC7.4", "incidents are answered by a programme", RECORD, beyond="the programme, and its people"),
        _of("CC7.5", "recovery from incidents is prepared and carried out", BACKUPS, DRILLS),
        _of(
            "A1.2",
            "data is backed up and its copies are kept safe",
            BACKUPS,
            REPLICAS,
            SCHEDULE,
            COPIES,
            OFFLINE,
        ),
        _of("A1.3", "the plan for recovery is tested", DRILLS),
        _of("C1.1", "confidential information is protected while it is kept", SEALING, RETENTION, LOCKS),
        _of("C1.2", "confidential information is disposed of", ERASURE, beyond="what had to be disposed of"),
    ),
    Framework.ISO27001: (
        _of("A.5.29", "information stays secure during disruption", COPIES, OFFLINE, SEALING),
        _of(
            "A.5.30",
            "readiness for continuity is planned, kept up and tested",
            DRILLS,
            beyond="the plan itself",
        ),
        _of(
            "A.5.33",
            "records are protected from loss, falsification and removal",
            RECORD,
            LOCKS,
            strict=LOCKS,
        ),
        _of("A.8.10", "information is deleted when it is no longer required", ERASURE, beyond=_NEEDED),
        _of(
            "A.8.13", "backups are kept and regularly tested", BACKUPS, REPLICAS, SCHEDULE, RETENTION, DRILLS
        ),
        _of("A.8.14", "there is redundancy for what has to be available", COPIES, REPLICAS),
        _of("A.8.15", "activities are logged, and logs are protected", RECORD),
        _of("A.8.16", "systems are watched for what is out of order", MONITORING, SLOTS, beyond=_ACTS),
        _of(
            "A.8.24",
            "cryptography and its keys are managed by rules",
            SEALING,
            KEYS,
            CUSTODY,
            beyond="the rules",
        ),
    ),
    Framework.GDPR: (
        _of("Art. 5(1)(f)", "integrity and confidentiality", SEALING, REPLICAS),
        _of("Art. 5(2)", "accountability: it can be shown", RECORD),
        _of("Art. 17", "erasure", ERASURE, beyond="which requests there were"),
        _of("Art. 32(1)(a)", "encryption", SEALING, KEYS),
        _of(
            "Art. 32(1)(b)",
            "confidentiality, integrity, availability and resilience",
            COPIES,
            CUSTODY,
            REPLICAS,
        ),
        _of("Art. 32(1)(c)", "data can be brought back in a timely manner", BACKUPS, DRILLS),
        _of("Art. 32(1)(d)", "measures are regularly tested", DRILLS, KEYS, REPLICAS),
        _of("Art. 33", "breaches are notified within 72 hours", beyond="who notifies, and how fast"),
    ),
    Framework.PCI_DSS: (
        _of("3.5.1", "stored account data cannot be read", SEALING),
        _of("3.6.1", "keys are protected, and held by the fewest custodians", CUSTODY),
        _of("3.7.4", "keys are changed at the end of their time", KEYS),
        _of("3.7.6", "where people handle keys, no one has a whole one", CUSTODY, strict=CUSTODY),
        _of("9.4.1.1", "offline backups lie in a secure place", OFFLINE, beyond="the place"),
        _of("9.4.1.2", "that place is reviewed each year", beyond="the review"),
        _of("10.2.1", "there are audit logs of what happens", RECORD),
        _of("10.3.4", "a change of the logs is detected", RECORD),
        _of("12.10.1", "the response plan has backup and recovery in it", BACKUPS, DRILLS, beyond="the plan"),
    ),
}


def assess(framework: Framework, findings: Sequence[Finding]) -> tuple[Assessed, ...]:
    """Hold a framework's controls against all findings there are."""
    return tuple(_assess(control, findings) for control in FRAMEWORKS[framework])


def _assess(control: Control, findings: Sequence[Finding]) -> Assessed:
    its = {check: [finding for finding in findings if finding.check == check] for check in control.checks}
    verdicts = [verdict_of(found, strict=check in control.strict) for check, found in its.items()]
    return Assessed(
        number=control.number,
        demands=control.demands,
        verdict=min(verdicts, key=_ORDER.index, default=Verdict.YOURS),
        findings=tuple(worst_first(finding for found in its.values() for finding in found)),
        beyond=control.beyond,
    )


def verdict_of(findings: Sequence[Finding], *, strict: bool = False) -> Verdict:
    """Return how a control stands by the findings of one check."""
    states = {finding.state for finding in findings}
    if State.WRONG in states or (strict and State.REMARK in states):
        return Verdict.UNMET
    if State.UNKNOWN in states or not states:  # what nobody looked at is not met
        return Verdict.UNKNOWN
    return Verdict.REMARKED if State.REMARK in states else Verdict.MET


_ORDER = tuple(Verdict)
