"""Reading access logs from where they lie, each line once, in bounded memory.

A file is known by its first line, not by its name: so a rotated or compressed file goes on where it was
left. What was read is known by the last bytes before that: a file that was cut or written anew is told.
"""

from __future__ import annotations

import hashlib
import os
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

from strongroom.errors import ConfigError
from strongroom.model import ObjectInfo
from strongroom.operations.access.parsers import Format
from strongroom.operations.access.reads import OddLine, Read
from strongroom.state.records import AccessMark

TAIL: Final = 4096
"""Bytes by which a file's beginning, and what was read of it last, are known."""
BATCH: Final = 20_000
"""Reads that are held at once."""
MOST_FILES: Final = 200_000
FUTURE: Final = 300.0
"""Seconds that a line may be ahead of us, and still be one that is to be read later."""
DAMAGED: Final = "damaged"
"""The tail of a file that cannot be unpacked: it is told once."""
_CHUNK: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"


class LogPlace(Protocol):
    """Where the files of a log lie. Every target is one."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]: ...

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]: ...


class LogFolder:
    """A directory with the files of a log, and those below it. No link is followed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the files, by name. Raises ConfigError if they cannot be listed."""
        found = []
        for folder, _, names in os.walk(self._path, onerror=self._refuse):
            for name in names:
                path = Path(folder, name)
                status = path.lstat()
                relative = path.relative_to(self._path).as_posix()
                if stat.S_ISREG(status.st_mode) and relative.startswith(prefix):
                    found.append(ObjectInfo(name=relative, size=status.st_size))
        yield from sorted(found, key=lambda one: one.name)

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream a part of a file. Raises ConfigError if it cannot be read."""
        try:
            descriptor = os.open(self._path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise self._refusal(error) from None
        with os.fdopen(descriptor, "rb") as file:
            file.seek(offset)
            left = length if length is not None else 1 << 62
            while chunk := file.read(min(_CHUNK, left)):
                left -= len(chunk)
                yield chunk

    def _refuse(self, error: OSError) -> None:
        raise self._refusal(error) from None

    def _refusal(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"the access log in '{self._path}' cannot be read: {error.strerror}",
            hint="Give the user of the verify workers the right to read it, on every host that runs them.",
        )


class Batch(Struct, frozen=True, kw_only=True):
    """Some of what is new: what was done, and how far each file was read. ``odd`` counts lines that are none
    of the format; ``rewritten`` names files that were cut or written anew."""

    reads: tuple[Read, ...] = ()
    marks: tuple[AccessMark, ...] = ()
    lines: int = 0
    odd: int = 0
    rewritten: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


class Follower:
    """One look at a log.

    Args:
        before: how far each file was read, by the digest of its beginning.
        until: lines after this time (epoch seconds) are left for the next look.
    """

    def __init__(
        self, log: str, place: LogPlace, form: Format, before: Iterable[AccessMark], *, until: float
    ) -> None:
        self._log, self._place, self._form, self._until = log, place, form, until
        self._known: Mapping[str, AccessMark] = {mark.head: mark for mark in before}
        # Objects are put once. A file may be another one, of the same name and size.
        self._settled = {
            (mark.name, mark.size): mark
            for mark in self._known.values()
            if mark.size >= 0 and (mark.tail == DAMAGED or not isinstance(place, LogFolder))
        }
        self._seen: dict[str, str] = {}

    def new(self) -> Iterator[Batch]:
        """Yield what is new, file by file."""
        listed = self._place.list()
        for number, info in enumerate(listed):
            if number >= MOST_FILES:
                raise ConfigError(
                    f"the access log '{self._log}' has more than {MOST_FILES:,} files",
                    hint="Have its store remove old ones: a lifecycle rule of 30 days is plenty.",
                )
            if (mark := self._settled.get((info.name, info.size))) is not None:
                self._seen[mark.head] = info.name
            elif info.size:
                try:
                    yield from self._file(info)
                except OddLine:
                    yield self._damaged(info)
        yield self._missing()

    def _damaged(self, info: ObjectInfo) -> Batch:
        head = hashlib.sha256(info.name.encode()).hexdigest()
        self._seen[head] = info.name
        mark = AccessMark(log=self._log, head=head, name=info.name, size=info.size, tail=DAMAGED)
        return Batch(marks=(mark,), lines=1, odd=1)

    def _missing(self) -> Batch:
        """Say which files are gone. One whose name has a beginning that is new was put in its place."""
        gone = [mark for head, mark in self._known.items() if head not in self._seen]
        new = {name for head, name in self._seen.items() if head not in self._known}
        replaced = tuple(sorted({mark.name for mark in gone if mark.name in new}))
        return Batch(rewritten=replaced, gone=tuple(mark.head for mark in gone))

    def _file(self, info: ObjectInfo) -> Iterator[Batch]:
        start = b"".join(self._place.read(info.name, length=TAIL))
        packed = start.startswith(_GZIP)
        first = next(_unpacked([start]), b"")[:TAIL] if packed else start
        line, newline, _ = first.partition(b"\n")
        if not (newline or self._form.whole or len(first) >= TAIL):
            return  # its first line is being written
        head = hashlib.sha256(first if self._form.whole else line[:TAIL]).hexdigest()
        if head in self._seen:
            return  # a copy
        self._seen[head] = info.name
        mark = self._known.get(head)
        if mark is not None and mark.size == info.size and (packed or self._form.whole):
            return
        if self._form.whole:
            yield self._whole(info, head)
            return
        kept = mark is None or self._holds(info, mark, packed=packed)
        offset = mark.offset if mark is not None and kept else 0
        rewritten = () if kept else (info.name,)
        yield from self._lines(info, head, offset, packed=packed, rewritten=rewritten)

    def _whole(self, info: ObjectInfo, head: str) -> Batch:
        mark = AccessMark(log=self._log, head=head, name=info.name, size=info.size, offset=info.size, tail="")
        try:
            reads = self._parse(self._content(info))
        except OddLine:
            return Batch(marks=(mark,), lines=1, odd=1)
        if any(map(self._is_young, reads)):
            return Batch()
        return Batch(reads=reads, marks=(mark,), lines=1)

    def _content(self, info: ObjectInfo) -> bytes:
        content = bytearray()
        for chunk in _unpacked(self._place.read(info.name)):
            content += chunk
            if len(content) > self._form.longest:
                raise OddLine("too long")
        return bytes(content)

    def _holds(self, info: ObjectInfo, mark: AccessMark, *, packed: bool) -> bool:
        """Tell whether what was read of a file stands there still."""
        recent = self._recent(info.name, mark.offset, packed=packed)
        return hashlib.sha256(recent).hexdigest() == mark.tail

    def _from(self, name: str, offset: int, *, packed: bool, length: int | None = None) -> Iterator[bytes]:
        if not packed:
            yield from self._place.read(name, offset=offset, length=length)
            return
        for chunk in _unpacked(self._place.read(name)):
            skipped = min(offset, len(chunk))
            offset -= skipped
            if chunk[skipped:]:
                yield chunk[skipped:]

    def _lines(
        self, info: ObjectInfo, head: str, offset: int, *, packed: bool, rewritten: tuple[str, ...]
    ) -> Iterator[Batch]:
        recent = self._recent(info.name, offset, packed=packed)
        reads: list[Read] = []
        lines = odd = 0
        rest = False
        chunks = self._from(info.name, offset, packed=packed)
        for line, length, tail in _split(chunks, self._form.longest):
            try:
                found = () if line == b"\n" else self._parse(line)
            except OddLine:
                found, odd = (), odd + 1
            if any(map(self._is_young, found)):
                rest = True
                break
            reads += found
            offset, lines, recent = offset + length, lines + 1, (recent + tail)[-TAIL:]
            if len(reads) >= BATCH:
                mark = self._mark(info, head, offset, recent, size=-1)
                yield Batch(reads=tuple(reads), marks=(mark,), lines=lines, odd=odd, rewritten=rewritten)
                reads, lines, odd, rewritten = [], 0, 0, ()
        size = -1 if rest or (not packed and offset != info.size) else info.size
        mark = self._mark(info, head, offset, recent, size=size)
        yield Batch(reads=tuple(reads), marks=(mark,), lines=lines, odd=odd, rewritten=rewritten)

    def _recent(self, name: str, offset: int, *, packed: bool) -> bytes:
        length = min(TAIL, offset)
        chunks = self._from(name, offset - length, packed=packed, length=length) if length else ()
        found = bytearray()
        for chunk in chunks:
            found += chunk
            if len(found) >= length:
                break
        return bytes(found[:length])

    def _mark(self, info: ObjectInfo, head: str, offset: int, recent: bytes, *, size: int) -> AccessMark:
        tail = hashlib.sha256(recent).hexdigest()
        return AccessMark(log=self._log, head=head, name=info.name, size=size, offset=offset, tail=tail)

    def _parse(self, line: bytes) -> tuple[Read, ...]:
        if not line:
            raise OddLine("too long")
        return tuple(self._form.parse(line))

    def _is_young(self, read: Read) -> bool:
        """Tell whether a read is too new to be judged: our own record of it may be on its way. One of the far
        future is judged at once, so that no forged line holds up those after it."""
        return self._until < read.at <= self._until + FUTURE


def _split(chunks: Iterable[bytes], longest: int) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield complete lines, each with its length and its last bytes. One that is too long comes empty."""
    pending, dropped = bytearray(), 0
    for chunk in chunks:
        pending += chunk
        start = 0
        while (end := pending.find(b"\n", start)) >= 0:
            line = bytes(pending[start : end + 1])
            too_long = dropped or len(line) > longest
            yield (b"" if too_long else line), dropped + len(line), line[-TAIL:]
            start, dropped = end + 1, 0
        del pending[:start]
        if len(pending) > longest + TAIL:
            dropped += len(pending) - TAIL
            del pending[:-TAIL]


def _unpacked(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what is in a gzip file; anything else as it is. Raises OddLine if it is damaged."""
    pieces = iter(chunks)
    first = next(pieces, b"")
    whole = chain((first,), pieces)
    yield from _inflated(whole) if first.startswith(_GZIP) else whole


def _inflated(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what is packed, a bounded piece at a time: a small file may unpack to a huge one."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        for chunk in chunks:
            rest = chunk
            while rest:
                yield inflater.decompress(rest, _CHUNK)
                rest = inflater.unused_data or inflater.unconsumed_tail
                if inflater.eof:
                    inflater = zlib.decompressobj(wbits=31)
        yield inflater.flush()
    except zlib.error:
        raise OddLine("a damaged gzip file") from None
