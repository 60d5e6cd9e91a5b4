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
        help="ask whether this file could be restored here, whatever is configured",
    )
    parser.add_argument(
        "--to",
        metavar="SOURCE",
        help="ask whether this configured source could be restored into (default: those with "
        "'destination = true', or else those that are backed up)",
    )
    options.add_opening_arguments(parser)
    options.add_signer_argument(parser)


def _readiness_work(arguments: Namespace) -> str:
    """Choose: what is needed to recover from one file needs no configuration and no catalog."""
    file = arguments.backup_file is not None
    return "single_file:check_with_file" if file else "configured:check_configured"


COMMANDS = {
    "check-recovery-environment": Command(
        _check_recovery_environment_arguments,
        _readiness_work,
        "Tries what can be tried without writing: seals and opens with every kind of key, asks every target\n"
        "for its newest backups, opens each with the keys at hand, and asks sources whether they may be\n"
        "written to. What a second target or key makes good is a remark. The exit code is that of the first\n"
        "thing that is wrong. Nothing is waited for longer than 20 seconds, and nobody is asked for a PIN.",
    ),
}
