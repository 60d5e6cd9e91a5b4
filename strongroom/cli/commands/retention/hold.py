"""hold and undelete: let nothing remove some backups, whatever their policy says."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Mapping

from msgspec import Struct

from strongroom.cli.shared import approval
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural
from strongroom.config import load_settings
from strongroom.container.canonical import printable
from strongroom.container.errors import MissingPiece
from strongroom.container.marks import MAX_TEXT, HoldMark
from strongroom.errors import TargetError, UsageError
from strongroom.model import ApprovalAction
from strongroom.operations.archive import holds
from strongroom.operations.errors import HoldNotWritten
from strongroom.operations.retention.undelete import undelete
from strongroom.operations.services import Services
from strongroom.sheet import Sheet, Table
from strongroom.system.person import who
from strongroom.timestamps import rfc3339

_NOTHING = "Nothing was changed. See: strongroom backups list list."


def add_hold(arguments: Namespace, output: Output) -> Answer:
    kind, subject = _subject(arguments)
    settings = load_settings()
    services = open_services(settings)
    if arguments.until is not None and arguments.until <= time.time():
        raise UsageError("--until is in the past, so it would hold nothing.")
    until = "" if arguments.until is None else rfc3339(arguments.until)
    backups = _held_now(services, kind, subject, configured=subject in settings.policies)
    _require_shorter_approved(services, kind, subject, until)
    failed = holds.hold(services, kind, subject, reason=arguments.reason, by=who(), until=until)
    end = f"until {until}" if until else "until the hold is lifted"
    now = "" if backups is None else f" That is {plural(len(backups), 'backup')} now."
    said = f"Held {end}: {kind} '{subject}'.{now}"
    return _written(services, failed, said, {} if backups is None else {"backups": backups})


def _require_shorter_approved(services: Services, kind: holds.Kind, subject: str, until: str) -> None:
    """Have a hold that ends earlier than the one there approved as its release would be: it replaces that."""
    day = until[:10]  # of '90d', which is another moment when the command is repeated
    standing = holds.read_holds(services, now=time.time()).standing if until else ()
    for mark in standing:
        if (mark.kind, mark.subject) == (kind, subject) and (not mark.until or mark.until > until):
            was = mark.until or "when it is lifted"
            approval.require_approved(
                place.find(),
                ApprovalAction.RELEASE,
                {"hold": [kind, subject], "until": day},
                policy=subject if kind == "policy" else "",
                lines=(f"have the hold on {kind} '{subject}' end on {day}; so far it ends {was}",),
            )


def _held_now(services: Services, kind: holds.Kind, subject: str, *, configured: bool) -> list[str] | None:
    """Return what a hold is about now; refuse one that is about nothing: its subject was mistyped."""
    try:
        backups = holds.held_backups(services, kind, subject)
    except TargetError:  # a hold is needed then as well; that no target has the mark is said afterwards
        return None
    if not backups and (kind == "backup" or (kind == "policy" and not configured)):
        raise MissingPiece(f"no target shows a backup of {kind} '{subject}'", hint=_NOTHING)
    return backups


def release_hold(arguments: Namespace, output: Output) -> Answer:
    kind, subject = _subject(arguments)
    services = open_services(load_settings())
    standing = holds.read_holds(services, now=time.time()).standing
    if not any((mark.kind, mark.subject) == (kind, subject) for mark in standing):
        raise UsageError(
            f"There is no hold on {kind} '{subject}'.",
            hint="Nothing was changed. See: strongroom backups hold list",
        )
    approval.require_approved(
        place.find(),
        ApprovalAction.RELEASE,
        {"hold": [kind, subject]},
        policy=subject if kind == "policy" else "",
        lines=(f"lift the hold on {kind} '{subject}': what it held may be deleted",),
    )
    failed = holds.release(services, kind, subject, reason=arguments.reason, by=who())
    return _written(services, failed, f"The hold on {kind} '{subject}' is lifted.", {})


def _subject(arguments: Namespace) -> tuple[holds.Kind, str]:
    kinds: tuple[holds.Kind, ...] = ("backup", "policy", "tag")
    [(kind, subject)] = [(kind, found) for kind in kinds if (found := getattr(arguments, kind)) is not None]
    if not (subject and printable(subject, MAX_TEXT)):
        raise UsageError(f"The {kind} is empty, too long, or cannot be printed, so no hold can name it.")
    key, equals, _ = subject.partition("=")
    if kind == "tag" and not (key and equals):
        raise UsageError("--tag takes a tag as K=V.")
    return kind, subject


def _written(services: Services, failed: Mapping[str, str], said: str, more: Mapping[str, object]) -> Answer:
    written = sorted(services.targets.keys() - failed.keys())
    return Answer(
        record={"written": written, "failed": failed, **more},
        sheet=Sheet(verdict=said),
        warnings=_unwritten(failed),
        error=None if written else _not_written(),
    )


def _unwritten(failed: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"the mark could not be written on target '{name}': {why}" for name, why in failed.items())


def _not_written() -> HoldNotWritten:
    return HoldNotWritten("It is on record here, and no target could be given the mark.")


class HoldList(Struct, frozen=True, kw_only=True):
    """The holds that stand, those of the configuration, and why the marks of a target could not be read."""

    holds: tuple[HoldMark, ...]
    legal_hold: Mapping[str, str]
    unread: Mapping[str, str]


def list_holds(arguments: Namespace, output: Output) -> Answer:
    settings = load_settings()
    standing = holds.read_holds(open_services(settings), now=time.time())
    configured = {
        name: policy_settings.legal_hold
        for name, policy_settings in settings.policies.items()
        if policy_settings.legal_hold
    }
    rows = [
        (mark.kind, mark.subject, mark.at, mark.until or "it is lifted", mark.by, mark.reason)
        for mark in standing.standing
    ]
    rows += [("policy", name, "", "legal_hold is removed", "", why) for name, why in configured.items()]
    silent = (
        f"target '{name}' does not answer; a hold may be there alone: {why}"
        for name, why in standing.unread.items()
        if name in settings.online
    )
    aside = (f"'{name}' is no hold: {why}" for name, why in standing.aside.items())
    head = ("Held", "", "Since", "Until", "By", "Why")
    return Answer(
        record=HoldList(holds=standing.standing, legal_hold=configured, unread=standing.unread),
        sheet=Sheet(parts=[Table(head, rows, nothing="Nothing is held.")]),
        warnings=(*silent, *aside),
    )


def undelete_backup(arguments: Namespace, output: Output) -> Answer:
    services = open_services(load_settings())
    done = undelete(services, arguments.backup, reason=arguments.reason, by=who())
    written = services.targets.keys() - done.failed.keys()
    release = f"strongroom backups hold release --backup {done.backup}"
    lacking = written - set(done.targets)
    copied = (
        f"It is on {', '.join(done.targets)}. To copy it to others: strongroom backups repair {done.backup}"
    )
    return Answer(
        record=done,
        sheet=Sheet(
            verdict=f"Backup {done.backup} is not deleted. It is held until somebody lets it go: {release}",
            about=copied if lacking else "",
        ),
        warnings=_unwritten(done.failed),
        error=None if written else _not_written(),
    )
