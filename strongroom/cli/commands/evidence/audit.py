"""backup-audit-report: what is on record of a span of time, signed; and whether a report still holds."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from msgspec import to_builtins

from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal.output import Output, fields, plural
from strongroom.container.document import MAX_DOCUMENT
from strongroom.container.errors import FormatError
from strongroom.errors import UsageError
from strongroom.operations.evidence.access_log import take
from strongroom.operations.evidence.audit import Audit, audit, parse, sign
from strongroom.operations.evidence.ledger import UNLIKE, check
from strongroom.state.errors import LedgerChanged
from strongroom.system.atomic_file import refuse_existing, write_whole

DAY = timedelta(days=1)
YEAR = timedelta(days=365)
KINDS = ("backup", "verify", "repair", "restore", "drill", "drift", "rotate", "prune")


def report_audit(arguments: Namespace, output: Output) -> None:
    if arguments.check is None:
        _report(arguments, output)
    elif arguments.start_date or arguments.end_date or arguments.output or arguments.force:
        raise UsageError("--check takes a report as it is, and no other option.")
    else:
        _check(arguments.check, output)


def _report(arguments: Namespace, output: Output) -> None:
    since, until = _span(arguments)
    if arguments.output:
        _refuse_other_format(arguments.output)
        refuse_existing(arguments.output, replace=arguments.force)
    services = open_services()
    take(services.state_dir, services.store)
    found = audit(services.store, since=since, until=until, now=time.time())
    if arguments.output:
        content = sign(found, services.signers("control"))
        write_whole(arguments.output, content, replace=arguments.force)
    output.answer(to_builtins(found), _lines(found, arguments.output))
    if found.broken is not None:
        raise LedgerChanged(
            f"Event {found.broken} is not what was appended, or one before it is gone: the report says what "
            "stands there now.",
            hint=UNLIKE,
        )


def _refuse_other_format(file: Path) -> None:
    if file.suffix.lower() not in ("", ".json"):
        raise UsageError(
            f"The report is JSON, signed as it stands; it cannot be written as '{file.suffix}'.",
            hint="Name a file that ends in .json. Nothing was written.",
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
        yield f"The whole report is in {file}, signed. It may name secrets, where an error did."


def _pairs(found: Audit) -> Iterator[tuple[str, object]]:
    for kind in KINDS:
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


def _check(file: Path, output: Output) -> None:
    services = open_services()
    with file.open("rb") as opened:
        content = opened.read(MAX_DOCUMENT + 1)
    try:
        last = parse(content, trusted=services.signer_fingerprints).last
    except FormatError as error:
        raise type(error)(
            error.message, hint="Do not trust this copy. Ask for the one that was written."
        ) from None
    if last is None:
        output.answer({"signed": True, "last": None}, ["It is signed, and says that nothing happened."])
        return
    check(services.store, number=last.id, sha256=last.sha256)
    words = f"It is signed, and up to its last event, {last.id}, of {last.at}, the record is what it was."
    output.answer({"signed": True, "last": to_builtins(last)}, [words])
