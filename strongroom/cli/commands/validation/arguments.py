"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from strongroom.cli.shared import options
from strongroom.cli.terminal.command import Command
from strongroom.errors import UsageError


def _validate_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--secrets",
        metavar="NAME",
        nargs="+",
        action="extend",
        default=[],
        help="these secrets, each of which has to exist",
    )
    parser.add_argument(
        "--production",
        action="store_true",
        help="check every source that a policy names, and compare with the backup that a restore would use",
    )
    options.add_selection_arguments(parser)
    options.add_source_argument(parser)
    options.add_restore_source_arguments(parser, title="a backup to compare values with", required=False)


def _validate_work(arguments: Namespace) -> str:
    """Choose, once the words go together: --production needs the configuration and the catalog."""
    filtered = bool(arguments.include or arguments.exclude or arguments.filter_tag)
    if arguments.secrets and filtered:
        raise UsageError("--secrets and a filter contradict each other.", hint="Give one of the two.")
    elsewhere = (
        arguments.backup_file is not None
        or arguments.from_target is not None
        or arguments.source != options.LOCAL
    )
    if arguments.production and (arguments.secrets or filtered or elsewhere):
        raise UsageError(
            "--production checks all sources that policies name, so it takes no secrets, filter, source or "
            "backup.",
            hint="Leave it out to check some of them.",
        )
    return "production:validate_production" if arguments.production else "validate:validate_source"


COMMANDS = {
    "check secrets": Command(
        _validate_arguments,
        _validate_work,
        "Reads the live secrets and writes nothing. Checks that each exists, can be read, is not empty,\n"
        "not expired and no placeholder, and has the form of its type (PEM, JSON, URL). No value is ever\n"
        "shown. Without names or a filter it checks the whole local store. Exit code 12: only missing\n"
        "secrets. Exit code 11: anything else is wrong. Remarks do not change exit code 0.",
    ),
}
