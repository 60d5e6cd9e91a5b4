"""Signed reports: of a span of time, of frameworks' demands, of the year; and whether one is as it was
signed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from strongroom.cli.commands.reports.arguments import CheckControls, CheckReport, ReportAudit, ReviewSecurity
from strongroom.cli.shared import admission
from strongroom.cli.shared.installation_key import RoleKeyStatus, installation_fingerprints, list_role_keys
from strongroom.cli.shared.options import TrustOptions
from strongroom.cli.shared.report_files import refuse_files, said_of_files, write_files
from strongroom.cli.shared.services import check_areas, open_services
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural
from strongroom.config import load_settings
from strongroom.container.document import MAX_DOCUMENT
from strongroom.container.errors import FormatError, NotABackup, Tampered, UntrustedSigner
from strongroom.container.marks import Signed
from strongroom.errors import UsageError
from strongroom.model import Role
from strongroom.operations.drills import report as drill
from strongroom.operations.engine.findings import worst_error
from strongroom.operations.engine.services import Services
from strongroom.operations.errors import RequirementUnmet
from strongroom.operations.evidence import audit_page, reports
from strongroom.operations.evidence.access_log import take
from strongroom.operations.evidence.audit import Audit, KeyAge, audit
from strongroom.operations.evidence.audit_page import REPORT as AUDIT
from strongroom.operations.evidence.compliance import ControlState, Framework, assess
from strongroom.operations.evidence.ledger import UNLIKE, check, verify_chain
from strongroom.operations.evidence.reports import COMPLIANCE_REPORT as COMPLIANCE
from strongroom.operations.evidence.reports import MADE, ReviewedSigner, report_of, sheet_of_compliance
from strongroom.operations.evidence.reports import REVIEW_REPORT as REVIEW
from strongroom.operations.evidence.signed_report import BESIDE, LedgerEvent, ReportKind, beside
from strongroom.operations.judge.period import add_facts
from strongroom.operations.procedures import incident_report as incident
from strongroom.operations.procedures import recovery_report as recovery
from strongroom.sheet import Lines, Pairs
from strongroom.state.errors import LedgerChanged
from strongroom.state.records import RunKind
from strongroom.times import rfc3339
from strongroom.wiring.evidence import evidence, review
from strongroom.wiring.watching import facts_on_record

# -- The signed reports of this room: what is on record of a span, what frameworks demand, the yearly review


DAY = timedelta(days=1)
YEAR = timedelta(days=365)


def _written(file: Path | None, more: str) -> Lines:
    """Say where the report is, and what to know of it."""
    return Lines([said_of_files(file), more] if file is not None else [])


# -- what is on record ------------------------------------------------------------------


def report_audit(given: ReportAudit, output: Output) -> Answer:
    since, until = _span(given.start_date, given.end_date)
    file = given.to.output
    refuse_files(file, replace=given.to.force)
    services = open_services()
    take(services.state_dir, services.store)
    report = _gather(services, since=since, until=until)
    if file:
        write_files(AUDIT, report, services.signers(Role.CONTROL), file, replace=given.to.force)
    changed = LedgerChanged(
        f"Event {report.broken} is not what was appended, or one before it is gone: the report says what "
        "stands there now.",
        hint=UNLIKE,
    )
    sheet = AUDIT.sheet(report)
    written = _written(file, "It may name secrets, where an error did.")
    return Answer(
        record=report,
        sheet=replace(sheet, parts=[Pairs(list(_counts(report))), written]),
        error=changed if report.broken is not None else None,
    )


def _gather(services: Services, *, since: float, until: float) -> Audit:
    now = time.time()
    facts = facts_on_record(load_settings(), services, now=now)
    return add_facts(
        audit(services.store, since=since, until=until, now=now),
        services.store,
        trusted=services.signer_fingerprints,
        keys=facts.keys,
        signers=[_age(role_key) for role_key in list_role_keys(datetime.now(UTC)) if role_key.key.since],
    )


def _age(role_key: RoleKeyStatus) -> KeyAge:
    return KeyAge(
        name=f"signer of {role_key.role}",
        use=role_key.state,
        since=rfc3339(datetime.fromisoformat(role_key.key.since).timestamp()),
        evidence=f"certificate of {role_key.key.fingerprint}",
    )


def _span(first: date | None, last: date | None) -> tuple[float, float]:
    end = (last or datetime.now(UTC).date()) + DAY
    start = first or end - YEAR
    if start >= end:
        raise UsageError("The report would end before it begins: look at --start-date and --end-date.")
    since, until = (datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() for day in (start, end))
    return since, until


def _counts(report: Audit) -> Iterator[tuple[str, str]]:
    for kind in dict.fromkeys((RunKind.BACKUP.value, *sorted(report.outcomes))):
        states = report.outcomes.get(kind, {})
        said = ", ".join(f"{number:,} {state}" for state, number in sorted(states.items()))
        yield f"{kind} runs", said or "none"
    ended = {state: many for state, many in report.outcomes.get("backup", {}).items() if state != "active"}
    if ended:
        yield "backups whole", f"{ended.get('done', 0) / sum(ended.values()):.1%}"
    for words, beginning in _ABOUT.items():
        number = sum(count for kind, count in report.counted.items() if kind.startswith(beginning))
        yield words, plural(number, "event")
    if report.last is not None:
        yield "last event", f"{report.last.id}, SHA-256 {report.last.sha256}"


_ABOUT = {
    "access": ("access.opened", "access.failed", "access.restored", "access.shown", "access.unreadable"),
    "keys and signers": ("key.", "signer."),
    "incidents": ("incident.", "backup.quarantined", "backup.released"),
    "holds and deletions": ("hold.", "backup.pruned", "backup.undeleted"),
    "refused": ("message-refused", "submission-refused"),
    "shredding": ("shred.",),
}


# -- what frameworks demand ---------------------------------------------------------------


def check_compliance(given: CheckControls, output: Output) -> Answer:
    file = given.to.output
    refuse_files(file, replace=given.to.force)
    settings, now = load_settings(), time.time()
    findings = list(evidence(settings, check_areas(settings, days=30, now=now)[0]))
    answers = {framework: assess(framework, findings) for framework in given.framework or Framework}
    services = open_services() if file else None  # a look makes none
    last = verify_chain(services.store).head if services else None
    report = report_of(answers, last=last, now=now)
    if file and services:
        write_files(COMPLIANCE, report, services.signers(Role.CONTROL), file, replace=given.to.force)
    unmet = [
        control
        for controls in answers.values()
        for control in controls
        if control.verdict in (ControlState.UNMET, ControlState.UNKNOWN)
    ]
    worst = worst_error(finding for control in unmet for finding in control.findings)
    missing = RequirementUnmet(f"{plural(len(unmet), 'control')} not met.")
    sheet = sheet_of_compliance(report, brief=True)
    return Answer(
        record=report,
        sheet=replace(sheet, parts=(_written(file, "Errors in it may name secrets."), *sheet.parts)),
        error=(worst or missing) if unmet else None,
    )


# -- the yearly review --------------------------------------------------------------------


def review_security(given: ReviewSecurity, output: Output) -> Answer:
    file = given.to.output
    refuse_files(file, replace=given.to.force)
    settings, services, now = load_settings(), open_services(), time.time()
    take(services.state_dir, services.store)
    signers = list_role_keys(datetime.now(UTC))
    areas = check_areas(settings, days=YEAR.days, now=now)[0]
    made = review(
        services,
        evidence(settings, areas),
        [_signer(role_key) for role_key in signers],
        installation=next(iter(installation_fingerprints(signers)), ""),
        reviewers=given.reviewer,
        now=now,
    )
    if file:
        signed = write_files(REVIEW, made, services.signers(Role.CONTROL), file, replace=given.to.force)
        services.store.event(MADE, sha256=hashlib.sha256(signed).hexdigest(), until=made.until)
    sheet = REVIEW.sheet(made)
    to_do = "Answer the questions on the page, and have it signed. An error that is quoted may name a secret."
    nothing = "Nothing was written. --output FILE.json writes the signed review, and the page to sign."
    parts = Pairs([(part.title, part.verdict) for part in made.parts])
    written = _written(file, to_do) if file else Lines([nothing])
    return Answer(record=made, sheet=replace(sheet, about="", parts=[parts, written]))


def _signer(role_key: RoleKeyStatus) -> ReviewedSigner:
    state = f"{role_key.state}, for over a year" if role_key.old else role_key.state
    return ReviewedSigner(
        role=role_key.role, fingerprint=role_key.key.fingerprint, since=role_key.key.since[:10], state=state
    )


# -- report check: whether a report, of whatever kind, is as it was signed, with what lies beside it


REPORTS: tuple[ReportKind[Any], ...] = (
    audit_page.REPORT,
    reports.COMPLIANCE_REPORT,
    reports.REVIEW_REPORT,
    drill.REPORT,
    incident.REPORT,
    recovery.REPORT,
)


class CheckedReport(Struct, frozen=True, kw_only=True):
    """A report whose signature counts, who made it, and what beside it it vouches for."""

    kind: str
    signed_by: Mapping[str, str]
    checked: list[str]
    ledger: bool
    report: Struct


def check_report(given: CheckReport, output: Output) -> Answer:
    file = given.file
    with file.open("rb") as opened_file:
        content = opened_file.read(MAX_DOCUMENT + 1)
    kind = _kind_of(content, file)
    opened = _open(kind, content, given.trust)
    checked = [name.name for name in _check_beside(file, opened)]
    event = _compare(kind.ledger(opened.statement)) if given.ledger else None
    certificate = opened.certificate
    also = f", and vouches for {' and '.join(checked)}." if checked else ". Nothing is beside it."
    lines = [
        f"The report is signed{also}",
        f"Signed by installation {certificate.fingerprint}, role {certificate.role}.",
        *([f"Up to its last event, {event.number}, the ledger is what it was."] if event else []),
    ]
    record = CheckedReport(
        kind=kind.name,
        signed_by={"installation": certificate.fingerprint, "role": certificate.role},
        checked=checked,
        ledger=event is not None,
        report=opened.statement,
    )
    sheet = kind.sheet(opened.statement)
    left = [part for part in sheet.parts if isinstance(part, Lines) and part.heading and part.style == "list"]
    return Answer(record=record, sheet=replace(sheet, parts=[*left, Lines(lines)]))


def _kind_of(content: bytes, file: Path) -> ReportKind[Any]:
    """Find the kind by the first line; what is cut off or altered there is told by the kind it is nearest."""
    for kind in REPORTS:
        if content.startswith(kind.family):
            return kind
    raise NotABackup(
        f"'{file}' does not begin as a report of Strongroom does.",
        hint="Name the .json file. The page and the table beside it are checked with it.",
    )


def _open(kind: ReportKind[Any], content: bytes, trust: TrustOptions) -> Signed[Any]:
    try:
        return kind.open(content, trusted=admission.trusted_signers(place.find(), trust.signer))
    except UntrustedSigner as error:
        raise admission.explained(error, ("signer",), what="report") from None
    except FormatError as error:
        raise type(error)(
            error.message, hint="Do not trust this copy. Ask for the one that was written."
        ) from None


def _check_beside(file: Path, opened: Signed[Any]) -> Iterator[Path]:
    """Yield what lies beside the report and is what it vouches for."""
    for ending in BESIDE:
        other = beside(file, ending)
        if not hasattr(opened.statement, BESIDE[ending]) or not other.is_file():
            continue
        if _digest(other) != getattr(opened.statement, BESIDE[ending]):
            raise Tampered(
                f"'{other}' is not what was written with this report.",
                hint="The report itself is signed and whole: read that. Do not trust this copy of the other.",
            )
        yield other


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _compare(event: LedgerEvent | None) -> LedgerEvent:
    """Compare the ledger of this installation with the event that a report names as its last."""
    if event is None:
        raise UsageError("The report names no event of a ledger.", hint="Repeat without --ledger.")
    check(open_services().store, number=event.number, sha256=event.sha256)
    return event
