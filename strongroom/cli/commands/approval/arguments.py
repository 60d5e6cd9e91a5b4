"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from strongroom.cli.parser import Parser
from strongroom.cli.shared.options import add_reason_argument
from strongroom.cli.terminal.command import Command


def _approve_arguments(parser: ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("id", metavar="ID", nargs="?", help="what 'approvals list' shows: a run, or a request")
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


def _approvals_arguments(parser: ArgumentParser) -> None:
    parser.set_defaults(run="approvals:list_requests")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", parser_class=Parser)
    actions.add_parser("list", help="list the requests of the last 30 days (the default)")
    show = actions.add_parser("show", help="show a request, who signed it, and what was refused")
    show.set_defaults(run="approvals:show_request")
    show.add_argument("--output", metavar="FILE", type=Path, help="write the request, to sign it elsewhere")
    add = actions.add_parser("add", help="add a signature that was made elsewhere")
    add.set_defaults(run="approvals:add_from_file")
    add.add_argument(
        "file",
        metavar="FILE",
        type=Path,
        help="what 'approve --request' wrote, or the .sig of 'ssh-keygen -Y sign -n strongroom-approval'",
    )
    reject = actions.add_parser("reject", help="reject a request, however many people approved it")
    reject.set_defaults(run="approvals:reject_request")
    for action in (show, reject):
        action.add_argument("id", metavar="ID", help="the run or request")
    add_reason_argument(reject)


COMMANDS = {
    "approve": Command(
        _approve_arguments,
        "approve:approve_request",
        "Shows what you approve, and signs that with 'ssh-keygen -Y sign'. The signature holds for that\n"
        "alone: this plan, destination and requester, until the time shown, once. Who asked cannot approve.\n"
        "On a host without this installation: --request FILE --output SIGNATURE, then 'approvals add' here.",
    ),
    "approvals": Command(_approvals_arguments),
}
