"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from strongroom.cli import parameters
from strongroom.cli.parameters import Command
from strongroom.cli.shared import options


def _recover_arguments(parser: ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--resume", metavar="ID", help="go on with this recovery, also on another host")
    what.add_argument("--new", action="store_true", help="begin another one, even if one is open")
    what.add_argument("--status", action="store_true", help="show the recoveries and how far each step is")
    parser.add_argument(
        "--assess",
        action="store_true",
        help="answer the first questions again: what is lost or leaked, where to restore into",
    )
    parser.add_argument("--reason", metavar="TEXT", help="what is known so far; it goes on record")
    parser.add_argument(
        "--answer",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="answer a question beforehand, such as leaked=none or restore=yes; repeatable",
    )
    parser.add_argument(
        "--answers", metavar="FILE", type=Path, help='a TOML file with answers, each as NAME = "VALUE"'
    )
    parser.add_argument("--no-mail", action="store_true", help="print the messages, and mail none of them")
    parser.add_argument(
        "--cluster",
        action="store_true",
        help="have the cluster's recover workers restore; they go on without this terminal",
    )
    parser.add_argument(
        "--ask-passphrase",
        action="store_true",
        help="ask for the passphrase once, instead of in each step",
    )
    group = parser.add_argument_group("what to restore from")
    options.add_target_argument(group, default=" (default: all configured)")
    group.add_argument(
        "--at", metavar="DATE", type=parameters.moment, help="backups made by then, such as 2026-07-20"
    )
    options.add_opening_arguments(parser)
    options.add_signer_argument(parser)


def _recover_work(arguments: Namespace) -> str:
    return "recover:show_status" if arguments.status else "recover:recover"


COMMANDS = {
    "recover": Command(
        _recover_arguments,
        _recover_work,
        "The steps are: assess, secure, locate, restore, validate, rotate. Each prints what could be typed\n"
        "for it, and is done once its checks end well. Nothing is overwritten, rotated or quarantined\n"
        "without a yes. Enter always takes the safe answer. After Ctrl-C or a crash, type 'strongroom\n"
        "recover' again, here or on another host: it goes on with the step that is open.",
    ),
}
