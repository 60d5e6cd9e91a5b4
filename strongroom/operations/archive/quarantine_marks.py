"""Quarantine marks on targets: every host and command heeds them, with or without a record of the incident.

A mark is a signed object of its own under ``quarantine/<backup>/<number>.json``. The highest number that
somebody trusted signed counts, over all targets: who removes a mark from one target takes nothing back.
A mark that is damaged, or signed by a stranger, sets nothing aside, and is told.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.certificate import CertifiedSigner
from strongroom.container.errors import FormatError, Tampered, VerificationFailed
from strongroom.container.quarantine_mark import MAX_MARK, MAX_NUMBER, Mark, open_mark, sign_mark
from strongroom.errors import StrongroomError
from strongroom.targets import Target
from strongroom.targets.repaired import Objects
from strongroom.timestamps import rfc3339

PREFIX = "quarantine/"
QUARANTINED: Literal["quarantined"] = "quarantined"
RELEASED: Literal["released"] = "released"
_NAME = re.compile(r"quarantine/([A-Za-z0-9._-]{1,200})/([0-9]{8})\.json")
_TRIES = 20
_READ = 200
"""Objects posing as marks of one backup that are read on one place. Behind more of them a true mark could
be hidden by whoever may write there, so the backup then counts as in quarantine."""


class Recorded(NamedTuple):
    """Why a backup is in quarantine by a record, and since when, in seconds since the epoch."""

    why: str
    at: float


def why_aside(mark: Mark | None, recorded: Recorded | None) -> str:
    """Say why a backup is in quarantine, by the mark that counts and by a record; nothing if it is not.

    A mark that releases lifts a record's quarantine only if it is younger: the mark of a later quarantine
    may not have reached any target.
    """
    if mark is not None and mark.state == QUARANTINED:
        return describe_mark(mark)
    if recorded is None or (mark is not None and datetime.fromisoformat(mark.at).timestamp() >= recorded.at):
        return ""
    return recorded.why


class Marks(Struct, frozen=True, kw_only=True):
    """The mark of each backup that counts on some places, and the objects that did not count there."""

    newest: Mapping[str, Mark] = {}
    aside: Mapping[str, str] = {}

    @property
    def standing(self) -> dict[str, Mark]:
        """Every backup in quarantine."""
        return {backup: mark for backup, mark in self.newest.items() if mark.state == QUARANTINED}


def mark_name(backup: str, number: int) -> str:
    """Return a mark's name on every target."""
    return f"{PREFIX}{backup}/{number:08}.json"


class MarksThere:
    """The marks on one place, by one listing; those of a backup are read when it is asked for.

    An attacker who may write there may put any number of them: what nobody asks for costs nothing.

    Raises:
        TargetError: the place does not answer.
    """

    def __init__(self, objects: Objects, *, trusted: frozenset[str], backup: str = "") -> None:
        self._objects = objects
        self._trusted = trusted
        self._names: dict[str, list[str]] = {}
        self._newest: dict[str, Mark | None] = {}
        self.aside: dict[str, str] = {}
        for info in objects.list(f"{PREFIX}{backup}/" if backup else PREFIX):
            if (match := _NAME.fullmatch(info.name)) is not None:
                self._names.setdefault(match[1], []).append(info.name)

    def newest(self, backup: str) -> Mark | None:
        """Return the mark of a backup that counts here, if there is one."""
        if backup not in self._newest:
            self._newest[backup] = self._read(backup)
        return self._newest[backup]

    def all(self) -> Marks:
        """Return every mark that counts here."""
        found = {backup: self.newest(backup) for backup in self._names}
        return Marks(newest={name: mark for name, mark in found.items() if mark}, aside=self.aside)

    def _read(self, backup: str) -> Mark | None:
        names = sorted(self._names.get(backup, ()), reverse=True)
        for name in names[:_READ]:
            try:
                return _read(self._objects, name, backup, self._trusted)
            except FormatError as error:
                self.aside[name] = f"{error.code}: {error.message}"
        return _hidden(backup, len(names)) if len(names) > _READ else None


def _hidden(backup: str, names: int) -> Mark:
    """Return the mark that stands for one which may lie behind objects that are no marks."""
    reason = f"{names:,} objects pose as marks beside it, too many to look for a true one among them"
    return Mark(
        backup_id=backup,
        number=MAX_NUMBER,
        state=QUARANTINED,
        reason=reason,
        incident="",
        by="",
        at=rfc3339(time.time()),
    )


def newest_mark(places: Iterable[MarksThere], backup: str) -> Mark | None:
    """Return the mark of a backup that counts over several places."""
    marks = [mark for marks_there in places if (mark := marks_there.newest(backup)) is not None]
    return max(marks, key=lambda mark: mark.number, default=None)


def merge_marks(found: Iterable[Marks]) -> Marks:
    """Return what counts over several places."""
    newest: dict[str, Mark] = {}
    aside: dict[str, str] = {}
    for marks in found:
        aside.update(marks.aside)
        for backup, mark in marks.newest.items():
            if backup not in newest or newest[backup].number < mark.number:
                newest[backup] = mark
    return Marks(newest=newest, aside=aside)


def write_mark(
    targets: Sequence[Target],
    backup: str,
    state: Literal["quarantined", "released"],
    *,
    reason: str,
    incident: str,
    by: str,
    signer: CertifiedSigner,
    trusted: frozenset[str],
) -> dict[str, str]:
    """Write a mark beside a backup on each target, and read it back; return why where it could not be."""
    failed: dict[str, str] = {}
    answering: list[Target] = []
    number = 1
    for target in targets:
        try:
            known = MarksThere(target, trusted=trusted, backup=backup).newest(backup)
        except StrongroomError as error:
            failed[target.name] = f"{error.code}: {error.message}"
            continue
        if known is not None and known.number == MAX_NUMBER:
            failed[target.name] = f"NotMarked: {known.reason}"
            continue
        answering.append(target)
        number = max(number, known.number + 1 if known else 1)
    mark = Mark(
        backup_id=backup,
        number=number,
        state=state,
        reason=_in_bounds(reason),
        incident=incident,
        by=_in_bounds(by),
        at=rfc3339(time.time()),
    )
    for target in answering:
        try:
            _put(target, mark, signer)
        except StrongroomError as error:
            failed[target.name] = f"{error.code}: {error.message}"
    return failed


def _put(target: Target, mark: Mark, signer: CertifiedSigner) -> None:
    """Put a mark under the next free number: what a stranger put there first must not keep it out."""
    for number in range(mark.number, mark.number + _TRIES):
        content = sign_mark(replace(mark, number=number), signer)
        name = mark_name(mark.backup_id, number)
        target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())
        if b"".join(target.read(name, length=MAX_MARK + 1)) == content:
            return
    raise VerificationFailed(f"target '{target.name}' holds other objects under all names for the mark")


def _read(objects: Objects, name: str, backup: str, trusted: frozenset[str]) -> Mark:
    mark = open_mark(b"".join(objects.read(name, length=MAX_MARK + 1)), trusted=trusted).mark
    if mark_name(mark.backup_id, mark.number) != name or mark.backup_id != backup:
        raise Tampered(f"'{name}' is the mark of another backup, or an older one's.")
    return mark


def _in_bounds(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)[:1_000]


def describe_mark(mark: Mark) -> str:
    """Say why a backup is in quarantine, and since when."""
    by = f" by {mark.by}" if mark.by else ""
    incident = f", incident {mark.incident}" if mark.incident else ""
    return f"since {mark.at}{by}{incident}: {mark.reason}"
