"""A batch of secrets of a restore: what is to happen to each, by what the destination has of it, and whether
that came about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from math import isqrt
from typing import TypeVar

from msgspec.structs import replace

from strongroom.container.errors import VerificationFailed
from strongroom.errors import SourceError, StrongroomError, UsageError
from strongroom.model import ListedSecret, Secret
from strongroom.operations.errors import RightMissing
from strongroom.operations.restore.journal import RestoreAccount, Restored
from strongroom.operations.restore.plan import IN_PLACE, WRITES, PlanEntry, Relocation, RestoreAction, Side
from strongroom.operations.restore.record import Wrote, line_of, spelled
from strongroom.sources import Destination, Refuse, SecretChange
from strongroom.sources.batches import concerns_one
from strongroom.system.errors import Conflict
from strongroom.system.lazy import batched

BATCH = 1000
"""How many secrets a restore reads, compares and writes together."""
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
        self._destination, self._kept = destination, destination.kept
        self._entries, self._tried, self._newest_only = planned, tried, newest_only
        self._digests: dict[str, tuple[str, str]] = {}
        self._refused: set[str] = set()
        self._refuse = None if refuse is None else self._noting(refuse)
        self.undo_file = ""
        self._refuse_planned()
        self._heads = as_far(destination.heads, [s.name for s in self._able(secrets)], self._refuse)
        names = [name for name in self._heads if name not in self._refused]
        self._found = as_far(lambda names: present(destination, names), names, self._refuse)
        self._sort(self._able(secrets), guard, overwrite=overwrite)

    def _noting(self, refuse: Refuse) -> Refuse:
        def note(name: str, error: StrongroomError) -> None:
            self._refused.add(name)
            refuse(name, error)

        return note

    def _refuse_planned(self) -> None:
        """Refuse what the plan said could not be restored."""
        for name, entry in (self._entries or {}).items():
            if entry.action is RestoreAction.CANNOT:
                error = refusal_of(entry)
                if self._refuse is None:
                    raise error
                self._refuse(name, error)

    def _able(self, secrets: Sequence[Secret]) -> list[Secret]:
        return [secret for secret in secrets if secret.name not in self._refused]

    def _sort(self, secrets: Sequence[Secret], guard: Guard | None, *, overwrite: bool) -> None:
        """Decide of each secret whether it is created, finished, changed, left, or there already."""
        there = [s for s in secrets if s.name in self._found]
        self._begun = {s.name for s in there if self._is_begun(s) and self._may_write(s)}
        self._unchanged = {s.name for s in there if s.name not in self._begun and self._same(s)}
        others = [s for s in secrets if s.name not in self._begun | self._unchanged]
        self._guarded = {s.name for s in others if guard is not None and not self._passes(guard, s)}
        self.moved = [s.name for s in self._able(others) if self._has_moved(s)]
        stay = self._guarded.union(self.moved)
        able = self._able(secrets)
        self._fresh = {s.name for s in able if s.name not in self._heads} - stay | self._begun
        settled = self._fresh | self._unchanged | stay
        over = [s for s in able if s.name not in settled]
        self.changing = [s.name for s in over if (overwrite if self._entries is None else self._may_write(s))]
        written = self._fresh.union(self.changing)
        self.left = [*(s.name for s in over if s.name not in written), *sorted(self._guarded)]
        self.to_settle = [s for s in able if s.name in self._unchanged or s.name in written]
        self.changes = [self._change(secret) for secret in able if secret.name in written]

    def _passes(self, guard: Guard, secret: Secret) -> bool:
        """Ask a guard, which may refuse to say."""
        try:
            return guard(secret, self._found.get(secret.name))
        except StrongroomError as error:
            if self._refuse is None or not concerns_one(error):
                raise
            self._refuse(secret.name, error)
            return True

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
        """Yield what is to be written, in slices; before each the account is put on record."""
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
        self, changes: Sequence[SecretChange], refuse: Refuse | None, *, account: RestoreAccount
    ) -> list[SecretChange]:
        """Read back what was written; return what is as it was written."""
        names = [change.secret.name for change in changes]
        unread: set[str] = set()

        def note_unread(name: str, error: StrongroomError) -> None:
            unread.add(name)
            if refuse is not None:
                refuse(name, error)

        back = as_far(self._read_written, names, None if refuse is None else note_unread)
        good = []
        for change in changes:
            name = change.secret.name
            if name in unread:
                continue
            existing = back.get(name)
            wanted, there = self._kept(change.secret), self._kept(existing) if existing else None
            if there is not None and is_written(change, wanted, there):
                if (recorder := account.recorder) is not None:
                    known = self._digests.get(name) if is_spelled_alike(wanted, there) else None
                    account.found([recorder.line_left(there, known)])
                good.append(change)
            elif refuse is None:
                raise self._not_as_written(change, existing)
            else:
                refuse(name, self._not_as_written(change, existing))
        return good

    def _not_as_written(self, change: SecretChange, existing: Secret | None) -> StrongroomError:
        last = max((change.expected or 0) + len(change.secret.versions), change.secret.current.number)
        return not_as_written(change.secret.name, existing.current.number if existing else None, last=last)

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


def not_as_written(name: str, there: int | None, *, last: int) -> StrongroomError:
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
    """Do ``work`` for all names at once. If one of them fails it, do it for ever fewer at once, until only
    that one is refused. Twenty in a thousand cost two more reads of each name, where halving would cost
    six."""
    try:
        return dict(work(list(names)))
    except StrongroomError as error:
        if refuse is None or not names or not concerns_one(error):
            raise
        if len(names) == 1:
            refuse(names[0], error)
            return {}
    results: dict[str, T] = {}
    for fewer in batched(names, isqrt(len(names))):
        results |= as_far(work, fewer, refuse)
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
