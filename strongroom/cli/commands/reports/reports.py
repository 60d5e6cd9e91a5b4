"""The signed reports of this room: what is on record of a span, what frameworks demand, the yearly review."""

from __future__ import annotations

import hashlib
import time
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from msgspec.structs import replace

from strongroom.cli.shared.health_areas import check_areas
from strongroom.cli.shared.report_files import refuse_files, said_of_files, write_files
from strongroom.cli.shared.role_keys import RoleKeyStatus, installation_fingerprints, list_role_keys
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural
from strongroom.config import load_settings
from strongroom.errors import UsageError
from strongroom.operations.errors import RequirementUnmet
from strongroom.operations.evidence.access_log import take
from strongroom.operations.evidence.audit import Audit, KeyAge, audit
from strongroom.operations.evidence.audit_page import REPORT as AUDIT
from strongroom.operations.evidence.compliance import ControlState, Framework, assess
from strongroom.operations.evidence.compliance_report import REPORT as COMPLIANCE
from strongroom.operations.evidence.compliance_report import report_of, sheet_of
from strongroom.operations.evidence.ledger import UNLIKE, verify_chain
from strongroom.operations.evidence.review import MADE, ReviewedSigner
from strongroom.operations.evidence.review_page import REPORT as REVIEW
from strongroom.operations.facts.period import add_facts
from strongroom.operations.findings import worst_error
from strongroom.operations.services import Services
from strongroom.sheet import Lines, Pairs
from strongroom.state.errors import LedgerChanged
from strongroom.state.records import RunKind
from strongroom.timestamps import rfc3339
from strongroom.wiring.alerts import facts_on_record
from strongroom.wiring.compliance import evidence
from strongroom.wiring.security_review import review

DAY = timedelta(days=1)
YEAR = timedelta(days=365)


def _written(file: Path | None, more: str) -> Lines:
    """Say where the report is, and what to know of it."""
    return Lines([said_of_files(file), more] if file is not None else [])


# -- what is on record ------------------------------------------------------------------


def report_audit(arguments: Namespace, output: Output) -> Answer:
    since, until = _span(arguments.start_date, arguments.end_date)
    file: Path | None = arguments.output
    refuse_files(file, replace=arguments.force)
    services = open_services()
    take(services.state_dir, services.store)
    report = _gather(services, since=since, until=until)
    if file:
        write_files(AUDIT, report, services.signers("control"), file, replace=arguments.force)
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


def check_compliance(arguments: Namespace, output: Output) -> Answer:
    file: Path | None = arguments.output
    refuse_files(file, replace=arguments.force)
    settings, now = load_settings(), time.time()
    findings = list(evidence(settings, check_areas(settings, days=30, now=now)[0], now=now))
    answers = {framework: assess(framework, findings) for framework in arguments.framework or Framework}
    services = open_services() if file else None  # a look makes none
    last = verify_chain(services.store).head if services else None
    report = report_of(answers, last=last, now=now)
    if file and services:
        write_files(COMPLIANCE, report, services.signers("control"), file, replace=arguments.force)
    unmet = [
        control
        for controls in answers.values()
        for control in controls
        if control.verdict in (ControlState.UNMET, ControlState.UNKNOWN)
    ]
    worst = worst_error(finding for control in unmet for finding in control.findings)
    missing = RequirementUnmet(f"{plural(len(unmet), 'control')} not met.")
    sheet = sheet_of(report, brief=True)
    return Answer(
        record=report,
        sheet=replace(sheet, parts=(_written(file, "Errors in it may name secrets."), *sheet.parts)),
        error=(worst or missing) if unmet else None,
    )


# -- the yearly review --------------------------------------------------------------------


def review_security(arguments: Namespace, output: Output) -> Answer:
    file: Path | None = arguments.output
    refuse_files(file, replace=arguments.force)
    settings, services, now = load_settings(), open_services(), time.time()
    take(services.state_dir, services.store)
    signers = list_role_keys(datetime.now(UTC))
    areas = check_areas(settings, days=YEAR.days, now=now)[0]
    made = review(
        services,
        evidence(settings, areas, now=now),
        [_signer(role_key) for role_key in signers],
        installation=next(iter(installation_fingerprints(signers)), ""),
        reviewers=arguments.reviewer,
        now=now,
    )
    if file:
        signed = write_files(REVIEW, made, services.signers("control"), file, replace=arguments.force)
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
