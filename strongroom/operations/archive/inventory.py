"""What targets show, held against the record; and the record made anew from one of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from glob import escape
from pathlib import Path
from stat import S_ISREG
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from strongroom.container.errors import FormatError, MissingPiece, NotABackup
from strongroom.container.manifest import Manifest, parse_manifest
from strongroom.container.signing import ever_trusted
from strongroom.errors import UsageError
from strongroom.model import COMMAND
from strongroom.operations.archive.coverage import KnownBackup, lacking_on
from strongroom.operations.archive.deletions import forget_deleted
from strongroom.operations.archive.open import backup_ids, read_manifest
from strongroom.operations.engine.layout import manifest_name
from strongroom.operations.engine.services import Services
from strongroom.state.errors import RunNotFound
from strongroom.state.records import CatalogEntry, HeldReplica, Replica
from strongroom.system.lazy import batched
from strongroom.targets import Target
from strongroom.targets.reading import MOST_BYTES, ManifestListing, whole_copy
from strongroom.targets.single_file import BundleReader
from strongroom.words import plural, verb

if TYPE_CHECKING:
    from strongroom.state.store import RunStore


# -- A look at what targets show, held against the record: names and sizes, and no content but manifests
#
# An emptied or rolled-back target answers as well as any other. Whoever lists one may know better, and puts
# on record what is missing there; the scheduled repair then brings it up.


_PAGE = 1_000


REMEMBERED = 200
"""Backups on record that are missed where no place shows them: older ones nobody takes for the newest."""


def known_backups(store: RunStore) -> list[KnownBackup]:
    """Return the newest backups on record.

    The places of each are those that were to have it: what is noticed to be gone stays missed.
    """
    active = {run.id for run in store.active()}
    entries = [entry for entry in store.backups(limit=REMEMBERED) if entry.backup not in active]
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
        which = pieces.get((name, backup))
        for replica in (each for each in store.replicas(backup) if each.target == name):
            if replica.good:
                put_on_record(store, [LostReplica(replica, why)], which)
            else:  # of something else: what is repaired of it just now is not all
                store.set_replica(replica, damaged=which)


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


# -- Backups that a command wrote into a file: where they lie now, and what was said of those that do not
#
# They have no target: the record of their run has the path. A file that is not there may have been
# moved, and whoever has it and a key opens it. So it counts as not looked at, until a person says
# that it is gone; one that comes back counts again, whatever was said.


SUPERSEDED = ".superseded"
"""How the name of a file ends that was sealed anew in its place and kept beside that."""

SAID_GONE = "backup.gone"


def in_a_file(entry: CatalogEntry | HeldReplica) -> bool:
    """Tell whether a command wrote this backup into a file."""
    return entry.policy == COMMAND


def path_of(services: Services, backup: str) -> Path:
    """Return where a backup's file was written.

    Raises:
        MissingPiece: there is no record of its run.
    """
    try:
        run = services.store.load(backup)
    except RunNotFound:
        raise MissingPiece(
            f"a command made it, and no run on record says in which file; if that is gone for good: "
            f"'strongroom backups gone {backup}'"
        ) from None
    return Path(run.spec.targets[0].address)


def made_by_a_command(services: Services, run: str) -> UsageError:
    """Return why nothing is done to such a backup: no policy says where it belongs."""
    path = path_of(services, run)
    return UsageError(
        f"Run {run} was made by a command, for the file {path}: no policy says where it belongs.",
        hint=f"Nothing was changed. Type that command to make it again. If {path.name} is there, "
        f"'strongroom backups verify {path}' says whether it is whole.",
    )


def lying(services: Services, backup: str) -> list[tuple[Path, str]]:
    """Return the files of a backup, each with the id that it bears there: as it was written, as it
    was sealed anew in its place, and what that kept beside it. Nothing, if none is there.

    Raises:
        StrongroomError: what lies there cannot be read, or nobody knows where that would be.
    """
    path = path_of(services, backup)
    kept = sorted(path.parent.glob(f"{escape(path.name)}.*{SUPERSEDED}"))
    return [
        (file, name)
        for file in (path, *kept)
        for name in _ids(file)
        if name == backup or name.startswith(f"{backup}-r")
    ]


def _ids(path: Path) -> list[str]:
    if not _may_be_there(path):
        return []
    try:
        with BundleReader(path) as reader:
            return backup_ids(reader)
    except NotABackup:  # something else has the name now
        return []


def _may_be_there(path: Path) -> bool:
    """Tell whether a file has the name. A pipe that somebody put there would be read for ever."""
    try:
        return S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # it cannot be told: reading says why


def opened_files(services: Services, backup: str) -> Iterator[tuple[BundleReader, Manifest]]:
    """Yield each file of a backup, open until the next is asked for, with its manifest.

    Raises:
        MissingPiece: no file of it is where it was written.
        StrongroomError: one cannot be read, or is of a signer that is not trusted.
    """
    files = lying(services, backup)
    if not files:
        raise away(services, backup)
    for path, name in files:
        with BundleReader(path) as reader:
            yield reader, read_manifest(reader, name, trusted=services.signer_fingerprints)


def away(services: Services, backup: str) -> MissingPiece:
    """Return the error that tells of a file that is not where it was written."""
    return MissingPiece(
        f"its file is no longer at {path_of(services, backup)}: it was moved, deleted or written over. "
        f"Put it back there; if it is gone for good: 'strongroom backups gone {backup}'",
        hint="",
    )


# -- gone for good -------------------------------------------------------------


def said_gone(services: Services) -> frozenset[str]:
    """Return the backups whose files a person said are gone for good."""
    return frozenset(str(event.detail["backup"]) for event in services.store.each_event(SAID_GONE))


def is_gone(services: Services, backup: str, said: frozenset[str]) -> bool:
    """Tell whether a file is said to be gone, and is: one that came back counts again."""
    return backup in said and not _there(services, backup)


def lost_at(services: Services, path: Path) -> list[str]:
    """Return the backups that commands wrote at a path and that are not there any more: one a night, where
    the same file is written over each night."""
    found: list[str] = []
    for backup in services.store.names(COMMAND):
        with suppress(MissingPiece):
            if path_of(services, backup) == path and not lying(services, backup):
                found.append(backup)
    return found


def say_gone(services: Services, backup: str) -> None:
    """Put on record that a backup's file is gone for good. The catalog keeps the backup.

    Raises:
        MissingPiece: the catalog does not know it.
        UsageError: no command made it, or its file is there.
    """
    entry = services.store.backup(backup)
    if entry is None:
        raise MissingPiece(f"the catalog has no backup '{backup}'", hint="See 'strongroom backups list'.")
    if not in_a_file(entry):
        raise UsageError(
            f"Backup {backup} was made by a policy and lies on targets, not in a file.",
            hint=f"If a target lost it: 'strongroom backups repair {backup}'. Nothing was recorded.",
        )
    if there := _there(services, backup):
        raise UsageError(
            f"Backup {backup} is not gone: it is in {there}.",
            hint="Nothing was recorded. Delete the file first, if it is not to be kept.",
        )
    services.store.event(SAID_GONE, backup=backup)


def _there(services: Services, backup: str) -> str:
    try:
        path_of(services, backup)
    except MissingPiece:
        return ""  # nobody knows where it would be, so a person's word is all there is
    return ", ".join(str(path) for path, _ in lying(services, backup))
