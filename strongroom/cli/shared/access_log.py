"""Leaving on record who opens a backup, or has a value shown, from this command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.cli.terminal.output import Output, in_line
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.container.errors import WrongKey
from strongroom.container.manifest import Manifest
from strongroom.errors import UsageError
from strongroom.keys.errors import KeyServiceUnavailable
from strongroom.model import COMMAND, ApprovalAction, SecretBytes, Selection
from strongroom.operations.errors import ApprovalNeeded, NothingOpens
from strongroom.operations.evidence import access_log
from strongroom.system.process import who

if TYPE_CHECKING:
    from strongroom.operations.engine.services import Services
    from strongroom.operations.restore.plan import RestorePlan


def record_opening(
    output: Output, installation: InstallationPlace, backup: str, *, where: object, quarantine: str = ""
) -> None:
    """Note that a backup is about to be opened; ``quarantine`` says why it should not be."""
    more = {"quarantined": in_line(quarantine)} if quarantine else {}
    record_attempt(output, installation, backup=backup, where=in_line(str(where)), **more)


def record_attempt(
    output: Output, installation: InstallationPlace, *, backup: str, where: str, **more: str
) -> None:
    """Note an attempt before it is made: a process that is killed leaves that much.

    What came of it is noted by :func:`record_outcomes`, once that is known.
    """
    detail = {"backup": backup, "where": where, **more}
    record_access(access_log.ATTEMPTED, output, installation, **detail)
    _PENDING.append(lambda kind, **error: record_access(kind, output, installation, **detail, **error))


def record_reading(output: Output, installation: InstallationPlace, *, backup: str, where: str) -> None:
    """Note that a replica is about to be read and not opened, and, with the outcomes, that it was."""
    detail = {"backup": backup, "where": where}
    record_access(access_log.READING, output, installation, **detail)
    _PENDING.append(
        lambda _kind, **error: record_access(access_log.READ, output, installation, **detail, **error)
    )


def record_outcomes(error: BaseException | None) -> None:
    """Note what came of the attempts: opened, or failed if no key at hand opened anything."""
    while _PENDING:
        record_outcome(error)


def record_outcome(error: BaseException | None) -> None:
    """Note what came of the first attempt of which that is not noted yet."""
    note = _PENDING.pop(0)
    if isinstance(error, _UNOPENED):
        note(access_log.FAILED, error=error.code)
    else:
        note(access_log.OPENED)


_PENDING: list[Callable[..., None]] = []
_UNOPENED = (WrongKey, NothingOpens, KeyServiceUnavailable, UsageError)
"""What ends a command before anything was opened. Damage is not among them: something may have been read."""


def record_access(
    kind: str,
    output: Output,
    installation: InstallationPlace,
    **detail: str | int | None,
) -> None:
    """Leave a line where an installation is. One that cannot be left is said: it stops no recovery."""
    if kind in (access_log.RESTORED, access_log.SHOWN):  # which only an opened backup leads to
        record_outcomes(None)
    if not installation.state_dir.is_dir():
        return
    try:
        who = access_log.by_whom(output.command)
        access_log.record_access(installation.state_dir, kind, **who, **detail)
    except OSError as error:
        output.note(f"note: that this was opened could not be put on record: {error.strerror}")


# -- Asking whether people have to approve what a command is about to do. Without rules this loads nothing


def has_rules(installation: InstallationPlace) -> bool:
    """Tell whether this host's configuration may ask for approvals; reading it in full decides."""
    given = any(name.upper().startswith("STRONGROOM_APPROVALS__") for name in os.environ)
    return given or "approvals" in installation.tables


def require_approved(
    installation: InstallationPlace,
    action: ApprovalAction,
    what: object,
    *,
    lasting: bool = False,
    **about: Any,
) -> str:
    """Return if a command may go on, by which name; see
    :func:`~strongroom.operations.engine.approvals.command_request` for the arguments. With ``lasting`` it is
    not used up before :func:`end_approval`: the command goes on where it was interrupted.

    Raises:
        ApprovalNeeded, NotApproved: people have to approve it first, or did not.
        ConfigProblems: there may be rules, and the configuration is wrong.
    """
    if not has_rules(installation):
        return ""
    from strongroom.cli.shared.services import open_services
    from strongroom.operations.engine.approvals import command_request
    from strongroom.operations.engine.approving import require_approval

    request = command_request(action, what, requester=who(), **about)
    require_approval(open_services(), request, holder=request.subject if lasting else "", again=lasting)
    return request.subject


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
    if not has_rules(installation):
        return
    from strongroom.cli.shared.services import open_services
    from strongroom.operations.engine.approvals import rules_for
    from strongroom.operations.engine.approving import require_approval
    from strongroom.operations.restore.staged import plan_request

    services = open_services()
    request = plan_request(
        ApprovalAction.RESTORE,
        subject=plan.id,
        digest=plan.digest,
        requester=plan.by,
        policy="" if policy == COMMAND else policy,
        plan=plan,
        relocation=plan.relocation,
    )
    if not kept and rules_for(services.approvals, request):
        raise ApprovalNeeded("Other people have to approve this restore first.", hint=_PLAN)
    require_approval(services, request, holder=plan.id)


_PLAN = (
    "Nothing was changed. Make a plan that people can approve: repeat the command with --plan-out FILE. "
    "Then 'strongroom restore --plan FILE' asks for that."
)


def end_approval(installation: InstallationPlace, subject: str) -> None:
    """Let nobody use again what a plan or command was approved for: all of it is done."""
    if subject and has_rules(installation):
        from strongroom.cli.shared.services import open_services
        from strongroom.operations.engine.approving import end_approval as use_up

        use_up(open_services(), subject)


# -- Showing a value to a person: the one place of the command line that reveals any ------------


class ValueHolder(NamedTuple):
    """What holds a value: in words, and as an approval is bound to it."""

    words: str
    what: str
    policy: str = ""

    @classmethod
    def backup(cls, manifest: Manifest) -> ValueHolder:
        policy = "" if manifest.policy == COMMAND else manifest.policy
        return cls(f"backup {manifest.backup_id}", manifest.backup_id, policy)


def reveal_value(
    value: SecretBytes,
    *,
    of: tuple[str, int],
    held_by: ValueHolder,
    output: Output,
    installation: InstallationPlace,
) -> bytes:
    """Return a value for the screen, once that is approved, where a rule asks for it, and on record.

    Args:
        of: the secret's name, and the version's number.

    Raises:
        ApprovalNeeded, NotApproved: people have to approve it first, or did not.
    """
    name, version = of
    require_approved(
        installation,
        ApprovalAction.EXPORT,
        {"shown": held_by.what, "name": name, "version": version},
        policy=held_by.policy,
        size=1,
        lines=(f"show version {version} of one secret of {held_by.words}, on {os.uname().nodename}",),
    )
    record_access(access_log.SHOWN, output, installation)
    return value.reveal()
