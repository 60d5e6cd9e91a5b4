"""Signed statements on targets: one listing, one judge of what counts, one merge, one way to put them there.

A statement (:mod:`strongroom.container.marks`) is an object of its own, signed, numbered, and never
changed or removed. Of some kinds (marks, heads, trust lists) the newest that somebody trusted signed counts,
over all targets; of others (the entries of a case) every one does. So who removes one from one target takes
nothing back. One that is damaged, signed by a stranger, or lies under another name than its own counts for
nothing.

Whoever may add objects to a target can put any number of them there. That must neither hide a true one nor
take long: nothing is read that nobody asks for, nor beyond the size that its kind has, and what is read is
read from the newest name downwards, many at once.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.errors import FormatError, Tampered, VerificationFailed
from strongroom.container.marks import MAX_NUMBER, M, MarkKind, S, Signed, StatementKind
from strongroom.container.signing import CertifiedSigner
from strongroom.errors import StrongroomError
from strongroom.model import ObjectInfo
from strongroom.operations.errors import TargetUnsound
from strongroom.targets import Target, put_whole
from strongroom.targets.reading import Objects
from strongroom.times import rfc3339
from strongroom.words import plural, verb

KEPT = timedelta(days=366)
"""For how long a statement is locked where a target locks."""
LOOKED_THROUGH = 100_000
"""Objects of one folder that are read to find a true one among them."""
AT_ONCE = 8
_WINDOW = 512
_TRIES = 20

N = TypeVar("N")
T = TypeVar("T")


# -- what counts -------------------------------------------------------------------------------------


class Counting(NamedTuple, Generic[S]):
    """A statement that counts: its name on every target, its bytes, and whose it is."""

    name: str
    content: bytes
    signed: Signed[S]

    @property
    def statement(self) -> S:
        return self.signed.statement


def judge(
    kind: StatementKind[S], name: str, content: bytes, *, trusted: frozenset[str] | None
) -> Counting[S] | FormatError:
    """Return a statement if it counts: somebody trusted signed it, and it lies under its own name. Else why
    not."""
    try:
        signed = kind.open(content, trusted=trusted)
        if not kind.is_named(name, signed.statement, content):
            raise Tampered(f"'{name}' is another {kind.words}, or an older one.")
    except FormatError as error:
        return error
    return Counting(name, content, signed)


class TooMany(Exception):
    """More objects than are read pose as statements, and a true one may lie below them."""

    def __init__(self, names: int) -> None:
        super().__init__(names)
        self.names = names


class StatementsOn(Generic[S]):
    """The statements of a kind on one place, by one listing; those of a folder are read when it is asked for.

    Args:
        trusted: whose signatures count; ``None`` accepts anybody's.
        folder: what alone is listed.

    Raises:
        TargetError: the place does not answer.
    """

    def __init__(
        self, objects: Objects, kind: StatementKind[S], *, trusted: frozenset[str] | None, folder: str = ""
    ) -> None:
        self.objects, self.kind, self.trusted = objects, kind, trusted
        self._infos: dict[str, list[ObjectInfo]] = {}
        self._newest: dict[str, S | TargetUnsound | None] = {}
        self.aside: dict[str, str] = {}
        pattern = re.compile(kind.pattern)
        for info in objects.list(f"{kind.prefix}{folder}/" if folder else kind.prefix):
            if (match := pattern.fullmatch(info.name.removeprefix(kind.prefix))) is not None:
                self._infos.setdefault(match[1], []).append(info)
        for infos in self._infos.values():
            infos.sort(key=lambda info: info.name, reverse=True)

    @property
    def folders(self) -> Iterable[str]:
        """Those in which something lies that is called as a statement is."""
        return self._infos

    def infos(self, folder: str) -> Sequence[ObjectInfo]:
        """Return what lies in a folder, the newest by its name first."""
        return self._infos.get(folder, ())

    def fitting(self, folder: str) -> list[ObjectInfo]:
        """Return what lies in a folder and may be a statement by its size."""
        return [info for info in self.infos(folder) if self._fits(info)]

    def names(self, folder: str) -> set[str]:
        """Return the names in a folder that are taken, whatever lies under them."""
        return {info.name for info in self.infos(folder)}

    def top(self, folder: str) -> tuple[str, int] | None:
        """Return the highest of these names, and the size of what lies under it; nothing is read."""
        return next(((info.name, info.size) for info in self.infos(folder)), None)

    @property
    def _word(self) -> str:
        return self.kind.words.rpartition(" ")[2]

    def _fits(self, info: ObjectInfo) -> bool:
        return 0 < info.size <= self.kind.most

    def read(self, info: ObjectInfo) -> Counting[S] | FormatError:
        """Read one; return why it does not count, if it does not.

        Raises:
            TrustListMissing: it counts, and states a newer trust list than any that was found.
        """
        most = self.kind.most + 1  # of what does not fit, its size says enough, and nothing is read
        read = self.objects.read(info.name, length=most) if self._fits(info) else ()
        content = b"".join(read) or bytes(min(info.size, most))
        found = judge(self.kind, info.name, content, trusted=self.trusted)
        if isinstance(found, Counting):
            self.kind.require(found.signed, self.trusted)
        return found

    def first(self, infos: Sequence[ObjectInfo], *, most: int, junk: list[str] | None = None) -> S | None:
        """Return the first of some that counts; ``None`` if none does.

        Args:
            most: how many are read.
            junk: is given what does not count, and why.

        Raises:
            TooMany: none of these counts, and there are more.
        """
        for info, found in read_on(infos[:most], self.read):
            if not isinstance(found, FormatError):
                return found.statement
            if junk is not None:
                junk.append(f"{info.name.rpartition('/')[2]}: {found.code}: {found.message}")
        if len(infos) > most:
            raise TooMany(len(infos))
        return None

    def newest(self, folder: str) -> S | None:
        """Return the statement in a folder that counts here, if there is one.

        Raises:
            TargetUnsound: it could not be looked for.
            TargetError: the place does not answer.
        """
        if folder not in self._newest:
            try:
                self._newest[folder] = self._look(folder)
            except TargetUnsound as error:
                self._newest[folder] = error
        newest = self._newest[folder]
        if isinstance(newest, TargetUnsound):
            raise newest
        return newest

    def _look(self, folder: str) -> S | None:
        junk: list[str] = []
        try:
            return self.first(self.infos(folder), most=LOOKED_THROUGH, junk=junk)
        except TooMany as error:
            what = f"{error.names:,} objects pose as {self._word}s there"
            reason = f"{what}, too many to look for a true one among them"
            if self.kind.hidden is None:  # whoever may add objects must not choose what it says
                raise TargetUnsound(reason) from None
            return self.kind.hidden(folder, reason, rfc3339(time.time()))
        finally:
            if many := len(junk):
                what = f"{self._word}s" if many > 1 else f"a {self._word}"
                said = f"{plural(many, 'object')} {verb(many, 'pose')} as {what} there"
                said = f"{said} and {verb(many, 'count')} for nothing: {junk[0]}"
                self.aside[f"{self.kind.prefix}{folder}/"] = said.rstrip(".")

    def all(self) -> NewestStatement[S]:
        """Return the newest of each folder. One that could not be looked through has none."""
        found: dict[str, S | None] = {}
        for folder in self._infos:
            try:
                found[folder] = self.newest(folder)
            except TargetUnsound as error:
                self.aside[f"{self.kind.prefix}{folder}/"] = f"{error.code}: {error.message}"
        return NewestStatement(newest={name: s for name, s in found.items() if s}, aside=self.aside)


def read_on(names: Sequence[N], read: Callable[[N], T]) -> Iterator[tuple[N, T]]:
    """Yield each name with what was read of it: the first alone, which nearly always counts, then more and
    more of them at once, for a far place takes long for each."""
    at, size = 0, 1
    with ThreadPoolExecutor(AT_ONCE) as threads:
        while window := names[at : at + size]:
            found = map(read, window) if size == 1 else threads.map(read, window)
            yield from zip(window, found, strict=True)
            at, size = at + size, min(_WINDOW, size * 8)


# -- over several places -------------------------------------------------------------------------------


class NewestStatement(Struct, Generic[S], frozen=True, kw_only=True):
    """The statement of each folder that counts on some places, and the objects that did not count there."""

    newest: Mapping[str, S]
    aside: Mapping[str, str]


def highest(kind: MarkKind[M], marks: Iterable[M | None]) -> M | None:
    """Return the mark that counts of those in one folder on several places.

    Two hosts may give one number to two marks, each on a target that the other did not reach.
    """
    found = [mark for mark in marks if mark is not None]
    return max(found, key=lambda mark: (mark.number, mark.state == kind.safest), default=None)


def newest_on(places: Iterable[StatementsOn[M]], kind: MarkKind[M], folder: str) -> M | None:
    """Return the mark in a folder that counts over several places, as far as they can be looked through."""
    marks: list[M | None] = []
    for place in places:
        with suppress(TargetUnsound):
            marks.append(place.newest(folder))
    return highest(kind, marks)


def merge_newest(kind: MarkKind[M], found: Iterable[NewestStatement[M]]) -> NewestStatement[M]:
    """Return what counts over several places."""
    each = list(found)
    folders = dict.fromkeys(folder for found_list in each for folder in found_list.newest)
    newest = {
        folder: highest(kind, (found_list.newest.get(folder) for found_list in each)) for folder in folders
    }
    return NewestStatement(
        newest={folder: mark for folder, mark in newest.items() if mark is not None},
        aside={name: why for found_list in each for name, why in found_list.aside.items()},
    )


def last_word(kind: MarkKind[M], mark: M | None, recorded: M | None) -> M | None:
    """Return what was said last about a subject, by the mark that counts on the targets and by a record.

    A record adds what keeps backups from harm, and takes none of it back. A mark that takes it back counts
    over the record only if it is no older: what was recorded since may not have reached any target.
    """
    if mark is None or recorded is None:
        return mark or recorded
    same = replace(recorded, number=mark.number, at=mark.at) == mark  # set down a moment later
    return mark if mark.state == kind.safest or same or recorded.at <= mark.at else recorded


# -- putting them there --------------------------------------------------------------------------------


def put_checked(target: Target, name: str, content: bytes, *, until: datetime | None = None) -> None:
    """Put a small file on a target, read it back, and lock it where the target locks.

    Raises:
        VerificationFailed: the target holds something else afterwards.
    """
    put_whole(target, name, content)
    if b"".join(target.read(name, length=len(content) + 1)) != content:
        raise VerificationFailed(f"target '{target.name}' holds something else under the name '{name}'")
    if until is not None and target.locks:
        target.extend_lock(name, until)


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
    free = (candidate for candidate in numbers if kind.object_name(mark.folder, candidate) not in taken)
    for free_number in islice(free, _TRIES):
        with suppress(VerificationFailed):  # somebody was faster
            content = kind.sign(replace(mark, number=free_number), signer)
            return put_checked(target, kind.object_name(mark.folder, free_number), content)
    raise VerificationFailed(f"target '{target.name}' holds other objects under all names for the mark")


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
            there = StatementsOn(target, kind, trusted=trusted, folder=mark.folder)
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


def fit(text: str) -> str:
    """Return a text as a mark may say it."""
    return "".join(character if character.isprintable() else " " for character in text)[:1_000]
