"""JSONL: one record a line."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.model import Entry, Secret
from strongroom.sources import records
from strongroom.sources.records import BadRecordError, Records, attempt
from strongroom.sources.slices import LARGEST, BadSliceError, blocks


class Jsonl:
    """The layout of a file with a record on each line; blank lines are skipped."""

    def __init__(self) -> None:
        self._records = Records()

    def entries(self, fd: int, *, with_tags: bool) -> Iterator[Entry]:
        """Yield a line's record each."""
        offset = 0
        for lines in _lines(fd):
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


def _listed(lines: list[bytes], offset: int) -> Iterator[Entry]:
    decode = records.listed
    for line in lines:
        size = len(line)
        try:
            yield Entry(decode(line).name, size, (offset, size))
        except (ValueError, RecursionError):
            _refuse(line, offset)
        offset += size + 1


def _tagged(lines: list[bytes], offset: int) -> Iterator[Entry]:
    decode = records.tagged
    for line in lines:
        size = len(line)
        try:
            record = decode(line)
            yield Entry(record.name, size, (offset, size), record.tags or {})
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


def _lines(fd: int) -> Iterator[list[bytes]]:
    """Yield whole lines, without their ends, a block's worth at a time."""
    rest = b""
    done = 0
    for block in blocks(fd):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        done += sum(map(len, lines)) + len(lines)
        if len(rest) > LARGEST:
            raise BadSliceError(f"the line is longer than {LARGEST >> 20} MiB", offset=done)
        yield lines
    if rest:
        yield [rest]
