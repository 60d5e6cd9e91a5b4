"""What is asked of the people who approve: exactly what will be done, in the bytes that they sign."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from strongroom.container import canonical
from strongroom.container.errors import Malformed
from strongroom.model import ApprovalAction, prepare
from strongroom.timestamps import as_written, rfc3339
from strongroom.words import spelled_out

UNKNOWN: Final = "somebody (the host that asked did not say who)"
NAMESPACE: Final = "strongroom-approval"
BREAK_GLASS: Final = "strongroom-break-glass"
"""The namespaces of the two kinds of signatures: neither counts as the other."""
MAX_TEXT: Final = 1_000
MAX_DOCUMENT: Final = 32 * 1024
MOST_LINES, LONGEST_LINE = 40, 300
"""How much of what a command will do is shown: a request is small."""


class ApprovalRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be done, exactly. People sign all of it, so whoever executes makes it anew from what it is
    about to do, and gets the same bytes: nothing of it may depend on the time or on the host.

    Args:
        subject: the run's id, or what :func:`command_request` makes of a command.
        digest: SHA-256, in hex, of what is to be done (for a restore: of its plan).
        destination: the name of the place that is written to.
        requester: who asked, as user@host; they cannot approve it.
        size: how many secrets it is about; ``None`` if that is not what it is about.
        lines: what a person reads before they sign. No names of secrets: they lie in the state database.
    """

    action: ApprovalAction
    subject: str
    digest: str
    requester: str
    destination: str = ""
    policy: str = ""
    size: int | None = None
    lines: tuple[str, ...] = ()


class ApprovalDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What people sign: a request, by which installation, until when, and a number that is used once."""

    version: Literal[1] = 1
    kind: Literal["strongroom-approval"] = "strongroom-approval"
    installation: str
    request: ApprovalRequest
    asked_at: str
    expires: str
    nonce: str

    @property
    def content(self) -> bytes:
        """The bytes that are signed: one line of JSON."""
        return canonical.encode(self) + b"\n"

    @property
    def id(self) -> str:
        """What names it on record, whatever a row says: its digest."""
        return hashlib.sha256(self.content).hexdigest()[:32]

    @property
    def ends(self) -> float:
        """When it ends, in seconds since the epoch."""
        moment = as_written(self.expires)
        return moment.timestamp() if moment else 0.0


prepare(ApprovalRequest, ApprovalDocument)


def command_request(
    action: ApprovalAction,
    what: object,
    *,
    requester: str,
    destination: str = "",
    policy: str = "",
    size: int | None = None,
    lines: tuple[str, ...] = (),
) -> ApprovalRequest:
    """Return the request of a command. Repeated by the same person, it is the same, and finds its approvals.

    Args:
        what: all that the command will do, as JSON can say it.
    """
    requester, lines = shown(requester), shown_lines(lines)
    asked = (action, requester, destination, policy, size, lines, what)
    digest = hashlib.sha256(canonical.encode(msgspec.to_builtins(asked))).hexdigest()
    return ApprovalRequest(
        action=action,
        subject=f"{action.value}-{digest[:12]}",
        digest=digest,
        requester=requester,
        destination=destination,
        policy=policy,
        size=size,
        lines=lines,
    )


def shown(text: str) -> str:
    """Return a text of others as a request may say it."""
    return spelled_out(text)[:LONGEST_LINE]


def shown_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """Return what a person reads of many lines. The digest is over all."""
    left = len(lines) - MOST_LINES
    more = (f"and {left:,} more",) if left > 0 else ()
    return (*map(shown, lines[:MOST_LINES]), *more)


def new_document(
    request: ApprovalRequest, *, installation: str, now: float, valid: float
) -> ApprovalDocument:
    """Return a document that asks for a request from now on."""
    return ApprovalDocument(
        installation=installation,
        request=request,
        asked_at=rfc3339(now),
        expires=rfc3339(now + valid),
        nonce=os.urandom(16).hex(),
    )


def parse_document(content: bytes) -> ApprovalDocument:
    """Return a document that a row or a file holds.

    Raises:
        Malformed: it is none, or says what no terminal should show.
    """
    if len(content) > MAX_DOCUMENT or not content.endswith(b"\n"):
        raise Malformed("This is no request for approval.")
    document = canonical.decode(content[:-1], ApprovalDocument, "The request for approval")
    request = document.request
    own = (document.installation, document.asked_at, document.expires, document.nonce)
    asked = (request.subject, request.digest, request.requester, request.destination, request.policy)
    texts = (*own, *asked, *request.lines)
    if not all(canonical.printable(text, MAX_TEXT) for text in texts) or not document.ends:
        raise Malformed("What the request for approval says is too long, or cannot be printed.")
    return document


def break_glass_message(document: ApprovalDocument, reason: str) -> bytes:
    """Return what is signed to do without approvals: the document, and why."""
    return document.content + reason.encode() + b"\n"
