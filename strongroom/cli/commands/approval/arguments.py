"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from strongroom.cli.parameters import Command
from strongroom.cli.shared.options import add_reason_argument


def _approve_arguments(parser: ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "id", metavar="ID", nargs="?", help="what 'strongroom approvals' shows: a run, or a request"
    )
    what.add_argument(
        "--request",
        metavar="FILE",
        type=Path,
        help="the request in a file ('approvals show ID --output FILE'), on any host; needs --output",
    )
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="with --request: write the signature there"
    )
    parser.add_argument(
        "--key",
        metavar="FILE",
        default="agent",
        help="your SSH key: its file, or its public half if it is in an agent or in hardware (default: your "
        "key in the SSH agent)",
    )
    parser.add_argument(
        "--break-glass",
        action="store_true",
        help="do without the approvals, as [approvals.break_glass] allows",
    )
    parser.add_argument("--reason", metavar="TEXT", default="", help="with --break-glass: why; it is signed")
    parser.add_argument("--force", action="store_true", help="do not ask first")


def _no_arguments(_: ArgumentParser) -> None:
    """Take nothing."""


def _show_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--output", metavar="FILE", type=Path, help="write the request, to sign it elsewhere")
    _add_request(parser)


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "file",
        metavar="FILE",
        type=Path,
        help="what 'approvals approve --request' wrote, or the .sig of 'ssh-keygen -Y sign -n "
        "strongroom-approval'",
    )


def _reject_arguments(parser: ArgumentParser) -> None:
    _add_request(parser)
    add_reason_argument(parser)


def _add_request(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the run or request")


COMMANDS = {
    "approvals approve": Command(
        _approve_arguments,
        "approvals:approve_request",
        "Shows what you approve, and signs that with 'ssh-keygen -Y sign'. The signature holds for that\n"
        "alone: this plan, destination and requester, until the time shown, once. Who asked cannot approve.\n"
        "On a host without this installation: --request FILE --output SIGNATURE, then 'approvals add' here.",
    ),
    "approvals": Command(_no_arguments, "approvals:list_requests"),
    "approvals show": Command(_show_arguments, "approvals:show_request"),
    "approvals add": Command(_add_arguments, "approvals:add_from_file"),
    "approvals reject": Command(_reject_arguments, "approvals:reject_request"),
}
