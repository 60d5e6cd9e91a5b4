"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser

from strongroom.cli.shared import options
from strongroom.cli.terminal.command import Command


def _find_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "pattern", metavar="NAME", nargs="?", default="*", help="a secret's name, or a pattern like 'prod/*'"
    )
    parser.add_argument(
        "--filter-tag",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="only secrets with this tag; repeatable, all have to match",
    )
    options.add_version_argument(parser, help="only where this version of it is")
    _add_backups_arguments(parser)


def _history_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the secret")
    _add_backups_arguments(parser)


def _add_backups_arguments(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("in which backups")
    group.add_argument("--policy", metavar="NAME", help="only those of this policy")
    group.add_argument(
        "--at", metavar="DATE", type=options.moment, help="only those made by then, such as 2026-07-20"
    )
    group.add_argument(
        "--no-index", action="store_true", help="believe no index of names: read every backup itself"
    )
    _add_reading_arguments(parser)


def _diff_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "backups",
        metavar="BACKUP",
        nargs="*",
        help="the earlier backup, and a later one or 'live', its source now (default: the newest, and live)",
    )
    parser.add_argument(
        "--policy", metavar="NAME", help="where no backup is named: the newest of this policy"
    )
    parser.add_argument(
        "--at",
        metavar="DATE",
        type=options.moment,
        help="where no backup is named: the newest made by then, such as 2026-07-20",
    )
    parser.add_argument(
        "--source", metavar="SPEC", help="what 'live' means (default: the backup's own source)"
    )
    options.add_quarantine_argument(parser)
    _add_reading_arguments(parser)


def _add_reading_arguments(parser: ArgumentParser) -> None:
    options.add_target_argument(parser, default=" (default: all configured)")
    options.add_opening_arguments(parser)
    options.add_trust_arguments(parser)


COMMANDS = {
    "backups find": Command(
        _find_arguments,
        "find:find_secrets",
        "Names lie sealed, so looking takes a key that opens the index of names beside the backups, or else\n"
        "the backups; no value is decrypted. Without an index, one name costs a few reads in each backup,\n"
        "and a pattern or a tag all the names of each.",
    ),
    "backups history": Command(
        _history_arguments,
        "history:show_history",
        "Names lie sealed, so looking takes a key that opens the backups. No value is shown.",
    ),
    "backups diff": Command(
        _diff_arguments,
        "diff:show_differences",
        "Two backups are compared by the keyed digests in them, and no value is decrypted. With 'live', and\n"
        "where the digests are of two keys, values are compared within this process. None is ever shown.",
    ),
}
