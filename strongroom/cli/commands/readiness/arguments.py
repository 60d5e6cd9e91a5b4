"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from strongroom.cli.shared import options
from strongroom.cli.terminal.command import Command


def _check_recovery_environment_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--backup-file",
        metavar="FILE",
        type=Path,
        help="check whether this file could be restored here, whatever is configured",
    )
    parser.add_argument(
        "--to",
        metavar="SOURCE",
        help="check whether this configured source could be restored into (default: those with "
        "'destination = true', otherwise those that are backed up)",
    )
    options.add_opening_arguments(parser)
    options.add_signer_argument(parser)


def _readiness_work(arguments: Namespace) -> str:
    """Choose: what is needed to recover from one file needs no configuration and no catalog."""
    file = arguments.backup_file is not None
    return "single_file:check_with_file" if file else "configured:check_configured"


COMMANDS = {
    "check machine": Command(
        _check_recovery_environment_arguments,
        _readiness_work,
        "Tries everything that needs no writing. It seals and opens with every kind of key, reads the\n"
        "newest backups of every target, opens each with the available keys, and asks sources whether they\n"
        "may be written to. If a second target or key would help out, the finding is only a remark. The\n"
        "exit code is that of the first thing that is wrong. Each answer may take 20 seconds. No PIN is\n"
        "asked for.",
    ),
}
