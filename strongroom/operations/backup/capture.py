"""capture: read one range, seal it, reopen and compare, stage it.

One step, because plaintext never leaves the process that read it (invariant 1). The
container is sealed in memory: a piece is bounded by the policy's container size.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import accumulate

import msgspec
import zstandard

from strongroom.container.about import ContainerHeader
from strongroom.container.metadata import DocumentAbout, check_document, write_document
from strongroom.container.name_index import IndexRow, encode_rows, older_versions, portions
from strongroom.container.ranges import BytesReader
from strongroom.container.signing import CertifiedSigner, Receipt, sign_receipt
from strongroom.container.wrapping import WrappingKey
from strongroom.container.writer import Note, Pair, check_sealed, write_container
from strongroom.keys import Recipient, passphrase
from strongroom.model import Role, Secret, prepare
from strongroom.operations.backup import plan as name_list
from strongroom.operations.backup.plan import ListedPieces, open_name_key, plan_of
from strongroom.operations.engine import integrity
from strongroom.operations.engine.approving import require_known_recipients
from strongroom.operations.engine.jobs import read_result
from strongroom.operations.engine.layout import Placed, sealed_receipt
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.stage import Stage, index_rows_chunk, stage_of
from strongroom.sources import Source
from strongroom.sources.errors import SourceChanged
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run, RunStep
from strongroom.system.lazy import batched
from strongroom.system.process import uncollected
from strongroom.times import rfc3339

# -- What an index of names says of the secrets of one piece, spilled to the stage by whoever read them


MERGED = 8 * 1024 * 1024
"""Bytes of lines that are in memory to make one list of several: a chunk of each."""
FULL, LEAST = 256 * 1024, 64 * 1024
"""Bytes of lines in a chunk, by how many lists there are."""
WAYS = MERGED // LEAST
"""Lists that are made one at once. Where there are more, so many at a time become one first."""


class IndexRows:
    """Notes what passes on its way into a container: names, versions, tags, dates, digests, and no value."""

    def __init__(self, run: Run, services: Services) -> None:
        self._run = run
        self._services = services
        self._lines: list[bytes] = []

    def note(self, pairs: Sequence[Pair], stored: Sequence[int], digests: Sequence[bytes]) -> None:
        """Note a few secrets, as the writer of a container tells of them."""
        ends = accumulate(stored)
        rows = [_row(secret, digests, end) for (_, secret), end in zip(pairs, ends, strict=True)]
        self._lines += encode_rows(rows)

    def spill(self, piece: int, pieces: int) -> tuple[str, ...]:
        """Put what was noted on the stage, sorted by name; return the digests."""
        stage = stage_of(self._run, self._services)
        return spill_lines(stage, self._run.id, piece, sorted(self._lines), lists=pieces)


def _row(secret: Secret, digests: Sequence[bytes], end: int) -> IndexRow:
    """Return what an index says of a secret, whose digests are those up to ``end``."""
    newest = secret.versions[-1]
    stored = {version.number for version in secret.versions if version.value is not None}
    return IndexRow(
        secret.name,
        newest.number,
        newest.state,
        newest.created_at or secret.updated_at,
        dict(secret.tags),
        secret.expires_at,
        "" if newest.value is None else digests[end - 1].hex(),
        older_versions(secret.versions, stored.__contains__) if len(secret.versions) > 1 else (),
    )


def spill_lines(stage: Stage, run: str, piece: int, lines: Iterable[bytes], *, lists: int) -> tuple[str, ...]:
    """Put the lines of one of so many lists on the stage, sealed under the work key; return the digests."""
    return tuple(
        stage.seal(
            zstandard.compress(b"\n".join(chunk), level=1),
            name=partial(index_rows_chunk, run, piece),
            context=_context(run, piece),
        )
        for chunk in portions(lines, max(LEAST, min(FULL, MERGED // lists)))
    )


def merged_lines(stage: Stage, run: str, lists: Mapping[int, Sequence[str]]) -> Iterator[bytes]:
    """Yield the lines of all pieces, ascending by name; memory is bounded, however many there are.

    What is merged of many on the way goes with the run: another attempt needs what it is made of.
    """
    while len(lists) > WAYS:
        groups = [dict(group) for group in batched(lists.items(), WAYS)]
        lists = {
            next(iter(group)): spill_lines(
                stage, run, next(iter(group)), merged_lines(stage, run, group), lists=len(groups)
            )
            for group in groups
        }
    return heapq.merge(*(read_lines(stage, run, piece, chunks) for piece, chunks in lists.items()))


def read_lines(stage: Stage, run: str, piece: int, chunks: Sequence[str]) -> Iterator[bytes]:
    """Yield the lines that were spilled of a piece; memory is bounded by one chunk."""
    for sha256 in chunks:
        name = index_rows_chunk(run, piece, sha256)
        content = stage.open(name, sha256=sha256, context=_context(run, piece))
        yield from zstandard.ZstdDecompressor().decompress(content).split(b"\n")


def _context(run: str, piece: int) -> bytes:
    return b"strongroom/v1/index-rows/" + f"{run}/{piece}".encode()


# -- capture: read one range, seal it, reopen and compare, stage it -----------------------------
#
# One step, because plaintext never leaves the process that read it (invariant 1). The
# container is sealed in memory: a piece is bounded by the policy's container size.


class Captured(msgspec.Struct, frozen=True, kw_only=True):
    """A piece on the stage, with its receipt and the seal role's signature of that. ``vanished`` is how many
    secrets were gone from the source since the plan. ``rows`` are the digests of the chunks on
    the stage that have what an index of names says of it."""

    receipt: Receipt
    signature: str
    staged: str
    vanished: int
    rows: tuple[str, ...] = ()


prepare(Captured)


@uncollected()
def capture(run: Run, step: RunStep, services: Services) -> Captured:
    """Seal one piece and stage it; the result names it by digest, under a signed receipt."""
    pinned = integrity.check_policy(run, services)
    require_known_recipients(services, run.spec.policy, pinned.spec.recipients)
    plan = plan_of(run).plan
    # What there is no room for is refused before the source is read: that costs work and audit lines.
    stage = stage_of(run, services)
    stage.require_room(plan.size // plan.pieces)
    listed = name_list.read_range(stage, run.id, plan.chunks, piece=step.piece, pieces=plan.pieces)
    reading = _RangeReading(services.source(pinned.spec.source), listed)
    content = bytearray()
    index = IndexRows(run, services) if pinned.index_recipients else None
    if pinned.spec.sealed:
        receipt = seal_into(
            content,
            reading,
            _about(run, step.piece, plan, services),
            wrapping_key=services.wrapping_key(run.id, pinned.recipients),
            signer=services.signers(Role.SEAL),
            digest_key=services.digest_key,
            note=index.note if index else None,
        )
    else:
        receipt = _document(run, step.piece, plan, reading, content)
    staged = stage.put_container(run.id, step.piece, receipt.sha256, content, sealed=run.spec.sealed)
    return Captured(
        receipt=receipt,
        signature=sign_receipt(receipt, services.signers(Role.SEAL)),
        staged=staged,
        vanished=reading.vanished,
        rows=index.spill(step.piece, plan.pieces) if index else (),
    )


def discard(run: Run, step: RunStep, captured: Captured, services: Services) -> None:
    """Delete what a capture staged, unless it is what another attempt recorded."""
    try:
        recorded = _staged_by(
            read_result(run, step, services.store.row(run.id, step).result, Captured), run, step
        )
    except RecordRefused:  # nothing is recorded, or something else
        recorded = frozenset()
    stage = stage_of(run, services)
    for name in sorted(_staged_by(captured, run, step) - recorded):
        stage.place.delete(name)


def _staged_by(captured: Captured, run: Run, step: RunStep) -> frozenset[str]:
    rows = (index_rows_chunk(run.id, step.piece, sha256) for sha256 in captured.rows)
    return frozenset((captured.staged, *rows))


class _RangeReading:
    """Secrets of a range in the order of their names, counting those that vanished since the plan."""

    def __init__(self, source: Source, listed: Sequence[Placed]) -> None:
        self._source = source
        self._listed = listed
        self.vanished = 0

    def __iter__(self) -> Iterator[tuple[bytes, Secret]]:
        secrets = self._source.read([entry for _, entry in self._listed])
        for (name_hash, entry), secret in zip(self._listed, secrets, strict=True):
            if secret is None:
                self.vanished += 1
            elif secret.name != entry.name:
                raise SourceChanged("the source answered with another secret than it was asked for")
            else:
                yield name_hash, secret


def _about(run: Run, piece: int, plan: ListedPieces, services: Services) -> ContainerHeader:
    return ContainerHeader(
        backup_id=run.id,
        piece=piece,
        pieces=plan.pieces,
        source=run.spec.source,
        policy=run.spec.policy,
        values=run.spec.values,
        created_at=rfc3339(run.created_at),
        name_key=open_name_key(run, plan, services),
    )


def seal_into(
    content: bytearray,
    rows: Iterable[Pair],
    about: ContainerHeader,
    *,
    wrapping_key: WrappingKey,
    signer: CertifiedSigner,
    digest_key: bytes,
    note: Note | None = None,
) -> Receipt:
    """Seal secrets, ascending by their names; reopen and compare before the file key is dropped."""
    sealed = write_container(
        content.extend,
        rows,
        about=about,
        wrapping_key=wrapping_key,
        signer=signer,
        digest_key=digest_key,
        note=note,
    )
    check_sealed(BytesReader(content), sealed)
    return sealed_receipt(about, sealed)


def _document(
    run: Run, piece: int, plan: ListedPieces, reading: _RangeReading, content: bytearray
) -> Receipt:
    """Write a plain metadata-only document: low risk, allow-listed fields, no values."""
    about = DocumentAbout(
        backup_id=run.id,
        piece=piece,
        pieces=plan.pieces,
        source=run.spec.source,
        policy=run.spec.policy,
        created_at=rfc3339(run.created_at),
    )
    written = write_document(content.extend, (secret for _, secret in reading), about=about)
    check_document(BytesReader(content))
    return Receipt(
        run=run.id,
        piece=piece,
        sha256=written.hexdigest,
        size=written.size,
        secrets=written.secrets,
        versions=written.versions,
        first="",
        last="",
        wrapping_key="",
        container_signature="",
    )


# -- Deriving a passphrase's key while the rest of the program is still being loaded ------------


@contextmanager
def sealed_ahead(recipients: Sequence[Recipient]) -> Iterator[Callable[[], object]]:
    """Derive the keys of the passphrases in a thread; yield a function that waits until that is done.

    Deriving takes half a second, on whichever processor is free. It has to end before processes are
    forked: they inherit the keys, and no thread may be left by then. Other recipients ask a person or a
    service, and that must not go on after Ctrl-C.
    """
    slow = [recipient for recipient in recipients if recipient.type == passphrase.TYPE]
    with ThreadPoolExecutor(1, thread_name_prefix="seal") as pool:
        sealed = pool.submit(WrappingKey.create, slow) if slow else None

        def wait() -> None:
            if sealed is not None:
                sealed.result()
            pool.shutdown()

        yield wait
