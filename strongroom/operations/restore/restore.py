"""restore: manifest → directory → ranged reads of just what is asked → plan → write → compare.

Needs no state, broker or configuration. What would be overwritten is kept: the destination
adds versions on top, and a sealed undo file is made before the first write (invariant 4).

A secret that cannot be restored does not keep the others from it: the account has it, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from math import isqrt
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from strongroom.container.errors import VerificationFailed
from strongroom.errors import SourceError, StrongroomError, UsageError
from strongroom.model import ListedSecret, Secret, Selection
from strongroom.operations.archive.salvage import Salvaged
from strongroom.operations.errors import RightMissing
from strongroom.operations.restore.journal import RestoreAccount, Restored
from strongroom.operations.restore.plan import (
    FIRST,
    IN_PLACE,
    WRITES,
    Note,
    PlanEntry,
    PlannedEntries,
    Relocation,
    RestoreAction,
    Side,
    comes_first,
)
from strongroom.operations.restore.record import Wrote, spelled
from strongroom.sources import Destination, Foreseen, Refuse, SecretChange
from strongroom.sources.batches import concerns_one, matches
from strongroom.sources.errors import SecretNotFound
from strongroom.system.errors import Conflict
from strongroom.system.lazy import batched

if TYPE_CHECKING:
    from strongroom.operations.archive.open import Backup
    from strongroom.operations.archive.reading import Replicated

BATCH = 1000
"""Secrets that are written before the account is put on record, where a destination may lose something,
and where it is slow beside."""
SNAPSHOT = "raft-snapshot"
"""The type of what a snapshot's parts are kept as (:mod:`strongroom.sources.raft.snapshot`)."""

Choose = Callable[[], Iterable[Secret]]
"""Gives the secrets to restore, anew each time: some destinations need them in an order."""

Progress = Callable[[int], None]
Undo = Callable[[Sequence[str]], str]
"""Keeps what is about to be overwritten, by name; returns the name of the file that has it."""
Guard = Callable[[Secret, Secret | None], bool]
"""Says whether a secret may be written over what is there, which differs from it."""
T = TypeVar("T")


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
        batch = _RestoreBatch(
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
    for secrets in _batches(_relocated(choose(), relocation)):
        names = [secret.name for secret in secrets]
        found = as_far(lambda some: present(destination, some), names, _ignore)
        total += len(secrets)
        equal += sum(
            secret.name in found and _equal(kept(secret), kept(found[secret.name])) for secret in secrets
        )
        if progress is not None:
            progress(len(secrets))
    return equal, total - equal


def _ignore(name: str, error: StrongroomError) -> None:
    """What cannot be read is not there as it was."""


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
    """
    kept = RestoreAccount() if account is None else account
    refuse = None if account is None else account.refuse
    entries = PlannedEntries(plan) if plan is not None else None
    for secrets in _in_order(choose, destination, relocation, first):
        batch = _RestoreBatch(
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
        destination.settle(batch.back)
        kept.lost(destination.losses())
        if progress is not None:
            progress(len(secrets))
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
    batch: _RestoreBatch,
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

    try:
        destination.write(changes, refuse=None if refuse is None else note)
        whole = [c for c in changes if c.secret.name not in refused]
        good = batch.compare_written(whole, note, refuse, account=account)
        account.written(batch.written_counts(good))
    except BaseException:
        if refuse is not None:
            _count_interrupted(changes, batch, account)
        raise
    finally:
        account.lost(destination.losses())


def _count_interrupted(
    changes: Sequence[SecretChange], batch: _RestoreBatch, account: RestoreAccount
) -> None:
    """Count what of an interrupted slice is there, as far as its server still answers."""
    good: list[str] = []
    with suppress(StrongroomError):
        whole = batch.compare_written(changes, _ignore, _ignore, account=account)
        good = [change.secret.name for change in whole]
        account.written(batch.written_counts(whole))
    account.writing([change.secret.name for change in changes if change.secret.name not in good])


class _RestoreBatch:
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
        asked = [s for s in able if guard is not None and s.name not in begun | same]
        guarded = {s.name for s in asked if guard and not self._passes(guard, s, noting)}
        able = [secret for secret in able if secret.name not in self._refused]
        self.moved = [s.name for s in able if s.name not in begun | same and self._has_moved(s)]
        stay = guarded.union(self.moved)
        self._guarded = guarded
        self._fresh = ({s.name for s in able if s.name not in self._heads} | begun) - stay
        self._begun, self._unchanged = begun, same
        over = [s for s in able if s.name not in self._fresh | same | stay]
        self.changing = [s.name for s in over if (overwrite if planned is None else self._may_write(s))]
        self.left = [*(s.name for s in over if s.name not in self.changing), *sorted(guarded)]
        written = self._fresh.union(self.changing)
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
        return SecretChange(secret=replace(secret, versions=versions), expected=self._heads.get(secret.name))

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
        return self._equal(secret, self._found[secret.name])

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

    def intended(self, changes: Sequence[SecretChange], account: RestoreAccount) -> Iterator[Wrote]:
        """Yield what is about to be written, as it goes on record."""
        if account.recorder is None:
            return
        for change in changes:
            secret, name = change.secret, change.secret.name
            digest, value = account.recorder.digest(self._kept(secret))
            yield Wrote(
                name=name,
                expected=change.expected,
                digest=digest,
                value=value,
                versions=len(secret.versions),
                kept="" if name in self._fresh else self.undo_file,
                finishes=name in self._begun,
            )

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

        back = as_far(
            lambda some: present(self._destination, some), names, None if noting is None else note_unread
        )
        good = []
        for change in changes:
            existing = back.get(change.secret.name)
            if change.secret.name in unread:
                continue
            if existing is not None and self._written(change, existing):
                good.append(change)
                account.found(self._kept(existing))
            elif noting is None:
                raise _differs(change, existing)
            else:
                note(change.secret.name, _differs(change, existing))
        return good

    def _written(self, change: SecretChange, existing: Secret) -> bool:
        """Compare what was read back: a new secret's whole history, an old one's newest version."""
        expected, existing = self._kept(change.secret), self._kept(existing)
        return (change.expected is not None or expected.versions == existing.versions) and _equal(
            expected, existing
        )

    def _equal(self, expected: Secret, existing: Secret) -> bool:
        return _equal(self._kept(expected), self._kept(existing))


def refusal_of(entry: PlanEntry) -> StrongroomError:
    """Return the error of what a plan said could not be done."""
    kind = RightMissing if entry.code == RightMissing.__name__ else SourceError
    return kind(entry.why, hint=_PLANNED)


def _differs(change: SecretChange, existing: Secret | None) -> StrongroomError:
    """Say what is wrong with a secret that was just written: somebody else may have been faster."""
    name, last = change.secret.name, (change.expected or 0) + len(change.secret.versions)
    if existing is None:
        return Conflict(f"secret '{name}' was removed while it was being restored")
    if existing.current.number > max(last, change.secret.current.number):
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


def _equal(wanted: Secret, secret: Secret) -> bool:
    """Compare current values and metadata; version numbers are the destination's own."""
    return (wanted.current.value, wanted.current.media, wanted.current.state) == (
        secret.current.value,
        secret.current.media,
        secret.current.state,
    ) and (wanted.type, wanted.tags, wanted.expires_at, wanted.rotation, wanted.metadata) == (
        secret.type,
        secret.tags,
        secret.expires_at,
        secret.rotation,
        secret.metadata,
    )


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
        for secret in _relocated(choose(), relocation):
            if secret.type in below:
                below[secret.type].append(secret)
            else:
                early = early or comes_first(secret.tags, first)
        for secrets in below.values():
            yield from _batches(secrets)
    for when in (True, False) if early else (False,):
        rest = (secret for secret in _relocated(choose(), relocation) if secret.type not in layers)
        yield from _batches(
            changed_secret
            for changed_secret in rest
            if (early and comes_first(changed_secret.tags, first)) is when
        )


def _relocated(secrets: Iterable[Secret], relocation: Relocation) -> Iterable[Secret]:
    if relocation == IN_PLACE:
        return secrets
    covered = (secret for secret in secrets if relocation.covers(secret.name))
    return (replace(secret, name=relocation.there(secret.name)) for secret in covered)


def _batches(secrets: Iterable[Secret]) -> Iterator[list[Secret]]:
    for batch in batched(secrets, BATCH):
        if any(secret.type == SNAPSHOT for secret in batch):
            raise UsageError(
                "This backup holds a snapshot of a whole server, in parts, and no secrets one by one.",
                hint="Nothing was written. Bring it back with 'strongroom restore snapshot'.",
            )
        yield batch


_PLANNED = "The plan said so. Remove the cause, and make another plan."
