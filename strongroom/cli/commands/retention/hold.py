"""hold: let nothing remove some backups, whatever their policy says."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import msgspec

from strongroom.cli.shared.person import who
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal.output import Output, table
from strongroom.config import load_settings
from strongroom.errors import UsageError
from strongroom.operations.archive import holds
from strongroom.operations.errors import HoldNotWritten
from strongroom.operations.services import Services
from strongroom.timestamps import rfc3339


def add_hold(arguments: Namespace, output: Output) -> None:
    kind, subject = _subject(arguments)
    services = open_services(load_settings())
    until = _end(arguments.until) if arguments.until else ""
    failed = holds.hold(services, kind, subject, reason=arguments.reason, by=who(), until=until)
    _answer(services, failed, f"Nothing of {kind} '{subject}' is removed from now on.", output)


def release_hold(arguments: Namespace, output: Output) -> None:
    kind, subject = _subject(arguments)
    services = open_services(load_settings())
    standing = holds.read_holds(services, now=time.time()).standing
    if not any((mark.kind, mark.subject) == (kind, subject) for mark in standing):
        raise UsageError(
            f"There is no hold on {kind} '{subject}'.", hint="Nothing was changed. See: strongroom hold list"
        )
    failed = holds.release(services, kind, subject, reason=arguments.reason, by=who())
    _answer(services, failed, f"The hold on {kind} '{subject}' is lifted.", output)


def list_holds(arguments: Namespace, output: Output) -> None:
    found = holds.read_holds(open_services(load_settings()), now=time.time())
    for name, why in found.unread.items():
        output.warn(f"target '{name}' does not answer; a hold may be there alone: {why}")
    for name, why in found.aside.items():
        output.warn(f"'{name}' is no hold: {why}")
    output.answer({"holds": msgspec.to_builtins(found.standing), "unread": dict(found.unread)}, _lines(found))


def _subject(arguments: Namespace) -> tuple[holds.Kind, str]:
    if arguments.backup:
        return "backup", arguments.backup
    if arguments.policy:
        return "policy", arguments.policy
    key, equals, _ = arguments.tag.partition("=")
    if not (key and equals):
        raise UsageError("--tag takes a tag as K=V.")
    return "tag", arguments.tag


def _end(text: str) -> str:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError("--until takes a date (2027-11-26) or a time (2027-11-26T08:00:00Z).") from None
    end = found if found.tzinfo else found.replace(tzinfo=UTC)
    if end <= datetime.now(UTC):
        raise UsageError("--until is in the past, so it would hold nothing.")
    return rfc3339(end)


def _answer(services: Services, failed: Mapping[str, str], done: str, output: Output) -> None:
    written = sorted(services.targets.keys() - failed.keys())
    for name, why in failed.items():
        output.warn(f"the mark could not be written on target '{name}': {why}")
    if not written:
        output.end_with(HoldNotWritten("It is on record here, and no target could be given the mark."))
    output.answer({"written": written, "failed": dict(failed)}, [done])


def _lines(found: holds.Holds) -> Iterator[str]:
    if not found.standing:
        yield "Nothing is held."
        return
    head = ("HELD", "", "SINCE", "UNTIL", "BY", "WHY")
    rows = [
        (mark.kind, mark.subject, mark.at, mark.until or "released", mark.by, mark.reason)
        for mark in found.standing
    ]
    yield from table(head, rows)
