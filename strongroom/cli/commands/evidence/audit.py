"""backup-audit-report: what is on record of a span of time, signed, with a page and a table."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from msgspec import to_builtins

from strongroom.cli.shared.report_files import refuse_files, said_of_files, write_files
from strongroom.cli.shared.role_keys import RoleKeyStatus, list_role_keys
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal.output import Output, fields, plural
from strongroom.config import load_settings
from strongroom.errors import UsageError
from strongroom.operations.evidence.access_log import take
from strongroom.operations.evidence.audit import REPORT, Audit, KeyAge, audit
from strongroom.operations.evidence.audit_page import csv_of, page_of
from strongroom.operations.evidence.ledger import UNLIKE
from strongroom.operations.facts.period import add_facts
from strongroom.operations.services import Services
from strongroom.operations.signed_report import PAGE, TABLE
from strongroom.state.errors import LedgerChanged
from strongroom.state.records import RunKind
from strongroom.timestamps import rfc3339
from strongroom.wiring.alerts import facts_on_record

DAY = timedelta(days=1)
YEAR = timedelta(days=365)


def report_audit(arguments: Namespace, output: Output) -> None:
    since, until = _span(arguments)
    refuse_files(arguments.output, replace=arguments.force)
    services = open_services()
    take(services.state_dir, services.store)
    found = _gather(services, since=since, until=until)
    if arguments.output:
        files = {PAGE: page_of(found), TABLE: csv_of(found)}
        signer = services.signers("control")
        write_files(REPORT, found, files, signer, arguments.output, replace=arguments.force)
    output.answer(to_builtins(found), _lines(found, arguments.output))
    if found.broken is not None:
        raise LedgerChanged(
            f"Event {found.broken} is not what was appended, or one before it is gone: the report says what "
            "stands there now.",
            hint=UNLIKE,
        )


def _gather(services: Services, *, since: float, until: float) -> Audit:
    now = time.time()
    found = audit(services.store, since=since, until=until, now=now)
    facts = facts_on_record(load_settings(), services, now=now)
    return add_facts(
        found,
        services.store,
        trusted=services.signer_fingerprints,
        keys=facts.keys,
        signers=[_age(one) for one in list_role_keys(datetime.now(UTC)) if one.key.since],
    )


def _age(one: RoleKeyStatus) -> KeyAge:
    return KeyAge(
        name=f"signer of {one.role}",
        use=one.state,
        since=rfc3339(datetime.fromisoformat(one.key.since).timestamp()),
        evidence=f"certificate of {one.key.fingerprint}",
    )


def _span(arguments: Namespace) -> tuple[float, float]:
    end = (arguments.end_date or datetime.now(UTC).date()) + DAY
    start = arguments.start_date or end - YEAR
    if start >= end:
        raise UsageError("The report would end before it begins: look at --start-date and --end-date.")
    return _midnight(start), _midnight(end)


def _midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def _lines(found: Audit, file: Path | None) -> Iterator[str]:
    yield f"From {found.since} until {found.until}: {plural(found.events, 'event')} on record."
    yield from (f"  {line}" for line in fields(_pairs(found)))
    if found.last is not None:
        yield f"The last is event {found.last.id}, SHA-256 {found.last.sha256}."
    if file is not None:
        yield said_of_files(file)
        yield "It may name secrets, where an error did."


def _pairs(found: Audit) -> Iterator[tuple[str, object]]:
    for kind in dict.fromkeys((RunKind.BACKUP.value, *sorted(found.outcomes))):
        states = found.outcomes.get(kind, {})
        said = ", ".join(f"{number:,} {state}" for state, number in sorted(states.items()))
        yield f"{kind} runs", said or "none"
    ended = {state: number for state, number in found.outcomes.get("backup", {}).items() if state != "active"}
    if ended:
        yield "backups whole", f"{ended.get('done', 0) / sum(ended.values()):.1%}"
    for words, beginning in _ABOUT.items():
        number = sum(count for kind, count in found.counted.items() if kind.startswith(beginning))
        yield words, plural(number, "event")


_ABOUT = {
    "access": ("access.opened", "access.failed", "access.restored", "access.shown", "access.unreadable"),
    "keys and signers": ("key.", "signer."),
    "incidents": ("incident.", "backup.quarantined", "backup.released"),
    "holds and deletions": ("hold.", "backup.pruned", "backup.undeleted"),
    "refused": ("message-refused", "submission-refused"),
    "shredding": ("shred.",),
}
