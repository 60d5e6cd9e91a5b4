"""What is asked of the people who approve, and the one question that every action asks: may it go on?"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from strongroom.model import prepare
from strongroom.operations.errors import ApprovalNeeded
from strongroom.operations.services import Services

__all__ = ["ApprovalAction", "ApprovalNeeded", "Request", "require_approval", "subject_of"]


class ApprovalAction(StrEnum):
    """What a rule may demand approvals for."""

    RESTORE = "restore"
    UNDO = "undo"
    EXPORT = "export"
    RECIPIENTS = "recipients"
    RETENTION = "retention"
    RELEASE = "release"
    SIGNERS = "signers"
    SHRED = "shred"
    ROTATE_SECRET = "rotate-secret"  # noqa: S105  # the name of an action


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be done, exactly. People sign all of it, so whoever executes makes it anew from what it is
    about to do, and gets the same bytes: nothing of it may depend on the time or on the host.

    Args:
        subject: the run's id, or what :func:`subject_of` gives for a command.
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


prepare(Request)


def subject_of(action: ApprovalAction, digest: str) -> str:
    """Return the subject of what a command does: repeated, it asks for the same and finds its approvals."""
    return f"{action.value}-{digest[:16]}"


def require_approval(services: Services, request: Request) -> None:
    """Return if no rule of this process's configuration asks for approvals, or if enough are there.

    Raises:
        ApprovalNeeded: it says who may approve, and what they type.
    """
