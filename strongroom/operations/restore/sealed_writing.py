"""How secrets are restored that are new to a destination that seals: every core seals, one process writes.

The bar that needs it: a tree of 100,000 secrets is restored in at most 0.3 times what restic takes.
Opening a backup, sealing each secret for the destination, opening that again and comparing it with the
backup is nearly all of the work, and needs nothing but keys. So each core does it with a container of its
own. This process alone does what has an order: it puts on record what is about to be written, writes the
sealed rows, reads them back, and holds each byte for byte to the one that was opened and compared.

What a child hands over is sealed. It writes nothing and decides nothing: what is there already, cannot be
written or is not as it was sealed, it leaves to this process, which writes it plainly: as into any
destination.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress

import msgspec
from msgspec import Struct

from strongroom.container.manifest import ContainerEntry
from strongroom.errors import StrongroomError
from strongroom.model import Secret, prepare
from strongroom.operations.archive.open import on_every_core
from strongroom.operations.restore.batch import (
    Choose,
    Progress,
    is_spelled_alike,
    is_whole,
    no_snapshot,
    not_as_written,
    relocated,
)
from strongroom.operations.restore.journal import RestoreAccount, Restored
from strongroom.operations.restore.plan import Relocation
from strongroom.operations.restore.record import Wrote, line_of
from strongroom.sources import Destination, Refuse, SealedRow
from strongroom.sources.batches import batched_secrets, concerns_one
from strongroom.system.errors import Conflict
from strongroom.system.process import uncollected

BATCH = 4_096
BATCH_BYTES = 8 << 20
"""What is written in one transaction, and put on record before. Each child has a few times as much in
memory, and each transaction costs a wait for the disk."""


class ChosenByContainer(Struct, frozen=True, kw_only=True):
    """What is chosen of a backup, container by container.

    Args:
        here: yields what is chosen of a container; it may ask people, go on to other places and say so.
        there: does it in a child; what is amiss is raised.
        rest: yields what is chosen and in no container, once all containers were read.
        unlock: opens what the containers are sealed under.
    """

    containers: Sequence[ContainerEntry] = ()
    here: Callable[[ContainerEntry], Iterable[Secret]] = lambda entry: ()
    there: Callable[[ContainerEntry], Iterable[Secret]] = lambda entry: ()
    rest: Choose = tuple
    unlock: Callable[[], None] = lambda: None


class SealedBatch(Struct, frozen=True, array_like=True, gc=False):
    """New secrets of a container: each sealed, opened again and found to be as in the backup, with its lines
    of the record and the number of its values. ``number`` counts the batches of the container from 1."""

    container: int
    number: int
    rows: list[SealedRow]
    intended: list[bytes]
    left: list[bytes]
    versions: list[int]


prepare(SealedRow, SealedBatch)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(SealedBatch).decode
_NO_CONTAINER = -1
"""Stands for a container's number where a secret is in none."""


class _LeftToParentError(Exception):
    """A child has a batch that is not all new."""


class SealedWriting:
    """Writes into a destination that seals.

    Args:
        plainly: writes a batch that is not all new, as into any destination.
    """

    def __init__(
        self,
        destination: Destination,
        account: RestoreAccount,
        *,
        refuse: Refuse | None,
        progress: Progress | None,
        plainly: Callable[[Sequence[Secret]], None],
    ) -> None:
        self._destination, self._account = destination, account
        self._refuse, self._progress, self._plainly = refuse, progress, plainly
        self._relocation = Relocation()
        # Of each container the last batch that was written sealed: its number, and the last name in it.
        self._last_sealed: dict[int, tuple[int, str]] = {}
        # Of each container the numbers of the batches that are to be written plainly after all.
        self._left_over: defaultdict[int, set[int]] = defaultdict(set)

    def write(self, chosen: ChosenByContainer, relocation: Relocation) -> None:
        """Write all of it, the containers in any order."""
        self._relocation = relocation
        sealed = on_every_core(
            chosen.containers,
            lambda entry: self._sealed(chosen.here(entry), entry.piece, plainly=self._plainly),
            lambda entry: self._sealed(chosen.there(entry), entry.piece, plainly=_leave),
            unlock=chosen.unlock,
            ordered=False,
        )
        with closing(sealed), uncollected():
            for batch in sealed:
                self._write_sealed(batch)
        for batch in self._sealed(chosen.rest(), _NO_CONTAINER, plainly=self._plainly):
            self._write_sealed(batch)
        for entry in chosen.containers:
            self._write_left_over(entry.piece, lambda: chosen.here(entry))  # noqa: B023
        self._write_left_over(_NO_CONTAINER, chosen.rest)

    # -- in any process ------------------------------------------------------------------

    def _batches(self, secrets: Iterable[Secret]) -> Iterator[tuple[int, list[Secret]]]:
        moved = relocated(secrets, self._relocation)
        batches = batched_secrets(moved, by=lambda secret: secret, most=BATCH, most_bytes=BATCH_BYTES)
        return enumerate(map(no_snapshot, batches), 1)

    def _sealed(
        self, secrets: Iterable[Secret], container: int, *, plainly: Callable[[Sequence[Secret]], None]
    ) -> Iterator[bytes]:
        """Yield each batch of a container that is all new, sealed; of any other one nothing, once ``plainly``
        wrote it.

        Where this process goes on after a child, the batches that the child sealed are written already.
        """
        done, last = self._last_sealed.get(container, (0, ""))
        for number, batch in self._batches(secrets):
            if number <= done:
                if number == done and batch[-1].name != last:
                    # The child was given what this process is not: nothing is passed over unseen.
                    self._left_over[container].update(range(1, number + 1))
                yield b""
            elif (sealed := self._seal(container, number, batch)) is not None:
                yield _encode(sealed)
            else:
                plainly(batch)
                yield b""

    def _seal(self, container: int, number: int, secrets: Sequence[Secret]) -> SealedBatch | None:
        """Seal secrets and hold each to what it opens to; ``None`` if that is not all there is to do."""
        destination, recorder = self._destination, self._account.recorder
        if destination.heads([secret.name for secret in secrets]):
            return None
        batch = SealedBatch(container, number, [], [], [], [])
        try:
            for wanted, (row, there) in zip(secrets, destination.seal(secrets), strict=True):
                if not is_whole(destination.kept(wanted), destination.kept(there)):
                    return None
                batch.rows.append(row)
                batch.versions.append(sum([version.value is not None for version in wanted.versions]))
                if recorder is not None:
                    digests = recorder.digest(wanted)
                    wrote = Wrote(
                        name=wanted.name, digest=digests[0], value=digests[1], versions=len(wanted.versions)
                    )
                    known = digests if is_spelled_alike(wanted, there) else None
                    batch.intended.append(line_of(wrote))
                    batch.left.append(recorder.line_left(there, known))
        except StrongroomError as error:
            if not concerns_one(error):
                raise
            return None
        return batch

    # -- in this process alone -----------------------------------------------------------

    def _write_sealed(self, encoded: bytes) -> None:
        """Write what was sealed, read it back, and put on record what came of it."""
        if not encoded:
            return
        batch = _decode(encoded)
        self._last_sealed[batch.container] = batch.number, batch.rows[-1].name
        self._account.writing([row.name for row in batch.rows], batch.intended)
        done = len(batch.rows)
        try:
            try:
                self._destination.write_sealed(batch.rows)
            except Conflict:  # somebody was faster with one of them: nothing of it is written
                self._left_over[batch.container].add(batch.number)
                self._account.written(Restored())
                done = 0
            else:
                self._read_back(batch, self._note)
        except BaseException:
            if self._refuse is not None:
                with suppress(StrongroomError):
                    self._account.writing(self._read_back(batch, _ignore))
            raise
        finally:
            self._account.lost(self._destination.losses())
        if self._progress is not None:
            self._progress(done)

    def _read_back(self, batch: SealedBatch, note: Refuse) -> list[str]:
        """Read back what was written, and count what is there as it was sealed; return what is not."""
        differing = self._destination.unlike(batch.rows)
        good = [number for number, row in enumerate(batch.rows) if row.name not in differing]
        for row in batch.rows if differing else ():
            if row.name in differing:
                note(row.name, not_as_written(row.name, differing[row.name], last=row.head))
        self._account.found(batch.left[number] for number in (good if batch.left else ()))
        versions = sum(batch.versions[number] for number in good)
        self._account.written(Restored(created=len(good), versions=versions))
        return list(differing)

    def _note(self, name: str, error: StrongroomError) -> None:
        if self._refuse is None:
            raise error
        self._account.refuse(name, error, tried=not isinstance(error, Conflict))

    def _write_left_over(self, container: int, secrets: Choose) -> None:
        """Write plainly what was not to be written sealed."""
        if left_over := self._left_over.get(container):
            for number, batch in self._batches(secrets()):
                if number in left_over:
                    self._plainly(batch)


def _leave(secrets: Sequence[Secret]) -> None:
    raise _LeftToParentError


def _ignore(name: str, error: StrongroomError) -> None:
    """What is not there as it was sealed is not counted."""
