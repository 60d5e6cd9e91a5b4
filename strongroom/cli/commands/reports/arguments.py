"""What the commands of this room take."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

from msgspec import Struct

from strongroom.cli.parameters import Command, Nothing, UnreadableWord, Word, argument, option
from strongroom.cli.shared import options
from strongroom.operations.evidence.compliance import Framework


def _date(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    if not 1970 <= day.year < 3000:
        raise UnreadableWord("is a day, as 2026-01-31")
    return day


def _moment(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise UnreadableWord("is a day or a time, as 2026-01-31 or 2026-01-31T18:30Z") from None


class ReportFile(Struct, frozen=True, kw_only=True):
    """Where a report goes."""

    output: Annotated[
        Path | None,
        option(
            "write it there (.json), signed, with a page (.html) and a table (.csv) beside it",
            metavar="FILE",
        ),
    ] = None
    force: Annotated[bool, option("replace the files if they exist")] = False


class ReportAudit(Struct, frozen=True, kw_only=True):
    """Of which span a report is made."""

    start_date: Annotated[
        date | None, option("its first day (UTC), as 2026-01-31", metavar="DATE", read=_date)
    ] = None
    end_date: Annotated[date | None, option("its last day (default: today)", metavar="DATE", read=_date)] = (
        None
    )
    to: ReportFile = ReportFile()


class CheckControls(Struct, frozen=True, kw_only=True):
    """By which frameworks the controls are judged."""

    framework: Annotated[
        tuple[Framework, ...],
        option(f"{', '.join(Framework)}; repeatable (default: all)", metavar="NAME"),
    ] = ()
    to: ReportFile = ReportFile()
    # There are no requirements but those about backups. Command lines that ask for them stay valid.
    backup_requirements: Annotated[bool, option(hidden=True)] = False


class ReviewSecurity(Struct, frozen=True, kw_only=True):
    """Who signs a review, and where it goes."""

    to: ReportFile = ReportFile()
    reviewer: Annotated[
        tuple[str, ...],
        option("who signs it, name and role; repeatable (default: two empty places)", metavar="NAME"),
    ] = ()


class CheckReport(Struct, frozen=True, kw_only=True):
    """Which report is checked, and against what."""

    file: Annotated[Path, argument("the signed report (.json)", metavar="FILE")]
    ledger: Annotated[bool, option("also compare this installation's ledger with the report")] = False
    trust: options.TrustOptions = options.TrustOptions()


class SearchLedger(Struct, frozen=True, kw_only=True):
    """Which events are searched for."""

    who: Annotated[str, option("a part of who did it", metavar="NAME")] = ""
    what: Annotated[str, option("a part of the kind of event, or of anything it says", metavar="TEXT")] = ""
    origin: Annotated[str, option("a part of the host or address", name="--from", metavar="PLACE")] = ""
    since: Annotated[
        float | None, option("as 2026-01-31 or 2026-01-31T18:30Z", metavar="TIME", read=_moment)
    ] = None
    until: Annotated[float | None, option("before that time", metavar="TIME", read=_moment)] = None


class CheckLedger(Struct, frozen=True, kw_only=True):
    """With what the ledger is compared."""

    id: Annotated[int | None, option("the number of the event that was printed", metavar="N")] = None
    sha256: Annotated[
        tuple[str, ...], option("its digest; spaces do not count", metavar="HEX", many=True)
    ] = ()
    targets: Annotated[bool, option("compare with the signed heads on all targets")] = False
    known: Annotated[
        tuple[str, ...],
        option(
            "the id of another record that is kept with the same keys; repeatable, with --targets",
            metavar="LEDGER",
        ),
    ] = ()


COMMANDS = {
    "reports audit": Command(
        ReportAudit,
        "reports:report_audit",
        "Reports from the chained record of events: runs and their results, backups and their replicas,\n"
        "who opened what, changes of keys and signers, incidents, refusals and shredding. The file is\n"
        "signed JSON; the page and the table beside it say the same. Each figure names what it rests on.\n"
        "'reports check FILE' says later whether all of it is unchanged, and with --ledger the record too.",
    ),
    "check controls": Command(
        CheckControls,
        "reports:check_compliance",
        "Each control rests on checks of the configuration, of what 'strongroom check' sees, and of the\n"
        "record of events with its signed heads. A control is met only if all its checks ran and found\n"
        "nothing wrong. Exit code 0: no control is unmet or unknown. Otherwise it is that of the worst\n"
        "finding.",
    ),
    "reports review": Command(
        ReviewSecurity,
        "reports:review_security",
        "Puts the evidence of a year together: how backups are encrypted and who can open them, who has\n"
        "access, whether recovery was rehearsed, and each framework's controls. It is signed by this\n"
        "installation. The page beside it has the questions that no program can answer, and places for\n"
        "names. The calendar asks for it each year.",
    ),
    "reports check": Command(
        CheckReport,
        "reports:check_report",
        (
            "It knows every signed report: of an audit, of compliance, of a security review, of a drill, of\n"
            "an incident, of a recovery. An auditor needs the files, this program, and the installation's\n"
            "fingerprint from somebody they trust (--signer). Nothing else is asked or opened."
        ),
    ),
    "ledger": Command(
        Nothing,
        words={
            "head": Word(
                "show the newest event's number and the digest of all up to it", Nothing, "ledger:show_head"
            ),
            "publish": Word("put the head, signed, on every target", Nothing, "ledger:publish_head"),
            "search": Word("find who did what, when, and from where", SearchLedger, "ledger:search_ledger"),
            "check": Word("compute the chain again, and compare", CheckLedger, "ledger:check_ledger"),
        },
        details=(
            "Workers put the signed head on every target, each hour in which something happened. 'ledger\n"
            "publish' does so at once. 'ledger check --targets' says whether anything up to there was\n"
            "changed, added, removed or cut off since. The recovery kit prints the head, too. At a drill,\n"
            "type 'ledger check' with its number and digest. 'ledger search' finds events; what access logs\n"
            "told is among them."
        ),
    ),
}
