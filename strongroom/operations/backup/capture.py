"""capture: read one range, seal it, reopen and compare, stage it.

One step, because plaintext never leaves the process that read it (invariant 1). The
container is sealed in memory: a piece is bounded by the policy's container size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from strongroom.container.about import ContainerHeader
from strongroom.container.certificate import CertifiedSigner
from strongroom.container.check import check_sealed
from strongroom.container.metadata import DocumentAbout, check_document, write_document
from strongroom.container.ranges import BytesReader
from strongroom.container.receipt import Receipt, sign_receipt
from strongroom.container.wrapping import WrappingKey
from strongroom.container.writer import Note, Pair, write_container
from strongroom.model import Secret, prepare
from strongroom.operations import run_integrity
from strongroom.operations.approval.changes import require_known_recipients
from strongroom.operations.backup import name_list
from strongroom.operations.backup.index_rows import IndexRows
from strongroom.operations.backup.plan import ListedPieces, open_name_key, plan_of
from strongroom.operations.layout import index_rows_chunk, sealed_receipt, staged_name
from strongroom.operations.listing import Placed
from strongroom.operations.runs.job import read_result
from strongroom.operations.services import Services
from strongroom.sources import Source
from strongroom.sources.errors import SourceChanged
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run, RunStep
from strongroom.system.gc_pause import uncollected
from strongroom.targets import Roomy, Target
from strongroom.timestamps import rfc3339


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
    pinned = run_integrity.check_policy(run, services)
    require_known_recipients(services, run.spec.policy, pinned.spec.recipients)
    plan = plan_of(run).plan
    _require_room(services.stage, plan)
    listed = name_list.read_range(
        services.stage, run.id, plan.chunks, piece=step.piece, pieces=plan.pieces, work_key=services.work_key
    )
    reading = _RangeReading(services.source(pinned.spec.source), listed)
    content = bytearray()
    index = IndexRows(run, services) if pinned.index_recipients else None
    if pinned.spec.sealed:
        receipt = seal_into(
            content,
            reading,
            _about(run, step.piece, plan, services),
            wrapping_key=services.wrapping_key(run.id, pinned.recipients),
            signer=services.signers("seal"),
            digest_key=services.digest_key,
            note=index.note if index else None,
        )
    else:
        receipt = _document(run, step.piece, plan, reading, content)
    staged = staged_name(run.id, step.piece, receipt.sha256)
    services.stage.put(staged, [memoryview(content)], size=len(content), sha256=bytes.fromhex(receipt.sha256))
    return Captured(
        receipt=receipt,
        signature=sign_receipt(receipt, services.signers("seal")),
        staged=staged,
        vanished=reading.vanished,
        rows=index.spill(step.piece) if index else (),
    )


def _require_room(stage: Target, plan: ListedPieces) -> None:
    """Refuse what the stage has no room for before the source is read: that costs work and audit lines."""
    if isinstance(stage, Roomy):
        stage.require_room(plan.size // plan.pieces)


def discard(run: Run, step: RunStep, captured: Captured, services: Services) -> None:
    """Delete what a capture staged, unless it is what another attempt recorded."""
    try:
        recorded = _staged_by(
            read_result(run, step, services.store.row(run.id, step).result, Captured), run, step
        )
    except RecordRefused:  # nothing is recorded, or something else
        recorded = frozenset()
    for name in sorted(_staged_by(captured, run, step) - recorded):
        services.stage.delete(name)


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
