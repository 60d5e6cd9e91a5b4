"""Removing a backup, whatever of it can be removed: what may take its place, what is locked, what stays."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice

from msgspec import Struct

from strongroom.container.errors import DAMAGE, FormatError, MissingPiece
from strongroom.container.manifest import ContainerEntry, Manifest
from strongroom.container.reader import read_outer
from strongroom.errors import StrongroomError, TargetError
from strongroom.model import Depth, ObjectInfo, prepare
from strongroom.operations.archive.coverage import lacking_on
from strongroom.operations.archive.deletions import counting, read_deletions
from strongroom.operations.archive.envelopes import UNKNOWN, envelopes_prefix, old_versions
from strongroom.operations.archive.index_files import IndexKeys
from strongroom.operations.archive.inventory import put_damaged_on_record
from strongroom.operations.archive.open import ObjectReader, readable_container, require_digest, require_size
from strongroom.operations.engine.jobs import read_facts
from strongroom.operations.engine.layout import (
    EMERGENCY,
    INDEXES,
    container_name,
    containers_prefix,
    manifest_name,
)
from strongroom.operations.engine.services import Services
from strongroom.state.errors import RecordRefused
from strongroom.state.records import ContainerCheck, Run
from strongroom.state.store import RunStore
from strongroom.targets import Target
from strongroom.targets.errors import TargetLocked
from strongroom.targets.reading import ManifestListing, copies, original_name
from strongroom.times import rfc3339
from strongroom.words import plural

# -- Removing a backup from a target, whatever of it can be removed, and saying what stays: the one way
#
# The manifest goes first, so that no half of a backup is ever visible, and the containers last: as long as
# there is one, it tells of the envelopes that belong to it, whoever goes on after a crash. A delete is not
# believed: what is listed afterwards is there.


class BackupRemoval(Struct, frozen=True, kw_only=True):
    """What came of removing a backup from a target.

    ``deleted`` objects of ``freed`` bytes are gone, ``left`` ones stay, of which ``locked`` are under a lock.
    ``hidden`` is how many versions a delete left, -1 if that cannot be told. ``until`` is when all that
    stays can go; empty if that is not known.
    """

    deleted: int = 0
    freed: int = 0
    left: int = 0
    locked: int = 0
    hidden: int = 0
    until: str = ""

    @property
    def why(self) -> str:
        """What stays; empty if nothing does."""
        if self.left:
            return f"left there: {plural(self.left, 'object')}" + (
                f", {self.locked} locked" if self.locked else ""
            )
        if self.hidden > 0:
            count = plural(self.hidden, "hidden version")
            return f"{count} may not be removed by this credential, or not yet"
        return "what the target keeps of deleted objects cannot be told" if self.hidden else ""


def remove_backup(
    target: Target,
    backup: str,
    keys: Iterable[str],
    *,
    trusted: frozenset[str],
    forget_names: bool = False,
) -> BackupRemoval:
    """Remove a backup from a target, with the envelopes of these wrapping keys.

    It may be repeated, and die at any point: the next attempt goes on.

    Args:
        forget_names: remove every index that tells its names, though others are told there too: who reads
            those needs more time then. Else an index goes with the last backup that it tells of.
    """
    chains = list(_chains(target, backup, forget_names=forget_names))
    prefixes = [*_prefixes(backup, keys), *_index_prefixes(target, chains, trusted)]
    before = list(_objects(target, backup, prefixes))
    target.abort_incomplete(containers_prefix(backup))
    locked: list[str] = []
    hidden: list[int | None] = []
    for prefix in prefixes:
        locked += [info.name for info in _under(target, backup, prefix) if not _deleted(target, info.name)]
        hidden.append(_purged(target, prefix))
    left = list(_objects(target, backup, prefixes))
    stay = -1 if None in hidden else sum(number for number in hidden if number) - len(left)  # each is one too
    return BackupRemoval(
        deleted=len(before) - len(left),
        freed=sum(info.size for info in before) - sum(info.size for info in left),
        left=len(left),
        locked=len(locked),
        hidden=stay,
        until=_until(target, [info.name for info in left], prefixes, locked=bool(locked), hidden=stay != 0),
    )


def objects_of(target: Target, backup: str, keys: Iterable[str]) -> Iterator[ObjectInfo]:
    """Yield all that is there of a backup, in the order in which it is removed."""
    return _objects(target, backup, _prefixes(backup, keys))


def keys_by_containers(target: Target, backup: str, *, trusted: frozenset[str]) -> frozenset[str]:
    """Return the wrapping keys of a backup whose manifest is gone, by the containers that are still there."""
    keys: set[str] = set()
    for info in target.list(containers_prefix(backup)):
        with suppress(FormatError):  # junk names no key, and a document of names has none
            keys.add(read_outer(ObjectReader(target, info.name), trusted=trusted).envelope.wrapping_key.id)
    return frozenset(keys)


def locks_end(target: Target, names: Iterable[str]) -> str:
    """Return when the last lock on these objects ends; empty if nothing locks them."""
    ends = [_lock_of(target, name) for name in names]
    return max((rfc3339(end) for end in ends if end is not None), default="")


def _prefixes(backup: str, keys: Iterable[str]) -> Sequence[str]:
    folders = [f"{EMERGENCY}{backup}/", containers_prefix(backup)]
    return [manifest_name(backup), *map(envelopes_prefix, keys), *folders]


def _index_prefixes(target: Target, chains: Sequence[str], trusted: frozenset[str]) -> Iterator[str]:
    """Yield what is to go with chains of indexes. Their envelopes go first: the indexes tell of them."""
    indexes = IndexKeys({target.name: target}, trusted=trusted) if chains else None
    for chain in chains:
        found = indexes.in_chain(chain) if indexes else ()
        yield from dict.fromkeys(envelopes_prefix(index_key.record.id) for index_key in found)
        yield f"{INDEXES}{chain}/"


def _chains(target: Target, backup: str, *, forget_names: bool) -> Iterator[str]:
    """Yield the chains of indexes that are to go with a backup. None can be read without those before it."""
    chains: dict[str, set[str]] = {}
    for info in target.list(INDEXES):
        _, chain, *rest = info.name.split("/")
        chains.setdefault(chain, set()).update(rest[:1])
    for chain, told in chains.items():
        if backup in told and (forget_names or not any(_shows(target, other) for other in told - {backup})):
            yield chain


def _shows(target: Target, backup: str) -> bool:
    return next(iter(target.list(manifest_name(backup))), None) is not None


def _objects(target: Target, backup: str, prefixes: Iterable[str]) -> Iterator[ObjectInfo]:
    for prefix in prefixes:
        yield from _under(target, backup, prefix)


def _under(target: Target, backup: str, prefix: str) -> list[ObjectInfo]:
    """List before anything is deleted. Beside a manifest its copies count alone."""
    own = manifest_name(backup)
    return [info for info in target.list(prefix) if prefix != own or original_name(info.name) == own]


def _deleted(target: Target, name: str) -> bool:
    try:
        target.delete(name)
    except TargetLocked:
        return False
    return True


def _purged(target: Target, prefix: str) -> int | None:
    try:
        return target.purge(prefix)
    except TargetError as error:
        if error.transient:
            raise
        return None  # it may not even be listed with this credential


def _until(
    target: Target, left: Sequence[str], prefixes: Sequence[str], *, locked: bool, hidden: bool
) -> str:
    """Return when what stays can go: the last lock's end, the day of the rule that ends what is hidden.

    Empty if one of them is not known.
    """
    ends = [_all_end(target, left) if locked else ""] if left else []
    if hidden:
        old = old_versions(target, *prefixes)
        ends += [_day(old.until)] if old.count else []
    return max(ends, default="") if all(ends) else ""


def _day(until: str) -> str:
    return "" if until in ("", UNKNOWN) else rfc3339(datetime.fromisoformat(until))


def _all_end(target: Target, names: Sequence[str]) -> str:
    """Return when the last lock ends; empty if one of the objects is not locked, or does not say."""
    ends = [_lock_of(target, name) for name in names]
    known = [end for end in ends if end is not None]
    return rfc3339(max(known)) if known and len(known) == len(ends) else ""


def _lock_of(target: Target, name: str) -> datetime | None:
    try:
        return target.locked_until(name)
    except MissingPiece:
        return None


# -- Whether a backup may take the place of another that is deleted, asked of the targets at this moment
#
# The record tells how deep a replica was read back once, and not what was lost since.


class Successors:
    """Tells of backups whether they are there and whole, for one step that deletes what they replace.

    The record says what was sound when it was read, and a size says nothing of the bytes. So each is read
    from each target right before something goes for it, once a step, however much goes for it.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._found: dict[tuple[str, str], str] = {}

    def why_not_whole(self, successor: str, name: str) -> str:
        """Say why a backup on a target replaces nothing; empty if it is there, believed and whole."""
        services = self._services
        try:
            target = services.target(name)
            manifest = ManifestListing(target).read(successor, trusted=services.signer_fingerprints).manifest
            if lacking_on(target, manifest):
                return f"{successor}, which replaces it, is not whole on {name}"
            if (successor, name) not in self._found:
                self._found[successor, name] = self._damage(target, manifest)
        except StrongroomError as error:
            return _cannot_be_read(successor, name, error)
        return self._found[successor, name]

    def _damage(self, target: Target, manifest: Manifest) -> str:
        """Read all containers to their end. Raises what says nothing of the bytes: that is asked again."""
        try:
            for ref in manifest.containers:
                _read(self._services, target, manifest, ref)
        except DAMAGE as error:
            return _cannot_be_read(manifest.backup_id, target.name, error)
        return ""


def _cannot_be_read(successor: str, name: str, error: StrongroomError) -> str:
    return f"{successor}, which replaces it, cannot be read on {name} ({error.code})"


def _read(services: Services, target: Target, manifest: Manifest, ref: ContainerEntry) -> None:
    """Compare a container with its digest, and put on record what came of it. Raises what is wrong."""
    backup, store = manifest.backup_id, services.store
    try:
        name = readable_container(target, backup, ref)
        require_size(target, name, ref)
        require_digest(target, name, ref)
    except DAMAGE as error:
        key = (target.name, backup)
        put_damaged_on_record(store, {key: f"its container {ref.piece}: {error.code}"}, {key: {ref.piece}})
        raise
    if store.backup(backup) is not None:
        read = ContainerCheck(
            backup=backup, target=target.name, piece=ref.piece, depth=Depth.DIGEST, checked_at=time.time()
        )
        store.put_checks([read])


def why_set_aside(services: Services, successor: str, *, quarantined: Mapping[str, str]) -> str:
    """Say why a backup replaces nothing on any target: somebody set it aside, or it is to be deleted too."""
    if successor in quarantined:
        return f"{successor}, which replaces it, is in quarantine"
    mark = counting(read_deletions(services, backup=successor).values(), successor)
    marked = mark is not None and mark.state != "undeleted"
    return f"{successor}, which replaces it, is marked too" if marked else ""


# -- Locks on what was placed: short at the put, extended once the backup is whole --------------
#
# Until its commit nobody knows whether a backup comes of what lies on a target, and an object
# under a long lock could not be swept. Afterwards each of its objects is locked for as
# long as the policy keeps backups.


RECENT = 1000
"""Runs that are looked through."""


def lock_replicas(run: Run, manifest: Manifest, names: Sequence[str], services: Services) -> dict[str, str]:
    """Lock a backup on each of these targets that locks; say on which it is not, and why."""
    until = lock_until(manifest, run.spec.minimum_retention_days)
    refusals = {name: lock_backup(services.target(name), manifest, until) for name in names}
    return {name: why for name, why in refusals.items() if why is not None}


def left_unlocked(store: RunStore) -> dict[str, Mapping[str, str]]:
    """Say which whole backups are not locked, and where and why, by the newest run that tried.

    The next repair locks them. One that a repair tries in vain stays among the newest runs.
    """
    newest: dict[str, Mapping[str, str]] = {}
    for run in store.runs(limit=RECENT):
        if run.state.final and (unlocked := _unlocked_by(run)) is not None:
            newest.setdefault(run.spec.backup or run.id, unlocked)
    return {backup: where for backup, where in newest.items() if where}


class _LockFacts(Struct, frozen=True, kw_only=True):
    """What a run that locked replicas says: on which target one is not locked, and why."""

    unlocked: Mapping[str, str] | None = None


prepare(_LockFacts)


def _unlocked_by(run: Run) -> Mapping[str, str] | None:
    try:
        return read_facts(run, _LockFacts).unlocked
    except RecordRefused:  # an odd row says nothing, and must not hide the others
        return None


def lock_until(manifest: Manifest, minimum_retention_days: int) -> datetime:
    """Return until when a policy keeps a backup at least."""
    return datetime.fromisoformat(manifest.created_at) + timedelta(days=minimum_retention_days)


def lock_backup(target: Target, manifest: Manifest, until: datetime) -> str | None:
    """Lock a backup's objects on a target that locks; return what stays unlocked, or ``None``.

    The manifest comes last, so that one which is locked for long says that all of them are.
    A target's own maximum counts as done: the cap is its administrator's word.
    """
    if not target.locks:
        return None
    names = [container_name(manifest.backup_id, entry.sha256) for entry in manifest.containers]
    names.append(manifest_name(manifest.backup_id))
    failed = [(name, why) for name in names if (why := _locked(target, name, until))]
    return _said(failed, len(names))


def _locked(target: Target, name: str, until: datetime) -> str | None:
    try:
        for copy in copies(target, name) or [name]:
            target.extend_lock(copy, until)
    except StrongroomError as error:
        return str(error)
    return None


def _said(failed: Sequence[tuple[str, str]], total: int) -> str | None:
    if not failed:
        return None
    [(_, why)] = islice(failed, 1)
    return f"{len(failed):,} of {plural(total, 'object')} could not be locked: {why}"
