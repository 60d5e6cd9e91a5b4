"""Looking names up in the indexes that lie beside backups, instead of in each backup.

Which of them count, :mod:`~strongroom.operations.archive.index_files` decides; any other backup is read.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from strongroom.container.errors import FormatError
from strongroom.container.manifest import Manifest
from strongroom.container.name_index import GONE, BlockRows, IndexRow, NameIndex, decode_row, quoted_name
from strongroom.errors import StrongroomError, UsageError
from strongroom.operations.archive.index_files import Indexes, is_of
from strongroom.operations.find.facts import SecretFacts
from strongroom.operations.find.search import MOST_NAMES, SecretQuery, too_many


class IndexedSpan(NamedTuple):
    """A secret as some consecutive backups have it, the oldest first."""

    facts: SecretFacts
    backups: tuple[str, ...]


class NameIndexes(Indexes):
    """The indexes that some places show, in which secrets are looked up."""

    def search(
        self, wanted: SecretQuery, manifests: Mapping[str, Manifest], *, trusted: frozenset[str]
    ) -> tuple[list[IndexedSpan], frozenset[str]]:
        """Return what the indexes say, and of which of these backups they say everything."""
        found: list[IndexedSpan] = []
        covered: set[str] = set()
        for chain, indexes in self.lines(manifests.keys(), trusted=trusted, covered=covered):
            line = _SearchedChain(indexes, manifests, covered)
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


class _SearchedChain:
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

    def search(self, wanted: SecretQuery) -> Iterator[IndexedSpan]:
        """Yield each period of each secret that is meant. Memory is bounded by these, and by one block."""
        lines = _Matching(wanted)
        for number, index in enumerate(self._line):
            for block in lines.blocks(index):
                for name in self._again(block):
                    yield from self._ended(name, number)
                try:
                    self._begin(lines.within(block), wanted, number)
                except FormatError as error:
                    index.damage = error
                    raise
        for name in list(self._open):
            yield from self._ended(name, len(self._line))

    def _again(self, block: BlockRows) -> Iterable[bytes]:
        """Return which of the names that were found so far have a row in a block."""
        if len(self._open) * 8 < len(block.names):
            return [name for name in self._open if block.find(name) >= 0]
        return self._open.keys() & set(block.names)

    def _begin(self, lines: Iterable[bytes], wanted: SecretQuery, number: int) -> None:
        for line in lines:
            row = decode_row(line)
            if row.version != GONE and wanted.means(facts_of_row(row)):
                self._open[quoted_name(line)] = (row, number)
        if len(self._open) > MOST_NAMES:
            raise too_many()

    def _ended(self, name: bytes, end: int) -> Iterator[IndexedSpan]:
        row, start = self._open.pop(name)
        backups = tuple(backup for backup in self._backups[start:end] if backup in self.covered)
        if backups:
            yield IndexedSpan(facts_of_row(row), backups)


def facts_of_row(row: IndexRow) -> SecretFacts:
    """Return a row's facts, as the backup itself has them."""
    return SecretFacts(
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
    """Finds the rows that may be meant without parsing the others. What it finds is looked at again."""

    def __init__(self, wanted: SecretQuery) -> None:
        self._name = _quoted(wanted.name) + b'"' if wanted.name else b""
        self._prefix = _quoted(re.split(r"[*?[]", wanted.pattern, maxsplit=1)[0])
        self._pattern = re.compile(_pattern(wanted.pattern))
        tags = [_quoted(key) + b'":' + _quoted(value) + b'"' for key, value in wanted.tags.items()]
        self._tags = sorted(tags, key=len, reverse=True)
        parts = [_quoted(text)[1:] for text in re.split(r"\*|\?|\[!?\]?[^\]]*\]|\[", wanted.pattern)]
        self._part = max(parts, key=len)

    def blocks(self, index: NameIndex) -> Iterator[BlockRows]:
        """Yield the blocks that may have a name that begins as the wanted ones do."""
        firsts = [_quoted(first) for first, _ in index.head.blocks]
        start = max(0, bisect_right(firsts, self._prefix) - 1)
        for number in range(start, bisect_right(firsts, self._prefix + b"\xff")):
            yield index.block(number)

    def within(self, block: BlockRows) -> Iterator[bytes]:
        """Yield the lines of a block that may be meant."""
        for number in self._maybe(block):
            if self._tags and not all(tag in block.tags(number) for tag in self._tags):
                continue
            if self._pattern.fullmatch(block.names[number]):
                yield block.line(number)

    def _maybe(self, block: BlockRows) -> Iterable[int]:
        """Return the numbers of the rows with the longest part of what is looked for: to find one costs a
        twentieth of what a pattern does."""
        if self._name:
            return [at] if (at := block.find(self._name)) >= 0 else []
        part = self._part
        if self._tags and len(self._tags[0]) > len(part):
            return block.tagged(self._tags[0])
        return (number for number, name in enumerate(block.names) if part in name)


def _quoted(text: str) -> bytes:
    """Return text as it begins in JSON: with the quote before it, and none behind."""
    return msgspec.json.encode(text)[:-1]


_SET = re.compile(r"!?\]?[^\]]*\]")
"""What follows a bracket in a glob that opens a set of characters; else it stands for itself."""
_ANY = rb'(?:[^"\\\x80-\xff\n]|\\u[0-9a-f]{4}|\\.|[\xc2-\xf4][\x80-\xbf]+)'
"""One character of a text in JSON."""


def _pattern(glob: str) -> bytes:
    """Return a pattern for each name in JSON that a glob means, or is, and maybe a few others."""
    found = bytearray()
    rest = glob
    while rest:
        character, rest = rest[0], rest[1:]
        if character == "*":
            found += rb".*"
        elif character == "?":
            found += _ANY
        elif character == "[" and (match := _SET.match(rest)):
            rest = rest[match.end() :]
            found += _ANY
        else:
            found += re.escape(_quoted(character)[1:])
    return rb'"(?:%b|%b)"' % (bytes(found), re.escape(_quoted(glob)[1:]))
