"""JSONL: one record a line."""

from __future__ import annotations

import os
from collections.abc import Iterator

from strongroom.model import ListedSecret, Secret
from strongroom.sources import records
from strongroom.sources.records import BadRecordError, Records, attempt
from strongroom.sources.slices import LARGEST, MARK, BadSliceError, blocks

PART = 8 << 20
"""What is worth a process to list: it takes some 50 ms."""


class Jsonl:
    """The layout of a file with a record on each line; blank lines are skipped.

    Lists what lies from the byte ``start`` up to ``end`` (up to the file's end if ``None``).
    """

    def __init__(self, start: int = 0, end: int | None = None) -> None:
        self._records = Records()
        self._start, self._end = start, end

    def parts(self, fd: int, most: int) -> list[Jsonl]:
        """Cut the file between lines; leave it whole if these are too long to be looked for."""
        size = os.fstat(fd).st_size
        count = max(1, min(most, size // PART))
        starts = [0]
        for part in range(1, count):
            found = _line_start(fd, size * part // count)
            if found is None:
                return [self]
            if found > starts[-1]:
                starts.append(found)
        return [Jsonl(start, end) for start, end in zip(starts, [*starts[1:], None], strict=True)]

    def entries(self, fd: int, *, with_tags: bool) -> Iterator[ListedSecret]:
        """Yield a line's record each."""
        offset = start = self._start or _begin(fd)
        for lines in _lines(fd, start, self._end):
            yield from _tagged(lines, offset) if with_tags else _listed(lines, offset)
            offset += sum(map(len, lines)) + len(lines)

    def parse(self, piece: bytes) -> Secret:
        """Decode a line."""
        return self._records.parse(piece)

    def name_of(self, piece: bytes) -> str | None:
        """Return the name in a line."""
        try:
            return str(attempt(records.listed, piece).name)
        except BadRecordError:
            return None


def holds_records(start: bytes) -> bool:
    """Say whether a file that starts so has a record of its own on its first line."""
    first, end, _ = start.lstrip().partition(b"\n")
    try:
        attempt(records.listed, first)
    except BadRecordError:
        return False
    return bool(end)


def _listed(lines: list[bytes], offset: int) -> Iterator[ListedSecret]:
    decode = records.listed
    for line in lines:
        size = len(line)
        try:
            yield ListedSecret(decode(line).name, size, (offset, size))
        except (ValueError, RecursionError):
            _refuse(line, offset)
        offset += size + 1


def _tagged(lines: list[bytes], offset: int) -> Iterator[ListedSecret]:
    decode = records.tagged
    for line in lines:
        size = len(line)
        try:
            record = decode(line)
            yield ListedSecret(record.name, size, (offset, size), record.tags or {})
        except (ValueError, RecursionError):
            _refuse(line, offset)
        offset += size + 1


def _refuse(line: bytes, offset: int) -> None:
    """Say what is wrong with a line, if it is not merely blank."""
    if not line.strip():
        return
    try:
        attempt(records.tagged, line)
        problem = "it is no record"
    except BadRecordError as error:
        problem = str(error)
    raise BadSliceError(problem, offset=offset)


def _begin(fd: int) -> int:
    """Return where the first line begins: after a byte order mark, if there is one."""
    return len(MARK) if os.pread(fd, len(MARK), 0) == MARK else 0


def _line_start(fd: int, offset: int) -> int | None:
    """Return where the next line begins at or after ``offset``, if a line's greatest length tells."""
    at = offset - 1
    for block in blocks(fd, at, at + LARGEST):
        end = block.find(b"\n")
        if end >= 0:
            return at + end + 1
        at += len(block)
    return None


def _lines(fd: int, start: int, end: int | None) -> Iterator[list[bytes]]:
    """Yield whole lines, without their ends, a block's worth at a time."""
    rest = b""
    done = start
    for block in blocks(fd, start, end):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        done += sum(map(len, lines)) + len(lines)
        if len(rest) > LARGEST:
            raise BadSliceError(f"the line is longer than {LARGEST >> 20} MiB", offset=done)
        yield lines
    if rest:
        yield [rest]
