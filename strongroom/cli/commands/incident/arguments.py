"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from strongroom.cli.parser import Parser
from strongroom.cli.shared import options
from strongroom.cli.terminal.command import Command


def _incident_arguments(parser: ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    opening = commands.add_parser(
        "open", help="quarantine and re-encrypt what a key opens, or the named backups"
    )
    opening.set_defaults(run="incident:respond_to_leak")
    what = opening.add_mutually_exclusive_group(required=True)
    what.add_argument("--key", metavar="KEY", help="a configured key, or what 'keys --json' calls its key")
    opening.add_argument(
        "--key-version", metavar="N", type=int, help="with --key: only what opens with this version of it"
    )
    what.add_argument("--backup", metavar="ID", action="append", default=[], help="a backup; repeatable")
    opening.add_argument("--reason", metavar="TEXT", required=True, help="what is known; it goes on record")
    opening.add_argument("--output", metavar="FILE", type=Path, required=True, help="the incident record")
    opening.add_argument(
        "--secrets", metavar="FILE", type=Path, help="also write which secrets to change, by name, mode 0600"
    )
    opening.add_argument("--quarantine-only", action="store_true", help="re-encrypt nothing yet")
    opening.add_argument("--force", action="store_true", help="do not ask first")
    options.add_further_opening_arguments(opening)
    commands.add_parser("list", help="show what is in quarantine").set_defaults(
        run="incident:list_quarantined"
    )
    release = commands.add_parser("release", help="allow a backup to be restored from again")
    release.set_defaults(run="incident:release_backups")
    release.add_argument("backup", metavar="BACKUP", nargs="+")
    options.add_reason_argument(release)


COMMANDS = {
    "incident": Command(
        _incident_arguments,
        details=(
            "Take the key out of the policies first: a policy that still seals to it is refused. A backup\n"
            "in quarantine has a signed mark beside it on each target. No command on any host takes it by\n"
            "default: to use it, give --use-quarantined."
        ),
    ),
}
