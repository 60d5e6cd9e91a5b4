"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser

from strongroom.cli.shared import options
from strongroom.cli.terminal.command import Command


def _rotate_secret_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="*", help="a secret's full name at its source")
    parser.add_argument(
        "--source", metavar="NAME", help="the configured source that has them (default: the only one)"
    )
    options.add_selection_arguments(parser)
    parser.add_argument("--reason", metavar="TEXT", default="", help="why; it goes on record")
    parser.add_argument(
        "--incident",
        metavar="ID",
        default="",
        help="on record with this incident, once for it; without a name: all secrets that it exposed",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--dry-run",
        action="store_true",
        help="show which rotator each secret has and what it will do, and stop",
    )
    how.add_argument("--show", metavar="RUN", help="show the result of an earlier rotation, secret by secret")
    how.add_argument("--cluster", action="store_true", help="hand it to the cluster's recover workers")
    parser.add_argument("--force", action="store_true", help="do not ask first")


COMMANDS = {
    "secrets rotate": Command(
        _rotate_secret_arguments,
        "rotate_secret:rotate_secret",
        "Each secret is given a new value by the first of [rotators] that is for it. Strongroom writes a\n"
        "new version, reads it back, and says what a person must still do. If a program refuses the new\n"
        "value, the former one is made current again. A secret without a rotator is named and left.\n"
        "If the command is interrupted, the same command goes on where it stopped. The values are printed\n"
        "nowhere. The exit code is 0 only if every secret has a new value.",
    ),
}
