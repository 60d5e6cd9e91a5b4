"""report check: whether a report, of whatever kind, is as it was signed, with what lies beside it."""

from __future__ import annotations

import hashlib
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from strongroom.cli.shared import trust
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.container.document import MAX_DOCUMENT
from strongroom.container.errors import FormatError, NotABackup, Tampered, UntrustedSigner
from strongroom.container.statement import Signed
from strongroom.errors import UsageError
from strongroom.operations.drills import page as drill
from strongroom.operations.evidence import audit_page, compliance_report, review_page
from strongroom.operations.evidence.ledger import check
from strongroom.operations.incident import page as incident
from strongroom.operations.recovery import page as recovery
from strongroom.operations.signed_report import BESIDE, LedgerEvent, ReportKind, beside
from strongroom.sheet import Lines

REPORTS: tuple[ReportKind[Any], ...] = (
    audit_page.REPORT,
    compliance_report.REPORT,
    review_page.REPORT,
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


def check_report(arguments: Namespace, output: Output) -> Answer:
    file: Path = arguments.file
    with file.open("rb") as opened_file:
        content = opened_file.read(MAX_DOCUMENT + 1)
    kind = _kind_of(content, file)
    opened = _open(kind, content, arguments)
    checked = [name.name for name in _check_beside(file, opened)]
    event = _compare(kind.ledger(opened.statement)) if arguments.ledger else None
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


def _open(kind: ReportKind[Any], content: bytes, arguments: Namespace) -> Signed[Any]:
    try:
        return kind.open(content, trusted=trust.trusted_signers(place.find(), arguments.signer))
    except UntrustedSigner as error:
        raise trust.explained(error, arguments, what="report") from None
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
