"""restore: manifest → directory → ranged reads of just what is asked → plan → write → compare.

Needs no state, broker or configuration. What would be overwritten is kept: the destination
adds versions on top, and a sealed undo file is made before the first write (invariant 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from msgspec import Struct

from strongroom.errors import SecretNotFound, UsageError, VerificationFailed
from strongroom.model import Entry, Secret, Selection
from strongroom.operations.open import Backup
from strongroom.sources import Change, Destination, Layered, Lossy, Settling
from strongroom.sources.select import matches

BATCH = 1000
SNAPSHOT = "raft-snapshot"
"""The type of what a snapshot's parts are kept as (:mod:`strongroom.sources.raft.about`)."""

Choose = Callable[[], Iterable[Secret]]
"""Gives the secrets to restore, anew each time: some destinations need them in an order."""

Progress = Callable[[int], None]
Undo = Callable[[Sequence[str]], None]


class Restored(Struct, frozen=True, kw_only=True):
    """What a restore did (or, as a plan, would do), in numbers of secrets.

    ``left`` exist already and were not to be overwritten. ``compared`` were read back and
    are equal to what the backup holds. ``versions`` is how many versions with a value the
    created and the changed ones have.
    """

    created: int = 0
    changed: int = 0
    unchanged: int = 0
    left: int = 0
    compared: int = 0
    versions: int = 0

    def plus(self, other: Restored) -> Restored:
        """Add two counts."""
        return Restored(
            **{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__}
        )


def chosen(
    backup: Backup, *, names: Sequence[str] = (), selection: Selection | None = None
) -> Iterator[Secret]:
    """Yield the secrets that are asked for; every one of ``names`` must be there."""
    if not names:
        yield from (secret for secret in backup.secrets() if selection is None or matches(selection, secret))
        return
    for name in names:
        secret = backup.find(name)
        if secret is None:
            raise SecretNotFound(
                f"backup {backup.manifest.backup_id} holds no secret '{name}'",
                hint="See the names with 'strongroom list --backup-file FILE' or '--from-target TARGET'.",
            )
        yield secret


def plan_restore(choose: Choose, destination: Destination, *, overwrite: bool) -> Restored:
    """Say what :func:`restore` would do; write nothing."""
    total = Restored()
    for batch in _in_order(choose, destination):
        total = total.plus(_Batch(batch, destination, overwrite=overwrite).counts)
    return total


def restore(
    choose: Choose,
    destination: Destination,
    *,
    overwrite: bool,
    undo: Undo | None = None,
    progress: Progress | None = None,
) -> Restored:
    """Write secrets with check-and-set, then read back and compare each.

    Args:
        undo: is given the names that a batch is about to change, before it changes them.
        progress: is told how many secrets are done.
    """
    total = Restored()
    for secrets in _in_order(choose, destination):
        batch = _Batch(secrets, destination, overwrite=overwrite)
        if batch.changing and undo is not None:
            undo(batch.changing)
        destination.write(batch.changes)
        compared = batch.compare_written()
        if isinstance(destination, Settling):
            destination.settle(batch.back)
        total = total.plus(batch.counts).plus(Restored(compared=compared))
        if progress is not None:
            progress(len(secrets))
    return total


class _Batch:
    """What is to happen to one batch of secrets."""

    def __init__(self, secrets: Sequence[Secret], destination: Destination, *, overwrite: bool) -> None:
        self._destination = destination
        self._kept = destination.kept if isinstance(destination, Lossy) else _whole
        heads = destination.heads([secret.name for secret in secrets])
        found = present(destination, list(heads))
        same = {s.name for s in secrets if s.name in found and self._equal(s, found[s.name])}
        fresh = [s for s in secrets if s.name not in heads]
        over = [s for s in secrets if s.name in heads and s.name not in same]
        written = fresh + (over if overwrite else [])
        self.back = [s for s in secrets if s.name in same] + written
        self.changes = [Change(secret=s, expected=heads.get(s.name)) for s in written]
        self.changing = [s.name for s in over] if overwrite else []
        self.counts = Restored(
            created=len(fresh),
            changed=len(self.changing),
            unchanged=len(same),
            left=0 if overwrite else len(over),
            versions=sum(version.value is not None for s in written for version in s.versions),
        )

    def compare_written(self) -> int:
        written = present(self._destination, [change.secret.name for change in self.changes])
        for change in self.changes:
            found = written.get(change.secret.name)
            if found is None or not self._written(change, found):
                raise VerificationFailed(f"secret '{change.secret.name}' did not read back as it was written")
        return len(self.changes)

    def _written(self, change: Change, found: Secret) -> bool:
        """Compare what was read back: a new secret's whole history, an old one's newest version."""
        wanted, found = self._kept(change.secret), self._kept(found)
        return (change.expected is not None or wanted.versions == found.versions) and _equal(wanted, found)

    def _equal(self, wanted: Secret, found: Secret) -> bool:
        return _equal(self._kept(wanted), self._kept(found))


def present(destination: Destination, names: Iterable[str]) -> dict[str, Secret]:
    """Return those of the named secrets that are there, with all their versions."""
    entries = [Entry(name, 0) for name in names]
    return {secret.name: secret for secret in destination.read(entries) if secret is not None}


def _whole(secret: Secret) -> Secret:
    return secret


def _equal(wanted: Secret, found: Secret) -> bool:
    """Compare current values and metadata; version numbers are the destination's own."""
    return (wanted.current.value, wanted.current.media, wanted.current.state) == (
        found.current.value,
        found.current.media,
        found.current.state,
    ) and (wanted.type, wanted.tags, wanted.expires_at, wanted.rotation, wanted.metadata) == (
        found.type,
        found.tags,
        found.expires_at,
        found.rotation,
        found.metadata,
    )


def _in_order(choose: Choose, destination: Destination) -> Iterator[list[Secret]]:
    """Yield batches; what others rest on (mounts before what lies in them) in batches before theirs.

    Those are settings, few and small: one pass gathers them all, another yields the rest.
    """
    layers = destination.layers() if isinstance(destination, Layered) else ()
    if layers:
        below: dict[str, list[Secret]] = {kind: [] for kind in layers}
        for secret in choose():
            if secret.type in below:
                below[secret.type].append(secret)
        for secrets in below.values():
            yield from _batches(secrets)
    yield from _batches(secret for secret in choose() if secret.type not in layers)


def _batches(secrets: Iterable[Secret]) -> Iterator[list[Secret]]:
    iterator = iter(secrets)
    while batch := list(islice(iterator, BATCH)):
        if any(secret.type == SNAPSHOT for secret in batch):
            raise UsageError(
                "This backup holds a snapshot of a whole server, in parts, and no secrets one by one.",
                hint="Nothing was written. Bring it back with 'strongroom restore-snapshot'.",
            )
        yield batch
