"""restore: manifest → directory → ranged reads of just what is asked → plan → write → compare.

Needs no state, broker or configuration. What would be overwritten is kept: the destination
adds versions on top, and a sealed undo file is made before the first write (invariant 4).

A secret that cannot be restored does not keep the others from it: the account has it, with the reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from strongroom.container.manifest import ContainerEntry
from strongroom.errors import SourceError, StrongroomError
from strongroom.model import Secret, Selection, prepare
from strongroom.operations.archive.open import on_every_core
from strongroom.operations.archive.salvage import Salvaged
from strongroom.operations.restore.batch import (
    Choose,
    Guard,
    Progress,
    RestoreBatch,
    as_far,
    batches_of,
    is_equal,
    is_spelled_alike,
    is_whole,
    no_snapshot,
    not_as_written,
    present,
    relocated,
    without_right,
)
from strongroom.operations.restore.journal import RestoreAccount, Restored
from strongroom.operations.restore.plan import (
    FIRST,
    IN_PLACE,
    Note,
    PlanEntry,
    PlannedEntries,
    Relocation,
    comes_first,
)
from strongroom.operations.restore.record import Wrote, line_of
from strongroom.sources import Destination, Foreseen, Refuse, SealedRow, SecretChange
from strongroom.sources.batches import batched_secrets, concerns_one, matches
from strongroom.sources.errors import SecretNotFound
from strongroom.system.errors import Conflict
from strongroom.system.process import uncollected

if TYPE_CHECKING:
    from strongroom.operations.archive.open import Backup
    from strongroom.operations.archive.reading import Replicated


Undo = Callable[[Sequence[str]], str]
"""Keeps what is about to be overwritten, by name; returns the name of the file that has it."""


def chosen(
    backup: Backup | Replicated | Salvaged, *, names: Sequence[str] = (), selection: Selection | None = None
) -> Iterator[Secret]:
    """Yield the secrets that are asked for; every one of ``names`` must be there."""
    if not names:
        yield from (secret for secret in backup.secrets() if selection is None or matches(selection, secret))
        return
    for name in names:
        secret = backup.find(name)
        if secret is None and isinstance(backup, Salvaged) and backup.first is not None:
            continue  # it is told with all that is lost
        if secret is None:
            raise SecretNotFound(
                f"backup {backup.manifest.backup_id} holds no secret '{name}'",
                hint="See the names with 'strongroom list --backup-file FILE' or '--from-target TARGET'.",
            )
        yield secret


def plan_restore(
    choose: Choose,
    destination: Destination,
    *,
    overwrite: bool,
    relocation: Relocation = IN_PLACE,
    plan: Iterable[PlanEntry] | None = None,
    first: Sequence[str] = FIRST,
    note: Note | None = None,
    guard: Guard | None = None,
    tried: frozenset[str] = frozenset(),
    newest_only: bool = False,
) -> Restored:
    """Say what :func:`restore` would do; write nothing.

    Args:
        relocation: what is chosen of what ``choose`` gives, and what it is called at the destination.
        plan: as for :func:`restore`; what of it has moved is told.
        first: as for :func:`restore`.
        note: is told of each secret, also of those that cannot be read there, which are not raised then. The
            destination is asked for every right that writing takes, and what it would refuse or could not
            reproduce.
        newest_only: as for :func:`restore`.
    """
    total = Restored()
    entries = PlannedEntries(plan) if plan is not None else None
    layers = destination.layers()
    made: set[str] = set()
    for secrets in _in_order(choose, destination, relocation, first):
        refused: dict[str, StrongroomError] = {}
        refuse = None if note is None else lambda name, error: refused.update({name: error})  # noqa: B023
        batch = RestoreBatch(
            secrets,
            destination,
            overwrite=overwrite,
            refuse=refuse,
            guard=guard,
            tried=tried,
            planned=_take(entries, secrets),
            newest_only=newest_only,
        )
        if note is not None:
            writing = [change.secret for change in batch.changes]
            foreseen = _foreseen(writing, destination, made)
            refused |= {name: SourceError(each.refusal) for name, each in foreseen.items() if each.refusal}
            refused |= without_right([s for s in writing if s.name not in refused], destination)
            made |= {secret.name for secret in writing if secret.type in layers}.difference(refused)
            for secret in secrets:
                name, loss = relocation.here(secret.name), foreseen.get(secret.name, Foreseen()).loss
                note(batch.planned(secret, name, cannot=refused.get(secret.name), loss=loss))
        total = total.plus(batch.counts(without=refused)).plus(Restored(not_done=len(refused)))
    return total


def count_equal(
    choose: Choose,
    destination: Destination,
    *,
    relocation: Relocation = IN_PLACE,
    progress: Progress | None = None,
) -> tuple[int, int]:
    """Return how many secrets the destination has as the backup does, and how many not, or not readably."""
    kept = destination.kept
    equal = total = 0
    for secrets in batches_of(relocated(choose(), relocation)):
        names = [secret.name for secret in secrets]
        found = as_far(lambda some: present(destination, some), names, _ignore)
        total += len(secrets)
        equal += sum(
            secret.name in found and is_equal(kept(secret), kept(found[secret.name])) for secret in secrets
        )
        if progress is not None:
            progress(len(secrets))
    return equal, total - equal


def _ignore(name: str, error: StrongroomError) -> None:
    """What is not there as it was is not counted."""


def _foreseen(
    secrets: Sequence[Secret], destination: Destination, made: Collection[str]
) -> dict[str, Foreseen]:
    """Return, by name, what the destination says of writing a secret."""
    if not secrets:
        return {}
    names = [secret.name for secret in secrets]
    return dict(zip(names, destination.foresee(secrets, made=made), strict=True))


def _take(entries: PlannedEntries | None, secrets: Sequence[Secret]) -> dict[str, PlanEntry] | None:
    return entries.take([secret.name for secret in secrets]) if entries is not None else None


def restore(
    choose: Choose,
    destination: Destination,
    *,
    overwrite: bool = False,
    relocation: Relocation = IN_PLACE,
    plan: Iterable[PlanEntry] | None = None,
    first: Sequence[str] = FIRST,
    undo: Undo | None = None,
    progress: Progress | None = None,
    account: RestoreAccount | None = None,
    tried: frozenset[str] = frozenset(),
    guard: Guard | None = None,
    newest_only: bool = False,
    loss: Callable[[], StrongroomError | None] | None = None,
    by_container: ChosenByContainer | None = None,
) -> Restored:
    """Write secrets with check-and-set, then read back and compare each.

    Args:
        overwrite: whether to replace what differs; a ``plan`` says that of each secret.
        relocation: what is chosen of what ``choose`` gives, and what it is called at the destination.
        plan: what to do with each secret. One that is no longer as the plan found it is left, and told
            as moved; one that is as in the backup by now is not. ``choose`` gives the secrets of these
            entries and no others, best in their order.
        first: tags (``KEY=VALUE``) of critical secrets, which come before the others where writing is slow.
        undo: is given the names that a batch is about to change, before it changes them.
        progress: is told how many secrets are done.
        account: is told of what is done and of each secret that is not, as the restore goes on. Without
            it the first secret that cannot be restored is raised.
        tried: what interrupted restores were writing: what they began is finished.
        guard: what it refuses is left as it is.
        newest_only: whether what replaces another value is the newest version alone, and not the history
            before it too.
        loss: says why secrets of a plan did not come, if something of the backup cannot be read any more.
        by_container: what ``choose`` gives, so that several processes open it at once.
    """
    kept = RestoreAccount() if account is None else account
    refuse = None if account is None else account.refuse
    entries = PlannedEntries(plan) if plan is not None else None

    def write(secrets: Sequence[Secret]) -> None:
        batch = RestoreBatch(
            secrets,
            destination,
            overwrite=overwrite,
            refuse=refuse,
            tried=tried,
            guard=guard,
            planned=_take(entries, secrets),
            newest_only=newest_only,
        )
        kept.plan(batch.counts(), left=batch.left, moved=batch.moved)
        if batch.changing and undo is not None:
            batch.undo_file = undo(batch.changing)
        for changes in batch.slices():
            _write(changes, batch, destination, kept, refuse)
        destination.settle(batch.to_settle)
        kept.lost(destination.losses())
        if progress is not None:
            progress(len(secrets))

    if destination.seals and entries is None and guard is None:
        sealed = SealedWriting(destination, kept, refuse=refuse, progress=progress, plainly=write)
        sealed.write(by_container or ChosenByContainer(rest=choose), relocation)
        return kept.counts
    for secrets in _in_order(choose, destination, relocation, first):
        write(secrets)
    if entries is not None:
        _finish(entries, kept, None if loss is None else loss())
    return kept.counts


def _finish(entries: PlannedEntries, account: RestoreAccount, loss: StrongroomError | None) -> None:
    """Hold a plan to what came: what a damaged backup does not give any more is told, all else is refused."""
    if loss is None:
        entries.finish()
        return
    for name in entries.left():
        account.refuse(name, loss)


def _write(
    changes: Sequence[SecretChange],
    batch: RestoreBatch,
    destination: Destination,
    account: RestoreAccount,
    refuse: Refuse | None,
) -> None:
    """Write a slice, read it back, and put on record what came of it, whatever interrupts that."""
    account.writing([change.secret.name for change in changes], batch.intended(changes, account))
    refused: set[str] = set()

    def note(name: str, error: StrongroomError) -> None:
        refused.add(name)
        account.refuse(name, error, tried=not isinstance(error, Conflict))

    noting = None if refuse is None else note
    try:
        destination.write(changes, refuse=noting)
        whole = [c for c in changes if c.secret.name not in refused]
        good = batch.compare_written(whole, noting, account=account)
        account.written(batch.written_counts(good))
    except BaseException:
        if refuse is not None:
            _count_interrupted(changes, batch, account)
        raise
    finally:
        account.lost(destination.losses())


def _count_interrupted(changes: Sequence[SecretChange], batch: RestoreBatch, account: RestoreAccount) -> None:
    """Count what of an interrupted slice is there, as far as its server still answers."""
    good: list[str] = []
    with suppress(StrongroomError):
        whole = batch.compare_written(changes, _ignore, account=account)
        good = [change.secret.name for change in whole]
        account.written(batch.written_counts(whole))
    account.writing([change.secret.name for change in changes if change.secret.name not in good])


def _in_order(
    choose: Choose, destination: Destination, relocation: Relocation, first: Sequence[str]
) -> Iterator[list[Secret]]:
    """Yield batches: what others rest on (mounts before what lies in them), then what is critical, then the
    rest.

    What others rest on are settings, few and small: one pass gathers them all. Where nothing rests on
    anything and writing is quick, nothing is worth another pass.
    """
    layers = destination.layers()
    early = False
    if layers or destination.least_seconds(secrets=1, versions=1):
        below: dict[str, list[Secret]] = {kind: [] for kind in layers}
        for secret in relocated(choose(), relocation):
            if secret.type in below:
                below[secret.type].append(secret)
            else:
                early = early or comes_first(secret.tags, first)
        for secrets in below.values():
            yield from batches_of(secrets)
    for when in (True, False) if early else (False,):
        rest = (secret for secret in relocated(choose(), relocation) if secret.type not in layers)
        yield from batches_of(
            changed_secret
            for changed_secret in rest
            if (early and comes_first(changed_secret.tags, first)) is when
        )


# -- What is new to a destination that seals: sealed by every core, written by one process
#
# The bar that needs it: a tree of 100,000 secrets is restored in at most 0.3 times what restic takes.
# Opening a backup, sealing each secret for the destination, opening that again and comparing it with the
# backup is nearly all of the work, and needs nothing but keys. So each core does it with a container of its
# own. This process alone does what has an order: it puts on record what is about to be written, writes the
# sealed rows, reads them back, and holds each byte for byte to the one that was opened and compared.
#
# What a child hands over is sealed. It writes nothing and decides nothing: what is there already, cannot be
# written or is not as it was sealed, it leaves to this process, which writes it plainly: as into any
# destination.


SEALED_AT_ONCE = 4_096
SEALED_BYTES = 8 << 20
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
        batches = batched_secrets(
            moved, by=lambda secret: secret, most=SEALED_AT_ONCE, most_bytes=SEALED_BYTES
        )
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
