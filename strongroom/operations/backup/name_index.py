"""index: write what a backup's index of names says, as far as it differs from the index before it.

The cluster cannot open an index: it is sealed to people. So what the newest one says stays on the stage,
sealed under the work key, and the next is held against that. Where that is lost, is of other recipients, has
grown long or lies on no target yet, as of a backup that is under way at the same time, an index begins anew
with all names. Nothing rests on an index: a wrong one costs time.
"""

from __future__ import annotations

import hashlib
import heapq
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import IO

import msgspec
from msgspec import Struct

from strongroom.container import cobblestone
from strongroom.container.check import check_sealed
from strongroom.container.errors import FormatError, MissingPiece
from strongroom.container.name_index import (
    SOURCE,
    Block,
    IndexHead,
    Link,
    blocks,
    digest_of,
    gone,
    quoted_name,
    unpack_block,
    write_name_index,
)
from strongroom.container.wrapping import WrappingKey
from strongroom.container.writer import Sealed
from strongroom.errors import StrongroomError
from strongroom.model import COMMAND, prepare
from strongroom.operations import run_integrity
from strongroom.operations.approval.changes import (
    require_known_index_recipients,
    require_known_recipients,
)
from strongroom.operations.backup.capture import Captured
from strongroom.operations.backup.index_rows import read_lines
from strongroom.operations.backup.upload import place
from strongroom.operations.layout import INDEXES, index_name, kept_head, kept_prefix
from strongroom.operations.runs.job import read_result
from strongroom.operations.runs.stage import get_sealed, put_sealed
from strongroom.operations.services import Pinned, Services
from strongroom.state.errors import RecordRefused, RunNotFound
from strongroom.state.records import Run, Step, StepKind, StepState
from strongroom.targets import Target
from strongroom.timestamps import rfc3339

LONGEST = 200
"""Indexes that continue one another at most: whoever reads the last reads them all."""
IN_MEMORY = 16 * 1024 * 1024
"""Bytes of an index that is being written; a larger one goes through a file, sealed as it is."""


class IndexFile(Struct, frozen=True, kw_only=True):
    """An index as it lies on targets."""

    backup: str
    sha256: str
    size: int


class Indexed(Struct, frozen=True, kw_only=True):
    """An index of a backup's names on the stage, as ``staged``. ``files`` are those that it continues, and
    last itself. Nothing is ``staged`` where a policy has no index."""

    staged: str = ""
    files: tuple[IndexFile, ...] = ()

    @property
    def chain(self) -> str:
        return self.files[0].backup


class IndexUploaded(Struct, frozen=True, kw_only=True):
    """How many indexes a target lacked and was given."""

    placed: int


class KeptBlock(Struct, frozen=True, kw_only=True):
    """A block of rows on the stage: its first name, how many there are, and which chunk has it."""

    first: str
    rows: int
    prefix: str
    sha256: str


class Kept(Struct, frozen=True, kw_only=True):
    """What the stage keeps of the newest index: for whom it is, of which source, and all rows of its backup.

    ``base`` and ``added`` count the rows with which its chain began, and those that came since.
    """

    recipients: tuple[str, ...]
    source: str
    files: tuple[IndexFile, ...]
    base: int
    added: int
    blocks: tuple[KeptBlock, ...]


prepare(IndexFile, Indexed, IndexUploaded, Kept)


def index(run: Run, step: Step, services: Services) -> Indexed:
    """Make the index of a backup that was just made, and keep what the next one is held against."""
    pinned = run_integrity.check_policy(run, services)
    require_known_recipients(services, run.spec.policy, pinned.spec.recipients)
    require_known_index_recipients(services, run.spec.policy, pinned.index_recipients)
    if not pinned.index_recipients:
        _remove(services.stage, kept_prefix(run.spec.policy))  # from when there was one
        return Indexed()
    return _Making(run, pinned, services).make()


class _Making:
    def __init__(self, run: Run, pinned: Pinned, services: Services) -> None:
        self._run = run
        self._services = services
        self._pinned = pinned
        self._prefix = kept_prefix(run.spec.policy, run.id)

    def make(self) -> Indexed:
        before = self._before()
        _remove(self._services.stage, self._prefix)  # what an earlier attempt left
        rows = self._put(blocks(self._rows()))
        written = self._written(before, rows)
        self._keep(written)
        self._forget_others()
        staged = f"{self._prefix}{written.files[-1].sha256}"
        return Indexed(staged=staged, files=written.files)

    def _rows(self) -> Iterator[bytes]:
        """Yield the rows of all pieces, ascending by name."""
        captures = self._services.store.rows(self._run.id, StepKind.CAPTURE)
        pieces = (
            read_lines(
                self._run.id,
                row.step.piece,
                read_result(self._run, row.step, row.result, Captured).rows,
                self._services,
            )
            for row in captures
        )
        return heapq.merge(*pieces)

    def _written(self, before: Kept | None, rows: tuple[KeptBlock, ...]) -> Kept:
        """Write what differs, if that is worth it, or else all rows."""
        if before is not None and (changed := self._changed(before, rows)) is not None:
            added = before.added + sum(block.rows for block in changed)
            if added <= before.base:
                file = self._file(changed, before.files[-1])
                return self._kept((*before.files, file), rows, base=before.base, added=added)
        count = sum(block.rows for block in rows)
        return self._kept((self._file(rows, None),), rows, base=count, added=0)

    def _changed(self, before: Kept, rows: Sequence[KeptBlock]) -> tuple[KeptBlock, ...] | None:
        """Return what differs; nothing if what was kept is damaged, or another backup just forgot it."""
        with suppress(FormatError, RecordRefused):
            return self._put(blocks(differences(self._lines(before.blocks), self._lines(rows))))
        return None

    def _kept(
        self, files: tuple[IndexFile, ...], rows: tuple[KeptBlock, ...], *, base: int, added: int
    ) -> Kept:
        return Kept(
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
            containers=digest_of(self._containers()),
            previous=None if previous is None else Link(backup_id=previous.backup, sha256=previous.sha256),
            blocks=tuple((block.first, block.rows) for block in rows),
        )
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as file:
            sealed = write_name_index(
                file.write,
                head,
                lambda number: self._frame(rows[number]),
                backup_id=self._run.id,
                policy=self._run.spec.policy,
                created_at=rfc3339(self._run.created_at),
                wrapping_key=self._wrapping_key(),
                signer=self._services.signers("seal"),
            )
            check_sealed(_FileReader(file, sealed.size), sealed)
            self._stage(file, sealed)
        return IndexFile(backup=self._run.id, sha256=sealed.hexdigest, size=sealed.size)

    def _stage(self, file: IO[bytes], sealed: Sealed) -> None:
        file.seek(0)
        chunks = iter(lambda: file.read(1024 * 1024), b"")
        name = f"{self._prefix}{sealed.hexdigest}"
        self._services.stage.put(name, chunks, size=sealed.size, sha256=sealed.sha256)

    def _containers(self) -> list[str]:
        rows = sorted(
            self._services.store.rows(self._run.id, StepKind.CAPTURE), key=lambda row: row.step.piece
        )
        signed = (
            run_integrity.receipt_of(self._run, row.step.piece, row.result, self._services) for row in rows
        )
        return [one.receipt.sha256 for one in signed]

    def _wrapping_key(self) -> WrappingKey:
        recipients = self._pinned.index_recipients
        if recipients == self._pinned.recipients:
            return self._services.wrapping_key(self._run.id, recipients)
        return WrappingKey.create(recipients, may_lack=True)

    def _recipients(self) -> tuple[str, ...]:
        return tuple(sorted(one.fingerprint for one in self._pinned.index_recipients))

    # -- on the stage ------------------------------------------------------------------

    def _put(self, made: Iterable[Block]) -> tuple[KeptBlock, ...]:
        return tuple(
            KeptBlock(
                first=block.first,
                rows=block.rows,
                prefix=self._prefix,
                sha256=put_sealed(
                    self._services.stage,
                    block.frame,
                    place=lambda sha256: f"{self._prefix}{sha256}",
                    work_key=self._services.work_key,
                    context=self._context(),
                ),
            )
            for block in made
        )

    def _frame(self, block: KeptBlock) -> bytes:
        return get_sealed(
            self._services.stage,
            f"{block.prefix}{block.sha256}",
            sha256=block.sha256,
            work_key=self._services.work_key,
            context=self._context(),
        )

    def _lines(self, kept: Sequence[KeptBlock]) -> Iterator[bytes]:
        for block in kept:
            yield from unpack_block(self._frame(block)).splitlines(keepends=True)

    def _context(self) -> bytes:
        return b"strongroom/v1/index-kept/" + f"{SOURCE}/{self._run.spec.policy}".encode()

    def _before(self) -> Kept | None:
        """Return what is kept of the newest index that this one can continue."""
        prefix = kept_prefix(self._run.spec.policy)
        heads = [info.name for info in self._services.stage.list(prefix) if info.name.endswith("/head")]
        others = (name for name in sorted(heads, reverse=True) if not name.startswith(self._prefix))
        found = (kept for name in others if (kept := self._read(name)) is not None)
        return next(filter(self._fits, found), None)

    def _read(self, name: str) -> Kept | None:
        with suppress(FormatError, msgspec.MsgspecError):
            sealed = b"".join(self._services.stage.read(name))
            plain = cobblestone.open_(self._services.work_key, sealed, context=self._context())
            return msgspec.json.decode(plain, type=Kept)
        return None

    def _fits(self, kept: Kept) -> bool:
        same = (kept.recipients, kept.source) == (self._recipients(), self._run.spec.source)
        newest = kept.files[-1].backup
        earlier = newest < self._run.id and self._is_on_a_target(newest)
        return same and len(kept.files) < LONGEST and earlier

    def _is_on_a_target(self, backup: str) -> bool:
        """Tell whether some target has the index of a backup: nobody could read what continues it otherwise.
        One that is under way may yet lose it, and it is not waited for: its targets may be away."""
        rows = self._services.store.rows(backup, StepKind.INDEX_UPLOAD)
        return any(row.state is StepState.DONE for row in rows)

    def _keep(self, kept: Kept) -> None:
        plain = msgspec.json.encode(kept)
        sealed = cobblestone.seal(self._services.work_key, plain, context=self._context())
        name = kept_head(self._run.spec.policy, self._run.id)
        self._services.stage.put(name, [sealed], size=len(sealed), sha256=hashlib.sha256(sealed).digest())

    def _forget_others(self) -> None:
        """Remove what is kept of other indexes, but for those that their own runs are still to upload."""
        prefix = kept_prefix(self._run.spec.policy)
        names = [info.name for info in self._services.stage.list(prefix)]
        runs = {name: name.removeprefix(prefix).partition("/")[0] for name in names}
        ended = {run for run in set(runs.values()) - {self._run.id} if self._has_ended(run)}
        for name in names:
            if runs[name] in ended:
                self._services.stage.delete(name)

    def _has_ended(self, run: str) -> bool:
        try:
            return self._services.store.load(run).state.final
        except RunNotFound:
            return True


class _FileReader:
    """Ranged reads of the file that is being written."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(length)


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


def _remove(stage: Target, prefix: str) -> None:
    for name in [info.name for info in stage.list(prefix)]:
        stage.delete(name)


# -- to a target ---------------------------------------------------------------------


def upload_index(run: Run, step: Step, services: Services) -> IndexUploaded:
    """Copy an index to one target, with those that it continues and that the target lacks: a new one, say, or
    one that was away."""
    target = run_integrity.check_target(run, step.target, services)
    making = Step(StepKind.INDEX)
    indexed = read_result(run, making, services.store.row(run.id, making).result, Indexed)
    there = {info.name for info in target.list(f"{INDEXES}{indexed.chain}/")}
    lacking = [
        file for file in indexed.files if index_name(indexed.chain, file.backup, file.sha256) not in there
    ]
    for file in lacking:
        _copy(file, indexed, target, run, services)
    return IndexUploaded(placed=len(lacking))


def _copy(file: IndexFile, indexed: Indexed, target: Target, run: Run, services: Services) -> None:
    name = index_name(indexed.chain, file.backup, file.sha256)
    places = [(services.stage, indexed.staged)] if file == indexed.files[-1] else []
    others = (services.target(pin.name) for pin in run.spec.targets if pin.name != target.name)
    for source, copy in (*places, *((other, name) for other in others)):
        if _has(source, copy, file):
            place(target, name, lambda: source.read(copy), size=file.size, sha256=file.sha256)  # noqa: B023
            return
    # No target has it, so nobody could read what continues it: the next one begins anew.
    services.stage.delete(kept_head(run.spec.policy, run.id))
    raise MissingPiece(f"no target has the index of names of {file.backup}, which later ones continue")


def abort_uploads(run: Run, services: Services, targets: Iterable[str]) -> None:
    """Remove what interrupted puts of indexes left. Best effort: the next backup does so again."""
    with suppress(StrongroomError):
        if run.spec.policy != COMMAND:
            services.stage.abort_incomplete(kept_prefix(run.spec.policy))
    for name in targets:
        with suppress(StrongroomError):
            services.target(name).abort_incomplete(INDEXES)


def _has(source: Target, name: str, file: IndexFile) -> bool:
    with suppress(StrongroomError):
        info = source.stat(name)
        return info is not None and info.size == file.size
    return False
