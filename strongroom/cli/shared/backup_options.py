"""The options by which a command is told from which targets and which backup it reads."""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace
from argparse import _ActionsContainer as Arguments
from datetime import UTC, datetime, timedelta


def add_where_argument(parser: Arguments, *, default: str = "") -> None:
    """Let a command name the targets that it reads from."""
    words = "a target: its directory, or its configured name; repeatable"
    parser.add_argument("--from-target", metavar="TARGET", action="append", help=f"{words}{default}")


def add_arguments(parser: Arguments, *, partial: bool = False) -> None:
    """Let a command say which backup it means, where the newest that covers what is asked will not do."""
    parser.add_argument(
        "--backup", metavar="ID", help="this backup (default: the newest that covers what is asked for)"
    )
    parser.add_argument("--policy", metavar="NAME", help="the newest of this policy")
    parser.add_argument(
        "--at", metavar="DATE", type=moment, help="the newest that was made by then, such as 2026-07-20"
    )
    if partial:
        parser.add_argument(
            "--partial",
            action="store_true",
            help="take a backup also if it was made of less than what is asked for",
        )
    parser.add_argument(
        "--use-quarantined",
        action="store_true",
        help="take a backup also if it is in quarantine; that goes on record",
    )


def moment(text: str) -> float:
    """Parse a date, which means its end, or a time; without a zone they are UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(
            f"'{text}' is no date or time, such as 2026-07-20 or 2026-07-20T18:00"
        ) from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    if len(text) <= len("2026-07-20"):
        found += timedelta(days=1) - timedelta(seconds=1)
    return found.timestamp()


def where(arguments: Namespace) -> str:
    """Say where a command reads from, for records and messages."""
    if arguments.backup_file is not None:
        return str(arguments.backup_file)
    return ", ".join(arguments.from_target) if arguments.from_target else "the configured targets"
