"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from strongroom.cli import parameters
from strongroom.cli.parameters import Command
from strongroom.cli.parser import Parser
from strongroom.cli.shared import options

_STEPS = ("isolate", "readers", "reseal", "rotate", "report")


def _incident_arguments(parser: ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    _open_arguments(
        commands.add_parser(
            "open", help="quarantine and re-encrypt what others may read, and find who read it"
        )
    )
    _add(commands, "status", "steps:show_status", "show how the open incidents stand, or one", output=False)
    commands.add_parser("list", help="show what is in quarantine, and every incident").set_defaults(
        run="incident:list_quarantined"
    )
    _add(commands, "isolate", "steps:isolate_backups", "quarantine and hold what is not yet")
    reading = _add(
        commands, "readers", "steps:find_readers", "find who opened what is affected, and since when"
    )
    reading.add_argument(
        "--key",
        metavar="KEY",
        action="append",
        default=[],
        help="ask about what this key opens, and open no incident; repeatable",
    )
    resealing = _add(commands, "reseal", "steps:reseal_backups", "seal again what the suspected key opens")
    options.add_further_opening_arguments(resealing)
    rotating = _add(commands, "rotate", "steps:rotate_secrets", "change every secret that others may know")
    rotating.add_argument(
        "--dry-run",
        action="store_true",
        help="show which secrets would get a new value, and by which rotator, and stop",
    )
    rotating.add_argument(
        "--force", action="store_true", help="do not ask first, and replace the file of --secrets"
    )
    _add_secrets_argument(rotating)
    options.add_further_opening_arguments(rotating)
    waiving = _add(commands, "waive", "steps:waive_step", "leave a step as it is, for a reason")
    waiving.add_argument("step", metavar="STEP", choices=_STEPS, help=", ".join(_STEPS))
    options.add_reason_argument(waiving)
    _report_arguments(_add(commands, "report", "steps:make_report", "write the signed report, and its page"))
    closing = _add(commands, "close", "steps:close_incident", "close it, once every step is done or waived")
    closing.add_argument("--reason", metavar="TEXT", default="", help="the outcome; it goes on record")
    _add_output_arguments(closing)
    options.add_further_opening_arguments(closing)
    release = commands.add_parser("release", help="allow a backup to be restored from again")
    release.set_defaults(run="incident:release_backups")
    release.add_argument("backup", metavar="BACKUP", nargs="+", help="its id")
    options.add_reason_argument(release)


def _add(commands: Any, name: str, run: str, words: str, *, output: bool = True) -> ArgumentParser:
    parser: ArgumentParser = commands.add_parser(name, help=words)
    parser.set_defaults(run=run)
    parser.add_argument(
        "incident",
        metavar="INCIDENT",
        nargs=None if name == "waive" else "?",
        default="",
        help="its id; may be left out while one alone is open",
    )
    return parser


def _open_arguments(opening: ArgumentParser) -> None:
    opening.set_defaults(run="incident:respond_to_leak")
    what = opening.add_argument_group("what is suspected to be in wrong hands")
    what.add_argument(
        "--key",
        metavar="KEY",
        action="append",
        default=[],
        help="a configured key, or what 'keys --json' calls its key; repeatable",
    )
    what.add_argument(
        "--key-version", metavar="N", type=int, help="with --key: only what opens with this version of it"
    )
    what.add_argument("--backup", metavar="ID", action="append", default=[], help="a backup; repeatable")
    what.add_argument(
        "--secret",
        metavar="NAME",
        action="append",
        default=[],
        help="a secret whose value is known; repeatable",
    )
    what.add_argument(
        "--secret-list", metavar="FILE", type=Path, help="a file with such names, one on each line"
    )
    what.add_argument(
        "--host",
        metavar="HOST",
        help="a host: what was captured on it; with --key for each key that was there",
    )
    what.add_argument("--target", metavar="NAME", help="a target: others could read and change what is on it")
    opening.add_argument("--reason", metavar="TEXT", required=True, help="what is known; it goes on record")
    opening.add_argument(
        "--since",
        metavar="TIME",
        type=parameters.beginning,
        help="from when on to look for readers (default: ever)",
    )
    opening.add_argument(
        "--due",
        metavar="TIME",
        type=parameters.duration,
        default="72h",
        help="when it should be closed, such as 72h; later is an alarm",
    )
    _add_output_arguments(opening)
    _add_secrets_argument(opening)
    opening.add_argument("--quarantine-only", action="store_true", help="re-encrypt nothing yet")
    opening.add_argument(
        "--force", action="store_true", help="do not ask first, and replace the file of --secrets"
    )
    options.add_further_opening_arguments(opening)


def _add_secrets_argument(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--secrets", metavar="FILE", type=Path, help="also write which secrets to change, by name, mode 0600"
    )


def _add_output_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="the signed report (JSON); the page is written beside it"
    )


def _report_arguments(parser: ArgumentParser) -> None:
    _add_output_arguments(parser)
    parser.add_argument("--replace", action="store_true", help="with --output: replace files that are there")


COMMANDS = {
    "incident": Command(
        _incident_arguments,
        details=(
            "'open' begins an incident and does its first steps. 'status' says what comes next. Each step\n"
            "may be repeated, also on another host: the incident lies signed on each target.\n"
            "Take a leaked key out of the policies first: a policy that still seals to it is refused.\n"
            "A backup in quarantine has a signed mark beside it on each target. No command on any host\n"
            "takes it by default: to use it, give --use-quarantined."
        ),
    ),
}
