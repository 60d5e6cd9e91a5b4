"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from strongroom.cli.parser import Parser
from strongroom.cli.shared import options
from strongroom.cli.terminal import numbers
from strongroom.cli.terminal.command import Command
from strongroom.operations.recovery_objective import DrillScope


def _local_arguments(parser: ArgumentParser) -> None:
    options.add_restore_source_arguments(parser)
    parser.add_argument("--secret-name", metavar="NAME", help="rehearse the recovery of one secret")
    options.add_selection_arguments(parser)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="write nothing: open everything in memory, and say what a restore would change",
    )
    parser.add_argument(
        "--to",
        metavar="SOURCE",
        default=options.LOCAL,
        help="what a recovery would restore into: 'local' (the default) or a configured source. Nothing is "
        "written there. --dry-run compares with it, and its rate limit counts",
    )
    parser.add_argument(
        "--scratch",
        metavar="DIR",
        type=Path,
        help="where to put the scratch store (default: in the state directory)",
    )
    parser.add_argument(
        "--objective",
        metavar="TIME",
        type=numbers.duration,
        help="how long the recovery may take, such as 90s, 15m or 2h (default: 15m for one secret, 30m for a "
        "category, 2h for everything)",
    )
    parser.add_argument(
        "--report", metavar="FILE", type=Path, help="write the result into this file, as JSON"
    )
    parser.add_argument("--force", action="store_true", help="replace the report if it exists")


def _drill_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    for drill, what in _DRILLS.items():
        added = actions.add_parser(drill.value, help=what)
        added.set_defaults(run="drill:run_drill")
        _add_drilling(added, drill)
    listing = actions.add_parser("list", help="list the reports that lie on the targets")
    listing.set_defaults(run="drill:list_drills")
    show = actions.add_parser("show", help="show a report, and check its signature and its page")
    show.set_defaults(run="drill:show_drill")
    show.add_argument("drill", metavar="RUN", help="the run of the drill")
    show.add_argument("--output", metavar="FILE", type=Path, help="write it to a file: .html or .json")
    show.add_argument("--force", action="store_true", help="replace the file if it exists")
    for reading in (listing, show):
        options.add_signer_argument(reading)
        reading.add_argument(
            "--from-target", metavar="NAME", action="append", help="only this target; repeatable"
        )


_DRILLS = {
    DrillScope.SINGLE: "rehearse the recovery of one secret",
    DrillScope.CATEGORY: "rehearse the recovery of every secret with a tag",
    DrillScope.FULL: "rehearse the recovery of everything",
    DrillScope.FAILOVER: "rehearse the recovery of everything without one of the regions",
    DrillScope.EMERGENCY: "rehearse the recovery of everything from the emergency medium",
}
_TARGET = {
    DrillScope.FAILOVER: "cut off the region of this target (default: drill.cut_off, or the policy's first)",
}


def _add_drilling(parser: ArgumentParser, drill: DrillScope) -> None:
    parser.add_argument("--policy", metavar="NAME", help="the policy to recover (default: drill.policy)")
    if drill is DrillScope.SINGLE:
        parser.add_argument("--secret", metavar="NAME", help="which secret (default: a random one)")
    if drill is DrillScope.CATEGORY:
        parser.add_argument(
            "--tag",
            metavar="KEY=VALUE",
            action="append",
            default=[],
            help="the tag; repeatable, all have to match (default: a random one)",
        )
    parser.add_argument("--target", metavar="NAME", help=_TARGET.get(drill, "read from this target alone"))
    parser.add_argument(
        "--into",
        metavar="PLACE",
        help="'local', or a configured Vault server on which a mount is made (default: drill.into)",
    )
    parser.add_argument(
        "--random-within",
        metavar="DAYS",
        type=numbers.limit,
        help="take a random backup of so many days (default: the newest backup)",
    )
    parser.add_argument(
        "--objective",
        metavar="TIME",
        type=numbers.duration,
        help="how long the recovery may take, such as 15m or 2h (default: drill.objective_seconds)",
    )
    options.add_cluster_arguments(parser)


COMMANDS = {
    "drill": Command(
        _drill_arguments,
        details=(
            "Picks a backup, proves that this host could recover, restores into a place of its own,\n"
            "compares every value with what was backed up, removes the place again and compares with the\n"
            "source. The signed report and its page (HTML) are put on the policy's targets. A drill that\n"
            "could not be carried out has failed. 'reports check FILE' checks a report without a network."
        ),
    ),
    "drill local": Command(
        _local_arguments,
        "rehearsal:rehearse_recovery",
        "Restores into a scratch store that is sealed under a key of its own. Compares every version of\n"
        "every secret with the backup, which is read once more. Then removes the store. With --dry-run\n"
        "nothing is written. The recovery has to take no longer than the objective of its scope, or\n"
        "--objective.",
    ),
}
