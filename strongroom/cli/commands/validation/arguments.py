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
        help="these secrets; each has to be there",
    )
    parser.add_argument(
        "--production",
        action="store_true",
        help="every source that a policy names, against the backup of it that a restore would take",
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
            "--production looks at all sources that policies name, so it takes no secrets, filter, source or "
            "backup.",
            hint="Leave it out to look at some of them.",
        )
    return "production:validate_production" if arguments.production else "validate:validate_source"


COMMANDS = {
    "validate": Command(
        _validate_arguments,
        _validate_work,
        "Looks at secrets as they are now, and writes nothing: whether each is there, can be read, is not\n"
        "empty, not expired, no placeholder, and what its type says, if that is unmistakable (PEM, JSON,\n"
        "URL). No value is ever shown. Without names or a filter it looks at the whole local store. What is\n"
        "wrong is exit code 11, or 12 where secrets are missing and that is all. Remarks alone are 0.",
    ),
}
