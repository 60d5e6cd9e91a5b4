"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from strongroom.cli.shared import options
from strongroom.cli.terminal import numbers
from strongroom.cli.terminal.command import Command


def _test_recovery_arguments(parser: ArgumentParser) -> None:
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


COMMANDS = {
    "test-recovery": Command(
        _test_recovery_arguments,
        "rehearsal:rehearse_recovery",
        "Restores into a scratch store that is sealed under a key of its own. Compares every version of\n"
        "every secret with the backup, which is read once more. Then removes the store. With --dry-run\n"
        "nothing is written. The recovery has to take no longer than the objective of its scope, or\n"
        "--objective.",
    ),
}
