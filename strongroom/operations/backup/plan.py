"""plan: list the source, spill the names, cut them into ranges."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from io import FileIO
from queue import Queue
from selectors import EVENT_READ, DefaultSelector
from struct import Struct as Packed
from threading import Thread
from typing import NamedTuple, NoReturn

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
    SECTIONS,
    InProcessListing,
    ListingBatch,
    ListingLost,
    Placed,
    SecretListing,
    names_chunk,
    sections,
)
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.steps import get_sealed, put_sealed
from strongroom.operations.errors import NothingSelected, NothingSelectedYet
from strongroom.sources import Listable, Source
from strongroom.sources.errors import EmptySource, EmptySourceYet
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run, RunStep, Spec
from strongroom.system.process import cores, die_with_parent, may_fork, uncollected, uninterrupted
from strongroom.targets import Target

# -- The list of names that a plan makes, spilled to the stage and cut into ranges --------------
#
# Names can be sensitive and a million of them do not belong in memory, so the list goes to
# the stage in chunks sealed under the cluster work key. Each name is placed by a keyed hash
# (HMAC-SHA256 under the run's name key): a *piece* is a contiguous range of hashes. So pieces
# are of even size whatever the names are, two secrets of one name fall into one piece, and
# the hash range in a manifest tells nothing.


class ChunkRef(msgspec.Struct, frozen=True, kw_only=True):
    """A spilled chunk on the stage, named by its digest."""

    name: str
    sha256: str


class Spilled(msgspec.Struct, frozen=True, kw_only=True):
    """What was listed: the chunks, how many secrets, and their estimated bytes."""

    chunks: tuple[ChunkRef, ...]
    secrets: int
    size: int


def spill(stage: Target, run: str, listing: SecretListing, *, work_key: bytes) -> Spilled:
    """Write a listing to the stage; memory is bounded by one batch."""
    chunks: list[ChunkRef] = []
    count = size = 0
    for batch in listing.batches():
        place = partial(names_chunk, run)
        sha256 = put_sealed(stage, batch.packed, place=place, work_key=work_key, context=_names_context(run))
        chunks.append(ChunkRef(name=place(sha256), sha256=sha256))
        count += batch.secrets
        size += batch.size
    return Spilled(chunks=tuple(chunks), secrets=count, size=size)


def read_range(
    stage: Target, run: str, chunks: Iterable[ChunkRef], *, piece: int, pieces: int, work_key: bytes
) -> list[Placed]:
    """Return one piece's entries, ascending by name: neighbours are then alike, and compress."""
    low, high = _bounds(piece, pieces)
    last = SECTIONS - 1 if high is None else high[0]
    found: list[Placed] = []
    try:
        for chunk in chunks:
            for section in sections(
                get_sealed(
                    stage, chunk.name, sha256=chunk.sha256, work_key=work_key, context=_names_context(run)
                ),
                low[0],
                last,
            ):
                found += section.placed()
    except msgspec.MsgspecError:
        raise RecordRefused(
            "another version of Strongroom planned this run: cancel it, and start again"
        ) from None
    here = [placed for placed in found if low <= placed[0] and (high is None or placed[0] < high)]
    here.sort(key=lambda placed: placed[1].name)
    return here


def _bounds(piece: int, pieces: int) -> tuple[bytes, bytes | None]:
    def edge(number: int) -> bytes:
        return (-(-number * 2**128 // pieces)).to_bytes(16, "big")

    return edge(piece), edge(piece + 1) if piece + 1 < pieces else None


def _names_context(run: str) -> bytes:
    return b"strongroom/v1/names/" + run.encode()


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
            spilled = spill(services.stage, run.id, listing, work_key=services.work_key)
            return spilled, listing.name_key
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

_FRAME = Packed(">QQQ")


class Ahead:
    """A listing that child processes make from now on, a part in each; its batches come through pipes.

    Whatever goes wrong there ends a pipe early: :class:`ListingLost`.
    """

    def __init__(self) -> None:
        self.name_key = os.urandom(32)
        self._children: list[_Child] = []

    def start(self, parts: Sequence[Listable], selection: Selection) -> None:
        """Start a child for each part. Raises OSError when the system has no more of something."""
        kept = max(1, AHEAD // len(parts))
        with uninterrupted():
            for part in parts:
                listing = InProcessListing(part, selection, name_key=self.name_key)
                self._children.append(_start(listing, kept))

    def batches(self) -> Iterator[ListingBatch]:
        """Yield the batches as the children make them."""
        with DefaultSelector() as waiting:
            for child in self._children:
                waiting.register(child.pipe, EVENT_READ, child)
            while waiting.get_map():
                for ready, _ in waiting.select():
                    if batch := ready.data.batch():
                        yield batch
                    else:
                        waiting.unregister(ready.fileobj)

    def close(self) -> None:
        """End the children, whatever they are doing."""
        for child in self._children:
            child.kill()
        for child in self._children:
            # Wait until it has ended, unless nobody may: where SIGCHLD is ignored the kernel does.
            with suppress(ChildProcessError):
                os.waitpid(child.process, 0)
        self._children.clear()


class _Child(NamedTuple):
    """A process that lists, and the pipe that its batches come through."""

    process: int
    pipe: FileIO

    def batch(self) -> ListingBatch | None:
        """Wait for the next batch; ``None`` follows the last one."""
        secrets, size, length = _FRAME.unpack(_exactly(self.pipe, _FRAME.size))
        return (
            ListingBatch(packed=_exactly(self.pipe, length), secrets=secrets, size=size) if secrets else None
        )

    def kill(self) -> None:
        """End it, if it has not ended."""
        self.pipe.close()
        with suppress(ProcessLookupError):
            os.kill(self.process, signal.SIGKILL)


@contextmanager
def listed_ahead(source: Source, selection: Selection) -> Iterator[SecretListing | None]:
    """List in child processes while the block runs; yield ``None`` where that cannot be done."""
    ahead = Ahead()
    try:
        yield ahead if may_fork() and _started(ahead, source, selection) else None
    finally:
        ahead.close()


def _started(ahead: Ahead, source: Source, selection: Selection) -> bool:
    """Start listing. If that fails, the plan lists instead, and meets what is wrong with the source."""
    try:
        most = min(MOST, cores())
        ahead.start(source.parts(most), selection)
    except (SourceError, OSError):
        ahead.close()
        return False
    return True


def _start(listing: InProcessListing, kept: int) -> _Child:
    reading, writing = os.pipe()
    parent = os.getpid()
    try:
        process = os.fork()
    except OSError:
        os.close(reading)
        os.close(writing)
        raise
    if not process:
        _list_in_child(listing, kept, writing, parent)
    os.close(writing)
    return _Child(process, FileIO(reading))


def _list_in_child(listing: InProcessListing, kept: int, writing: int, parent: int) -> NoReturn:
    try:
        die_with_parent(parent)
        queue: Queue[ListingBatch | None] = Queue(kept)
        # A pipe holds little of a batch, and the parent reads late: listing goes on meanwhile.
        writer = Thread(target=_write, args=(writing, queue))
        writer.start()
        with uncollected():
            for batch in listing.batches():
                queue.put(batch)
        queue.put(None)
        writer.join()
    finally:
        os._exit(0)  # no exception, exit handler or buffer of the parent's may run here


def _write(writing: int, queue: Queue[ListingBatch | None]) -> None:
    try:
        with os.fdopen(writing, "wb") as pipe:
            while batch := queue.get():
                pipe.write(_FRAME.pack(batch.secrets, batch.size, len(batch.packed)))
                pipe.write(batch.packed)
            pipe.write(_FRAME.pack(0, 0, 0))
    except BaseException:  # noqa: BLE001 - nobody reads any more, and the lister would wait for ever
        os._exit(1)


def _exactly(pipe: FileIO, length: int) -> bytes:
    data = bytearray(length)
    rest = memoryview(data)
    while rest:
        if not (count := pipe.readinto(rest)):
            raise ListingLost
        rest = rest[count:]
    return bytes(data)
