"""What the commands of this room take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Struct

from strongroom.cli.parameters import Command, Nothing, UnreadableWord, argument, one_of, option
from strongroom.cli.shared import options

AGENT = "agent"
"""In place of a key's file: the one key in the SSH agent that may approve."""

RequestId = Annotated[str, argument("the run or request", metavar="ID")]


@one_of(required=True)
class RequestPlace(Struct, frozen=True, kw_only=True):
    """Which request is approved: one on record here, or one that came in a file."""

    id: Annotated[
        str | None, argument("what 'strongroom approvals' shows: a run, or a request", metavar="ID")
    ] = None
    request: Annotated[
        Path | None,
        option(
            "the request in a file ('approvals show ID --output FILE'), on any host; needs --output",
            metavar="FILE",
        ),
    ] = None


class ApproveRequest(Struct, frozen=True, kw_only=True):
    """What is approved, and with which key."""

    subject: RequestPlace
    output: Annotated[Path | None, option("with --request: write the signature there", metavar="FILE")] = None
    key: Annotated[
        str,
        option(
            "your SSH key: its file, or its public half if it is in an agent or in hardware (default: your "
            "key in the SSH agent)",
            metavar="FILE",
        ),
    ] = AGENT
    break_glass: Annotated[bool, option("do without the approvals, as [approvals.break_glass] allows")] = (
        False
    )
    reason: Annotated[str, option("with --break-glass: why; it is signed", metavar="TEXT")] = ""
    force: Annotated[bool, option("do not ask first")] = False

    def __post_init__(self) -> None:
        if bool(self.subject.request) != bool(self.output):
            raise UnreadableWord("--request and --output go together")
        if self.break_glass != bool(self.reason):
            raise UnreadableWord("--break-glass and --reason go together")


class ShowRequest(Struct, frozen=True, kw_only=True):
    """Which request is shown, and where it is written for those who sign elsewhere."""

    id: RequestId
    output: Annotated[Path | None, option("write the request, to sign it elsewhere", metavar="FILE")] = None


class AddSignature(Struct, frozen=True, kw_only=True):
    """Where a signature lies that was made elsewhere."""

    file: Annotated[
        Path,
        argument(
            "what 'approvals approve --request' wrote, or the .sig of 'ssh-keygen -Y sign -n "
            "strongroom-approval'",
            metavar="FILE",
        ),
    ]


class RejectRequest(Struct, frozen=True, kw_only=True):
    """Which request is rejected, and why."""

    id: RequestId
    reason: options.Reason


COMMANDS = {
    "approvals approve": Command(
        ApproveRequest,
        "approvals:approve_request",
        "Shows what you approve, and signs that with 'ssh-keygen -Y sign'. The signature holds for that\n"
        "alone: this plan, destination and requester, until the time shown, once. Who asked cannot approve.\n"
        "On a host without this installation: --request FILE --output SIGNATURE, then 'approvals add' here.",
    ),
    "approvals": Command(Nothing, "approvals:list_requests"),
    "approvals show": Command(ShowRequest, "approvals:show_request"),
    "approvals add": Command(AddSignature, "approvals:add_from_file"),
    "approvals reject": Command(RejectRequest, "approvals:reject_request"),
}
