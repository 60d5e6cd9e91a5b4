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
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Generic

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.certificate import CertifiedSigner
from strongroom.container.errors import FormatError, Tampered, VerificationFailed
from strongroom.container.marks import MAX_MARK, MAX_NUMBER, M, MarkKind, open_mark, sign_mark
from strongroom.errors import StrongroomError
from strongroom.model import ObjectInfo
from strongroom.operations.archive.read_on import LOOKED_THROUGH, read_on
from strongroom.operations.errors import TargetUnsound
from strongroom.targets import Target
from strongroom.targets.repaired import Objects
from strongroom.timestamps import rfc3339
from strongroom.words import plural, verb

_NAME = re.compile(r"([A-Za-z0-9._-]{1,200})/([0-9]{8})\.json")
_TRIES = 20


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
        self._infos: dict[str, list[ObjectInfo]] = {}
        self._newest: dict[str, M | TargetUnsound | None] = {}
        self.aside: dict[str, str] = {}
        for info in objects.list(f"{kind.prefix}{folder}/" if folder else kind.prefix):
            if (match := _NAME.fullmatch(info.name.removeprefix(kind.prefix))) is not None:
                self._infos.setdefault(match[1], []).append(info)

    @property
    def folders(self) -> Iterable[str]:
        """Those in which something lies that is called as a mark is."""
        return self._infos

    def newest(self, folder: str) -> M | None:
        """Return the mark in a folder that counts here, if there is one.

        Raises:
            TargetUnsound: it could not be looked for.
            TargetError: the place does not answer.
        """
        if folder not in self._newest:
            try:
                self._newest[folder] = self._read(folder)
            except TargetUnsound as error:
                self._newest[folder] = error
        newest = self._newest[folder]
        if isinstance(newest, TargetUnsound):
            raise newest
        return newest

    def all(self) -> Marks[M]:
        """Return every mark that counts here. A folder that could not be looked through has none."""
        found: dict[str, M | None] = {}
        for folder in self._infos:
            try:
                found[folder] = self.newest(folder)
            except TargetUnsound as error:
                self.aside[f"{self._kind.prefix}{folder}/"] = f"{error.code}: {error.message}"
        return Marks(newest={name: mark for name, mark in found.items() if mark}, aside=self.aside)

    def names(self, folder: str) -> set[str]:
        """Return the names in a folder that are taken, whatever lies under them."""
        return {info.name for info in self._infos.get(folder, ())}

    def top(self, folder: str) -> tuple[str, int] | None:
        """Return the highest of these names, and the size of what lies under it; nothing is read."""
        return max(((info.name, info.size) for info in self._infos.get(folder, ())), default=None)

    def _read(self, folder: str) -> M | None:
        infos = sorted(self._infos.get(folder, ()), key=lambda info: info.name, reverse=True)
        junk: list[str] = []
        for info, opened in read_on(infos[:LOOKED_THROUGH], partial(self._open, folder)):
            if not isinstance(opened, FormatError):
                self._set_aside(folder, junk)
                return opened
            junk.append(f"{info.name.rpartition('/')[2]}: {opened.code}: {opened.message}")
        self._set_aside(folder, junk)
        return self._hidden(folder, len(infos)) if len(infos) > LOOKED_THROUGH else None

    def _open(self, folder: str, info: ObjectInfo) -> M | FormatError:
        fits = 0 < info.size <= MAX_MARK  # else its size says enough, and nothing is read
        try:
            read = self._objects.read(info.name, length=MAX_MARK + 1) if fits else ()
            content = b"".join(read) or bytes(min(info.size, MAX_MARK + 1))
            mark = open_mark(self._kind, content, trusted=self._trusted).mark
            if self._kind.object_name(mark.folder, mark.number) != info.name or mark.folder != folder:
                raise Tampered(f"'{info.name}' is a mark about something else, or an older one.")
        except FormatError as error:
            return error
        return mark

    def _set_aside(self, folder: str, junk: Sequence[str]) -> None:
        if many := len(junk):
            what = f"{plural(many, 'object')} {verb(many, 'pose')} as {'marks' if many > 1 else 'a mark'}"
            said = f"{what} there and {verb(many, 'count')} for nothing: {junk[0]}"
            self.aside[f"{self._kind.prefix}{folder}/"] = said.rstrip(".")

    def _hidden(self, folder: str, names: int) -> M:
        """Return the mark that stands for one which may lie below more objects than are read.

        Raises:
            TargetUnsound: of this kind none does: whoever may add objects must not choose what it says.
        """
        reason = f"{names:,} objects pose as marks there, too many to look for a true one among them"
        if self._kind.hidden is None:
            raise TargetUnsound(reason)
        return self._kind.hidden(folder, reason, rfc3339(time.time()))


def newest_mark(places: Iterable[MarksThere[M]], kind: MarkKind[M], folder: str) -> M | None:
    """Return the mark in a folder that counts over several places, as far as they can be looked through."""
    marks: list[M | None] = []
    for place in places:
        with suppress(TargetUnsound):
            marks.append(place.newest(folder))
    return highest(kind, marks)


def highest(kind: MarkKind[M], marks: Iterable[M | None]) -> M | None:
    """Return the mark that counts of those in one folder on several places."""
    found = [mark for mark in marks if mark is not None]
    return max(found, key=lambda mark: _rank(kind, mark), default=None)


def last_word(kind: MarkKind[M], mark: M | None, recorded: M | None) -> M | None:
    """Return what was said last about a subject, by the mark that counts on the targets and by a record.

    A record adds what keeps backups from harm, and takes none of it back. A mark that takes it back counts
    over the record only if it is no older: what was recorded since may not have reached any target.
    """
    if mark is None or recorded is None:
        return mark or recorded
    same = replace(recorded, number=mark.number, at=mark.at) == mark  # set down a moment later
    return mark if mark.state == kind.safest or same or recorded.at <= mark.at else recorded


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
    answering: list[tuple[Target, set[str]]] = []
    number = 0
    for target in targets:
        try:
            there = MarksThere(target, kind, trusted=trusted, folder=mark.folder)
            known = there.newest(mark.folder)
        except StrongroomError as error:
            failed[target.name] = f"{error.code}: {error.message}"
            continue
        if known is not None and known.number == MAX_NUMBER:
            failed[target.name] = f"NotMarked: {known.reason}"
            continue
        answering.append((target, there.names(mark.folder)))
        number = max(number, known.number if known else 0)
    for target, taken in answering:
        try:
            put_mark(target, kind, mark, number + ahead, signer=signer, taken=taken)
        except StrongroomError as error:
            failed[target.name] = f"{error.code}: {error.message}"
    return failed


def put_mark(
    target: Target, kind: MarkKind[M], mark: M, number: int, *, signer: CertifiedSigner, taken: set[str]
) -> None:
    """Put a mark under the first free number from one on: what a stranger put there must not keep it out.

    Args:
        taken: the names in its folder under which something lies.

    Raises:
        TargetError, VerificationFailed: the target does not take it.
    """
    numbers = range(number, MAX_NUMBER + 1)
    free = (one for one in numbers if kind.object_name(mark.folder, one) not in taken)
    for one in islice(free, _TRIES):
        content = sign_mark(kind, replace(mark, number=one), signer)
        name = kind.object_name(mark.folder, one)
        target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())
        if b"".join(target.read(name, length=MAX_MARK + 1)) == content:
            return
    raise VerificationFailed(f"target '{target.name}' holds other objects under all names for the mark")


def fit(text: str) -> str:
    """Return a text as a mark may say it."""
    return "".join(character if character.isprintable() else " " for character in text)[:1_000]
