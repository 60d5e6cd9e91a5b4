"""Reading access logs from where they lie, each line once, in bounded memory.

A file is known by its first line, not by its name: so a rotated or compressed file goes on where it was
left. What was read is known by the last bytes before that: a file that was cut or written anew is told.
Files with one first line are looked at together: one that goes on is read, whatever lies beside it, and only
one that is a part of another is left out. So no copy hides what comes after it was made.
"""

from __future__ import annotations

import hashlib
import os
import stat
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

from strongroom.errors import ConfigError
from strongroom.model import ObjectInfo
from strongroom.operations.access.parsers import Format, OddLine, Read
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
        yield from sorted(found, key=lambda info: info.name)

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


class LogBatch(Struct, frozen=True, kw_only=True):
    """Some of what is new: what was done, and how far each file was read. ``odd`` counts lines that are none
    of the format; ``rewritten`` names files that were cut or written anew."""

    reads: tuple[Read, ...] = ()
    marks: tuple[AccessMark, ...] = ()
    lines: int = 0
    odd: int = 0
    rewritten: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


class _LogFile(Struct, frozen=True, kw_only=True):
    """A file of the log, and whether it is packed."""

    info: ObjectInfo
    packed: bool


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

    def new(self) -> Iterator[LogBatch]:
        """Yield what is new, file by file."""
        alike: dict[str, list[_LogFile]] = {}
        for number, info in enumerate(self._place.list()):
            if number >= MOST_FILES:
                raise ConfigError(
                    f"the access log '{self._log}' has more than {MOST_FILES:,} files",
                    hint="Have its store remove old ones: a lifecycle rule of 30 days is plenty.",
                )
            if (mark := self._settled.get((info.name, info.size))) is not None:
                self._seen[mark.head] = info.name
            elif info.size:
                try:
                    head, file = self._begun(info)
                except OddLine:
                    yield self._damaged(info)
                    continue
                if head:
                    alike.setdefault(head, []).append(file)
        follow = self._follow_whole if self._form.whole else self._follow_lines
        for head, files in alike.items():
            yield from follow(head, files)
        yield self._missing()

    def _begun(self, info: ObjectInfo) -> tuple[str, _LogFile]:
        """Return by what a file is known; by nothing as long as its first line is being written."""
        start = b"".join(self._place.read(info.name, length=TAIL))
        packed = start.startswith(_GZIP)
        first = next(_unpacked([start]), b"")[:TAIL] if packed else start
        line, newline, _ = first.partition(b"\n")
        file = _LogFile(info=info, packed=packed)
        if not (newline or self._form.whole or packed or len(first) >= TAIL):
            return "", file
        return hashlib.sha256(first if self._form.whole else line[:TAIL]).hexdigest(), file

    def _damaged(self, info: ObjectInfo) -> LogBatch:
        head = hashlib.sha256(info.name.encode()).hexdigest()
        self._seen[head] = info.name
        mark = AccessMark(log=self._log, head=head, name=info.name, size=info.size, tail=DAMAGED)
        return LogBatch(marks=(mark,), lines=1, odd=1)

    def _missing(self) -> LogBatch:
        """Say which files are gone. One whose name has a beginning that is new was put in its place."""
        gone = [mark for head, mark in self._known.items() if head not in self._seen]
        new = {name for head, name in self._seen.items() if head not in self._known}
        replaced = tuple(sorted({mark.name for mark in gone if mark.name in new}))
        return LogBatch(rewritten=replaced, gone=tuple(mark.head for mark in gone))

    # -- files of whole documents

    def _follow_whole(self, head: str, files: list[_LogFile]) -> Iterator[LogBatch]:
        """Read the files of one beginning: the first by that, the others by their names as well."""
        known = self._known.get(head)
        files.sort(key=lambda log_file: known is not None and log_file.info.name != known.name)
        for number, file in enumerate(files):
            key = _apart(head, file) if number else head
            mark = self._known.get(key)
            self._seen[key] = file.info.name
            if mark is None or mark.size != file.info.size:
                yield self._whole(file.info, key)

    # -- files of lines

    def _follow_lines(self, head: str, files: list[_LogFile]) -> Iterator[LogBatch]:
        """Read what is new in the files of one beginning, the longest first."""
        self._seen[head] = files[0].info.name
        mark = before = self._known.get(head)
        lead, strays = None, list[_LogFile]()
        for file in sorted(files, key=lambda log_file: (log_file.packed, -log_file.info.size)):
            own = _apart(head, file)
            try:
                if own in self._known:
                    self._seen[own] = file.info.name
                    yield from self._go_on(file, own, self._known[own])
                elif mark is None or self._holds(file, mark):
                    again = lead is not None and mark is not None
                    mark = yield from self._lines(file, head, mark, quiet=again)
                    lead = file
                else:
                    strays.append(file)
            except OddLine:
                yield self._damaged(file.info)
        if before is not None:
            strays.sort(key=lambda log_file: log_file.info.name != before.name)
        yield from self._follow_strays(head, strays, lead)

    def _follow_strays(self, head: str, strays: list[_LogFile], lead: _LogFile | None) -> Iterator[LogBatch]:
        """Read the files that do not hold what was read; without ``lead`` none of that beginning does."""
        for file in strays:
            try:
                if lead is None:
                    yield from self._lines(file, head, None, rewritten=(file.info.name,))
                    lead = file
                elif not self._is_part(file, lead):
                    own = _apart(head, file)
                    self._seen[own] = file.info.name
                    yield from self._lines(file, own, None, rewritten=(file.info.name,))
            except OddLine:
                yield self._damaged(file.info)

    def _go_on(self, file: _LogFile, head: str, mark: AccessMark) -> Iterator[LogBatch]:
        if self._holds(file, mark):
            yield from self._lines(file, head, mark)
        else:
            yield from self._lines(file, head, None, rewritten=(file.info.name,))

    def _holds(self, file: _LogFile, mark: AccessMark) -> bool:
        """Tell whether what was read of a file stands there still."""
        info = file.info
        if file.packed and (mark.name, mark.size) == (info.name, info.size):
            return True
        recent = self._recent(info.name, mark.offset, packed=file.packed)
        return hashlib.sha256(recent).hexdigest() == mark.tail

    def _is_part(self, file: _LogFile, whole: _LogFile) -> bool:
        """Tell whether a file is the beginning of another: a copy from earlier, or what is left of a cut."""
        length, end = file.info.size, b""
        if file.packed:
            length = 0
            for chunk in self._from(file.info.name, 0, packed=True):
                length, end = length + len(chunk), (end + chunk)[-TAIL:]
        else:
            end = self._recent(file.info.name, length, packed=False)
        return self._recent(whole.info.name, length, packed=whole.packed) == end

    def _whole(self, info: ObjectInfo, head: str) -> LogBatch:
        mark = AccessMark(log=self._log, head=head, name=info.name, size=info.size, offset=info.size, tail="")
        try:
            content = bytearray()
            for chunk in _unpacked(self._place.read(info.name)):
                content += chunk
                if len(content) > self._form.longest:
                    raise OddLine("too long")
            reads = self._parse(bytes(content))
        except OddLine:
            return LogBatch(marks=(mark,), lines=1, odd=1)
        if any(map(self._is_young, reads)):
            return LogBatch()
        return LogBatch(reads=reads, marks=(mark,), lines=1)

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
        self,
        file: _LogFile,
        head: str,
        mark: AccessMark | None,
        *,
        rewritten: tuple[str, ...] = (),
        quiet: bool = False,
    ) -> Generator[LogBatch, None, AccessMark]:
        """Yield what is new in a file, and return how far it was read; if ``quiet`` only what is new."""
        info, packed = file.info, file.packed
        if mark is not None and self._is_done(file, mark):
            return mark
        offset = mark.offset if mark is not None else 0
        recent = self._recent(info.name, offset, packed=packed)
        reads: list[Read] = []
        lines = odd = 0
        rest = endless = False
        chunks = self._from(info.name, offset, packed=packed)
        for line, length, tail in _split(chunks, self._form.longest, ended=packed):
            try:
                found = () if line == b"\n" else self._parse(line)
            except OddLine:
                found, odd = (), odd + 1
            if any(map(self._is_young, found)):
                rest = True
                break
            reads += found
            endless = not length
            offset, lines, recent = offset + length, lines + 1, (recent + tail)[-TAIL:]
            if len(reads) >= BATCH:
                yield LogBatch(
                    reads=tuple(reads),
                    marks=(self._mark(info, head, offset, recent, size=-1),),
                    lines=lines,
                    odd=odd,
                    rewritten=rewritten,
                )
                reads, lines, odd, rewritten = [], 0, 0, ()
        size = -1 if rest or (not packed and not endless and offset != info.size) else info.size
        mark = self._mark(info, head, offset, recent, size=size)
        if lines or rewritten or not quiet:
            yield LogBatch(reads=tuple(reads), marks=(mark,), lines=lines, odd=odd, rewritten=rewritten)
        return mark

    def _is_done(self, file: _LogFile, mark: AccessMark) -> bool:
        """Tell whether a file is as it was, so that its end need not be read again."""
        same = (mark.name, mark.size) == (file.info.name, file.info.size)
        return same and (file.packed or mark.offset != mark.size)

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


def _apart(head: str, file: _LogFile) -> str:
    """Return by what a file is known that begins as another does, and goes on in another way."""
    return hashlib.sha256(f"{head} {file.info.name}".encode()).hexdigest()


def _split(chunks: Iterable[bytes], longest: int, *, ended: bool) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield complete lines, each with its length and its last bytes. One that is too long comes empty.

    If the file has ``ended``, what is left is a line. Else one that is too long already comes with no length:
    nothing more of it is awaited.
    """
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
    too_long = bool(dropped) or len(pending) > longest
    if ended and pending:
        yield (b"" if too_long else bytes(pending)), dropped + len(pending), bytes(pending[-TAIL:])
    elif too_long:
        yield b"", 0, b""


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
