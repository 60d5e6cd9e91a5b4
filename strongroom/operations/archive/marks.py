"""Marks on targets: every host and command heeds them, with or without a record of what set them.

A mark is a signed object of its own under ``<kind>/<folder>/<number>.json`` (FORMAT.md, section 11).
The highest number that somebody trusted signed counts, over all targets: who removes a mark from one target
takes nothing back. A mark that is damaged, or signed by a stranger, counts for nothing, and is told.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.certificate import CertifiedSigner
from strongroom.container.errors import FormatError, Tampered, VerificationFailed
from strongroom.container.marks import MAX_MARK, MAX_NUMBER, M, MarkKind, open_mark, sign_mark
from strongroom.errors import StrongroomError
from strongroom.targets import Target
from strongroom.targets.repaired import Objects
from strongroom.timestamps import rfc3339

_NAME = re.compile(r"([A-Za-z0-9._-]{1,200})/([0-9]{8})\.json")
_TRIES = 20
_READ = 200
"""Objects posing as marks of one subject that are read on one place. Behind more of them a true mark could
be hidden by whoever may write there, so the safest one counts then: it harms no backup."""


class Marks(Struct, Generic[M], frozen=True, kw_only=True):
    """The mark of each folder that counts on some places, and the objects that did not count there."""

    newest: Mapping[str, M]
    aside: Mapping[str, str]

    def standing(self, state: str) -> dict[str, M]:
        """Return the marks that count and say this."""
        return {folder: mark for folder, mark in self.newest.items() if mark.state == state}


class MarksThere(Generic[M]):
    """The marks of a kind on one place, by one listing; those of a folder are read when it is asked for.

    An attacker who may write there may put any number of them: what nobody asks for costs nothing.

    Raises:
        TargetError: the place does not answer.
    """

    def __init__(
        self, objects: Objects, kind: MarkKind[M], *, trusted: frozenset[str], folder: str = ""
    ) -> None:
        self._objects = objects
        self._kind: MarkKind[M] = kind
        self._trusted = trusted
        self._names: dict[str, list[str]] = {}
        self._newest: dict[str, M | None] = {}
        self.aside: dict[str, str] = {}
        for info in objects.list(f"{kind.prefix}{folder}/" if folder else kind.prefix):
            if (match := _NAME.fullmatch(info.name.removeprefix(kind.prefix))) is not None:
                self._names.setdefault(match[1], []).append(info.name)

    @property
    def folders(self) -> Iterable[str]:
        """Those in which something lies that is called as a mark is."""
        return self._names

    def newest(self, folder: str) -> M | None:
        """Return the mark in a folder that counts here, if there is one."""
        if folder not in self._newest:
            self._newest[folder] = self._read(folder)
        return self._newest[folder]

    def all(self) -> Marks[M]:
        """Return every mark that counts here."""
        found = {folder: self.newest(folder) for folder in self._names}
        return Marks(newest={name: mark for name, mark in found.items() if mark}, aside=self.aside)

    def _read(self, folder: str) -> M | None:
        names = sorted(self._names.get(folder, ()), reverse=True)
        for name in names[:_READ]:
            try:
                return self._opened(name, folder)
            except FormatError as error:
                self.aside[name] = f"{error.code}: {error.message}"
        return self._hidden(folder, len(names)) if len(names) > _READ else None

    def _opened(self, name: str, folder: str) -> M:
        content = b"".join(self._objects.read(name, length=MAX_MARK + 1))
        mark = open_mark(self._kind, content, trusted=self._trusted).mark
        if self._kind.object_name(mark.folder, mark.number) != name or mark.folder != folder:
            raise Tampered(f"'{name}' is a mark about something else, or an older one.")
        return mark

    def _hidden(self, folder: str, names: int) -> M:
        """Return the mark that stands for one which may lie behind objects that are no marks."""
        reason = f"{names:,} objects pose as marks beside it, too many to look for a true one among them"
        return self._kind.hidden(folder, reason, rfc3339(time.time()))


def newest_mark(places: Iterable[MarksThere[M]], kind: MarkKind[M], folder: str) -> M | None:
    """Return the mark in a folder that counts over several places."""
    marks = [mark for marks_there in places if (mark := marks_there.newest(folder)) is not None]
    return max(marks, key=lambda mark: _rank(kind, mark), default=None)


def merge_marks(kind: MarkKind[M], found: Iterable[Marks[M]]) -> Marks[M]:
    """Return what counts over several places."""
    newest: dict[str, M] = {}
    aside: dict[str, str] = {}
    for marks in found:
        aside.update(marks.aside)
        for folder, mark in marks.newest.items():
            if folder not in newest or _rank(kind, newest[folder]) < _rank(kind, mark):
                newest[folder] = mark
    return Marks(newest=newest, aside=aside)


def _rank(kind: MarkKind[M], mark: M) -> tuple[int, bool]:
    """Two hosts may give one number to two marks, each on a target that the other did not reach."""
    return mark.number, mark.state == kind.safest


def write_mark(
    targets: Sequence[Target],
    kind: MarkKind[M],
    mark: M,
    *,
    signer: CertifiedSigner,
    trusted: frozenset[str],
    ahead: int = 1,
) -> dict[str, str]:
    """Write a mark on each target, and read it back; return why where it could not be.

    Args:
        mark: what it says; its number is chosen here.
        ahead: by how much its number is to be above all that are seen. One that must count over marks on
            targets which are away goes far ahead.
    """
    failed: dict[str, str] = {}
    answering: list[Target] = []
    number = 0
    for target in targets:
        try:
            known = MarksThere(target, kind, trusted=trusted, folder=mark.folder).newest(mark.folder)
        except StrongroomError as error:
            failed[target.name] = f"{error.code}: {error.message}"
            continue
        if known is not None and known.number == MAX_NUMBER:
            failed[target.name] = f"NotMarked: {known.reason}"
            continue
        answering.append(target)
        number = max(number, known.number if known else 0)
    for target in answering:
        try:
            _put(target, kind, replace(mark, number=number + ahead), signer)
        except StrongroomError as error:
            failed[target.name] = f"{error.code}: {error.message}"
    return failed


def _put(target: Target, kind: MarkKind[M], mark: M, signer: CertifiedSigner) -> None:
    """Put a mark under the next free number: what a stranger put there first must not keep it out."""
    for number in range(mark.number, mark.number + _TRIES):
        content = sign_mark(kind, replace(mark, number=number), signer)
        name = kind.object_name(mark.folder, number)
        target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())
        if b"".join(target.read(name, length=MAX_MARK + 1)) == content:
            return
    raise VerificationFailed(f"target '{target.name}' holds other objects under all names for the mark")


def fit(text: str) -> str:
    """Return a text as a mark may say it."""
    return "".join(character if character.isprintable() else " " for character in text)[:1_000]
