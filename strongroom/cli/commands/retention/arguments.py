"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser

from strongroom.cli.parser import Parser
from strongroom.cli.shared.options import add_reason_argument, ending
from strongroom.cli.terminal.command import Command


def _prune_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--policy", metavar="NAME", help="only the backups of this policy")
    parser.add_argument(
        "--dry-run", action="store_true", help="show which rule keeps or drops each, and stop"
    )


def _undelete_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("backup", metavar="BACKUP", help="the backup that is marked")
    add_reason_argument(parser)


def _hold_arguments(parser: ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    adding = commands.add_parser("add", help="let nothing remove a backup, or those of a tag or policy")
    adding.set_defaults(run="hold:add_hold")
    _add_subject(adding)
    add_reason_argument(adding)
    adding.add_argument(
        "--until",
        metavar="TIME",
        type=ending,
        help="when it ends by itself: 2027-11-26, to the end of that day in UTC, 2027-11-26T08:00Z, or a "
        "length from now such as 90d (default: until it is lifted)",
    )
    releasing = commands.add_parser("release", help="lift a hold")
    releasing.set_defaults(run="hold:release_hold")
    _add_subject(releasing)
    add_reason_argument(releasing)
    listing = commands.add_parser("list", help="show the holds that stand, and why")
    listing.set_defaults(run="hold:list_holds")


def _add_subject(parser: ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--backup", metavar="ID", help="this backup, and what a rotation makes of it")
    what.add_argument("--tag", metavar="K=V", help="every backup that may hold a secret with this tag")
    what.add_argument("--policy", metavar="NAME", help="every backup of this policy")


COMMANDS = {
    "backups prune": Command(
        _prune_arguments,
        "prune:prune_backups",
        "What no rule keeps is marked on every target, and deleted prune.grace_days later: until\n"
        "then 'strongroom backups undelete' keeps it. 'strongroom schedule run prune' has the prune workers "
        "do it.\n"
        "A policy's keep, minimum_retention_days and minimum_retention_count say what stays. The newest\n"
        "verified backup of a policy always stays, and whatever no newer verified backup covers.",
    ),
    "backups undelete": Command(
        _undelete_arguments,
        "hold:undelete_backup",
        "It takes the mark back on every target, and holds the backup: else it would be marked again.",
    ),
    "backups hold": Command(
        _hold_arguments,
        details=(
            "A hold is a signed mark on each target: every host respects it, and it outlives the database.\n"
            "Nothing that is held is pruned, shredded, or removed after a rotation."
        ),
    ),
}
