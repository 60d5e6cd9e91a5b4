"""What frameworks demand of backups, control by control, held against what was found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum

from msgspec import Struct

from strongroom.operations.engine.findings import Finding, FindingState, good, remark, worst_first, wrong
from strongroom.operations.errors import RequirementUnmet, WarningsRaised
from strongroom.words import plural

# -- What frameworks ask of backups and configuration alone can tell. Pure: nothing is looked at here


COPIES, CUSTODY, ERASURE = "copies", "custody", "erasure"
LOCKS, MONITORING, OFFLINE = "locks", "monitoring", "offline"
RETENTION, SCHEDULE, SEALING = "retention", "schedule", "sealing"

YEAR_DAYS = 365
KEY_SERVICES = frozenset({"pkcs11", "transit", "kms"})
TOGETHER = frozenset({"quorum", "all-of"})


class Demands(Struct, frozen=True, kw_only=True):
    """A policy, as it is configured.

    ``keys`` has the kind of each key that opens its backups, by name. ``quorum`` targets in ``regions``
    regions are enough for a backup, however many there are. ``locking`` are the targets that lock, and
    ``unyielding`` those of them where no right ends a lock early. ``why_short`` says why it keeps less
    than a year.
    """

    name: str
    values: bool
    sealed: bool
    schedule: str | None
    offline: bool
    erasable: bool
    quorum: int
    regions: int
    locking: tuple[str, ...]
    unyielding: tuple[str, ...]
    minimum_retention_days: int
    why_short: str | None
    keys: dict[str, str]


def require(policies: Iterable[Demands], *, told: int) -> Iterator[Finding]:
    """Hold policies to what frameworks ask of them.

    Args:
        told: by how many routes people are notified when something is wrong.
    """
    every = list(policies)
    full = [policy for policy in every if policy.values]
    if not full:
        words = "no policy backs up values: nothing could be brought back but names"
        unmet = RequirementUnmet(words, hint="'strongroom init' writes the procedures' own policies.")
        yield from (wrong(check, unmet) for check in (COPIES, CUSTODY, RETENTION, SCHEDULE, SEALING))
    for policy in full:
        findings = [_copies(policy), _custody(policy), *_alone(policy), _retention(policy), _schedule(policy)]
        yield from (finding.on(policy=policy.name) for finding in (*findings, _locks(policy)))
    yield from _sealing(every)
    yield from _some(full)
    yield _monitoring(told)


def _copies(policy: Demands) -> Finding:
    if policy.offline:
        return good(COPIES, f"{policy.name}: one offline medium, beside the other policies' copies")
    if policy.quorum < 2 or policy.regions < 2:
        places = f"{plural(policy.quorum, 'target')} in {plural(policy.regions, 'region')}"
        words = f"{policy.name}: whole on {places} is enough for it"
        return _unmet(
            COPIES, words, "Give it targets in two regions, and quorum = 2 and regions = 2 at least."
        )
    return good(COPIES, f"{policy.name}: at least {policy.quorum} copies, in {policy.regions} regions")


def _custody(policy: Demands) -> Finding:
    kinds = set(policy.keys.values())
    if kinds & (KEY_SERVICES | TOGETHER):
        held = sorted(name for name, kind in policy.keys.items() if kind in KEY_SERVICES | TOGETHER)
        return good(
            CUSTODY, f"{policy.name}: {', '.join(held)} is held by hardware, a service, or several people"
        )
    words = f"{policy.name}: no key of it is held by an HSM, a key service or several people together"
    return _unmet(
        CUSTODY,
        words,
        "Add one: 'strongroom keys hsm create', 'strongroom keys quorum create', "
        "docs/how-to/choose-recipients.md.",
    )


def _alone(policy: Demands) -> Iterator[Finding]:
    alone = sorted(name for name, kind in policy.keys.items() if kind not in KEY_SERVICES | TOGETHER)
    if alone:
        words = f"{policy.name}: one person with {' or '.join(alone)} can open its backups alone"
        yield remark(CUSTODY, words, "Where two people are demanded, leave a quorum or an all-of key only.")


def _retention(policy: Demands) -> Finding:
    if policy.minimum_retention_days >= YEAR_DAYS:
        return good(
            RETENTION, f"{policy.name}: kept for {plural(policy.minimum_retention_days, 'day')} at least"
        )
    words = f"{policy.name}: kept for {plural(policy.minimum_retention_days, 'day')}, less than a year"
    if policy.why_short:
        return remark(RETENTION, f"{words}: {policy.why_short}")
    return _unmet(RETENTION, words, "Set minimum_retention_days = 365 or more, or say why not.")


def _schedule(policy: Demands) -> Finding:
    if policy.schedule:
        return good(SCHEDULE, f"{policy.name}: {policy.schedule} (UTC)")
    return _unmet(SCHEDULE, f"{policy.name}: no schedule", "Give it one: backups by hand are forgotten.")


def _locks(policy: Demands) -> Finding:
    if policy.unyielding:
        return good(LOCKS, f"{policy.name}: nobody can remove it early from {', '.join(policy.unyielding)}")
    if policy.locking:
        where = ", ".join(policy.locking)
        return good(
            LOCKS, f"{policy.name}: nobody without the right to end a lock can remove it early from {where}"
        )
    words = f"{policy.name}: anyone who may delete on its targets can remove it"
    return remark(
        LOCKS,
        words,
        "Set lock on a target of another administrator (docs/how-to/store-backups.md).",
    )


def _sealing(every: Iterable[Demands]) -> Iterator[Finding]:
    for policy in every:
        if policy.sealed:
            words = f"{policy.name}: sealed with AES-256-GCM before it leaves the process that read it"
            yield good(SEALING, words).on(policy=policy.name)
        else:
            words = f"{policy.name}: names, types, tags and dates are readable; no value is in it"
            yield remark(SEALING, words, "Set encrypt = true, if names are confidential.").on(
                policy=policy.name
            )


def _some(full: Iterable[Demands]) -> Iterator[Finding]:
    """Look for what one policy of all has to be."""
    offline = [policy.name for policy in full if policy.offline]
    if offline:
        yield good(OFFLINE, f"{', '.join(offline)}: on media that lie offline")
    else:
        yield remark(
            OFFLINE,
            "no backup lies offline",
            "Add a policy with offline = true (docs/how-to/make-an-emergency-backup.md).",
        )
    erasable = [policy.name for policy in full if policy.erasable]
    if erasable:
        yield good(ERASURE, f"{', '.join(erasable)}: can be shredded before its time, and that is proven")
    else:
        words = "no policy is erasable: what is in a backup stays until its retention ends"
        yield remark(ERASURE, words, "If somebody may demand erasure, see docs/how-to/shred-a-backup.md.")


def _monitoring(told: int) -> Finding:
    if told:
        return good(
            MONITORING, f"{plural(told, 'route')} by which people are notified when something is wrong"
        )
    return _unmet(
        MONITORING,
        "nobody is notified when something is wrong",
        "Set alerts.email or [routes.NAME]: docs/how-to/notify-people.md.",
    )


def _unmet(check: str, words: str, hint: str) -> Finding:
    return wrong(check, RequirementUnmet(words, hint=hint))


# -- What frameworks demand of backups, control by control, held against what was found ---------
#
# A control is no better than the worst finding of the checks that it rests on. What no program can see, such
# as whether a safe is locked, is said beside it and is never called met. This is evidence, not a certificate.
#
# Numbers are those of the texts in ``TEXTS``; demands are in words of our own, and about backups alone.


RECORD = "ledger"
BACKUPS, REPLICAS, SLOTS, DRILLS, KEYS = "backups", "replicas", "slots", "drills", "keys"


class Framework(StrEnum):
    """What can be asked for."""

    SOC2 = "SOC2"
    ISO27001 = "ISO27001"
    GDPR = "GDPR"
    PCI_DSS = "PCI-DSS"
    HIPAA = "HIPAA"
    DORA = "DORA"
    NIS2 = "NIS2"
    NIST_CSF = "NIST-CSF"


TEXTS: Mapping[Framework, str] = {
    Framework.SOC2: "AICPA Trust Services Criteria (2017, points of focus 2022).",
    Framework.ISO27001: "ISO/IEC 27001:2022, Annex A.",
    Framework.GDPR: "Regulation (EU) 2016/679.",
    Framework.PCI_DSS: "PCI DSS 4.0.1.",
    Framework.HIPAA: "HIPAA Security Rule, 45 CFR Part 164, Subpart C. An addressable specification may be "
    "replaced by an equivalent measure, with a reason on paper. Whether a backup holds health information is "
    "yours to say.",
    Framework.DORA: "Regulation (EU) 2022/2554. Its technical standards, which say more, are not here.",
    Framework.NIS2: "Directive (EU) 2022/2555. It binds by each member state's law, with its own numbers.",
    Framework.NIST_CSF: "NIST Cybersecurity Framework 2.0 (CSWP 29). It names outcomes, not requirements.",
}
"""The published text that the numbers are of, and what is to be known of it."""


class ControlState(StrEnum):
    """How a control stands; the order is that of how bad it is."""

    UNMET = "not met"
    UNKNOWN = "could not tell"
    REMARKED = "met, with remarks"
    SEEN = "met, as far as seen"
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
    verdict: ControlState
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
    Framework.HIPAA: (
        _of(
            "§ 164.308(a)(1)(ii)(D)",
            "records of system activity are reviewed regularly (required)",
            RECORD,
            beyond="who reviews them, and how often",
        ),
        _of(
            "§ 164.308(a)(6)(ii)",
            "security incidents are answered, mitigated and documented (required)",
            RECORD,
            beyond="the response, and how harm was mitigated",
        ),
        _of(
            "§ 164.308(a)(7)(ii)(A)",
            "retrievable exact copies are made and kept (required)",
            BACKUPS,
            REPLICAS,
            SCHEDULE,
        ),
        _of(
            "§ 164.308(a)(7)(ii)(B)",
            "lost data can be restored by a procedure (required)",
            BACKUPS,
            DRILLS,
            beyond="the plan",
        ),
        _of(
            "§ 164.308(a)(7)(ii)(C)",
            "critical processes go on in emergency mode (required)",
            beyond="the plan for emergency mode",
        ),
        _of(
            "§ 164.308(a)(7)(ii)(D)",
            "contingency plans are tested and revised periodically (addressable)",
            DRILLS,
            beyond="the revision of the plans",
        ),
        _of("§ 164.308(a)(8)", "safeguards are evaluated periodically", beyond="the evaluation"),
        _of(
            "§ 164.310(d)(2)(i)",
            "the final disposition of data and media is provided for (required)",
            ERASURE,
            beyond="the media, and what had to be disposed of",
        ),
        _of(
            "§ 164.310(d)(2)(iv)",
            "an exact copy is made before equipment is moved, when needed (addressable)",
            BACKUPS,
            REPLICAS,
            beyond="when equipment is moved",
        ),
        _of(
            "§ 164.312(a)(2)(ii)",
            "data can be obtained in an emergency (required)",
            OFFLINE,
            DRILLS,
            beyond="the procedure",
        ),
        _of("§ 164.312(a)(2)(iv)", "data is encrypted (addressable)", SEALING, KEYS),
        _of("§ 164.312(b)", "activity is recorded, and can be examined", RECORD),
        _of(
            "§ 164.312(c)(1)",
            "data is protected from improper alteration and destruction",
            LOCKS,
            REPLICAS,
            strict=LOCKS,
        ),
        _of("§ 164.312(c)(2)", "it can be shown that data was not altered (addressable)", REPLICAS, RECORD),
        _of("§ 164.312(e)(2)(ii)", "data is encrypted on its way (addressable)", SEALING),
        _of(
            "§ 164.316(b)(2)(i)",
            "documentation is retained for six years (required)",
            beyond="how long these reports are kept",
        ),
    ),
    Framework.DORA: (
        _of(
            "Art. 9(2)",
            "availability, authenticity, integrity and confidentiality of data are kept up",
            SEALING,
            COPIES,
            REPLICAS,
        ),
        _of("Art. 9(4)(d)", "cryptographic keys are protected", CUSTODY, KEYS, beyond="the risk assessment"),
        _of("Art. 10(1)", "anomalous activities are detected promptly", MONITORING, SLOTS, beyond=_ACTS),
        _of(
            "Art. 11(6)(a)",
            "response and recovery plans are tested at least yearly",
            DRILLS,
            beyond="the plans of all other systems",
        ),
        _of(
            "Art. 12(1)(a)",
            "backup policies state the scope and the minimum frequency",
            BACKUPS,
            SCHEDULE,
            beyond="whether the scope fits the criticality of the data",
        ),
        _of(
            "Art. 12(1)(b)",
            "restoration and recovery are documented",
            beyond="the procedures, as your company adopted them",
        ),
        _of(
            "Art. 12(2)",
            "backups can be activated safely, and are tested periodically",
            BACKUPS,
            REPLICAS,
            DRILLS,
        ),
        _of(
            "Art. 12(3)",
            "restores use systems segregated from the source, and safe from unauthorised access",
            CUSTODY,
            OFFLINE,
            beyond="the physical and logical segregation",
        ),
        _of(
            "Art. 12(6)",
            "each function has objectives for recovery time and point",
            DRILLS,
            SLOTS,
            beyond="whether the objectives fit the function",
        ),
        _of("Art. 12(7)", "recovered data is checked for integrity, several times", DRILLS, REPLICAS),
        _of("Art. 17(2)", "all incidents are recorded", RECORD, beyond="incidents of other systems"),
        _of("Art. 19(4)", "major incidents are reported to the authority", beyond="the reports"),
    ),
    Framework.NIS2: (
        _of("Art. 21(2)(b)", "incidents are handled", RECORD, MONITORING, beyond=_ACTS),
        _of(
            "Art. 21(2)(c)",
            "business continuity: backups are managed, and recovery from disasters is prepared",
            BACKUPS,
            REPLICAS,
            SCHEDULE,
            COPIES,
            OFFLINE,
            DRILLS,
            beyond="crisis management",
        ),
        _of("Art. 21(2)(f)", "the effect of measures is assessed", DRILLS, KEYS, beyond="the other measures"),
        _of("Art. 21(2)(h)", "cryptography is used by rules", SEALING, KEYS, CUSTODY, beyond="the rules"),
        _of(
            "Art. 21(2)(i)",
            "access is controlled",
            CUSTODY,
            RECORD,
            beyond="the people, and who may do what on the targets and sources",
        ),
        _of("Art. 21(2)(j)", "multi-factor authentication is used where appropriate", beyond="the logins"),
        _of(
            "Art. 23(4)",
            "significant incidents are notified: within 24 hours, 72 hours, and a month",
            beyond="the notifications",
        ),
    ),
    Framework.NIST_CSF: (
        _of("PR.AA-05", "access permissions follow least privilege", CUSTODY, beyond="the permissions"),
        _of("PR.DS-01", "data at rest is protected", SEALING, LOCKS, KEYS),
        _of("PR.DS-02", "data in transit is protected", SEALING),
        _of(
            "PR.DS-11",
            "backups are created, protected, maintained and tested",
            BACKUPS,
            SCHEDULE,
            COPIES,
            OFFLINE,
            LOCKS,
            REPLICAS,
            DRILLS,
        ),
        _of("PR.PS-04", "log records are made and available", RECORD),
        _of("PR.IR-03", "resilience holds in normal and in adverse situations", COPIES, OFFLINE, DRILLS),
        _of("DE.CM-09", "software and its data are watched", MONITORING, SLOTS, REPLICAS, beyond=_ACTS),
        _of("RS.AN-06", "records of an investigation keep their integrity", RECORD, beyond="other records"),
        _of("RC.RP-01", "recovery is carried out once an incident calls for it", DRILLS, beyond="the plan"),
        _of("RC.RP-03", "backups are verified before they are restored from", REPLICAS),
        _of("RC.RP-05", "what was restored is verified", DRILLS, beyond="the services that use it"),
        _of("ID.IM-02", "tests and exercises lead to improvements", DRILLS, beyond="the improvements"),
    ),
}


def assess(framework: Framework, findings: Sequence[Finding]) -> tuple[Assessed, ...]:
    """Hold a framework's controls against all findings there are."""
    return tuple(_assess(control, findings) for control in FRAMEWORKS[framework])


def _modest(verdict: ControlState, beyond: str) -> ControlState:
    """Return no more than can be said: where something is beyond, nobody can tell here that all is met."""
    return ControlState.SEEN if beyond and verdict is ControlState.MET else verdict


def _assess(control: Control, findings: Sequence[Finding]) -> Assessed:
    its = {check: [finding for finding in findings if finding.check == check] for check in control.checks}
    verdicts = [verdict_of(found, strict=check in control.strict) for check, found in its.items()]
    return Assessed(
        number=control.number,
        demands=control.demands,
        verdict=_modest(min(verdicts, key=_ORDER.index, default=ControlState.YOURS), control.beyond),
        findings=tuple(worst_first(finding for found in its.values() for finding in found)),
        beyond=control.beyond,
    )


def verdict_of(findings: Sequence[Finding], *, strict: bool = False) -> ControlState:
    """Return how a control stands by the findings of one check."""
    states = {finding.state for finding in findings}
    stands_out = states & {FindingState.WARNING, FindingState.REMARK}
    if FindingState.WRONG in states or any(map(_lacks, findings)) or (strict and stands_out):
        return ControlState.UNMET
    if FindingState.UNKNOWN in states or not states:  # what nobody looked at is not met
        return ControlState.UNKNOWN
    return ControlState.REMARKED if stands_out else ControlState.MET


def _lacks(finding: Finding) -> bool:
    """Tell whether a warning says that something is missing now; most say that it will be."""
    if finding.kind == "ledger.uncovered" and finding.state is FindingState.REMARK:
        return True  # a record that is held against nothing is no evidence, however young it is
    return finding.state is FindingState.WARNING and finding.code != WarningsRaised.__name__


_ORDER = tuple(ControlState)
