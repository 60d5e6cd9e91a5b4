"""plan: list the source, spill the names, cut them into ranges."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from struct import Struct as Packed

import msgspec

from strongroom.container import cobblestone
from strongroom.container.manifest import parse_manifest
from strongroom.errors import ConfigError, SourceError, StrongroomError
from strongroom.model import COMMAND, Role, Selection, prepare
from strongroom.operations.archive.coverage import limits_on
from strongroom.operations.archive.open import manifest_bytes
from strongroom.operations.backup.verify import PlannedPieces
from strongroom.operations.engine.approving import require_known_recipients
from strongroom.operations.engine.jobs import read_facts
from strongroom.operations.engine.layout import (
    InProcessListing,
    ListingBatch,
    ListingLost,
    Placed,
    SecretListing,
    cut,
    repacked,
    sections,
)
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.stage import Stage, names_chunk, stage_of
from strongroom.operations.errors import NothingSelected, NothingSelectedYet
from strongroom.sources import Listable, Source
from strongroom.sources.errors import EmptySource, EmptySourceYet
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run, RunStep, Spec
from strongroom.system.every_core import Spread
from strongroom.system.lazy import batched
from strongroom.system.process import cores, uncollected

# -- The list of names that a plan makes, spilled to the stage and cut into ranges --------------
#
# Names can be sensitive and a million of them do not belong in memory, so the list goes to
# the stage in chunks sealed under the cluster work key. Each name is placed by a keyed hash
# (HMAC-SHA256 under the run's name key): a *piece* is a contiguous range of hashes. So pieces
# are of even size whatever the names are, two secrets of one name fall into one piece, and
# the hash range in a manifest tells nothing.


PARTS, DIGITS = 16, 4
"""A part of the list has the names whose hashes begin with the same digits in hex, at most 4 of them. Else
each capture opened the whole list for its own range, and captures of 10,000,000 secrets read more of the list
than of the secrets."""
GATHERED = 8 * 1024 * 1024
"""Bytes of all parts that are in memory until the largest is put on the stage."""
FINE = 16 * 1024 * 1024
"""Bytes of a part from which on it is parted again: so what a capture opens is the same at any size."""
NAMED = 32
"""Chunks that are named in one place. Each step of a run reads its facts: 1,000,000,000 secrets have some
100,000 chunks."""


class ChunkRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A chunk of the list on the stage, named by its digest. It has ``names``, or names further chunks, of
    hashes that begin with two bytes from ``low`` to ``high``, in sections by the first or the ``second``.
    One that an older version spilled says its own name, and has any."""

    sha256: str
    name: str = ""
    low: int = 0
    high: int = 0xFFFF
    second: bool = False
    names: bool = True


class Spilled(msgspec.Struct, frozen=True, kw_only=True):
    """What was listed: the chunks, how many secrets, and their estimated bytes."""

    chunks: tuple[ChunkRef, ...]
    secrets: int
    size: int


def spill(stage: Stage, run: str, listing: SecretListing) -> Spilled:
    """Write a listing to the stage; memory is bounded by one batch, and by what is gathered of all parts."""
    parts = _Parts(stage, run)
    count = size = 0
    for batch in listing.batches():
        stage.require_room(len(batch.packed))
        parts.add(batch.packed)
        count += batch.secrets
        size += batch.size
    chunks = list(parts.put_all())
    while len(chunks) > NAMED:
        chunks = [_named(stage, run, some) for some in batched(chunks, NAMED)]
    return Spilled(chunks=tuple(chunks), secrets=count, size=size)


class _Parts:
    """The 16 parts that some names fall into by the next digit of their hashes; ``low`` has those before."""

    def __init__(self, stage: Stage, run: str, *, low: int = 0, digit: int = 0) -> None:
        self._stage, self._run, self._low, self._digit = stage, run, low, digit
        self._width = 0x1000 >> 4 * digit
        self._gathered = [bytearray() for _ in range(PARTS)]
        self._chunks: list[list[ChunkRef]] = [[] for _ in range(PARTS)]
        self._sizes = [0] * PARTS
        self._held = 0

    def add(self, packed: bytes) -> None:
        """Add a batch whose sections are by the byte that the digit is in."""
        for part in range(PARTS):
            low = self._low + part * self._width
            own = cut(packed, *_sections_of(low, low + self._width - 1, second=self._digit > 1))
            self._gathered[part] += own
            self._held += len(own)
        while self._held >= GATHERED:
            largest = max(range(PARTS), key=lambda part: len(self._gathered[part]))
            self._put(largest, largest)

    def put_all(self) -> Iterator[ChunkRef]:
        """Put what is left on the stage, and part again what is too large; yield all chunks."""
        begun, left = 0, 0
        for part in range(PARTS):  # a small listing is one chunk
            left += len(self._gathered[part])
            if left >= GATHERED // PARTS or (left and part == PARTS - 1):
                self._put(begun, part)
                begun, left = part + 1, 0
        for part, chunks in enumerate(self._chunks):
            last = self._digit == DIGITS - 1
            yield from chunks if self._sizes[part] <= FINE or last else self._finer(part, chunks)

    def _put(self, first: int, last: int) -> None:
        content = b"".join(self._gathered[first : last + 1])
        self._gathered[first : last + 1] = [bytearray() for _ in range(first, last + 1)]
        self._held -= len(content)
        self._sizes[first] += len(content)
        low, high = self._low + first * self._width, self._low + (last + 1) * self._width - 1
        sha256 = self._stage.seal(content, name=self._name, context=_names_context(self._run))
        self._chunks[first].append(ChunkRef(sha256=sha256, low=low, high=high, second=self._digit > 1))

    def _finer(self, part: int, chunks: Sequence[ChunkRef]) -> Iterator[ChunkRef]:
        """Part a part again; yield its chunks then."""
        low = self._low + part * self._width
        finer = _Parts(self._stage, self._run, low=low, digit=self._digit + 1)
        own = [chunk for chunk in chunks if chunk.high < low + self._width]
        shared = [chunk for chunk in chunks if chunk.high >= low + self._width]
        for chunk in own:
            name = self._name(chunk.sha256)
            content = self._stage.open(name, sha256=chunk.sha256, context=_names_context(self._run))
            finer.add(repacked(content, second=finer._digit > 1))
        yield from shared
        yield from finer.put_all()
        for chunk in own:
            self._stage.place.delete(self._name(chunk.sha256))

    def _name(self, sha256: str) -> str:
        return names_chunk(self._run, sha256)


def _named(stage: Stage, run: str, chunks: Sequence[ChunkRef]) -> ChunkRef:
    """Put the names of chunks on the stage."""
    sha256 = stage.seal(
        msgspec.msgpack.encode(chunks), name=partial(names_chunk, run), context=_chunks_context(run)
    )
    low, high = min(chunk.low for chunk in chunks), max(chunk.high for chunk in chunks)
    return ChunkRef(sha256=sha256, low=low, high=high, names=False)


def read_range(
    stage: Stage, run: str, chunks: Iterable[ChunkRef], *, piece: int, pieces: int
) -> list[Placed]:
    """Return one piece's entries, ascending by name: neighbours are then alike, and compress."""
    low, high = _bounds(piece, pieces)
    try:
        found = list(_read_chunks(stage, run, chunks, low, high))
    except msgspec.MsgspecError:
        raise RecordRefused(
            "another version of Strongroom planned this run: cancel it, and start again"
        ) from None
    here = [placed for placed in found if low <= placed[0] and (high is None or placed[0] < high)]
    here.sort(key=lambda placed: placed[1].name)
    return here


def _read_chunks(
    stage: Stage, run: str, chunks: Iterable[ChunkRef], low: bytes, high: bytes | None
) -> Iterator[Placed]:
    """Yield the entries of all sections that a range of hashes touches."""
    for chunk in chunks:
        first = max(chunk.low, int.from_bytes(low[:2], "big"))
        last = min(chunk.high, 0xFFFF if high is None else int.from_bytes(high[:2], "big"))
        if first > last:
            continue
        name, context = chunk.name or names_chunk(run, chunk.sha256), _names_context(run)
        if chunk.names:
            content = stage.open(name, sha256=chunk.sha256, context=context)
            for section in sections(content, *_sections_of(first, last, second=chunk.second)):
                yield from section.placed()
        else:
            further = stage.open(name, sha256=chunk.sha256, context=_chunks_context(run))
            yield from _read_chunks(
                stage, run, msgspec.msgpack.decode(further, type=list[ChunkRef]), low, high
            )


def _sections_of(low: int, high: int, *, second: bool) -> tuple[int, int]:
    """Return the first and the last section that has hashes from ``low`` to ``high``, by their two bytes."""
    return (low & 0xFF, high & 0xFF) if second else (low >> 8, high >> 8)


def _bounds(piece: int, pieces: int) -> tuple[bytes, bytes | None]:
    def edge(number: int) -> bytes:
        return (-(-number * 2**128 // pieces)).to_bytes(16, "big")

    return edge(piece), edge(piece + 1) if piece + 1 < pieces else None


def _names_context(run: str) -> bytes:
    return b"strongroom/v1/names/" + run.encode()


def _chunks_context(run: str) -> bytes:
    return b"strongroom/v1/names-of-chunks/" + run.encode()


# -- One server under two names: it would count twice, or as apart from the source that lies in it ---
#
# A configuration is compared by addresses, and a server may have several: that of a load balancer, that
# of a node. So a plan asks the servers themselves which ones they are.


def check_homes(spec: Spec, source: Source, services: Services) -> None:
    """Refuse targets that count as several places, or as apart from the source, and are one server.

    A server that does not answer is not compared. Raises ConfigError.
    """
    servers = {source.home(): f"source '{spec.source}'"}
    for pin in spec.targets:
        home = services.target(pin.name).home() if pin.counts else ""
        if home and home in servers:
            raise ConfigError(
                f"target '{pin.name}' and {servers[home]} are one Vault server under two addresses:"
                " they are lost together",
                hint="Give both the same entry under [vaults], or the target another server.",
            )
        servers[home] = f"target '{pin.name}'"


# -- plan: list the source, spill the names, cut them into ranges -------------------------------


MAX_PIECES = 65_536
PIECE_SECRETS = 65_536
"""However small they are: who captures a piece holds its list of names, some 400 bytes each."""


class ListedPieces(PlannedPieces, frozen=True, kw_only=True):
    """What the plan found, as the run's facts keep it. The name key is sealed under the
    cluster work key: the state database must not be able to tell which names exist.
    ``not_contained`` is what the source says that it has and does not list; ``unfinished``, how many of
    its secrets an interrupted restore left half-written."""

    secrets: int
    size: int
    chunks: tuple[ChunkRef, ...]
    name_key: str
    not_contained: tuple[str, ...] = ()
    unfinished: int = 0


class BackupPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that a backup begins with. ``previous`` is the digest of the policy's manifest before it,
    ``trust`` the number of the newest trust list that is known here, or 0."""

    plan: ListedPieces
    previous: str | None
    trust: int


prepare(BackupPlan)


@uncollected()
def plan(run: Run, step: RunStep, services: Services) -> BackupPlan:
    """List, spill and cut; the result becomes the run's facts."""
    spec = run.spec
    source = services.source(spec.source)
    check_homes(spec, source, services)
    require_known_recipients(services, spec.policy, spec.recipients)
    spilled, name_key = _spill_names(run, source, spec.selection, services)
    if not spilled.secrets:
        raise _why_empty(source, spec, services)
    by_size = -(-spilled.size // spec.container_bytes)
    by_count = -(-spilled.secrets // PIECE_SECRETS)
    plan = ListedPieces(
        pieces=min(max(1, by_size, by_count), spilled.secrets, MAX_PIECES),
        secrets=spilled.secrets,
        size=spilled.size,
        chunks=spilled.chunks,
        name_key=cobblestone.seal(services.work_key, name_key, context=_context(run.id)).hex(),
        not_contained=source.not_contained(),
        unfinished=source.unfinished(),
    )
    trust = services.signers(Role.CONTROL).trust
    return BackupPlan(plan=plan, previous=_previous_manifest(spec, services), trust=trust)


def plan_of(run: Run) -> BackupPlan:
    """Return what the plan of a run found."""
    return read_facts(run, BackupPlan)


def open_name_key(run: Run, plan: ListedPieces, services: Services) -> bytes:
    """Unseal the run's name key."""
    sealed = bytes.fromhex(plan.name_key)
    return cobblestone.open_(services.work_key, sealed, context=_context(run.id))


def _previous_manifest(spec: Spec, services: Services) -> str | None:
    """Return the digest of the policy's manifest before this one: a chain shows a gap.

    The catalog only says which backup that is. Its rows can be edited, so the digest is that of a signed
    manifest on a target; without one there is none.
    """
    newest = services.store.backups(policy=spec.policy, limit=1)
    for pin in spec.targets if newest and spec.policy != COMMAND else ():
        with suppress(StrongroomError):
            content = manifest_bytes(
                services.target(pin.name), newest[0].backup, trusted=services.signer_fingerprints
            )
            if parse_manifest(content, trusted=services.signer_fingerprints).policy == spec.policy:
                return hashlib.sha256(content).hexdigest()
    return None


def _spill_names(run: Run, source: Source, selection: Selection, services: Services) -> tuple[Spilled, bytes]:
    """Spill the names, and return the key that they were hashed with."""
    for listing in (services.listing(source, selection), InProcessListing(source, selection)):
        with suppress(ListingLost):
            return spill(stage_of(run, services), run.id, listing), listing.name_key
    raise AssertionError("a listing made here is not lost")


def _why_empty(source: Source, spec: Spec, services: Services) -> StrongroomError:
    """Say why there is nothing to back up. Where there was something before, it is a loss (invariant 7)."""
    asked = spec.policy == COMMAND or services.store.backups(policy=spec.policy, limit=1)
    never = f", and policy '{spec.policy}' never had a backup"
    if next(source.list(), None) is None:
        nothing = f"source '{source.name}' holds no secret"
        return EmptySource(nothing) if asked else EmptySourceYet(nothing + never)
    nothing = f"source '{source.name}' has no secret {limits_on(spec.selection)}"
    hint = _how_to_tag(source, spec)
    return NothingSelected(nothing, hint=hint) if asked else NothingSelectedYet(nothing + never, hint=hint)


def _how_to_tag(source: Source, spec: Spec) -> str | None:
    """Say how secrets are tagged where they are, if a tag is what is missing."""
    if not spec.selection.tags:
        return None
    key, value = next(iter(spec.selection.tags.items()))
    if not (how := source.how_to_tag(key, value)):
        return None
    again = f" Then 'strongroom backup --policy {spec.policy}'." if spec.policy != COMMAND else ""
    return f"Nothing was written. {how}{again}"


def _context(run: str) -> bytes:
    return b"strongroom/v1/name-key/" + run.encode()


# -- Listing in child processes, each a part, before there is a plan to list for ----------------
#
# Meanwhile their parent opens the state database, which is a third of what a backup of many small
# secrets takes.


MOST = 4
"""Processes; a larger share of a larger machine is left to what it also does."""

AHEAD = 4
"""Batches, of some 4 MB each, that are kept by all of them until their parent reads."""

_COUNTS = Packed(">QQ")


class Ahead:
    """A listing that child processes make from now on, a part in each.

    Whatever goes wrong there ends it early: :class:`ListingLost`. A part is not listed again by itself, since
    the source may have changed, and a name would be there twice or not at all.
    """

    def __init__(self) -> None:
        self.name_key = os.urandom(32)
        self._spread: Spread[Listable] | None = None

    @property
    def processes(self) -> list[int]:
        """The children's ids."""
        return [] if self._spread is None else self._spread.processes

    def start(self, parts: Sequence[Listable], selection: Selection) -> None:
        """Start a child for each part."""
        parent = os.getpid()

        def listed(part: Listable) -> Iterator[bytes]:
            if os.getpid() == parent:
                raise ListingLost
            for batch in InProcessListing(part, selection, name_key=self.name_key).batches():
                yield _COUNTS.pack(batch.secrets, batch.size) + batch.packed

        ahead = max(1, AHEAD // max(1, len(parts)))
        self._spread = Spread(listed, parts, most=len(parts), fewest=1, ahead=ahead)

    def batches(self) -> Iterator[ListingBatch]:
        """Yield the batches as the children make them."""
        for part in () if self._spread is None else self._spread.as_they_come():
            secrets, size = _COUNTS.unpack_from(part)
            yield ListingBatch(packed=part[_COUNTS.size :], secrets=secrets, size=size)

    def close(self) -> None:
        """End the children, whatever they are doing."""
        if self._spread is not None:
            self._spread.close()


@contextmanager
def listed_ahead(source: Source, selection: Selection) -> Iterator[SecretListing | None]:
    """List in child processes while the block runs; yield ``None`` where that cannot be done."""
    ahead = Ahead()
    try:
        # What is wrong with the source, the plan meets.
        with suppress(SourceError, OSError):
            ahead.start(source.parts(min(MOST, cores())), selection)
        yield ahead if ahead.processes else None
    finally:
        ahead.close()
