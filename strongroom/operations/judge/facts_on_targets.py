"""Which backups there really are, and what each replica is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import takewhile
from typing import Final

from msgspec import Struct

from strongroom.container.errors import FormatError, MissingPiece, Tampered
from strongroom.container.manifest import Manifest, parse_manifest
from strongroom.errors import StrongroomError
from strongroom.model import Depth, Selection
from strongroom.operations.archive import shredding as shredding_record
from strongroom.operations.archive.coverage import lacking_on
from strongroom.operations.archive.deletions import forget_deleted
from strongroom.operations.archive.removal import left_unlocked
from strongroom.operations.backup.verify import missing_from_quorum
from strongroom.operations.engine.services import ConfiguredPolicy
from strongroom.operations.judge import facts_on_record as facts_record
from strongroom.operations.judge.fact_records import (
    BackupContents,
    NewestOnTarget,
    Policy,
    TargetFacts,
    VerifiedBackup,
    WatchedInstallation,
)
from strongroom.operations.judge.freshness import SKEW, is_verified, shallow
from strongroom.operations.keys.health import DAY
from strongroom.state.records import CatalogEntry, Replica, RunKind
from strongroom.state.store import RunStore
from strongroom.system.lazy import batched
from strongroom.targets import Target
from strongroom.targets.reading import ManifestListing

# -- What really lies on the targets: which manifests, and what the signed ones say -------------
#
# The record is held against it. A row without its manifest is no backup; a manifest without a row is one all
# the same, since a database may be lost, put back or edited.


AT_ONCE: Final = 8
STRANGERS: Final = 100
"""Manifests that the record does not know and that are read though every policy has been found."""
SOUGHT: Final = 5000
"""The same as long as one has not: where there is no record, a monthly backup lies under many of an hour."""


class TargetManifests(Struct, frozen=True, kw_only=True):
    """The backups whose manifest a target shows; why it could not be checked, if so."""

    backups: frozenset[str] = frozenset()
    away: str | None = None
    listing: ManifestListing | None = None


def list_targets(watched: WatchedInstallation, names: Iterable[str]) -> dict[str, TargetManifests]:
    """List targets, several at once: a dead region must not delay the others."""
    wanted = sorted(names)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return dict(
            zip(wanted, threads.map(lambda name: _listed(watched.targets[name]), wanted), strict=True)
        )


def _listed(target: Target) -> TargetManifests:
    try:
        listing = ManifestListing(target)
        return TargetManifests(backups=frozenset(listing.backups), listing=listing)
    except StrongroomError as error:
        return TargetManifests(away=error.message)


class Manifests:
    """The manifests on the targets, each read once, and what was refused.

    ``refused`` names, by target, the backups whose manifest is altered, or signed by nobody who is trusted.
    """

    def __init__(self, watched: WatchedInstallation, found: Mapping[str, TargetManifests]) -> None:
        self._watched = watched
        self._found = found
        self._read: dict[tuple[str, str], Manifest | None] = {}
        self.refused: dict[str, list[str]] = {}

    def names(self) -> list[str]:
        """Return every backup that lies anywhere, newest first: the names begin with the time."""
        return sorted(
            frozenset().union(*(manifests.backups for manifests in self._found.values())), reverse=True
        )

    def of(self, backup: str) -> Manifest | None:
        """Return a backup's manifest from the first target that shows a sound one."""
        return next((manifest for manifest in self._of_each(backup) if manifest), None)

    def read_everywhere(self, backup: str) -> None:
        """Read a backup's manifest on every target that shows it: a sound one hides no altered one."""
        list(self._of_each(backup))

    def _of_each(self, backup: str) -> Iterator[Manifest | None]:
        for name, manifests in self._found.items():
            if backup in manifests.backups:
                if (name, backup) not in self._read:
                    self._read[name, backup] = self._from(name, backup)
                yield self._read[name, backup]

    def _from(self, target: str, backup: str) -> Manifest | None:
        def parsed(content: bytes) -> Manifest:
            manifest = parse_manifest(content, trusted=self._watched.trusted)
            if manifest.backup_id != backup:  # an old one under a new name would pass for a new backup
                raise Tampered(f"the manifest named '{backup}' belongs to '{manifest.backup_id}'")
            return manifest

        listing = self._found[target].listing
        assert listing is not None  # it showed this backup
        try:
            return listing.parsed(backup, parsed)
        except MissingPiece:  # removed since it was listed
            return None
        except FormatError:
            self.refused.setdefault(target, []).append(backup)
            return None
        except StrongroomError:  # the target went away; another may have it
            return None


def newest_unrecorded(
    manifests: Manifests, unknown: Iterable[str], policies: frozenset[str], *, latest: float
) -> dict[str, Manifest]:
    """Return the newest manifest of each policy among those that the record does not know, newest first.

    Args:
        latest: what says that it was made after this time (epoch seconds) is passed over.
    """
    found: dict[str, Manifest] = {}
    for number, backup in enumerate(unknown):
        if number >= (SOUGHT if policies - found.keys() else STRANGERS):
            break
        manifest = manifests.of(backup)
        if manifest is not None and manifest.policy in policies and made_at(manifest) <= latest:
            found.setdefault(manifest.policy, manifest)
    return found


def made_at(manifest: Manifest) -> float:
    """Return when a backup was made, in seconds since the epoch: long ago, if it does not say."""
    return when(manifest.created_at) or 0.0


def when(text: str) -> float | None:
    """Return the time that a text says, in seconds since the epoch; ``None`` if it says none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


# -- Holding the record against the targets: which backups there really are, and what each replica is


RECENT: Final = 500
"""Backups of a policy that are held against the targets."""
PAGE: Final = 5000
LOOKED_INTO: Final = 3
"""Newest backups of a policy of which the containers are listed at each look."""
TURN: Final = 600.0
"""Seconds after which another one of the older backups is looked into."""


class CatalogFacts:
    """What the catalog has of each policy, and which backups it knows at all."""

    def __init__(self, store: RunStore, watched: WatchedInstallation, names: list[str]) -> None:
        gone = shredding_record.shredded_backups(store, watched.trusted)
        self.entries = {
            policy.name: [
                entry for entry in store.backups(policy=policy.name, limit=RECENT) if entry.backup not in gone
            ]
            for policy in watched.policies
        }
        backups = [entry.backup for found in self.entries.values() for entry in found]
        self.replicas = _replicas(store, backups)
        # What is being made lies on targets before the catalog has it.
        made = {run.id for run in store.active()}
        self.known = made | gone | _known(store, names)
        # A host that only watches has no record; one whose record was lost runs backups, and makes a new one.
        self.is_empty = not store.backups(limit=1) and not store.runs(limit=1) and not store.heartbeats()
        damaged = [backup for backup in store.with_bad_replicas() if backup not in gone]
        bad = _replicas(store, damaged)
        self.bad = [replica for found in bad.values() for replica in found if not replica.good]
        self.unlocked = left_unlocked(store)


def _known(store: RunStore, names: list[str]) -> frozenset[str]:
    return frozenset(name for page in batched(names, PAGE) for name in store.digests(page))


def _replicas(store: RunStore, names: list[str]) -> dict[str, list[Replica]]:
    return {
        name: replicas for page in batched(names, PAGE) for name, replicas in store.replicas_of(page).items()
    }


class Backups:
    """The policies' newest backups and the targets, by the record and by what the targets show.

    Args:
        record: ``None`` if the state cannot be read: then the targets alone are gone by.
        now: what says that it was made later hides nothing, neither a backup nor that one is missing.
    """

    def __init__(
        self,
        watched: WatchedInstallation,
        found: Mapping[str, TargetManifests],
        manifests: Manifests,
        record: CatalogFacts | None,
        *,
        now: float,
    ) -> None:
        self._latest = now + SKEW
        self._watched = watched
        self._found = found
        self._manifests = manifests
        self._record = record
        self._hollow: dict[str, list[str]] = {}
        known = record.known if record else frozenset()
        self._unknown = [name for name in manifests.names() if name not in known]
        wanted = frozenset(policy.name for policy in watched.policies if not policy.offline)
        self._unrecorded = newest_unrecorded(manifests, self._unknown, wanted, latest=self._latest)
        for newest in map(self.newest, watched.policies):
            if newest is not None and newest.on_targets:
                manifests.read_everywhere(newest.backup)

    def newest(self, policy: ConfiguredPolicy) -> VerifiedBackup | None:
        """Return a policy's newest whole backup, wherever it is known from."""
        recorded = next(self._whole(self._of(policy), policy), None)
        other = self._unrecorded.get(policy.name)
        if other is None or (recorded is not None and recorded.made_at >= made_at(other)):
            return recorded
        return VerifiedBackup(backup=other.backup_id, made_at=made_at(other), recorded=False)

    def verified(self, policy: ConfiguredPolicy) -> VerifiedBackup | None:
        """Return a policy's newest whole backup of which a replica that is there was read back."""
        deep = (entry for entry in self._of(policy) if self._depths(entry, policy))
        return next(self._whole(deep, policy), None)

    def ahead(self, policy: ConfiguredPolicy) -> tuple[str, ...]:
        """Return the backups that say they were made later than now, and so would be the newest."""
        seen = (found for entry in self._of(policy) if (found := self._seen(entry, policy)))
        return tuple(
            verified_backup.backup
            for verified_backup in takewhile(lambda backup: backup.made_at > self._latest, seen)
        )

    def on_targets(self, policy: ConfiguredPolicy) -> tuple[NewestOnTarget, ...]:
        """Return how the newest backup on record lies on each target, by the record."""
        newest = next(self._whole(self._of(policy), policy), None)
        if newest is None or self._record is None:
            return ()
        return tuple(
            NewestOnTarget(
                target=replica.target,
                good=replica.good and self._may_be_there(replica),
                depth=replica.verified,
                read_at=replica.verified_at,
                locked_until=self._locked_until(newest, replica.target, policy),
            )
            for replica in self._record.replicas[newest.backup]
        )

    def unlocked(self, policy: ConfiguredPolicy) -> tuple[str, ...]:
        """Return where a policy's newest backup on record should be locked and is not."""
        newest = next(self._whole(self._of(policy), policy), None)
        known = self._record.unlocked.get(newest.backup, {}) if newest and self._record else {}
        return tuple(name for name in known if name in policy.targets)

    def _locked_until(self, newest: VerifiedBackup, target: str, policy: ConfiguredPolicy) -> float | None:
        """Return until when a policy has its backups locked, where nothing says that this one is not."""
        unlocked = self._record.unlocked.get(newest.backup, {}) if self._record else {}
        watched = self._watched.targets.get(target)
        if target in unlocked or watched is None or not watched.locks:
            return None
        return newest.made_at + policy.spec.minimum_retention_days * DAY

    def lost(self) -> list[str]:
        """Return the backups on record that lie on none of their targets, all of which answered."""
        online = (policy for policy in self._watched.policies if not policy.offline)
        return [
            entry.backup for policy in online for entry in self._of(policy) if self._is_lost(entry, policy)
        ]

    def sees_nothing_of(self, policy: ConfiguredPolicy) -> bool:
        """Tell whether no target of a policy could be looked at."""
        return not any(self._looked(name) for name in policy.targets)

    def places(self) -> tuple[TargetFacts, ...]:
        """Return how each target stands."""
        return tuple(self._place(name, manifests) for name, manifests in self._found.items())

    # -- one backup ----------------------------------------------------------

    def _whole(self, entries: Iterable[CatalogEntry], policy: ConfiguredPolicy) -> Iterator[VerifiedBackup]:
        seen = (self._seen(entry, policy) for entry in entries)
        return (backup for backup in seen if backup is not None and backup.made_at <= self._latest)

    def _of(self, policy: ConfiguredPolicy) -> list[CatalogEntry]:
        return self._record.entries[policy.name] if self._record else []

    def _replicas(self, entry: CatalogEntry) -> list[Replica]:
        return self._record.replicas[entry.backup] if self._record else []

    def _lies(self, backup: str) -> bool:
        return any(backup in manifests.backups for manifests in self._found.values())

    def _unseen(self, entry: CatalogEntry, policy: ConfiguredPolicy) -> list[Replica]:
        """Return the good replicas on targets of the policy that were not looked at.

        A row may name any target: of one that the policy does not name, nothing is believed.
        """
        good = (
            replica for replica in self._replicas(entry) if replica.good and replica.target in policy.targets
        )
        return [replica for replica in good if policy.offline or not self._looked(replica.target)]

    def _looked(self, target: str) -> bool:
        return target in self._found and self._found[target].away is None

    def _is_lost(self, entry: CatalogEntry, policy: ConfiguredPolicy) -> bool:
        return not self._lies(entry.backup) and not self._unseen(entry, policy)

    def _seen(self, entry: CatalogEntry, policy: ConfiguredPolicy) -> VerifiedBackup | None:
        """Return a backup, if there is one: its signed manifest says when it was made, not its row."""
        depths = self._depths(entry, policy)
        depth = max(depths.values(), key=list(Depth).index, default=None)
        found: dict[str, Depth | None] = {replica.target: replica.verified for replica in self._there(entry)}
        lacking = shallow(found, policy.depth)
        if self._lies(entry.backup):
            manifest = self._manifests.of(entry.backup)
            if manifest is not None and manifest.policy == policy.name:
                lacking = shallow(found | self._dropped(entry, manifest, policy), policy.depth)
                return VerifiedBackup(
                    backup=entry.backup, made_at=made_at(manifest), depth=depth, shallow=lacking
                )
        made = when(entry.created_at) if self._unseen(entry, policy) else None
        if made is None:
            return None
        return VerifiedBackup(
            backup=entry.backup, made_at=made, depth=depth, on_targets=False, shallow=lacking
        )

    def _dropped(
        self, entry: CatalogEntry, manifest: Manifest, policy: ConfiguredPolicy
    ) -> dict[str, Depth | None]:
        """Return the targets of which the record has nothing, good or bad, and the signed manifest does."""
        rows = {replica.target for replica in self._replicas(entry)}
        named = {pin.name for pin in manifest.targets} & set(policy.targets)
        return {} if policy.offline else dict.fromkeys(named - rows)

    def _there(self, entry: CatalogEntry) -> list[Replica]:
        """Return the good replicas that are there, as far as was looked."""
        return [replica for replica in self._replicas(entry) if replica.good and self._may_be_there(replica)]

    def _may_be_there(self, replica: Replica) -> bool:
        if replica.backup in self._manifests.refused.get(replica.target, ()):
            return False
        return not self._looked(replica.target) or replica.backup in self._found[replica.target].backups

    def _depths(self, entry: CatalogEntry, policy: ConfiguredPolicy) -> dict[str, Depth]:
        """Return to which depth each replica that is there was verified, if that makes it verified."""
        return {
            replica.target: replica.verified
            for replica in self._there(entry)
            if replica.verified is not None and is_verified(replica.verified, policy.depth)
        }

    # -- one target ----------------------------------------------------------

    def look_inside(self) -> None:
        """Hold what targets show of some backups to their manifests, by names and sizes.

        The newest of each policy each time, and one of the older ones in turn: a listing for each costs
        little, and in time every backup is looked at.
        """
        for policy in self._watched.policies:
            for entry in [] if policy.offline else self._in_turn(self._of(policy)):
                self._look_inside(entry)

    def _in_turn(self, entries: list[CatalogEntry]) -> Iterator[CatalogEntry]:
        yield from entries[:LOOKED_INTO]
        if older := entries[LOOKED_INTO:]:
            yield older[int(self._latest // TURN) % len(older)]

    def _look_inside(self, entry: CatalogEntry) -> None:
        for replica in self._there(entry):
            manifest = self._manifests.of(entry.backup) if self._looked(replica.target) else None
            if manifest is None:
                continue
            try:
                lacks = lacking_on(self._watched.targets[replica.target], manifest)
            except StrongroomError:  # it went away: another look tells
                continue
            if lacks:
                self._hollow.setdefault(replica.target, []).append(entry.backup)

    def _place(self, name: str, found: TargetManifests) -> TargetFacts:
        refused = tuple(self._manifests.refused.get(name, ()))
        record = self._record
        if found.away is not None or record is None:
            return TargetFacts(name=name, away=found.away, refused=refused)
        bad = [replica.backup for replica in record.bad if replica.target == name]
        unknown = () if record.is_empty else self._unknown
        return TargetFacts(
            name=name,
            lost=tuple(dict.fromkeys([*_lacking(record, name, found), *self._hollow.get(name, ())])),
            bad=tuple(bad_id for bad_id in bad if bad_id in found.backups),
            missing=tuple(bad_id for bad_id in bad if bad_id not in found.backups),
            refused=refused,
            unknown=tuple(
                unknown_id
                for unknown_id in unknown
                if unknown_id in found.backups and unknown_id not in refused
            ),
        )


def _lacking(record: CatalogFacts, target: str, found: TargetManifests) -> Iterator[str]:
    """Yield the backups that are on record as good on a target, and that it does not show."""
    for replicas in record.replicas.values():
        for replica in replicas:
            if replica.target == target and replica.good and replica.backup not in found.backups:
                yield replica.backup


def inspect_targets(watched: WatchedInstallation, store: RunStore | None, *, now: float) -> Backups:
    """Look at every target that is in use, and hold the record against them.

    What the record has and no target shows is looked for once more: it may have been removed, or made,
    between the two looks. What a prune deleted, on whatever host, is not missed.
    """
    found = list_targets(watched, watched.in_use)
    backups = _held(watched, found, store, now)
    if store is not None and (
        backups.lost() or any(place.lost or place.missing for place in backups.places())
    ):
        forget_deleted(store, map(watched.targets.__getitem__, found), trusted=watched.trusted)
        return _held(watched, list_targets(watched, watched.in_use), store, now)
    return backups


def by_record(watched: WatchedInstallation, store: RunStore | None, *, now: float) -> Backups:
    """Go by the record alone: no target is asked."""
    record = CatalogFacts(store, watched, []) if store is not None else None
    return Backups(watched, {}, Manifests(watched, {}), record, now=now)


def _held(
    watched: WatchedInstallation, found: Mapping[str, TargetManifests], store: RunStore | None, now: float
) -> Backups:
    manifests = Manifests(watched, found)
    record = CatalogFacts(store, watched, manifests.names()) if store is not None else None
    backups = Backups(watched, found, manifests, record, now=now)
    backups.look_inside()
    return backups


def policy_facts(
    backups: Backups,
    policy: ConfiguredPolicy,
    watched: WatchedInstallation,
    store: RunStore | None,
    *,
    compared: int,
    now: float,
) -> Policy:
    """Return all that is known of a policy."""
    entries = store.backups(policy=policy.name, limit=2 * compared + 2) if store else []
    entries = [entry for entry in entries if (when(entry.created_at) or 0.0) <= now + SKEW][: compared + 1]
    runs = store.runs_of(policy.name, RunKind.BACKUP, limit=2 * compared + 2) if store else []
    on_targets = backups.on_targets(policy)
    return Policy(
        name=policy.name,
        source=policy.spec.source,
        whole=policy.spec.values and policy.spec.selection == Selection(),
        schedule=policy.schedule,
        time_zone=policy.time_zone,
        offline=policy.offline,
        depth=policy.depth,
        newest=backups.newest(policy),
        verified=backups.verified(policy),
        held=tuple(
            BackupContents(backup=entry.backup, secrets=entry.secrets, size=entry.size) for entry in entries
        ),
        ahead=backups.ahead(policy),
        runs=facts_record.ran(runs, now=now),
        rotations=facts_record.rotations(store, policy.name, now=now) if store else (),
        drifts=facts_record.drifts(store, policy.name, now=now) if store else (),
        mended=facts_record.mended(store, policy.name) if store else (),
        blind=store is None and backups.sees_nothing_of(policy),
        on_targets=on_targets,
        wanted=len(policy.targets),
        targets=tuple(policy.targets),
        lacks=_lacks(policy, on_targets),
        begun=_begun(watched, store),
        unlocked=backups.unlocked(policy),
        days=facts_record.days(store, policy.name, policy.time_zone, now=now) if store else (),
    )


def _begun(watched: WatchedInstallation, store: RunStore | None) -> float:
    """Return when the installation began: with its first run, or its configuration where none ran yet."""
    ran = store.first_run_at() if store else None
    return min((moment for moment in (ran, watched.configured_at) if moment is not None), default=0.0)


def _lacks(policy: ConfiguredPolicy, on_targets: Sequence[NewestOnTarget]) -> str | None:
    """Say what the newest backup lacks of the policy's quorum."""
    if not on_targets:
        return None
    return missing_from_quorum(policy.spec, tuple(newest.target for newest in on_targets if newest.good))
