"""What became of a secret from backup to backup, and how two backups differ."""

from __future__ import annotations

import re
import secrets
from array import array
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.cobblestone import SIZE, ValueDigester, keyed_hash
from strongroom.container.errors import FormatError
from strongroom.container.manifest import ContainerEntry, Manifest
from strongroom.container.name_index import GONE, BlockRows, IndexRow, NameIndex, decode_row, quoted_name
from strongroom.errors import StrongroomError, UsageError
from strongroom.model import Secret, Selection, VersionState
from strongroom.operations.archive.coverage import limits_of
from strongroom.operations.archive.find import (
    MOST_NAMES,
    SearchableBackup,
    SecretFacts,
    SecretQuery,
    changes,
    facts_of,
    overwritten,
    too_many,
)
from strongroom.operations.archive.index_files import Indexes, is_of
from strongroom.operations.archive.live_comparison import (
    Numbers,
    batches,
    digests_of,
    hashed,
    read_each,
    selected,
)
from strongroom.operations.archive.open import Backup
from strongroom.operations.archive.reading import Replicated
from strongroom.sources import Source

# -- What became of one secret from backup to backup --------------------------------------------


class UnchangedSpan(Struct, frozen=True, kw_only=True):
    """A secret as consecutive backups have it: the first and the last of them, and what became otherwise.

    ``facts`` is left out where they do not have it.
    """

    since: str
    until: str
    backups: int
    facts: SecretFacts | None
    what: tuple[str, ...]


class HeldVersion(Struct, frozen=True, kw_only=True):
    """One version of a secret, and the backups that hold its value, the newest first. Where none does, those
    that hold the rest of it."""

    version: int
    state: VersionState
    has_value: bool
    written_at: str | None
    backups: tuple[str, ...]


def kept_versions(backups: Iterable[tuple[str, SecretFacts]]) -> list[HeldVersion]:
    """Return every version of a secret that backups hold, the newest first.

    Args:
        backups: their ids, the newest first, with what they have.
    """
    kept: dict[int, HeldVersion] = {}
    for backup, facts in backups:
        for held_version in _versions(backup, facts):
            known = kept.get(held_version.version)
            if known is None or held_version.has_value > known.has_value:
                kept[held_version.version] = held_version
            elif held_version.has_value == known.has_value:
                written = known.written_at or held_version.written_at
                kept[held_version.version] = replace(
                    known, written_at=written, backups=(*known.backups, backup)
                )
    return [kept[number] for number in sorted(kept, reverse=True)]


def _versions(backup: str, facts: SecretFacts) -> Iterator[HeldVersion]:
    yield HeldVersion(
        version=facts.version,
        state=facts.state,
        has_value=bool(facts.digest),
        written_at=facts.written_at,
        backups=(backup,),
    )
    for run in facts.older:
        for number in range(run.first, run.last + 1):
            yield HeldVersion(
                version=number,
                state=run.state,
                has_value=run.has_value,
                written_at=run.written_at(number),
                backups=(backup,),
            )


Unread = Callable[[str, StrongroomError], None]
"""Is told of a backup whose values cannot be compared with those of another one, and why."""


def periods(
    backups: Iterable[tuple[SearchableBackup, SecretFacts | None]], *, unread: Unread
) -> Iterator[UnchangedSpan]:
    """Yield the periods of a secret in backups of one source, given oldest first with what they have.

    A backup that was limited to less than the source tells nothing by not having it.
    """
    open_period: UnchangedSpan | None = None
    before: SearchableBackup | None = None
    for backup, facts in backups:
        if facts is None and (open_period is None or limits_of(backup.manifest)):
            continue
        what = _changed(before, backup, open_period, facts, unread)
        if open_period is not None and not what:
            # A period with one more backup. One with a value is what the next is held against.
            secret_facts = facts if facts is not None and facts.digest else open_period.facts
            open_period = replace(
                open_period,
                until=backup.manifest.backup_id,
                backups=open_period.backups + 1,
                facts=secret_facts,
            )
        else:
            if open_period is not None:
                yield open_period
            this = backup.manifest.backup_id
            open_period = UnchangedSpan(since=this, until=this, backups=1, facts=facts, what=what)
        if facts is not None and (facts.digest or before is None):
            before = backup
    if open_period is not None:
        yield open_period


def _changed(
    before: SearchableBackup | None,
    backup: SearchableBackup,
    period: UnchangedSpan | None,
    facts: SecretFacts | None,
    unread: Unread,
) -> tuple[str, ...]:
    """Say what is otherwise in a backup; nothing if it has what the ones before it have."""
    if period is None or before is None:
        return ("first seen",)
    was = period.facts
    if was is None or facts is None:
        return () if was is facts else (("gone",) if facts is None else ("back again",))
    both = was.digest and facts.digest and was.version == facts.version
    if both:
        try:
            if not overwritten(before, backup, was, facts):
                was = replace(was, digest=facts.digest)
        except StrongroomError as error:
            unread(backup.manifest.backup_id, error)
            return (*changes(replace(was, digest=facts.digest), facts), _NOT_COMPARED)
    return changes(was, facts)


_NOT_COMPARED = "its value could not be compared with the one before"


# -- How a later backup, or the source now, differs from an earlier backup: by names and keyed digests
#
# Memory is bounded by what differs, and by a number for each secret. The earlier side is read again where
# something differs. A side that is a backup is read by every core: children hand back hashes of names and
# states, and of what differs all but values.


Telling = Callable[[Iterable["SecretFacts"]], Iterator[bytes]]
"""What is to be told of secrets, in parts."""


class ComparedSide(Protocol):
    """One side of a comparison, as often as it is asked for."""

    def told(self, telling: Telling) -> Iterator[bytes]:
        """Yield the parts that come of its secrets, in whatever order."""
        ...


_SEEN = 0
"""The number of a name that both sides have: no state has it."""


class Changed(Struct, frozen=True, kw_only=True):
    """A secret that is otherwise on the later side, and in what."""

    name: str
    what: tuple[str, ...]


class Difference(Struct, frozen=True, kw_only=True):
    """How the later side differs. ``expired`` are secrets of it whose time ran out since the earlier one."""

    added: tuple[str, ...]
    changed: tuple[Changed, ...]
    removed: tuple[str, ...]
    expired: tuple[str, ...]
    same: int


class _LaterTold(Struct, frozen=True, array_like=True):
    """What some secrets of the later side are beside the earlier: ``seen`` are the hashes of those that are
    on both."""

    seen: bytes
    same: int
    added: list[str]
    otherwise: list[SecretFacts]
    expired: list[str]


class _EarlierTold(Struct, frozen=True, array_like=True):
    """What some secrets of the earlier side are beside the later."""

    changed: list[Changed]
    removed: list[str]


def compare(
    earlier: ComparedSide,
    later: ComparedSide,
    *,
    by_value: bool,
    has_expired: Callable[[SecretFacts], bool],
) -> Difference:
    """Compare two sides."""
    states, seen = Numbers(), array("Q")
    for part in earlier.told(partial(_states, by_value=by_value)):
        pairs = iter(array("Q", part))
        for key, state in zip(pairs, pairs, strict=True):
            states.put(key, state)
    added, otherwise, expired, same = list[str](), dict[str, SecretFacts](), list[str](), 0
    telling = partial(_beside, states=states, by_value=by_value, has_expired=has_expired)
    for told in map(_decode_later, later.told(telling)):
        seen.frombytes(told.seen)
        same += told.same
        added += told.added
        expired += told.expired
        otherwise |= {facts.name: facts for facts in told.otherwise}
    for key in seen:
        states.put(key, _SEEN)
    changed, removed = list[Changed](), list[str]()
    if otherwise or len(seen) < len(states):
        again = partial(_looked_up, states=states, otherwise=otherwise, by_value=by_value)
        for found in map(_decode_earlier, earlier.told(again)):
            changed += found.changed
            removed += found.removed
    return Difference(
        added=tuple(sorted(added)),
        changed=tuple(sorted(changed, key=lambda changed_secret: changed_secret.name)),
        removed=tuple(sorted(removed)),
        expired=tuple(sorted(expired)),
        same=same,
    )


_decode_later = msgspec.msgpack.Decoder(_LaterTold).decode
_decode_earlier = msgspec.msgpack.Decoder(_EarlierTold).decode


def _states(secrets: Iterable[SecretFacts], *, by_value: bool) -> Iterator[bytes]:
    """Yield the hash of each name, and a number for what is compared of it."""
    for batch in batches(secrets):
        pairs = array("Q")
        for facts in batch:
            pairs.extend((hashed(facts.name), _state(facts, by_value=by_value)))
        yield pairs.tobytes()


def _beside(
    secrets: Iterable[SecretFacts],
    *,
    states: Numbers,
    by_value: bool,
    has_expired: Callable[[SecretFacts], bool],
) -> Iterator[bytes]:
    for batch in batches(secrets):
        seen, there = array("Q"), list[SecretFacts]()
        added, otherwise = list[str](), list[SecretFacts]()
        for facts in batch:
            if (before := states.get(facts.name)) is None:
                added.append(facts.name)
                continue
            seen.append(hashed(facts.name))
            there.append(facts)
            if before != _state(facts, by_value=by_value):
                otherwise.append(facts)
        expired = [facts.name for facts in there if facts.expires_at and has_expired(facts)]
        same = len(there) - len(otherwise)
        yield msgspec.msgpack.encode(_LaterTold(seen.tobytes(), same, added, otherwise, expired))


def _looked_up(
    secrets: Iterable[SecretFacts], *, states: Numbers, otherwise: Mapping[str, SecretFacts], by_value: bool
) -> Iterator[bytes]:
    """Say of each secret that differs in what, and which ones are on the earlier side alone."""
    for batch in batches(secrets):
        changed = [
            Changed(name=before.name, what=changes(before, after, by_value=by_value))
            for before in batch
            if (after := otherwise.get(before.name)) is not None
        ]
        removed = [before.name for before in batch if states.get(before.name) != _SEEN]
        if changed or removed:
            yield msgspec.msgpack.encode(_EarlierTold(changed, removed))


def _state(facts: SecretFacts, *, by_value: bool) -> int:
    """Return a number for what is compared. Each process keys hashes anew, so nobody makes two meet."""
    version = 0 if by_value and facts.digest else facts.version + 1
    told = (version, facts.digest, facts.state.value, frozenset(facts.tags.items()), facts.expires_at or "")
    return hash(told) % (2**63 - 1) + 1


class BackupSide:
    """A backup as a side.

    Args:
        digest: makes digests now of the values in it; without, those that lie in it count, and none is read.
        values: whether values are compared; not where the other side has none.
    """

    def __init__(
        self, backup: Replicated, digest: ValueDigester | None = None, *, values: bool = True
    ) -> None:
        self._backup = backup
        self._digest = digest
        self._values = values

    def told(self, telling: Telling) -> Iterator[bytes]:
        return self._backup.parts(lambda backup, entry: telling(self._facts(backup, entry)))

    def _facts(self, backup: Backup, entry: ContainerEntry) -> Iterator[SecretFacts]:
        if (digest := self._digest) is not None:
            found = (facts_of(secret, digests_of(secret, digest)) for secret in backup.secrets_in(entry))
        else:
            found = (facts_of(*row) for row in backup.digested_rows_in(entry))
        return found if self._values else map(_without_value, found)


def _without_value(facts: SecretFacts) -> SecretFacts:
    return replace(facts, digest=b"")


class LiveSide:
    """A source as a side. ``unread`` has the secrets that it does not give, and why."""

    def __init__(
        self, source: Source, selection: Selection, digest: ValueDigester, *, values: bool = True
    ) -> None:
        self._source = source
        self._selection = selection
        self._digest = digest
        self._values = values
        self.unread: dict[str, str] = {}

    def told(self, telling: Telling) -> Iterator[bytes]:
        return telling(self if self._values else map(_without_value, self))

    def __iter__(self) -> Iterator[SecretFacts]:
        for batch in batches(selected(self._source, self._selection)):
            for entry, live in zip(batch, read_each(self._source, batch), strict=True):
                if isinstance(live, Secret):
                    yield facts_of(live, digests_of(live, self._digest))
                elif isinstance(live, StrongroomError):
                    self.unread[entry.name] = f"{live.code}: {live.message}"


def digest_for_now() -> ValueDigester:
    """Return a digester under a key of this process: equal values of one secret have equal digests."""
    compute = keyed_hash(secrets.token_bytes(32))

    def digest(name: str, number: int, value: bytes) -> bytes:
        encoded = name.encode()
        return compute(len(encoded).to_bytes(4, "big") + encoded + value)[:SIZE]

    return digest


# -- Looking names up in the indexes that lie beside backups, instead of in each backup ---------
#
# Which of them count, :mod:`~strongroom.operations.archive.index_files` decides; any other backup is read.


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
