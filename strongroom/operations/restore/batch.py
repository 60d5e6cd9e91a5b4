"""What is to happen to some secrets of a restore, by what the destination has of them, and whether that came
about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from math import isqrt
from typing import TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.errors import VerificationFailed
from strongroom.container.manifest import ContainerEntry
from strongroom.errors import SourceError, StrongroomError, UsageError
from strongroom.model import ListedSecret, Secret, prepare
from strongroom.operations.archive.open import on_every_core
from strongroom.operations.errors import RightMissing
from strongroom.operations.restore.journal import RestoreAccount, Restored
from strongroom.operations.restore.plan import IN_PLACE, WRITES, PlanEntry, Relocation, RestoreAction, Side
from strongroom.operations.restore.record import Wrote, line_of, spelled
from strongroom.sources import Destination, Refuse, SealedRow, SecretChange
from strongroom.sources.batches import batched_secrets, concerns_one
from strongroom.system.errors import Conflict
from strongroom.system.lazy import batched
from strongroom.system.process import uncollected

BATCH = 1000
"""Secrets that are written before the account is put on record, where a destination may lose something,
and where it is slow beside."""
SNAPSHOT = "raft-snapshot"
"""The type of what a snapshot's parts are kept as (:mod:`strongroom.sources.raft.snapshot`)."""

Choose = Callable[[], Iterable[Secret]]
"""Gives the secrets to restore, anew each time: some destinations need them in an order."""

Progress = Callable[[int], None]
Guard = Callable[[Secret, Secret | None], bool]
"""Says whether a secret may be written over what is there, which differs from it."""
T = TypeVar("T")


def without_right(
    secrets: Sequence[Secret], destination: Destination, *, removing: bool = False
) -> dict[str, RightMissing]:
    """Return, by name, what the credential lacks to write a secret, or to remove it."""
    if not secrets:
        return {}
    lacking_by_name: dict[str, RightMissing] = {}
    for right in destination.write_rights(secrets, removing=removing) or ():
        if right.missing:
            lacking = RightMissing(f"no right to {', '.join(right.missing)} {right.path}")
            lacking_by_name |= dict.fromkeys(
                [right.secret] if right.secret else [s.name for s in secrets], lacking
            )
    return lacking_by_name


class RestoreBatch:
    """What is to happen to one batch of secrets."""

    def __init__(
        self,
        secrets: Sequence[Secret],
        destination: Destination,
        *,
        overwrite: bool,
        refuse: Refuse | None = None,
        tried: frozenset[str] = frozenset(),
        guard: Guard | None = None,
        planned: Mapping[str, PlanEntry] | None = None,
        newest_only: bool = False,
    ) -> None:
        self._tried = tried
        self._newest_only = newest_only
        self._entries = planned
        self.undo_file = ""
        self._digests: dict[str, tuple[str, str]] = {}
        self._destination = destination
        self._kept = destination.kept
        self._refused: set[str] = set()

        def note(name: str, error: StrongroomError) -> None:
            assert refuse is not None
            self._refused.add(name)
            refuse(name, error)

        noting = None if refuse is None else note
        self._refuse_planned(noting)
        looked_at = [secret.name for secret in secrets if secret.name not in self._refused]
        self._heads = as_far(destination.heads, looked_at, noting)
        names = [name for name in self._heads if name not in self._refused]
        self._found = as_far(lambda some: present(destination, some), names, noting)
        able = [secret for secret in secrets if secret.name not in self._refused]
        begun = {s.name for s in able if s.name in self._found and self._is_begun(s) and self._may_write(s)}
        same = {s.name for s in able if s.name in self._found and s.name not in begun and self._same(s)}
        as_wanted = begun | same
        asked = [s for s in able if guard is not None and s.name not in as_wanted]
        guarded = {s.name for s in asked if guard and not self._passes(guard, s, noting)}
        able = [secret for secret in able if secret.name not in self._refused]
        self.moved = [s.name for s in able if s.name not in as_wanted and self._has_moved(s)]
        stay = guarded.union(self.moved)
        self._guarded = guarded
        self._fresh = ({s.name for s in able if s.name not in self._heads} | begun) - stay
        self._begun, self._unchanged = begun, same
        settled = self._fresh | same | stay
        over = [s for s in able if s.name not in settled]
        self.changing = [s.name for s in over if (overwrite if planned is None else self._may_write(s))]
        written = self._fresh.union(self.changing)
        self.left = [*(s.name for s in over if s.name not in written), *sorted(guarded)]
        self.back = [s for s in able if s.name in same or s.name in written]
        self.changes = [self._change(secret) for secret in able if secret.name in written]

    def _passes(self, guard: Guard, secret: Secret, refuse: Refuse | None) -> bool:
        """Ask a guard, which may refuse to say."""
        try:
            return guard(secret, self._found.get(secret.name))
        except StrongroomError as error:
            if refuse is None or not concerns_one(error):
                raise
            refuse(secret.name, error)
            return True

    def _refuse_planned(self, refuse: Refuse | None) -> None:
        """Refuse what the plan said could not be restored."""
        for name, entry in (self._entries or {}).items():
            if entry.action is RestoreAction.CANNOT:
                error = refusal_of(entry)
                if refuse is None:
                    raise error
                refuse(name, error)

    def _may_write(self, secret: Secret) -> bool:
        return self._entries is None or self._entries[secret.name].action in WRITES

    def _has_moved(self, secret: Secret) -> bool:
        """Say whether a secret is no longer as the plan found it; what we began to write ourselves is."""
        if self._entries is None:
            return False
        entry, head = self._entries[secret.name], self._heads.get(secret.name)
        found = self._found.get(secret.name)
        if head == entry.expected and (_written_at(found) if found else None) == entry.there_written_at:
            return entry.action is RestoreAction.SAME
        if secret.name not in self._tried or head is None or entry.expected is None:
            return True
        return not entry.expected <= head <= entry.expected + len(secret.versions)

    def _change(self, secret: Secret) -> SecretChange:
        """Return what is to be written: of a history that was cut off on top of another one, the rest."""
        on_top = self._newest_only and secret.name in self.changing
        versions = secret.versions[-1:] if on_top else secret.versions[self._written_on_top(secret) :]
        whole = len(versions) == len(secret.versions)
        written = secret if whole else replace(secret, versions=versions)
        return SecretChange(secret=written, expected=self._heads.get(secret.name))

    def _written_on_top(self, secret: Secret) -> int:
        """Count the versions that a killed attempt wrote on top of what the plan had found."""
        entry, head = (self._entries or {}).get(secret.name), self._heads.get(secret.name)
        if secret.name not in self._tried or entry is None or entry.expected is None or head is None:
            return 0
        done = head - entry.expected
        ours = [version.value for version in self._kept(secret).versions[:done]]
        there = [version.value for version in self._kept(self._found[secret.name]).versions[-done:]]
        return min(done, len(secret.versions) - 1) if 0 < done == len(ours) and ours == there else 0

    def _is_begun(self, secret: Secret) -> bool:
        destination = self._destination
        return destination.is_unfinished(secret, self._found[secret.name], tried=secret.name in self._tried)

    def _same(self, secret: Secret) -> bool:
        return is_equal(self._kept(secret), self._kept(self._found[secret.name]))

    def slices(self) -> Iterator[Sequence[SecretChange]]:
        """Yield what is to be written, in parts after each of which the account is put on record."""
        return batched(self.changes, self._destination.written_at_once)

    def counts(self, *, without: Iterable[str] = ()) -> Restored:
        """Return what is planned. ``written_counts`` tells what became of it."""
        written = self.written_counts([c for c in self.changes if c.secret.name not in set(without)])
        stay = Restored(unchanged=len(self._unchanged), left=len(self.left), moved=len(self.moved))
        return written.plus(stay)

    def written_counts(self, changes: Sequence[SecretChange]) -> Restored:
        """Count changes that were written."""
        created = sum(change.secret.name in self._fresh for change in changes)
        return Restored(
            created=created,
            changed=len(changes) - created,
            versions=sum(v.value is not None for change in changes for v in change.secret.versions),
        )

    def planned(self, secret: Secret, name: str, *, cannot: StrongroomError | None, loss: str) -> PlanEntry:
        """Return what would happen to a secret, and what the backup calls it."""
        existing = self._found.get(secret.name)
        return PlanEntry(
            name=spelled(name),
            to=spelled(secret.name),
            action=self._action(secret.name) if cannot is None else RestoreAction.CANNOT,
            why=cannot.message if cannot is not None else "",
            code=cannot.code if cannot is not None else "",
            version=secret.current.number,
            written_at=_written_at(secret),
            expected=self._heads.get(secret.name),
            there_written_at=_written_at(existing) if existing else None,
            newer=_newer(secret, existing) if existing and secret.name not in self._unchanged else None,
            loss=loss,
        )

    def _action(self, name: str) -> RestoreAction:
        if name in self._unchanged:
            return RestoreAction.SAME
        if name in self.moved:
            return RestoreAction.MOVED
        if name in self._guarded:
            return RestoreAction.LEAVE
        if name in self._fresh:
            return RestoreAction.FINISH if name in self._begun else RestoreAction.CREATE
        return RestoreAction.CHANGE if name in self.changing else RestoreAction.LEAVE

    def intended(self, changes: Sequence[SecretChange], account: RestoreAccount) -> Iterator[bytes]:
        """Yield the line of each secret that is about to be written."""
        if account.recorder is None:
            return
        for change in changes:
            secret, name = change.secret, change.secret.name
            digest, value = self._digests[name] = account.recorder.digest(self._kept(secret))
            wrote = Wrote(
                name=name,
                expected=change.expected,
                digest=digest,
                value=value,
                versions=len(secret.versions),
                kept="" if name in self._fresh else self.undo_file,
                finishes=name in self._begun,
            )
            yield line_of(wrote)

    def compare_written(
        self, changes: Sequence[SecretChange], note: Refuse, refuse: Refuse | None, *, account: RestoreAccount
    ) -> list[SecretChange]:
        """Read back what was written; return what is as it was written."""
        noting = None if refuse is None else note
        names = [change.secret.name for change in changes]
        unread: set[str] = set()

        def note_unread(name: str, error: StrongroomError) -> None:
            unread.add(name)
            note(name, error)

        back = as_far(self._read_written, names, None if noting is None else note_unread)
        good = []
        for change in changes:
            name = change.secret.name
            existing = back.get(name)
            if name in unread:
                continue
            wanted, there = self._kept(change.secret), self._kept(existing) if existing else None
            if there is not None and is_written(change, wanted, there):
                if (recorder := account.recorder) is not None:
                    known = self._digests.get(name) if is_spelled_alike(wanted, there) else None
                    account.found([recorder.line_left(there, known)])
                good.append(change)
            elif noting is None:
                raise self._unlike(change, existing)
            else:
                note(change.secret.name, self._unlike(change, existing))
        return good

    def _unlike(self, change: SecretChange, existing: Secret | None) -> StrongroomError:
        last = max((change.expected or 0) + len(change.secret.versions), change.secret.current.number)
        return unlike(change.secret.name, existing.current.number if existing else None, last=last)

    def _read_written(self, names: list[str]) -> dict[str, Secret]:
        return {secret.name: secret for secret in self._destination.read_written(names) if secret is not None}


def is_written(change: SecretChange, wanted: Secret, there: Secret) -> bool:
    """Compare what was read back: a new secret's whole history, an old one's newest version."""
    return is_whole(wanted, there) if change.expected is None else is_equal(wanted, there)


def is_whole(wanted: Secret, there: Secret) -> bool:
    """Compare the whole history, and the metadata."""
    return wanted.versions == there.versions and _has_equal_metadata(wanted, there)


def is_spelled_alike(wanted: Secret, there: Secret) -> bool:
    """Tell whether equal secrets have one digest: 1 and 1.0 are equal in free-form metadata, and their
    digests are not."""
    return not wanted.metadata or repr(wanted.metadata) == repr(there.metadata)


def refusal_of(entry: PlanEntry) -> StrongroomError:
    """Return the error of what a plan said could not be done."""
    kind = RightMissing if entry.code == RightMissing.__name__ else SourceError
    return kind(entry.why, hint=_PLANNED)


def unlike(name: str, there: int | None, *, last: int) -> StrongroomError:
    """Say what is wrong with a secret that was just written: somebody else may have been faster.

    Args:
        there: its version, if there is one.
        last: the highest that the writing can have given it.
    """
    if there is None:
        return Conflict(f"secret '{name}' was removed while it was being restored")
    if there > last:
        return Conflict(f"somebody wrote to secret '{name}' while it was being restored")
    return VerificationFailed(
        f"secret '{name}' did not read back as it was written",
        hint="What is there differs from the backup: compare the two. Other secrets are not affected.",
    )


def as_far(
    work: Callable[[list[str]], Mapping[str, T]], names: Sequence[str], refuse: Refuse | None
) -> dict[str, T]:
    """Do ``work`` for all names at once; where one of them is refused, for ever fewer, so that only that one
    is left out. Twenty in a thousand cost two more reads of each, where halving would cost six."""
    try:
        return dict(work(list(names)))
    except StrongroomError as error:
        if refuse is None or not names or not concerns_one(error):
            raise
        if len(names) == 1:
            refuse(names[0], error)
            return {}
    step = isqrt(len(names))
    results: dict[str, T] = {}
    for some in batched(names, step):
        results |= as_far(work, some, refuse)
    return results


def _written_at(secret: Secret) -> str | None:
    times = [time for time in (secret.updated_at, secret.current.created_at) if time]
    return max(times, key=_moment, default=None)


def _newer(backed_up: Secret, existing: Secret) -> Side:
    ours, theirs = _written_at(backed_up), _written_at(existing)
    if ours is None or theirs is None:
        return Side.UNKNOWN
    if _moment(ours) == _moment(theirs):
        return Side.NEITHER
    return Side.BACKUP if _moment(ours) > _moment(theirs) else Side.THERE


def _moment(time: str) -> datetime:
    """Read a time; one that is none is older than any."""
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def present(destination: Destination, names: Iterable[str]) -> dict[str, Secret]:
    """Return those of the named secrets that are there, with all their versions."""
    entries = [ListedSecret(name, 0) for name in names]
    return {secret.name: secret for secret in destination.read(entries) if secret is not None}


def is_equal(wanted: Secret, secret: Secret) -> bool:
    """Compare current values and metadata; version numbers are the destination's own."""
    ours, theirs = wanted.current, secret.current
    return (
        (ours.value, ours.media, ours.state) == (theirs.value, theirs.media, theirs.state)
    ) and _has_equal_metadata(wanted, secret)


def _has_equal_metadata(wanted: Secret, secret: Secret) -> bool:
    return (
        wanted.type == secret.type
        and wanted.tags == secret.tags
        and wanted.expires_at == secret.expires_at
        and wanted.rotation == secret.rotation
        and wanted.metadata == secret.metadata
    )


def relocated(secrets: Iterable[Secret], relocation: Relocation) -> Iterable[Secret]:
    if relocation == IN_PLACE:
        return secrets
    covered = (secret for secret in secrets if relocation.covers(secret.name))
    return (replace(secret, name=relocation.there(secret.name)) for secret in covered)


def batches_of(secrets: Iterable[Secret]) -> Iterator[list[Secret]]:
    """Yield secrets in batches. Raises UsageError: they are the parts of a snapshot."""
    return map(no_snapshot, batched(secrets, BATCH))


def no_snapshot(batch: list[Secret]) -> list[Secret]:
    """Return secrets. Raises UsageError: they are the parts of a snapshot."""
    if any(secret.type == SNAPSHOT for secret in batch):
        raise UsageError(
            "This backup holds a snapshot of a whole server, in parts, and no secrets one by one.",
            hint="Nothing was written. Bring it back with 'strongroom restore snapshot'.",
        )
    return batch


_PLANNED = "The plan said so. Remove the cause, and make another plan."


# -- What is new to a destination that keeps secrets sealed: sealed by every core, written by one process
#
# The bar that needs it: a tree of 100,000 secrets is restored in at most 0.3 times what restic takes.
# Opening a backup, sealing each secret for the destination, opening that again and comparing it with the
# backup is nearly all of the work, and needs nothing but keys. So each core does it with a container of its
# own. This process alone does what has an order: it puts on record what is about to be written, writes the
# sealed rows, reads them back, and holds each byte for byte to the one that was opened and compared.
#
# What a child hands over is sealed. It writes nothing and decides nothing: what is there already, cannot be
# written or is not as it was sealed, it leaves to this process, which writes it as anything else is
# written.


AT_ONCE = 4_096
AT_ONCE_BYTES = 8 << 20
"""What is written in one transaction, and put on record before. Each child has a few times as much in
memory, and each transaction costs a wait for the disk."""


class ChosenParts(Struct, frozen=True, kw_only=True):
    """What is chosen of a backup, container by container.

    Args:
        here: yields what is chosen of a container; it may ask people, go on to other places and say so.
        there: does it in a child; what is amiss is raised.
        rest: yields what is chosen beside, once all containers were read.
        unlock: opens what the containers are sealed under.
    """

    entries: Sequence[ContainerEntry] = ()
    here: Callable[[ContainerEntry], Iterable[Secret]] = lambda entry: ()
    there: Callable[[ContainerEntry], Iterable[Secret]] = lambda entry: ()
    rest: Choose = tuple
    unlock: Callable[[], None] = lambda: None


class SealedPart(Struct, frozen=True, array_like=True, gc=False):
    """New secrets of a container: each sealed, opened again and found to be as in the backup, with its lines
    of the record and the number of its values."""

    piece: int
    number: int
    rows: list[SealedRow]
    intended: list[bytes]
    left: list[bytes]
    versions: list[int]


prepare(SealedRow, SealedPart)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(SealedPart).decode
_BESIDE = -1
"""What stands in the place of a container for what is in none."""


class _NotPlainlyNewError(Exception):
    """A child leaves secrets to its parent."""


class SealedWriting:
    """Writes into a destination that seals.

    Args:
        plainly: writes what is not plainly new, as into any destination.
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
        # Of each container the last part that a child sealed: its number, and the last name in it.
        self._given: dict[int, tuple[int, str]] = {}
        self._again: defaultdict[int, set[int]] = defaultdict(set)

    def write(self, parts: ChosenParts, relocation: Relocation) -> None:
        """Write all of it, the containers in any order."""
        self._relocation = relocation
        sealed = on_every_core(
            parts.entries,
            lambda entry: self._sealed(parts.here(entry), entry.piece, plainly=self._plainly),
            lambda entry: self._sealed(parts.there(entry), entry.piece, plainly=_leave),
            unlock=parts.unlock,
            ordered=False,
        )
        with closing(sealed), uncollected():
            for part in sealed:
                self._put(part)
        for part in self._sealed(parts.rest(), _BESIDE, plainly=self._plainly):
            self._put(part)
        for entry in parts.entries:
            self._write_again(entry.piece, lambda: parts.here(entry))  # noqa: B023
        self._write_again(_BESIDE, parts.rest)

    # -- in any process ------------------------------------------------------------------

    def _batches(self, secrets: Iterable[Secret]) -> Iterator[tuple[int, list[Secret]]]:
        chosen = relocated(secrets, self._relocation)
        batches = batched_secrets(chosen, by=lambda secret: secret, most=AT_ONCE, most_bytes=AT_ONCE_BYTES)
        return enumerate(map(no_snapshot, batches), 1)

    def _sealed(
        self, secrets: Iterable[Secret], piece: int, *, plainly: Callable[[Sequence[Secret]], None]
    ) -> Iterator[bytes]:
        """Yield what is plainly new, sealed; have all else written in its turn, and yield nothing for it.

        What a child gave of this container is written, and is passed over.
        """
        given, last = self._given.get(piece, (0, ""))
        for number, batch in self._batches(secrets):
            if number <= given:
                if number == given and batch[-1].name != last:
                    # The child was given what this process is not: nothing is passed over unseen.
                    self._again[piece].update(range(1, number + 1))
                yield b""
            elif (part := self._part(piece, number, batch)) is not None:
                yield _encode(part)
            else:
                plainly(batch)
                yield b""

    def _part(self, piece: int, number: int, secrets: Sequence[Secret]) -> SealedPart | None:
        """Seal secrets and hold each to what it opens to; ``None`` if that is not all there is to do."""
        destination, recorder = self._destination, self._account.recorder
        if destination.heads([secret.name for secret in secrets]):
            return None
        part = SealedPart(piece, number, [], [], [], [])
        try:
            for wanted, (row, there) in zip(secrets, destination.seal(secrets), strict=True):
                if not is_whole(destination.kept(wanted), destination.kept(there)):
                    return None
                part.rows.append(row)
                part.versions.append(sum([version.value is not None for version in wanted.versions]))
                if recorder is not None:
                    digests = recorder.digest(wanted)
                    wrote = Wrote(
                        name=wanted.name, digest=digests[0], value=digests[1], versions=len(wanted.versions)
                    )
                    known = digests if is_spelled_alike(wanted, there) else None
                    part.intended.append(line_of(wrote))
                    part.left.append(recorder.line_left(there, known))
        except StrongroomError as error:
            if not concerns_one(error):
                raise
            return None
        return part

    # -- in this process alone -----------------------------------------------------------

    def _put(self, encoded: bytes) -> None:
        """Write what was sealed, read it back, and put on record what came of it."""
        if not encoded:
            return
        part = _decode(encoded)
        self._given[part.piece] = part.number, part.rows[-1].name
        self._account.writing([row.name for row in part.rows], part.intended)
        done = len(part.rows)
        try:
            try:
                self._destination.write_sealed(part.rows)
            except Conflict:  # somebody was faster with one of them: nothing of it is written
                self._again[part.piece].add(part.number)
                self._account.written(Restored())
                done = 0
            else:
                self._count(part, self._note)
        except BaseException:
            if self._refuse is not None:
                with suppress(StrongroomError):
                    self._account.writing(self._count(part, _ignore))
            raise
        finally:
            self._account.lost(self._destination.losses())
        if self._progress is not None:
            self._progress(done)

    def _count(self, part: SealedPart, note: Refuse) -> list[str]:
        """Read back what was written, and count what is there as it was sealed; return what is not."""
        differing = self._destination.unlike(part.rows)
        good = [number for number, row in enumerate(part.rows) if row.name not in differing]
        for row in part.rows if differing else ():
            if row.name in differing:
                note(row.name, unlike(row.name, differing[row.name], last=row.head))
        self._account.found(part.left[number] for number in (good if part.left else ()))
        versions = sum(part.versions[number] for number in good)
        self._account.written(Restored(created=len(good), versions=versions))
        return list(differing)

    def _note(self, name: str, error: StrongroomError) -> None:
        if self._refuse is None:
            raise error
        self._account.refuse(name, error, tried=not isinstance(error, Conflict))

    def _write_again(self, piece: int, secrets: Choose) -> None:
        """Write plainly what was not to be written sealed."""
        again = self._again.get(piece)
        for number, batch in self._batches(secrets()) if again else ():
            if again is not None and number in again:
                self._plainly(batch)


def _leave(secrets: Sequence[Secret]) -> None:
    raise _NotPlainlyNewError


def _ignore(name: str, error: StrongroomError) -> None:
    """What is not there as it was sealed is not counted."""
