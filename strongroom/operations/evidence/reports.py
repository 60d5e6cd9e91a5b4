"""Compliance and the yearly review as signed documents, pages and tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from strongroom import __version__
from strongroom.operations.engine.findings import Finding, FindingState, worst_first
from strongroom.operations.evidence.compliance import (
    BACKUPS,
    COPIES,
    CUSTODY,
    DRILLS,
    KEYS,
    LOCKS,
    MONITORING,
    OFFLINE,
    RECORD,
    REPLICAS,
    RETENTION,
    SCHEDULE,
    SEALING,
    SLOTS,
    TEXTS,
    Assessed,
    ControlState,
    Framework,
    assess,
    verdict_of,
)
from strongroom.operations.evidence.ledger import LedgerPosition
from strongroom.operations.evidence.signed_report import LedgerEvent, ReportKind
from strongroom.sheet import Cell, Content, Lines, Mood, Pairs, Part, Sheet, Table, marked
from strongroom.times import rfc3339
from strongroom.words import plural

# -- What a look at frameworks found, as a signed document, a page and a table ------------------
#
# Each finding is of one look, at the time that the report names. A control that no program can see is never
# called met.


class Evidence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One finding of one check, and what it was looked at: a policy, a backup, a target."""

    check: str
    state: str
    what: str
    about: str
    to_do: str


class ReportedControl(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A control, how it stands, what that rests on, and what nobody can tell from here (``beyond``)."""

    number: str
    demands: str
    verdict: str
    evidence: tuple[Evidence, ...]
    beyond: str


class FrameworkControls(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A framework, the text that its numbers are of, and its controls."""

    framework: str
    text: str
    controls: tuple[ReportedControl, ...]


class ComplianceReport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The report. ``last`` is the newest event of the ledger then; ``None`` if there was none."""

    strongroom: str
    made_at: str
    frameworks: tuple[FrameworkControls, ...]
    last: LedgerPosition | None
    page_sha256: str = ""
    csv_sha256: str = ""


def report_of(
    answer: Mapping[Framework, Iterable[Assessed]], *, last: LedgerPosition | None, now: float
) -> ComplianceReport:
    """Return what was found, without the digests of the files beside it."""
    held = (
        FrameworkControls(
            framework=framework.value, text=TEXTS[framework], controls=tuple(map(_control, controls))
        )
        for framework, controls in answer.items()
    )
    return ComplianceReport(strongroom=__version__, made_at=rfc3339(now), frameworks=tuple(held), last=last)


def _control(control: Assessed) -> ReportedControl:
    return ReportedControl(
        number=control.number,
        demands=control.demands,
        verdict=control.verdict.value,
        evidence=tuple(map(_evidence, control.findings)),
        beyond=control.beyond,
    )


def _evidence(finding: Finding) -> Evidence:
    return Evidence(
        check=finding.check,
        state=finding.state.value,
        what=finding.what,
        about=", ".join(filter(None, (finding.policy, finding.backup, finding.target))),
        to_do=finding.to_do,
    )


# -- the sheet ---------------------------------------------------------------------

_BAD = (ControlState.UNMET.value, ControlState.UNKNOWN.value)
_MOODS = {
    ControlState.UNMET.value: Mood.BAD,
    ControlState.UNKNOWN.value: Mood.BAD,
    ControlState.REMARKED.value: Mood.WARN,
    ControlState.SEEN.value: Mood.GOOD,
    ControlState.MET.value: Mood.GOOD,
}
_HEAD = (
    *("framework", "control", "demands", "verdict"),
    *("check", "state", "about", "found", "to do", "yours to show"),
)


def sheet_of_compliance(report: ComplianceReport, *, brief: bool = False) -> Sheet:
    """Return how each control stands, with a row of data for each finding, and for a control that has none.

    Args:
        brief: findings that are good are left out; the data has all.
    """
    every = [control for framework in report.frameworks for control in framework.controls]
    bad = sum(control.verdict in _BAD for control in every)
    counts = [(framework.framework, _counted(framework.controls)) for framework in report.frameworks]
    return Sheet(
        kind="Compliance report",
        title=f"Backups and frameworks, {report.made_at[:10]}",
        verdict=f"{plural(bad, 'control')} of {len(every):,} to act on" if bad else "No control is unmet",
        mood=Mood.BAD if bad else Mood.GOOD,
        about="This is what can be seen from here: evidence for an auditor, and no certificate. What no "
        "program can see is named under each control as yours to show.",
        parts=[
            Pairs(counts, "In short"),
            *(part for framework in report.frameworks for part in _framework(framework, brief=brief)),
        ],
        foot=f"{report.strongroom}, {report.made_at}",
        data=Table(_HEAD, list(_rows(report))),
    )


def _counted(controls: Iterable[ReportedControl]) -> str:
    """Say how many controls stand how, the worst first."""
    found = Counter(control.verdict for control in controls)
    return "; ".join(
        f"{found[verdict.value]} {verdict.value}" for verdict in ControlState if found[verdict.value]
    )


def _framework(held: FrameworkControls, *, brief: bool) -> Iterator[Part]:
    yield Lines([held.text], held.framework, style="note")
    for control in held.controls:
        verdict = Cell(control.verdict, _MOODS.get(control.verdict, Mood.PLAIN))
        demands = f"{control.demands[:1].upper()}{control.demands[1:]}."
        yield Lines([demands], (f"{control.number} ", verdict), sub=True)
        shown = dict.fromkeys(
            evidence for evidence in control.evidence if not brief or evidence.state != FindingState.GOOD
        )
        if shown:
            yield Lines([_evidence_line(evidence) for evidence in shown], style="list")
        if control.beyond:
            yield Lines([f"Yours to show: {control.beyond}."], style="note")


def _evidence_line(evidence: Evidence) -> Content:
    about = f" ({evidence.about})" if evidence.about and evidence.about not in evidence.what else ""
    state = marked(evidence.state, bad=evidence.state in (FindingState.WRONG, FindingState.UNKNOWN))
    to_do = f" To do: {evidence.to_do}" if evidence.to_do else ""
    return (
        state,
        ", check ",
        Cell(evidence.check, code=True),
        f"{about}: {evidence.what.rstrip('.')}.{to_do}",
    )


def _rows(report: ComplianceReport) -> Iterator[tuple[str, ...]]:
    for held in report.frameworks:
        for reported_control in held.controls:
            control = (
                held.framework,
                reported_control.number,
                reported_control.demands,
                reported_control.verdict,
            )
            for each in reported_control.evidence:
                yield (
                    *control,
                    each.check,
                    each.state,
                    each.about,
                    each.what,
                    each.to_do,
                    reported_control.beyond,
                )
            if not reported_control.evidence:
                yield (*control, "", "", "", "", "", reported_control.beyond)


COMPLIANCE_REPORT = ReportKind(
    name="compliance-report",
    words="compliance report",
    record=ComplianceReport,
    sheet=sheet_of_compliance,
    ledger=lambda report: (
        LedgerEvent(number=report.last.id, sha256=report.last.sha256) if report.last else None
    ),
)


# -- The yearly security review: what can be shown of encryption, access and compliance, for people to sign
#
# It is put together from evidence that exists. What no program can see is named beside it, as a question to
# whoever signs. No value is in it; an error that is quoted may name a secret.


MADE = "review.made"


class ReviewLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that was found, how it stands, and what to do about it."""

    state: str
    what: str
    to_do: str = ""


class ReviewPart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One part of the review. ``yours`` is what whoever signs has to look at, for no program can."""

    title: str
    verdict: str
    lines: tuple[ReviewLine, ...]
    yours: tuple[str, ...]


class ReviewedKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key: how many kept backups open with it, how many with it alone, and how many open with it still by a
    container's own envelope although it was rotated away."""

    key: str
    type: str
    opens: int
    alone: int
    by_copy: int


class ReviewedSigner(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that signs for a role, since when, and how it stands."""

    role: str
    fingerprint: str
    since: str
    state: str


class SecurityReview(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The review. Times are RFC 3339; ``since`` is in the span and ``until`` is not.

    ``outcomes`` counts runs by kind and state, ``access`` events of access, keys and incidents by kind.
    ``event`` and ``event_sha256`` are the head of the record that all of this was read from.
    ``page_sha256`` is the digest of the page beside it, which says the same and has the places for names;
    ``csv_sha256`` that of the table.
    """

    strongroom: str
    installation: str
    made_at: str
    since: str
    until: str
    reviewers: tuple[str, ...]
    parts: tuple[ReviewPart, ...]
    keys: tuple[ReviewedKey, ...]
    unread: int
    signers: tuple[ReviewedSigner, ...]
    outcomes: Mapping[str, Mapping[str, int]]
    access: Mapping[str, int]
    event: int
    event_sha256: str
    page_sha256: str = ""
    csv_sha256: str = ""


# -- the parts ---------------------------------------------------------------------


class ReviewSubject(Struct, frozen=True, kw_only=True):
    """What a part is about: the checks that it rests on, and what is beyond them."""

    title: str
    checks: tuple[str, ...]
    yours: tuple[str, ...]


SUBJECTS = (
    ReviewSubject(
        title="Backup encryption assessment",
        checks=(SEALING, KEYS, REPLICAS, "verification"),
        yours=(
            "Are the algorithms still sound? Look for news of AES-256-GCM, HPKE and the keys' own kinds.",
            "Is every key where it belongs, and does nobody else have a copy of it?",
        ),
    ),
    ReviewSubject(
        title="Access control validation",
        checks=(CUSTODY, LOCKS, RECORD, MONITORING, "files"),
        yours=(
            "Who may write and delete on each target by the cloud's own policies, and with a second factor?",
            "Do all who hold a key, a share or a PIN still work here, and does each know it?",
            "Was each opening of a backup that is counted below somebody's task?",
        ),
    ),
    ReviewSubject(
        title="Recovery and retention",
        checks=(BACKUPS, COPIES, OFFLINE, SCHEDULE, SLOTS, RETENTION, DRILLS),
        yours=(
            "Does the plan for recovery still fit the company, and do its people know it?",
            "Is the medium in the safe, and who fetched it last?",
        ),
    ),
)


def parts(findings: Sequence[Finding]) -> tuple[ReviewPart, ...]:
    """Return the parts of a review: its subjects, then the compliance audit, a part for each framework."""
    subjects = (_part(subject, findings) for subject in SUBJECTS)
    return (*subjects, *(_audit(framework, findings) for framework in Framework))


def _part(subject: ReviewSubject, findings: Sequence[Finding]) -> ReviewPart:
    found = worst_first(finding for finding in findings if finding.check in subject.checks)
    looked = {finding.check for finding in found}
    lines = [
        ReviewLine(state=finding.state.value, what=_what(finding), to_do=finding.to_do) for finding in found
    ]
    verdicts = [verdict_of([finding for finding in found if finding.check == check]) for check in looked]
    return ReviewPart(
        title=subject.title,
        verdict=min(verdicts, key=list(ControlState).index, default=ControlState.UNKNOWN).value,
        lines=tuple(lines),
        yours=subject.yours,
    )


def _what(finding: Finding) -> str:
    about = ", ".join(
        named for named in (finding.policy, finding.backup, finding.target) if named not in finding.what
    )
    return f"{finding.check}{f' ({about})' if about else ''}: {finding.what}"


def _audit(framework: Framework, findings: Sequence[Finding]) -> ReviewPart:
    assessed = assess(framework, findings)
    return ReviewPart(
        title=f"Compliance audit: {framework.value}",
        verdict=min((control.verdict for control in assessed), key=list(ControlState).index).value,
        lines=tuple(map(_control_line, assessed)),
        yours=tuple(
            dict.fromkeys(f"{control.number}: {control.beyond}" for control in assessed if control.beyond)
        ),
    )


def _control_line(control: Assessed) -> ReviewLine:
    lacking = [finding for finding in control.findings if finding.state is not FindingState.GOOD]
    because = "; ".join(dict.fromkeys(finding.what.rstrip(".") for finding in lacking[:_SHOWN]))
    what = f"{control.number} {control.demands}{f': {because}' if because else ''}"
    return ReviewLine(
        state=control.verdict.value, what=what, to_do=next((finding.to_do for finding in lacking), "")
    )


_SHOWN = 3


def is_unmet(part: ReviewPart) -> bool:
    """Tell whether somebody has to act on a part."""
    return part.verdict in (ControlState.UNMET.value, ControlState.UNKNOWN.value)


# -- A security review as a sheet to print and sign: a pure function of it, whose file vouches for the page


LINES_TO_SIGN = 2
"""Places for names where nobody was named beforehand."""
_BAD_STATES = frozenset(
    {
        FindingState.WRONG.value,
        FindingState.UNKNOWN.value,
        ControlState.UNMET.value,
        ControlState.UNKNOWN.value,
    }
)


def sheet_of_review(review: SecurityReview) -> Sheet:
    """Return the review; each thing that was found, and each question to whoever signs, is a row of its
    data."""
    unmet = [part.title for part in review.parts if is_unmet(part)]
    beyond = "What no program can see stands under each part as a question to the person who signs."
    return Sheet(
        kind="Yearly security review",
        title=f"Security review, {review.since[:10]} to {review.until[:10]}",
        verdict=f"{plural(len(unmet), 'part')} to act on" if unmet else "No part is unmet",
        mood=Mood.BAD if unmet else Mood.GOOD,
        about=f"{', '.join(unmet)}. {beyond}" if unmet else beyond,
        parts=list(_parts(review)),
        foot=f"{review.strongroom}, {review.made_at}",
        data=Table(("part", "verdict", "state", "found", "to do"), list(_review_rows(review))),
    )


def _parts(review: SecurityReview) -> Iterator[Part]:
    for part in review.parts:
        lines = [
            (marked(line.state, bad=line.state in _BAD_STATES), line.what, line.to_do) for line in part.lines
        ]
        heading = f"{part.title}: {part.verdict}"
        yield Table(("State", "Found", "To do"), lines, heading, nothing="Nothing was checked.")
        if part.yours:
            yield Lines([f"☐ {question}" for question in part.yours])
    keys = [(key.key, key.type, key.opens, key.alone, key.by_copy) for key in review.keys]
    head = ("Key", "Kind", "Opens", "Alone", "By an old envelope")
    yield Table(head, keys, "Keys that open backups", nothing="No key opens a backup that is kept.")
    if review.unread:
        yield Lines([f"{plural(review.unread, 'backup')} could not be read."])
    yield Pairs([("Installation", review.installation)], "Keys that sign")
    signers = [(signer.role, signer.fingerprint, signer.since, signer.state) for signer in review.signers]
    yield Table(("Role", "Key", "Since", "State"), signers)
    runs = [
        (kind, ", ".join(f"{count:,} {state}" for state, count in sorted(states.items())))
        for kind, states in sorted(review.outcomes.items())
    ]
    yield Table(("Runs", "How they ended"), runs, "What happened", nothing="There was no run.")
    yield Table(("Events", "How many"), sorted(review.access.items()), nothing="There was no such event.")
    names = [(name, "", "") for name in review.reviewers or ("",) * LINES_TO_SIGN]
    yield Table(("Name and role", "Date", "Signature"), names, "Signed by", to_fill=True)


def _review_rows(review: SecurityReview) -> Iterator[tuple[str, ...]]:
    for part in review.parts:
        yield from ((part.title, part.verdict, line.state, line.what, line.to_do) for line in part.lines)
        yield from ((part.title, part.verdict, "yours to answer", task, "") for task in part.yours)


REVIEW_REPORT = ReportKind(
    name="security-review",
    words="security review",
    record=SecurityReview,
    sheet=sheet_of_review,
    ledger=lambda review: (
        LedgerEvent(number=review.event, sha256=review.event_sha256) if review.event else None
    ),
)
