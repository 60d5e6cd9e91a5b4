"""report check: whether a report, of whatever kind, is as it was signed, with what lies beside it."""

from __future__ import annotations

import hashlib
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import to_builtins

from strongroom.cli.shared import trust
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal import place
from strongroom.cli.terminal.output import Output
from strongroom.container.document import MAX_DOCUMENT
from strongroom.container.errors import FormatError, NotABackup, Tampered, UntrustedSigner
from strongroom.errors import UsageError
from strongroom.operations.drills import report as drill
from strongroom.operations.drills import words as drill_words
from strongroom.operations.evidence import audit, compliance_report, review
from strongroom.operations.evidence.ledger import Head, check
from strongroom.operations.incident import report as incident
from strongroom.operations.incident import words as incident_words
from strongroom.operations.recovery import report as recovery
from strongroom.operations.signed_report import BESIDE, Opened, ReportKind, beside


class Known(NamedTuple):
    """A kind of report, and what is said of one."""

    kind: ReportKind[Any]
    said: Callable[[Any], Iterable[str]]


KNOWN = (
    Known(audit.REPORT, audit.said),
    Known(compliance_report.REPORT, compliance_report.said),
    Known(review.REPORT, review.said),
    Known(drill.REPORT, drill_words.said),
    Known(incident.REPORT, incident_words.said),
    Known(recovery.REPORT, recovery.said),
)


def check_report(arguments: Namespace, output: Output) -> None:
    file: Path = arguments.file
    content = _read(file)
    known = _known(content, file)
    opened = _open(known.kind, content, arguments)
    checked = [name.name for name in _check_beside(file, opened)]
    ledger = _compare(opened.report) if arguments.ledger else []
    document = {
        "kind": known.kind.kind.name,
        "signed_by": {"installation": opened.certificate.fingerprint, "role": opened.certificate.role},
        "checked": checked,
        "ledger": bool(ledger),
        "report": to_builtins(opened.report),
    }
    output.answer(document, _lines(known, opened, checked, ledger))


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(MAX_DOCUMENT + 1)


def _known(content: bytes, file: Path) -> Known:
    """Find the kind by the first line; what is cut off or altered there is told by the kind it is nearest."""
    for known in KNOWN:
        if content.startswith(known.kind.kind.family):
            return known
    raise NotABackup(
        f"'{file}' does not begin as a report of Strongroom does.",
        hint="Name the .json file. The page and the table beside it are checked with it.",
    )


def _open(kind: ReportKind[Any], content: bytes, arguments: Namespace) -> Opened[Any]:
    try:
        return kind.open(content, trusted=trust.trusted_signers(place.find(), arguments.signer))
    except UntrustedSigner as error:
        raise trust.explained(error, arguments, what="report") from None
    except FormatError as error:
        raise type(error)(
            error.message, hint="Do not trust this copy. Ask for the one that was written."
        ) from None


def _check_beside(file: Path, opened: Opened[Any]) -> Iterator[Path]:
    """Yield what lies beside the report and is what it vouches for."""
    for ending in BESIDE:
        other = beside(file, ending)
        if not hasattr(opened.report, BESIDE[ending]) or not other.is_file():
            continue
        if _digest(other) != getattr(opened.report, BESIDE[ending]):
            raise Tampered(
                f"'{other}' is not what was written with this report.",
                hint="The report itself is signed and whole: read that. Do not trust this copy of the other.",
            )
        yield other


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _compare(report: Any) -> list[str]:
    """Compare the ledger of this installation with the event that a report names as its last."""
    match report:
        case audit.Audit(last=Head(id=number, sha256=sha256)):
            pass
        case compliance_report.ComplianceReport(last=Head(id=number, sha256=sha256)):
            pass
        case review.SecurityReview(event=number, event_sha256=sha256) if number:
            pass
        case _:
            raise UsageError("The report names no event of a ledger.", hint="Repeat without --ledger.")
    check(open_services().store, number=number, sha256=sha256)
    return [f"Up to its last event, {number}, the ledger is what it was."]


def _lines(known: Known, opened: Opened[Any], checked: list[str], ledger: list[str]) -> Iterator[str]:
    certificate = opened.certificate
    yield from known.said(opened.report)
    also = f", and vouches for {' and '.join(checked)}." if checked else ". Nothing is beside it."
    yield f"The report is signed{also}"
    yield f"Signed by installation {certificate.fingerprint}, role {certificate.role}."
    yield from ledger
