"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser

from strongroom.cli.terminal.command import Command


def _shred_arguments(parser: ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--policy", metavar="NAME", help="shred backups of this erasable policy")
    what.add_argument(
        "--status", action="store_true", help="show what was shredded, what is pending, and why"
    )
    what.add_argument("--lost", metavar="TARGET", help="record that a medium is destroyed; needs --reason")
    what.add_argument("--resume", action="store_true", help="resume what is pending")
    parser.add_argument("--backup", metavar="ID", action="append", default=[], help="only this; repeatable")
    parser.add_argument("--before", metavar="DATE", help="only what was made before (YYYY-MM-DD, UTC)")
    parser.add_argument("--reason", metavar="TEXT", help="how a medium was destroyed; it goes on record")
    parser.add_argument("--dry-run", action="store_true", help="show what would be destroyed, and stop")
    parser.add_argument("--confirm", metavar="NAME", help="the policy's name once more, instead of typing it")


COMMANDS = {
    "keys shred": Command(
        _shred_arguments,
        "shred:shred_backups",
        "Destroys the key versions of the backups in their key services, tries that nothing opens them any\n"
        "more, and removes the objects on the targets. It is refused for immutable policies, under a legal\n"
        "hold, and if another backup needs the same key. Put the next key into the policy first.",
    ),
}
