"""index, index-receipt, index-upload: write what a backup's index of names says, as far as it differs from
the index before it; have the control role vouch for it; and copy both to each target.

The cluster cannot open an index: it is sealed to people. So what the newest one says stays on the stage,
sealed under the work key, and the next is held against that. Where that is lost, is of other recipients, has
grown long or lies on no target yet, as of a backup that is under way at the same time, an index begins anew
with all names.

A search believes an index, so a seal worker's signature alone does not do: its key could be stolen later. The
control role signs which index is a backup's while that is made, from the record that the seal role signed.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import IO

import msgspec
from msgspec import Struct

from strongroom.container import canonical
from strongroom.container.errors import FormatError, Malformed, MissingPiece, Tampered
from strongroom.container.name_index import (
    INDEX,
    LONGEST,
    SOURCE,
    Block,
    IndexHead,
    IndexLink,
    IndexReceipt,
    blocks,
    digest_of,
    gone,
    quoted_name,
    unpack_block,
    write_name_index,
)
from strongroom.container.ranges import OpenFileRanges
from strongroom.container.reader import read_outer
from strongroom.container.signing import Signers, verify_any
from strongroom.container.wrapping import WrappingKey
from strongroom.container.writer import SealedContainer, check_sealed
from strongroom.errors import StrongroomError, TargetError
from strongroom.model import COMMAND, Role, prepare
from strongroom.operations.archive.envelopes import copy_newest
from strongroom.operations.archive.index_files import read_receipt
from strongroom.operations.archive.open import ObjectReader
from strongroom.operations.backup.capture import Captured, merged_lines
from strongroom.operations.backup.commit import place
from strongroom.operations.engine import integrity
from strongroom.operations.engine.approving import require_known_index_recipients, require_known_recipients
from strongroom.operations.engine.jobs import read_result
from strongroom.operations.engine.layout import INDEXES, index_name, receipt_name
from strongroom.operations.engine.services import Pinned, Services
from strongroom.operations.engine.stage import kept_head, kept_prefix, stage_of
from strongroom.state.errors import RecordRefused, RunNotFound, StateError
from strongroom.state.records import Run, RunStep, StepKind, StepState
from strongroom.targets import Target
from strongroom.targets.errors import StageDiffers
from strongroom.times import rfc3339

IN_MEMORY = 1024 * 1024
"""Bytes of an index that is being written; a larger one goes through a file, sealed as it is."""


class IndexFile(Struct, frozen=True, kw_only=True):
    """An index as it lies on targets: its own signature, and the fingerprint of the key that made that."""

    backup: str
    sha256: str
    size: int
    signer: str
    signature: str


class Indexed(Struct, frozen=True, kw_only=True):
    """An index of a backup's names on the stage, as ``staged``. ``files`` are those that it continues, and
    last itself. Nothing is ``staged`` where a policy has no index.

    ``receipt`` is what the seal role says of it, signed for the control role alone."""

    staged: str = ""
    files: tuple[IndexFile, ...] = ()
    receipt: IndexReceipt | None = None
    signature: str = ""

    @property
    def chain(self) -> str:
        return self.files[0].backup


class Vouched(Struct, frozen=True, kw_only=True):
    """The receipt of an index, signed by the control role: a whole document."""

    document: str


class IndexUploaded(Struct, frozen=True, kw_only=True):
    """How many indexes a target lacked and was given."""

    placed: int


class KeptBlock(Struct, frozen=True, kw_only=True):
    """A block of rows on the stage: its first name, how many there are, and which chunk has it."""

    first: str
    rows: int
    prefix: str
    sha256: str


class StagedIndex(Struct, frozen=True, kw_only=True):
    """What the stage keeps of the newest index: for whom it is, of which source, and all rows of its backup.

    ``base`` and ``added`` count the rows with which its chain began, and those that came since.
    """

    recipients: tuple[str, ...]
    source: str
    files: tuple[IndexFile, ...]
    base: int
    added: int
    blocks: tuple[KeptBlock, ...]


prepare(IndexFile, Indexed, IndexUploaded, StagedIndex, Vouched)


def index(run: Run, step: RunStep, services: Services) -> Indexed:
    """Make the index of a backup that was just made, and keep what the next one is held against."""
    pinned = integrity.check_policy(run, services)
    require_known_recipients(services, run.spec.policy, pinned.spec.recipients)
    require_known_index_recipients(services, run.spec.policy, pinned.index_recipients)
    if not pinned.index_recipients:
        stage_of(run, services).forget(kept_prefix(run.spec.policy))  # from when there was one
        return Indexed()
    return _Making(run, pinned, services).make()


class _Making:
    def __init__(self, run: Run, pinned: Pinned, services: Services) -> None:
        self._run = run
        self._services = services
        self._pinned = pinned
        self._at = stage_of(run, services)
        self._prefix = kept_prefix(run.spec.policy, run.id)

    def make(self) -> Indexed:
        before = self._before()
        self._at.forget(self._prefix)  # what an earlier attempt left
        captures = self._services.store.rows(self._run.id, StepKind.CAPTURE)
        pieces = {
            row.step.piece: read_result(self._run, row.step, row.result, Captured).rows for row in captures
        }
        rows = self._put(blocks(merged_lines(self._at, self._run.id, pieces)))
        written = self._written(before, rows)
        self._keep(written)
        self._forget_others()
        staged = f"{self._prefix}{written.files[-1].sha256}"
        receipt = self._receipt(written.files)
        signature = self._services.signers(Role.SEAL).sign(_SEALED, canonical.encode(receipt)).hex()
        return Indexed(staged=staged, files=written.files, receipt=receipt, signature=signature)

    def _receipt(self, files: Sequence[IndexFile]) -> IndexReceipt:
        *before, own = files
        return IndexReceipt(
            backup_id=own.backup,
            sha256=own.sha256,
            container_signature=own.signature,
            containers=containers_of(self._run, self._services),
            chain=files[0].backup,
            previous=_link(before[-1]) if before else None,
            made_at=rfc3339(self._run.created_at),
        )

    def _written(self, before: StagedIndex | None, rows: tuple[KeptBlock, ...]) -> StagedIndex:
        """Write what differs, if that is worth it, or else all rows."""
        if before is not None and (changed := self._changed(before, rows)) is not None:
            added = before.added + sum(block.rows for block in changed)
            if added <= before.base:
                file = self._file(changed, before.files[-1])
                return self._kept((*before.files, file), rows, base=before.base, added=added)
        count = sum(block.rows for block in rows)
        return self._kept((self._file(rows, None),), rows, base=count, added=0)

    def _changed(self, before: StagedIndex, rows: Sequence[KeptBlock]) -> tuple[KeptBlock, ...] | None:
        """Return what differs; nothing if what was kept is damaged, or another backup just forgot it."""
        with suppress(FormatError, RecordRefused, StageDiffers):
            return self._put(blocks(differences(self._lines(before.blocks), self._lines(rows))))
        return None

    def _kept(
        self, files: tuple[IndexFile, ...], rows: tuple[KeptBlock, ...], *, base: int, added: int
    ) -> StagedIndex:
        return StagedIndex(
            recipients=self._recipients(),
            source=self._run.spec.source,
            files=files,
            base=base,
            added=added,
            blocks=rows,
        )

    def _file(self, rows: Sequence[KeptBlock], previous: IndexFile | None) -> IndexFile:
        """Seal an index and put it on the stage."""
        head = IndexHead(
            source=self._run.spec.source,
            containers=containers_of(self._run, self._services),
            previous=None if previous is None else _link(previous),
            blocks=tuple((block.first, block.rows) for block in rows),
        )
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as file:
            sealed = write_name_index(
                file.write,
                head,
                lambda number: self._content(rows[number]),
                backup_id=self._run.id,
                policy=self._run.spec.policy,
                created_at=rfc3339(self._run.created_at),
                # Never the containers': who may learn names need not open values.
                wrapping_key=WrappingKey.create(self._pinned.index_recipients, may_lack=True),
                signer=self._services.signers(Role.SEAL),
            )
            check_sealed(OpenFileRanges(file, sealed.size), sealed)
            self._stage(file, sealed)
        signer = self._services.signers(Role.SEAL).certificate.key_fingerprint
        return IndexFile(
            backup=self._run.id,
            sha256=sealed.hexdigest,
            size=sealed.size,
            signer=signer,
            signature=sealed.signature.hex(),
        )

    def _stage(self, file: IO[bytes], sealed: SealedContainer) -> None:
        file.seek(0)
        chunks = iter(lambda: file.read(1024 * 1024), b"")
        name = f"{self._prefix}{sealed.hexdigest}"
        self._at.place.put(name, chunks, size=sealed.size, sha256=sealed.sha256)

    def _recipients(self) -> tuple[str, ...]:
        return tuple(sorted(recipient.fingerprint for recipient in self._pinned.index_recipients))

    # -- on the stage ------------------------------------------------------------------

    def _put(self, made: Iterable[Block]) -> tuple[KeptBlock, ...]:
        return tuple(
            KeptBlock(
                first=block.first,
                rows=block.rows,
                prefix=self._prefix,
                sha256=self._at.seal(
                    block.content, name=lambda sha256: f"{self._prefix}{sha256}", context=self._context()
                ),
            )
            for block in made
        )

    def _content(self, block: KeptBlock) -> bytes:
        name = f"{block.prefix}{block.sha256}"
        return self._at.open(name, sha256=block.sha256, context=self._context())

    def _lines(self, kept: Sequence[KeptBlock]) -> Iterator[bytes]:
        for block in kept:
            yield from unpack_block(self._content(block), block.first, block.rows).lines()

    def _context(self) -> bytes:
        return b"strongroom/v1/index-kept/" + f"{SOURCE}/{self._run.spec.policy}".encode()

    def _before(self) -> StagedIndex | None:
        """Return what is kept of the newest index that this one can continue."""
        prefix = kept_prefix(self._run.spec.policy)
        heads = [info.name for info in self._at.place.list(prefix) if info.name.endswith("/head")]
        others = (name for name in sorted(heads, reverse=True) if not name.startswith(self._prefix))
        staged_indexes = (staged_index for name in others if (staged_index := self._read(name)) is not None)
        return next(filter(self._fits, staged_indexes), None)

    def _read(self, name: str) -> StagedIndex | None:
        with suppress(StageDiffers, msgspec.MsgspecError):
            plain = self._at.open_as(name, context=self._context())
            return None if plain is None else msgspec.json.decode(plain, type=StagedIndex)
        return None

    def _fits(self, staged_index: StagedIndex) -> bool:
        same = (staged_index.recipients, staged_index.source) == (self._recipients(), self._run.spec.source)
        newest = staged_index.files[-1].backup
        earlier = newest < self._run.id and self._is_on_a_target(newest)
        return (
            same
            and len(staged_index.files) < LONGEST
            and earlier
            and all(map(self._counts, staged_index.files))
        )

    def _counts(self, file: IndexFile) -> bool:
        """Tell whether an index counts still: not if a key that signed it, or its receipt, was distrusted
        since. Nobody would believe what continues it."""
        trusted = self._services.signer_fingerprints
        if isinstance(trusted, Signers) and file.signer in trusted.distrusted:
            return False
        with suppress(FormatError, StateError, RecordRefused):
            vouched = _vouched(self._services.store.load(file.backup), self._services)
            INDEX.parse(vouched.document.encode(), trusted=trusted)
            return True
        return False

    def _is_on_a_target(self, backup: str) -> bool:
        """Tell whether some target has the index of a backup: nobody could read what continues it otherwise.
        One that is under way may yet lose it, and it is not waited for: its targets may be away."""
        rows = self._services.store.rows(backup, StepKind.INDEX_UPLOAD)
        return any(row.state is StepState.DONE for row in rows)

    def _keep(self, staged_index: StagedIndex) -> None:
        name = kept_head(self._run.spec.policy, self._run.id)
        self._at.seal_as(name, msgspec.json.encode(staged_index), context=self._context())

    def _forget_others(self) -> None:
        """Remove what is kept of other indexes, but for those that their own runs are still to upload."""
        prefix = kept_prefix(self._run.spec.policy)
        names = [info.name for info in self._at.place.list(prefix)]
        runs = {name: name.removeprefix(prefix).partition("/")[0] for name in names}
        ended = {run for run in set(runs.values()) - {self._run.id} if self._has_ended(run)}
        for name in names:
            if runs[name] in ended:
                self._at.place.delete(name)

    def _has_ended(self, run: str) -> bool:
        try:
            return self._services.store.load(run).state.final
        except RunNotFound:
            return True


def differences(before: Iterator[bytes], now: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the lines that are new or otherwise now, and one for each name that is gone. Both ascend."""
    old = next(before, None)
    for line in now:
        if line == old:  # nearly always
            old = next(before, None)
            continue
        name = quoted_name(line)
        while old is not None and quoted_name(old) < name:
            yield gone(quoted_name(old))
            old = next(before, None)
        if line != old:
            yield line
        if old is not None and quoted_name(old) == name:
            old = next(before, None)
    while old is not None:
        yield gone(quoted_name(old))
        old = next(before, None)


def containers_of(run: Run, services: Services) -> str:
    """Return one digest for a run's containers, by the receipts that the seal role signed."""
    rows = sorted(services.store.rows(run.id, StepKind.CAPTURE), key=lambda row: row.step.piece)
    signed = (integrity.receipt_of(run, row.step.piece, row.result, services) for row in rows)
    return digest_of(signed_run.receipt.sha256 for signed_run in signed)


def _link(file: IndexFile) -> IndexLink:
    return IndexLink(backup_id=file.backup, sha256=file.sha256)


# -- the control role's word --------------------------------------------------------

_SEALED = b"strongroom/v1/index-sealed"


def vouch(run: Run, step: RunStep, services: Services) -> Vouched:
    """Sign the receipt of the index that the seal role made, held to the run's record.

    It derives from the record alone, so a second claimant signs the very same bytes.
    """
    integrity.check_time(run)
    integrity.check_policy(run, services)
    indexed = _indexed(run, services)
    try:
        signature = canonical.unhex(indexed.signature, 64, "A signature")
        verify_any(
            services.trusted(Role.SEAL, run.created_at), _SEALED, canonical.encode(indexed.receipt), signature
        )
    except (Malformed, Tampered):
        indexed = Indexed()
    if indexed.receipt is None:
        raise RecordRefused(f"the index of names of run {run.id} is not the one that the seal role made")
    receipt = indexed.receipt
    said = (receipt.backup_id, receipt.containers, receipt.made_at)
    if said != (run.id, containers_of(run, services), rfc3339(run.created_at)):
        raise RecordRefused(f"the index of names of run {run.id} belongs elsewhere")
    return Vouched(document=INDEX.sign(receipt, services.signers(Role.CONTROL)).decode())


def _indexed(run: Run, services: Services) -> Indexed:
    making = RunStep(StepKind.INDEX)
    return read_result(run, making, services.store.row(run.id, making).result, Indexed)


# -- to a target ---------------------------------------------------------------------


def upload_index(run: Run, step: RunStep, services: Services) -> IndexUploaded:
    """Copy an index and its receipt to one target, with those that it continues and that the target lacks: a
    new one, say, or one that was away."""
    target = integrity.check_target(run, step.target, services)
    indexed = _indexed(run, services)
    there = {info.name for info in target.list(f"{INDEXES}{indexed.chain}/")}
    *before, own = indexed.files
    lacking = [file for file in before if not {*_names(indexed.chain, file)} <= there]
    for file in lacking:
        _carry(file, indexed.chain, target, run, services)
    name, receipt = _names(indexed.chain, own)
    stage = stage_of(run, services)
    place(target, name, lambda: stage.chunks(indexed.staged, own.sha256), size=own.size, sha256=own.sha256)
    _place_receipt(target, receipt, _vouched(run, services).document.encode())
    return IndexUploaded(placed=len(lacking) + (not {name, receipt} <= there))


def _names(chain: str, file: IndexFile) -> tuple[str, str]:
    name = index_name(chain, file.backup, file.sha256)
    return name, receipt_name(name)


def _vouched(run: Run, services: Services) -> Vouched:
    vouching = RunStep(StepKind.INDEX_RECEIPT)
    return read_result(run, vouching, services.store.row(run.id, vouching).result, Vouched)


def _place_receipt(target: Target, name: str, content: bytes) -> None:
    sha256 = hashlib.sha256(content).hexdigest()
    place(target, name, lambda: [content], size=len(content), sha256=sha256)


def _carry(file: IndexFile, chain: str, target: Target, run: Run, services: Services) -> None:
    """Copy an earlier index with its receipt from a target that has both."""
    name, receipt = _names(chain, file)
    for source in (services.target(pin.name) for pin in run.spec.targets if pin.name != target.name):
        with suppress(TargetError, FormatError):  # one that is away, or has no receipt that counts
            content = read_receipt(source, receipt, trusted=services.signer_fingerprints)
            if _has(source, name, file):
                place(target, name, lambda: source.read(name), size=file.size, sha256=file.sha256)  # noqa: B023
                _place_receipt(target, receipt, content)
                # Without it the copy opens for whom it was sealed first.
                outer = read_outer(ObjectReader(target, name), trusted=services.signer_fingerprints)
                copy_newest(
                    source, target, outer.envelope.wrapping_key.id, trusted=services.signer_fingerprints
                )
                return
    # No target has it, so nobody could read what continues it: the next one begins anew.
    stage_of(run, services).place.delete(kept_head(run.spec.policy, run.id))
    raise MissingPiece(f"no target has the index of names of {file.backup}, which later ones continue")


def abort_uploads(run: Run, services: Services, targets: Iterable[str]) -> None:
    """Remove what interrupted puts of indexes left. Best effort: the next backup does so again."""
    with suppress(StrongroomError):
        if run.spec.policy != COMMAND:
            stage_of(run, services).place.abort_incomplete(kept_prefix(run.spec.policy))
    for name in targets:
        with suppress(StrongroomError):
            services.target(name).abort_incomplete(INDEXES)


def _has(source: Target, name: str, file: IndexFile) -> bool:
    with suppress(StrongroomError):
        info = source.stat(name)
        return info is not None and info.size == file.size
    return False
