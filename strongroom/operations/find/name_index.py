"""Looking names up in the indexes that lie beside backups, instead of in each backup.

Which of them count, :mod:`~strongroom.operations.archive.index_files` decides; any other backup is read.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from strongroom.container.manifest import Manifest
from strongroom.container.name_index import GONE, IndexRow, NameIndex, decode_row, quoted_name
from strongroom.errors import StrongroomError, UsageError
from strongroom.operations.archive.index_files import Indexes, is_of
from strongroom.operations.find.facts import Facts
from strongroom.operations.find.search import MOST_NAMES, Wanted, too_many


class Period(NamedTuple):
    """A secret as some consecutive backups have it, the oldest first."""

    facts: Facts
    backups: tuple[str, ...]


class NameIndexes(Indexes):
    """The indexes that some places show, in which secrets are looked up."""

    def search(
        self, wanted: Wanted, manifests: Mapping[str, Manifest], *, trusted: frozenset[str]
    ) -> tuple[list[Period], frozenset[str]]:
        """Return what the indexes say, and of which of these backups they say everything."""
        found: list[Period] = []
        covered: set[str] = set()
        for chain, indexes in self.lines(manifests.keys(), trusted=trusted, covered=covered):
            line = _Line(indexes, manifests, covered)
            try:
                periods = list(line.search(wanted))
            except UsageError:  # too much is asked for, wherever it is looked up
                raise
            except StrongroomError as error:
                self.tell(chain, error)
                continue
            found += periods
            covered |= line.covered
        return found, frozenset(covered)


class _Line:
    """Indexes that continue one another, searched from the first on."""

    def __init__(
        self, line: Sequence[NameIndex], manifests: Mapping[str, Manifest], done: Collection[str]
    ) -> None:
        self._line = line
        self._backups = [
            index.about.backup_id if is_of(index, manifests.get(index.about.backup_id)) else ""
            for index in line
        ]
        self.covered = frozenset(self._backups) - {"", *done}
        self._open: dict[bytes, tuple[IndexRow, int]] = {}

    def search(self, wanted: Wanted) -> Iterator[Period]:
        """Yield each period of each secret that is meant. Memory is bounded by these, and by one block."""
        lines = _Matching(wanted)
        for number, index in enumerate(self._line):
            for block in lines.blocks(index):
                if self._open:
                    for name in self._open.keys() & set(map(_name, block.split(b"\n")[:-1])):
                        yield from self._ended(name, number)
                self._begin(lines.within(block), wanted, number)
        for name in list(self._open):
            yield from self._ended(name, len(self._line))

    def _begin(self, lines: Iterable[bytes], wanted: Wanted, number: int) -> None:
        for line in lines:
            row = decode_row(line)
            if row.version != GONE and wanted.means(facts_of_row(row)):
                self._open[_name(line)] = (row, number)
        if len(self._open) > MOST_NAMES:
            raise too_many()

    def _ended(self, name: bytes, end: int) -> Iterator[Period]:
        row, start = self._open.pop(name)
        backups = tuple(backup for backup in self._backups[start:end] if backup in self.covered)
        if backups:
            yield Period(facts_of_row(row), backups)


def _name(line: bytes) -> bytes:
    """Return the name of a line as it stands there. This is asked of each line of a hundred indexes."""
    return quoted_name(line)[2:-1] if b"\\" in line else line.split(b'"', 2)[1]


def facts_of_row(row: IndexRow) -> Facts:
    """Return a row's facts, as the backup itself has them."""
    return Facts(
        name=row.name,
        version=row.version,
        state=row.state,
        written_at=row.written_at,
        tags=row.tags,
        expires_at=row.expires_at,
        digest=bytes.fromhex(row.digest),
        older=row.older,
    )


# -- bytes that may be meant ---------------------------------------------------------


class _Matching:
    """Finds the lines that may be meant without parsing the others. What it finds is looked at again."""

    def __init__(self, wanted: Wanted) -> None:
        self._prefix = _quoted(re.split(r"[*?[]", wanted.pattern, maxsplit=1)[0])
        self._pattern = re.compile(_pattern(wanted.pattern), re.MULTILINE)
        parts = [_quoted(text)[1:] for text in re.split(r"\*|\?|\[!?\]?[^\]]*\]|\[", wanted.pattern)]
        tags = [_quoted(key) + b'":' + _quoted(value) + b'"' for key, value in wanted.tags.items()]
        self._parts = sorted([*tags, *parts], key=len, reverse=True)

    def blocks(self, index: NameIndex) -> Iterator[bytes]:
        """Yield the blocks that may have a name that begins as the wanted ones do."""
        firsts = [_quoted(first) for first, _ in index.head.blocks]
        start = max(0, bisect_right(firsts, self._prefix) - 1)
        for number in range(start, bisect_right(firsts, self._prefix + b"\xff")):
            yield index.block(number)

    def within(self, block: bytes) -> Iterator[bytes]:
        """Yield the lines of a block that may be meant: those with the longest part first, since to find one
        costs a twentieth of what a pattern does."""
        if not self._parts[0]:
            yield from (match[0] for match in self._pattern.finditer(block))
            return
        for line in _with(self._parts[0], block):
            if all(part in line for part in self._parts) and self._pattern.match(line):
                yield line


def _with(part: bytes, block: bytes) -> Iterator[bytes]:
    """Yield the lines that have a part."""
    place = block.find(part)
    while place >= 0:
        end = block.index(b"\n", place) + 1
        yield block[block.rfind(b"\n", 0, place) + 1 : end]
        place = block.find(part, end)


def _quoted(text: str) -> bytes:
    """Return text as it begins in JSON: with the quote before it, and none behind."""
    return msgspec.json.encode(text)[:-1]


_SET = re.compile(r"!?\]?[^\]]*\]")
"""What follows a bracket in a glob that opens a set of characters; else it stands for itself."""
_ANY = rb'(?:[^"\\\x80-\xff\n]|\\u[0-9a-f]{4}|\\.|[\xc2-\xf4][\x80-\xbf]+)'
"""One character of a text in JSON."""


def _pattern(glob: str) -> bytes:
    """Return a pattern that finds the line of each name that a glob means, or is, and maybe a few others."""
    found = bytearray()
    rest = glob
    while rest:
        one, rest = rest[0], rest[1:]
        if one == "*":
            found += rb"[^\n]*"
        elif one == "?":
            found += _ANY
        elif one == "[" and (match := _SET.match(rest)):
            rest = rest[match.end() :]
            found += _ANY
        else:
            found += re.escape(_quoted(one)[1:])
    return rb'^\["(?:%b|%b)"[^\n]*\n' % (bytes(found), re.escape(_quoted(glob)[1:]))
