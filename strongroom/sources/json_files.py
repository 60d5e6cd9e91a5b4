"""A file of many secrets, each of which lies in one slice of its bytes.

Listing streams over the file and remembers of each secret only where it lies; reading goes
straight there. Nothing is mapped into memory: mapped pages count as the process's own, and
its memory is bounded by one secret, not by the file.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from strongroom.container.errors import DuplicateSecret
from strongroom.errors import SourceError
from strongroom.model import ListedSecret, Secret
from strongroom.sources import Listable, Source
from strongroom.sources.errors import EmptySource, SourceChanged, SourceUnavailable
from strongroom.sources.records import BadRecordError

BLOCK = 1 << 20
MARK = b"\xef\xbb\xbf"
"""The byte order mark with which editors of Windows begin a file in UTF-8. It says nothing."""
LARGEST = 64 << 20


class Layout(Protocol):
    """How a kind of file holds its secrets: pure bytes, no paths."""

    def entries(self, fd: int, *, with_tags: bool) -> Iterator[ListedSecret]:
        """Yield every secret, its slice as locator; raise :class:`BadSliceError`."""
        ...

    def parse(self, piece: bytes) -> Secret:
        """Decode one slice, or raise :class:`BadRecordError`."""
        ...

    def name_of(self, piece: bytes) -> str | None:
        """Return the name of the secret in a slice, ``None`` if there is none."""
        ...


@runtime_checkable
class DivisibleLayout(Layout, Protocol):
    """A layout in which the middle can be made sense of without what is before it."""

    def parts(self, fd: int, most: int) -> Sequence[Layout]:
        """Return the layouts of at most so many parts, whose entries together are the file's."""
        ...


class BadSliceError(ValueError):
    """What is wrong in a file, and the byte where it is."""

    def __init__(self, problem: str, *, offset: int) -> None:
        super().__init__(problem)
        self.offset = offset


class SlicedFile(Source):
    """The source over one file of a known layout."""

    def __init__(self, path: str, layout: Layout, *, name: str) -> None:
        self._path = path
        self._layout = layout
        self.name = name

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        """Yield an entry for every secret in the file, in its order.

        Raises:
            EmptySource: there is none, which is nearly always a mistake.
            SourceError: the file is missing, unreadable or broken; names file and line.
        """
        entry = None
        with opened(self._path) as fd:
            for entry in _entries(self._path, fd, self._layout, with_tags=with_tags):
                yield entry
        if entry is None:
            raise EmptySource(f"'{self._path}' holds no secret")

    def parts(self, most: int) -> Sequence[Listable]:
        """Return what lists the file in parts; see :meth:`~strongroom.sources.Source.parts`."""
        if not isinstance(self._layout, DivisibleLayout):
            return (self,)
        with opened(self._path) as fd:
            cut = _state(fd)
            layouts = self._layout.parts(fd, most)
        return [_Part(self._path, layout, cut) for layout in layouts]

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        """Yield each secret from its slice.

        An entry without a locator is looked for by name, which costs one listing.
        """
        located = entries if all(entry.locator for entry in entries) else self._located(entries)
        parse = self._layout.parse
        with opened(self._path) as fd:
            for entry in located:
                if not entry.locator:
                    yield None
                    continue
                offset, length = entry.locator
                piece = os.pread(fd, length, offset)
                problem = None
                try:
                    secret = parse(piece)
                    if secret.name == entry.name and len(piece) == length:
                        yield secret
                        continue
                except BadRecordError as error:
                    problem = str(error)
                raise self._changed(fd, entry, piece, problem)

    def _changed(self, fd: int, entry: ListedSecret, piece: bytes, problem: str | None) -> SourceError:
        """Return what is wrong where an entry's secret should be."""
        if problem is None or self._layout.name_of(piece) != entry.name:
            return SourceChanged(f"'{self._path}' changed meanwhile: {entry.name!r} is not where it was")
        return _bad(self._path, fd, problem, entry.locator[0])

    def _located(self, entries: Sequence[ListedSecret]) -> Iterator[ListedSecret]:
        found: dict[str, ListedSecret | None] = {entry.name: None for entry in entries}
        for entry in self.list():
            if entry.name in found:
                if found[entry.name] is not None:
                    raise DuplicateSecret(f"'{self._path}' has two secrets of the name {entry.name!r}")
                found[entry.name] = entry
        return (found[entry.name] or ListedSecret(entry.name, 0) for entry in entries)


_State = tuple[int, int, int, int]


class _Part:
    """One part of a file, which has to be the very file that was cut.

    Processes open it one after the other: were it replaced between them, a secret could be in no part.
    """

    def __init__(self, path: str, layout: Layout, cut: _State) -> None:
        self._path = path
        self._layout = layout
        self._cut = cut

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        """Yield the secrets of this part; raises what :meth:`SlicedFile.list` raises, but for emptiness."""
        with opened(self._path) as fd:
            if _state(fd) != self._cut:
                raise SourceChanged(f"'{self._path}' changed while it was listed")
            yield from _entries(self._path, fd, self._layout, with_tags=with_tags)


def _state(fd: int) -> _State:
    """Return what tells that a file was replaced or written to."""
    found = os.fstat(fd)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _entries(path: str, fd: int, layout: Layout, *, with_tags: bool) -> Iterator[ListedSecret]:
    try:
        yield from layout.entries(fd, with_tags=with_tags)
        return
    except BadSliceError as error:
        bad = (str(error), error.offset)
    raise _bad(path, fd, *bad)  # outside of the handler: what was caught may hold a value


def _bad(path: str, fd: int, problem: str, offset: int) -> SourceError:
    return SourceError(f"'{path}', line {line_at(fd, offset)}: {problem}")


@contextmanager
def opened(path: str) -> Iterator[int]:
    """Open a regular file for reading; every refusal is a typed error that names it."""
    with refusals(path):  # O_NONBLOCK: opening a pipe that nobody writes to must not hang
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise SourceError(f"'{path}' is not a regular file", hint="Check the path.")
        with refusals(path):
            yield fd
    finally:
        os.close(fd)


@contextmanager
def refusals(path: str) -> Iterator[None]:
    """Turn what the operating system refuses into a typed error that names ``path``."""
    try:
        yield
    except OSError as error:
        raise refusal(path, error) from None


def refusal(path: str, error: OSError) -> SourceError:
    """Return the typed error for what the operating system refused."""
    if isinstance(error, FileNotFoundError):
        return SourceError(f"'{path}' does not exist", hint="Check the path.")
    if isinstance(error, PermissionError):
        return SourceError(f"'{path}' may not be read", hint="Check the file's owner and mode.")
    kind = SourceError if error.errno in _PERMANENT else SourceUnavailable
    return kind(f"'{path}' could not be read: {os.strerror(error.errno or 0)}")


def blocks(fd: int, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Read a file block by block, from one byte up to another, or to where it ends by then."""
    offset = start
    while block := os.pread(fd, BLOCK if end is None else min(BLOCK, end - offset), offset):
        yield block
        offset += len(block)


def line_at(fd: int, offset: int) -> int:
    """Return the line number, from 1, of a byte; counted only when something is wrong."""
    line, start = 1, 0
    for block in blocks(fd):
        line += block.count(b"\n", 0, max(0, offset - start))
        start += len(block)
        if start >= offset:
            break
    return line


_PERMANENT = frozenset(
    (errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO, errno.EINVAL)
)
