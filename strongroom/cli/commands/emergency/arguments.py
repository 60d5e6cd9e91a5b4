"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from strongroom.cli.shared import options
from strongroom.cli.terminal.command import Command


def _emergency_backup_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("policy", metavar="POLICY", help="the policy whose targets are the offline media")
    parser.add_argument(
        "--status", action="store_true", help="only say whether a backup is due, and which media are missing"
    )
    parser.add_argument("--wait", action="store_true", help="wait until every medium is mounted")
    parser.add_argument(
        "--force", action="store_true", help="do not ask before values are sealed onto the media"
    )


def _recovery_kit_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--output", metavar="FILE", type=Path, required=True, help="the HTML file to write")
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")


def _escrow_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="the file to write, or with --open to read")
    parser.add_argument("--open", action="store_true", help="restore it into an empty state directory")
    parser.add_argument("--force", action="store_true", help="replace the file to write if it exists")
    options.add_recipient_argument(parser)
    options.add_opening_arguments(parser)
    options.add_signer_argument(parser)


COMMANDS = {
    "emergency backup": Command(
        _emergency_backup_arguments,
        "emergency:make_emergency_backup",
        "Nothing is captured before every medium of the policy is mounted. The recovery program, the\n"
        "format, a runbook, the recovery kit and checksums are written next to the backup.",
    ),
    "emergency kit": Command(
        _recovery_kit_arguments,
        "kit:write_recovery_kit",
        "The page says who can open what, where it is, whose signature to trust and what to type.",
    ),
    "emergency escrow": Command(
        _escrow_arguments,
        "escrow:seal_or_open",
        "An escrow rebuilds a lost machine: a copy of the store's database can be read again, and backups\n"
        "made before are still trusted.",
    ),
}
