"""Asking whether people have to approve what a command is about to do. Without rules this loads nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from strongroom.cli.terminal.place import InstallationPlace
from strongroom.model import ApprovalAction, Selection
from strongroom.system.lazy import resolve

if TYPE_CHECKING:
    from strongroom.operations.restore.plan import RestorePlan
    from strongroom.operations.services import Services

_ASKING = "strongroom.cli.shared.approval_asking"


def has_rules(installation: InstallationPlace) -> bool:
    """Tell whether this host's configuration may ask for approvals; reading it in full decides."""
    given = any(name.upper().startswith("STRONGROOM_APPROVALS__") for name in os.environ)
    return given or "approvals" in installation.tables


def require_approved(
    installation: InstallationPlace, action: ApprovalAction, what: object, **about: Any
) -> str:
    """Return if a command may go on, by which name; see
    :func:`~strongroom.operations.approval.request.command_request` for the arguments. With ``lasting`` it is
    not used up before :func:`end_approval`: the command goes on where it was interrupted.

    Raises:
        ApprovalNeeded, NotApproved: people have to approve it first, or did not.
        ConfigProblems: there may be rules, and the configuration is wrong.
    """
    if has_rules(installation):
        subject: str = resolve(f"{_ASKING}:ask")(action, what, **about)
        return subject
    return ""


def require_medium_approved(
    installation: InstallationPlace, policy: str, media: Sequence[str], services: Services
) -> None:
    """Return if every value that a policy selects may go onto media that somebody takes away."""
    recipients = services.pinned(policy).recipients
    require_approved(
        installation,
        ApprovalAction.EXPORT,
        {
            "policy": policy,
            "media": sorted(media),
            "for": sorted(recipient.fingerprint for recipient in recipients),
        },
        policy=policy,
        lines=(
            f"all that policy '{policy}' selects, onto {', '.join(media)}",
            *(f"for {recipient.describe()}" for recipient in recipients),
        ),
    )


def how_much(selection: Selection) -> str:
    """Say how much a command chooses, without its patterns: they may be names. The digest has them."""
    options = {"--include": selection.include, "--exclude": selection.exclude, "--filter-tag": selection.tags}
    given = [f"{len(values)} {option}" for option, values in options.items() if values]
    return f"a part, by {', '.join(given)}" if given else "everything"


def require_plan_approved(
    installation: InstallationPlace, plan: RestorePlan, *, policy: str, kept: bool
) -> None:
    """Return if a restore plan may be done.

    Args:
        kept: whether it is a plan in a file, that people can have approved. One that is made on the way is
            another one the next time.
    """
    if has_rules(installation):
        resolve(f"{_ASKING}:ask_for_plan")(plan, policy=policy, kept=kept)


def end_approval(installation: InstallationPlace, subject: str) -> None:
    """Let nobody use again what a plan or command was approved for: all of it is done."""
    if subject and has_rules(installation):
        resolve(f"{_ASKING}:end")(subject)
