"""A look at what targets show, held against the record: names and sizes, and no content but manifests.

An emptied or rolled-back target answers as well as any other. Whoever lists one may know better, and puts
on record what is missing there; the scheduled repair then brings it up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from strongroom.container.errors import FormatError
from strongroom.container.manifest import Manifest, parse_manifest
from strongroom.container.signing import ever_trusted
from strongroom.operations.archive.choice import KnownBackup, lacking_on
from strongroom.operations.archive.deletions import forget_deleted
from strongroom.operations.layout import manifest_name
from strongroom.state.records import CatalogEntry, Replica
from strongroom.system.batches import batched
from strongroom.targets import Target
from strongroom.targets.manifest_listing import ManifestListing
from strongroom.targets.repaired import MOST_BYTES, whole_copy
from strongroom.words import plural, verb

if TYPE_CHECKING:  # a restore chooses with this, and loads no database
    from strongroom.state.store import RunStore

_PAGE = 1_000


REMEMBERED = 200
"""Backups on record that are missed where no place shows them: older ones nobody takes for the newest."""


def known_backups(store: RunStore) -> list[KnownBackup]:
    """Return the newest backups on record.

    The places of each are those that were to have it: what is noticed to be gone stays missed.
    """
    active = {run.id for run in store.active()}
    entries = [entry for entry in islice(store.backups(), REMEMBERED) if entry.backup not in active]
    replicas = store.replicas_of([entry.backup for entry in entries])
    known = [_known(entry, replicas.get(entry.backup, ())) for entry in entries]
    return [known_backup for known_backup in known if known_backup.places]


def _known(entry: CatalogEntry, replicas: Iterable[Replica]) -> KnownBackup:
    return KnownBackup(
        backup=entry.backup,
        policy=entry.policy,
        source=entry.source,
        created_at=entry.created_at,
        values=entry.values,
        secrets=entry.secrets,
        places=frozenset(replica.target for replica in replicas),
    )


class LostReplica(NamedTuple):
    """A replica that is on record as good, and is not there as it should be."""

    replica: Replica
    why: str


def look_over(
    store: RunStore,
    target: Target,
    *,
    trusted: frozenset[str],
    gone: frozenset[str] = frozenset(),
    deep: bool,
) -> list[LostReplica]:
    """Return the replicas that are on record as good on a target, and that it does not show.

    Args:
        gone: backups that are being destroyed, and not missed.
        deep: read each manifest and hold it to the record, and the containers' names and sizes to it. Else
            only those of the newest, down to the first that is as it should be: an older manifest under
            a newer one's name rolls a target back.

    Raises:
        TargetError: it does not answer.
    """
    forget_deleted(store, [target], trusted=trusted)
    recorded = list(_good_on(store, target.name, gone))  # first: what is made meanwhile is not missed
    listing = ManifestListing(target)
    found: list[LostReplica] = []
    looking = True
    for entry, replica in recorded:
        if entry.backup not in listing:
            found.append(LostReplica(replica, "its manifest is not there"))
        elif looking and (why := wanting(target, entry, trusted)):
            found.append(LostReplica(replica, why))
        else:
            looking = deep
    return found


def wanting(target: Target, entry: CatalogEntry, trusted: frozenset[str]) -> str:
    """Say what a target lacks of a backup on record, by names and sizes; nothing if it lacks nothing.

    Raises:
        TargetError: it does not answer.
    """
    try:
        manifest = _recorded(target, entry, trusted)
    except FormatError as error:
        return f"{error.code}: {error.message}"
    if manifest is None:
        return "its manifest is not the one on record"
    if lacking := lacking_on(target, manifest):
        of = plural(len(manifest.containers), "container")
        return f"{len(lacking):,} of {of} {verb(len(lacking), 'are')} missing"
    return ""


LOST, REPAIRED = "replica.lost", "replica.repaired"
"""The events that a replica was found to be bad, and that it was made good again."""


def put_on_record(
    store: RunStore, lost: Iterable[LostReplica], damaged: Collection[int] | None = None
) -> None:
    """Have the record know, so that it is repaired.

    Args:
        damaged: the containers that are; the others need not be read again for that.
    """
    for replica, why in lost:
        bad = replace(replica, good=False, verified=None, verified_at=None)
        store.set_replica(bad, damaged=damaged)
        store.event(LOST, backup=replica.backup, target=replica.target, why=why)


def put_damaged_on_record(
    store: RunStore,
    damaged: Mapping[tuple[str, str], str],
    pieces: Mapping[tuple[str, str], Collection[int]] = MappingProxyType({}),
) -> None:
    """Have the record know what reading found, by target and backup, and why.

    Args:
        pieces: which containers it found, where that is known.
    """
    for (name, backup), why in damaged.items():
        known = [replica for replica in store.replicas(backup) if replica.target == name and replica.good]
        put_on_record(store, [LostReplica(replica, why) for replica in known], pieces.get((name, backup)))


def why_lost(store: RunStore, backup: str, target: str) -> str:
    """Say why a replica was found to be bad last; nothing if it never came, or was made good since."""
    found = [
        event
        for event in store.happened(LOST, REPAIRED, since=0.0)
        if (event.detail["backup"], event.detail["target"]) == (backup, target)
    ]
    return str(found[-1].detail["why"]) if found and found[-1].kind == LOST else ""


def still_lost(store: RunStore, target: Target, *, gone: frozenset[str]) -> list[LostReplica]:
    """Return the replicas that were found to be lost, are on record as that, and that a target still lacks.

    Raises:
        TargetError: it does not answer.
    """
    whys: dict[str, str] = {}
    for event in store.happened(LOST, REPAIRED, since=0.0):
        if event.detail["target"] == target.name:
            whys[str(event.detail["backup"])] = str(event.detail["why"]) if event.kind == LOST else ""
    listing = ManifestListing(target) if any(whys.values()) else ()
    return [
        LostReplica(replica, whys[backup])
        for backup, replicas in store.replicas_of(
            [backup_id for backup_id, why in whys.items() if why]
        ).items()
        for replica in replicas
        if replica.target == target.name and not replica.good
        if backup not in gone and backup not in listing
    ]


def _good_on(store: RunStore, name: str, gone: frozenset[str]) -> Iterator[tuple[CatalogEntry, Replica]]:
    made = {run.id for run in store.active()}
    for page in batched(store.backups(), _PAGE):
        replicas = store.replicas_of([entry.backup for entry in page])
        for entry in page:
            if entry.backup in gone or entry.backup in made:
                continue
            for replica in replicas.get(entry.backup, ()):
                if replica.target == name and replica.good:
                    yield entry, replica


def _recorded(target: Target, entry: CatalogEntry, trusted: frozenset[str]) -> Manifest | None:
    name = manifest_name(entry.backup)
    found = whole_copy(target, name, sha256=bytes.fromhex(entry.manifest_sha256))
    if found is None:
        return None
    # A key that is distrusted by now makes no replica lost: the very bytes on record lie there.
    return parse_manifest(b"".join(target.read(found, length=MOST_BYTES)), trusted=ever_trusted(trusted))
