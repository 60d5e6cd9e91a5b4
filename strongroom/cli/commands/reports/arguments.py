"""What the commands of this room take."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from datetime import UTC, date, datetime
from pathlib import Path

from strongroom.cli.parameters import Command
from strongroom.cli.parser import Parser
from strongroom.cli.shared import options
from strongroom.operations.evidence.compliance import Framework


def _backup_audit_report_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--start-date", metavar="DATE", type=_date, help="its first day (UTC), as 2026-01-31")
    parser.add_argument("--end-date", metavar="DATE", type=_date, help="its last day (default: today)")
    _add_output_arguments(parser)


def _add_output_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help="write it there (.json), signed, with a page (.html) and a table (.csv) beside it",
    )
    parser.add_argument("--force", action="store_true", help="replace the files if they exist")


def _date(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    if not 1970 <= day.year < 3000:
        raise ArgumentTypeError("is a day, as 2026-01-31")
    return day


def _moment(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ArgumentTypeError("is a day or a time, as 2026-01-31 or 2026-01-31T18:30Z") from None


def _compliance_check_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--framework",
        metavar="NAME",
        type=Framework,
        choices=tuple(Framework),
        action="append",
        default=[],
        help=f"{', '.join(Framework)}; repeatable (default: all)",
    )
    _add_output_arguments(parser)
    # There are no requirements but those about backups. Command lines that ask for them stay valid.
    parser.add_argument("--backup-requirements", action="store_true", help=SUPPRESS)


def _security_review_arguments(parser: ArgumentParser) -> None:
    _add_output_arguments(parser)
    parser.add_argument(
        "--reviewer",
        metavar="NAME",
        action="append",
        default=[],
        help="who signs it, name and role; repeatable (default: two empty places)",
    )


def _check_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="the signed report (.json)")
    parser.add_argument(
        "--ledger", action="store_true", help="also compare this installation's ledger with the report"
    )
    options.add_signer_argument(parser)


def _ledger_arguments(parser: ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    commands.add_parser(
        "head", help="show the newest event's number and the digest of all up to it"
    ).set_defaults(run="ledger:show_head")
    commands.add_parser("publish", help="put the head, signed, on every target").set_defaults(
        run="ledger:publish_head"
    )
    searching = commands.add_parser("search", help="find who did what, when, and from where")
    searching.set_defaults(run="ledger:search_ledger")
    searching.add_argument("--who", metavar="NAME", default="", help="a part of who did it")
    searching.add_argument(
        "--what", metavar="TEXT", default="", help="a part of the kind of event, or of anything it says"
    )
    searching.add_argument(
        "--from", metavar="PLACE", dest="origin", default="", help="a part of the host or address"
    )
    searching.add_argument("--since", metavar="TIME", type=_moment, help="as 2026-01-31 or 2026-01-31T18:30Z")
    searching.add_argument("--until", metavar="TIME", type=_moment, help="before that time")
    checking = commands.add_parser("check", help="compute the chain again, and compare")
    checking.set_defaults(run="ledger:check_ledger")
    checking.add_argument("--id", metavar="N", type=int, help="the number of the event that was printed")
    checking.add_argument("--sha256", metavar="HEX", nargs="+", help="its digest; spaces do not count")
    checking.add_argument(
        "--targets", action="store_true", help="compare with the signed heads on all targets"
    )
    checking.add_argument(
        "--known",
        metavar="LEDGER",
        action="append",
        default=[],
        help="the id of another record that is kept with the same keys; repeatable, with --targets",
    )


COMMANDS = {
    "reports audit": Command(
        _backup_audit_report_arguments,
        "reports:report_audit",
        "Reports from the chained record of events: runs and their results, backups and their replicas,\n"
        "who opened what, changes of keys and signers, incidents, refusals and shredding. The file is\n"
        "signed JSON; the page and the table beside it say the same. Each figure names what it rests on.\n"
        "'reports check FILE' says later whether all of it is unchanged, and with --ledger the record too.",
    ),
    "check controls": Command(
        _compliance_check_arguments,
        "reports:check_compliance",
        "Each control rests on checks of the configuration, of what 'strongroom check' sees, and of the\n"
        "record of events with its signed heads. A control is met only if all its checks ran and found\n"
        "nothing wrong. Exit code 0: no control is unmet or unknown. Otherwise it is that of the worst\n"
        "finding.",
    ),
    "reports review": Command(
        _security_review_arguments,
        "reports:review_security",
        "Puts the evidence of a year together: how backups are encrypted and who can open them, who has\n"
        "access, whether recovery was rehearsed, and each framework's controls. It is signed by this\n"
        "installation. The page beside it has the questions that no program can answer, and places for\n"
        "names. The calendar asks for it each year.",
    ),
    "reports check": Command(
        _check_arguments,
        "reports:check_report",
        (
            "It knows every signed report: of an audit, of compliance, of a security review, of a drill, of\n"
            "an incident, of a recovery. An auditor needs the files, this program, and the installation's\n"
            "fingerprint from somebody they trust (--signer). Nothing else is asked or opened."
        ),
    ),
    "ledger": Command(
        _ledger_arguments,
        details=(
            "Workers put the signed head on every target, each hour in which something happened. 'ledger\n"
            "publish' does so at once. 'ledger check --targets' says whether anything up to there was\n"
            "changed, added, removed or cut off since. The recovery kit prints the head, too. At a drill,\n"
            "type 'ledger check' with its number and digest. 'ledger search' finds events; what access logs\n"
            "told is among them."
        ),
    ),
}
