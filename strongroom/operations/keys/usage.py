"""Which key opens what, what old keys still open, and what would be lost without."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.manifest import Manifest, ManifestRecipient
from strongroom.container.wrapping import Recipient, Stanza, WrappingKeyRecord
from strongroom.errors import StrongroomError
from strongroom.keys import BY_LABEL, allof
from strongroom.keys.allof import recipient_key, stanza_key
from strongroom.operations.archive.envelopes import (
    NO_VERSIONS,
    UNKNOWN,
    OldVersions,
    envelopes_prefix,
    find_newest,
    first_answer,
    hidden_of,
    locked_until,
    old_versions,
    wrapping_keys,
)
from strongroom.operations.archive.index_files import Envelopes, IndexKeys
from strongroom.operations.archive.inventory import in_a_file, is_gone, opened_files, said_gone
from strongroom.operations.archive.open import carried_record, read_manifest
from strongroom.operations.engine.services import Services
from strongroom.state.records import CatalogEntry, RecipientPin
from strongroom.targets import Target
from strongroom.targets.reading import Objects
from strongroom.targets.single_file import BundleReader

# -- Which key opens what: stanzas and recipients by one public name, and what would be lost without


READERS = 8
"""Targets answer slowly, and independently: so many backups are read together."""


def legs_of(stanza: Stanza) -> list[frozenset[str]]:
    """Return, for a composition, the keys of each of its legs, any one of which serves; else nothing."""
    if stanza.type != allof.TYPE:
        return []
    return [frozenset(stanza_key(way_in) for way_in in leg) for leg in allof.inner(stanza)]


def requires(stanza: Stanza, key: str) -> bool:
    """Tell whether nobody opens a stanza without this key: it is for it, or a leg without a spare is."""
    return stanza_key(stanza) == key or frozenset({key}) in legs_of(stanza)


def pinned_key(recipient: ManifestRecipient | RecipientPin) -> str:
    """Return what :func:`recipient_key` says of a recipient that a manifest or a policy names.

    Of a composition a manifest says too little where a key service holds a leg: see :func:`_first_keys`.
    """
    if isinstance(recipient, RecipientPin) and recipient.composition:
        return recipient.composition
    by_label = recipient.type in BY_LABEL
    return f"{recipient.type}:{recipient.name}" if by_label else recipient.fingerprint


def keys_of(record: WrappingKeyRecord) -> frozenset[str]:
    """Return the keys of all who can open a record."""
    return frozenset(stanza_key(stanza) for stanza in record.stanzas)


def is_for(record: WrappingKeyRecord, recipients: Sequence[Recipient]) -> bool:
    """Tell whether a record opens for exactly these recipients.

    What has only a label looks the same under a new key of the old label: a new passphrase
    needs a new one, and a key service's new key version has to be asked for (``renew``).
    """
    return keys_of(record) == frozenset(recipient_key(recipient) for recipient in recipients)


class Opens(Struct, frozen=True, kw_only=True):
    """What opens one backup now: for each of its wrapping keys, the stanzas of its newest record.

    ``first`` are the keys that its containers' own envelopes open for: anyone with one
    of those keys and a copy of the backup can always open it. ``file`` is where a command wrote it,
    empty if it lies on targets. ``indexes`` are the newest records of its indexes of names.
    """

    backup: str
    policy: str
    created_at: str
    records: tuple[WrappingKeyRecord, ...]
    first: frozenset[str]
    file: str = ""
    indexes: tuple[WrappingKeyRecord, ...] = ()


class KeyUse(Struct, frozen=True, kw_only=True):
    """One key, as :func:`stanza_key` names it, and what it opens among the retained backups.

    ``versions`` are the versions of it that stanzas name, if its kind has any. ``backups`` open
    with it now, by so many ``wrapping_keys``; ``together`` open with it and others, of whose
    composition it is a leg; ``only`` would be unreadable without it; ``by_copy`` open with it by
    their containers' own envelope alone, since a rotation took it away. ``indexes`` are the backups
    whose index of names opens with it. Times are those of the oldest and newest backup that it opens, or
    whose index, RFC 3339.
    """

    key: str
    type: str
    labels: tuple[str, ...]
    versions: tuple[int, ...]
    backups: tuple[str, ...]
    wrapping_keys: int
    together: tuple[str, ...]
    only: tuple[str, ...]
    by_copy: tuple[str, ...]
    indexes: tuple[str, ...]
    oldest: str
    newest: str


class KeySurvey(Struct, frozen=True, kw_only=True):
    """The keys of all backups that were read, the backups that no target gave, with why, and those
    whose files a person said are gone."""

    keys: tuple[KeyUse, ...]
    backups: int
    unread: dict[str, str]
    gone: tuple[str, ...] = ()

    def of(self, key: str) -> KeyUse | None:
        """Return one key's use, or ``None`` if it opens nothing."""
        return next((use for use in self.keys if use.key == key), None)


def survey(
    services: Services, entries: Iterable[CatalogEntry], *, progress: Callable[[int], object] | None = None
) -> KeySurvey:
    """Look at what opens each of these backups, on the first target that answers.

    No key is used. An envelope of a signer that is not trusted here does not count.
    """
    looked = look_all(services, entries, progress=progress)
    return KeySurvey(
        keys=tuple(_uses(looked.found)), backups=len(looked.found), unread=looked.unread, gone=looked.gone
    )


class OpeningKeys(Struct, frozen=True, kw_only=True):
    """What opens each sealed backup, why others could not be read, and which are said to be gone."""

    found: list[Opens]
    unread: dict[str, str]
    gone: tuple[str, ...]


def look_all(
    services: Services, entries: Iterable[CatalogEntry], *, progress: Callable[[int], object] | None = None
) -> OpeningKeys:
    """Look at each backup, on a target or in the file that a command wrote."""
    openings: list[Opens] = []
    unread: dict[str, str] = {}
    gone: list[str] = []
    said = said_gone(services)
    indexes = _Indexes(services)
    with ThreadPoolExecutor(READERS) as pool:
        for entry, opens in pool.map(
            lambda entry: (entry, _attempt(services, entry, said, indexes)), entries
        ):
            if isinstance(opens, StrongroomError):
                unread[entry.backup] = f"{opens.code}: {opens.message}"
            elif opens is None:
                gone.append(entry.backup)
            else:
                openings += opens
            if progress is not None:
                progress(1)
    return OpeningKeys(found=openings, unread=unread, gone=tuple(gone))


class _Indexes:
    """The records of backups' indexes of names. Each target is listed once."""

    def __init__(self, services: Services) -> None:
        self._trusted = services.signer_fingerprints
        self._keys = IndexKeys(services.targets, trusted=self._trusted)
        self._envelopes = Envelopes(services.targets.values())
        self._lock = Lock()

    def of(self, manifest: Manifest) -> tuple[WrappingKeyRecord, ...]:
        with self._lock:  # the envelopes are listed once
            own = [index_key.record for index_key in self._keys.of(manifest)]
            return tuple(self._envelopes.of(record.id, trusted=self._trusted) or record for record in own)


def _attempt(
    services: Services, entry: CatalogEntry, said: frozenset[str], indexes: _Indexes
) -> list[Opens] | StrongroomError | None:
    """Return what opens a backup: more than one thing where a file was sealed anew and the old one kept."""
    try:
        if not in_a_file(entry):
            return [opening] if (opening := opens(services, entry.backup, indexes)) else []
        return None if is_gone(services, entry.backup, said) else _file_opens(services, entry.backup)
    except StrongroomError as error:
        return error


def _file_opens(services: Services, backup: str) -> list[Opens]:
    trusted = services.signer_fingerprints
    files = opened_files(services, backup)
    return [_opens(file, manifest, trusted, file=file.address) for file, manifest in files if manifest.sealed]


def opens(services: Services, backup: str, indexes: _Indexes | None = None) -> Opens | None:
    """Say what opens a backup that a policy made; ``None`` if it is not sealed.

    Args:
        indexes: tells what opens its indexes of names too.

    Raises:
        StrongroomError: no target gave its manifest and envelopes.
    """
    replicas = sorted(services.store.replicas(backup), key=lambda replica: not replica.good)
    names = [replica.target for replica in replicas if replica.target in services.targets]
    trusted = services.signer_fingerprints

    def read(name: str) -> Opens | None:
        target = services.targets[name]
        manifest = read_manifest(target, backup, trusted=trusted)
        if not manifest.sealed:
            return None
        found = _opens(target, manifest, trusted)
        return replace(found, indexes=indexes.of(manifest)) if indexes else found

    return first_answer(names or services.targets, read, of=f"backup {backup}")


def opens_with(record: WrappingKeyRecord, key: str, version: int | None = None) -> bool:
    """Tell whether a record opens with a key, or with one version of it."""
    return any(
        stanza_key(stanza) == key and (version is None or stanza.args.get("version") == version)
        for stanza in record.stanzas
    )


def own_records(services: Services, opening: Opens) -> list[WrappingKeyRecord]:
    """Return the records that a backup's containers carry, from its file or the first target that gives them.

    Raises:
        StrongroomError: none does.
    """
    if opening.file:
        with BundleReader(opening.file) as file:
            return _carried(file, opening.backup, services.signer_fingerprints)
    return first_answer(
        services.store.replicas(opening.backup),
        lambda replica: _carried(
            services.target(replica.target), opening.backup, services.signer_fingerprints
        ),
        of=f"backup {opening.backup}",
    )


def _carried(objects: Objects, backup: str, trusted: frozenset[str]) -> list[WrappingKeyRecord]:
    manifest = read_manifest(objects, backup, trusted=trusted)
    return [carried_record(objects, backup, entry) for entry in wrapping_keys(manifest).values()]


def _opens(objects: Objects, manifest: Manifest, trusted: frozenset[str], *, file: str = "") -> Opens:
    records = []
    for key, entry in wrapping_keys(manifest).items():
        newest = find_newest(objects, key, trusted=trusted).newest
        records.append(newest or carried_record(objects, manifest.backup_id, entry))
    return Opens(
        backup=manifest.backup_id,
        policy=manifest.policy,
        created_at=manifest.created_at,
        records=tuple(records),
        first=_first_keys(objects, manifest),
        file=file,
    )


def _first_keys(objects: Objects, manifest: Manifest) -> frozenset[str]:
    """Return the keys that a backup was sealed for, as its manifest or its containers' own envelopes say."""
    if all(recipient.type != allof.TYPE for recipient in manifest.recipients):
        return frozenset(map(pinned_key, manifest.recipients))
    carried = (
        carried_record(objects, manifest.backup_id, entry) for entry in wrapping_keys(manifest).values()
    )
    return frozenset(key for record in carried for key in keys_of(record))


def _uses(found: Sequence[Opens]) -> Iterator[KeyUse]:
    stanzas: dict[str, list[Stanza]] = defaultdict(list)
    backups: dict[str, list[Opens]] = defaultdict(list)
    for opening in found:
        now = [stanza for record in opening.records for stanza in record.stanzas]
        for stanza in now:
            for part in _parts(stanza):
                stanzas[stanza_key(part)].append(part)
        of_names = [stanza for record in opening.indexes for stanza in record.stanzas]
        for key in {
            stanza_key(part) for stanza in (*now, *of_names) for part in _parts(stanza)
        } | opening.first:
            backups[key].append(opening)
    for key in sorted(backups):
        yield _use(key, stanzas[key], backups[key])


def _parts(stanza: Stanza) -> Iterator[Stanza]:
    yield stanza
    if stanza.type == allof.TYPE:
        yield from (way_in for leg in allof.inner(stanza) for way_in in leg)


def _use(key: str, stanzas: Sequence[Stanza], backups: Sequence[Opens]) -> KeyUse:
    now = [opening for opening in backups if any(key in keys_of(record) for record in opening.records)]
    legs = [opening for opening in backups if is_leg(opening, key)]
    only = [
        opening
        for opening in backups
        if any(all(requires(stanza, key) for stanza in record.stanzas) for record in opening.records)
    ]
    times = sorted(opening.created_at for opening in backups)
    versions = {stanza.args.get("version") for stanza in stanzas}
    return KeyUse(
        key=key,
        type=key.partition(":")[0],
        labels=tuple(sorted({stanza.label for stanza in stanzas if stanza.label})),
        versions=tuple(sorted(version for version in versions if isinstance(version, int))),
        backups=tuple(opening.backup for opening in now),
        wrapping_keys=len(stanzas),
        together=tuple(opening.backup for opening in legs),
        only=tuple(opening.backup for opening in only),
        by_copy=tuple(opening.backup for opening in backups if opening not in now and key in opening.first),
        indexes=tuple(
            opening.backup for opening in backups if any(key in keys_of(own) for own in opening.indexes)
        ),
        oldest=times[0],
        newest=times[-1],
    )


def is_leg(opening: Opens, key: str) -> bool:
    """Tell whether a backup opens with a key and others together."""
    return any(
        key in leg for record in opening.records for stanza in record.stanzas for leg in legs_of(stanza)
    )


# -- exposure: what keys that were rotated away still open, where, and until when ---------------
#
# Rotation takes nothing back. A container's own envelope is part of it, and what is locked,
# copied or offline stays as it is. Where a target keeps versions, what was deleted there is only
# hidden. So whoever rotates is told what is left, until it is gone.


EARLIER = "the recipients of an envelope that was removed"
"""Said where nothing but a hidden envelope tells of a key: whom it is for, only its bytes say."""


class StillOpens(Struct, frozen=True, kw_only=True):
    """A backup that keys rotated away still open, on one target, by its containers' own envelopes.

    ``keys`` say in words who that is. ``until`` is when the lock there ends: RFC 3339, empty if
    nothing holds it and it goes when it is deleted, ``unknown`` if the target did not say. One that
    was not ``reached``, a medium in a safe, opens for them as it did before. One that is ``deleted``
    is there as ``old_versions`` alone. ``names``: not the backup, but its index of names opens.
    """

    backup: str
    target: str
    keys: tuple[str, ...]
    fingerprints: tuple[str, ...]
    until: str
    reached: bool = True
    deleted: bool = False
    old_versions: OldVersions = NO_VERSIONS
    names: bool = False


def still_opens(
    manifest: Manifest,
    targets: Iterable[Target],
    recipients: Sequence[Recipient],
    *,
    away: Iterable[str] = (),
    leaked: bool = False,
) -> list[StillOpens]:
    """Return what of a backup opens for recipients that it was sealed for and that are gone.

    A target that hides an older envelope is named too, though the backup was sealed for nobody else:
    rotations remove the envelopes in between, and each was for somebody.

    Args:
        away: the names of further targets that hold it and were not reached.
        leaked: whether it was sealed anew. Then one of its keys is suspected, and if none is
            gone by its name (a key service has a new version of it), all of them are counted.
    """
    wanted = {recipient.fingerprint for recipient in recipients}
    gone = [recipient for recipient in manifest.recipients if recipient.fingerprint not in wanted]
    if leaked and not gone:
        gone = list(manifest.recipients)
    if not manifest.sealed:
        return []
    there = [_there(manifest, target, gone) for target in targets]
    unreached = [_on(manifest, name, gone, until=UNKNOWN, reached=False) for name in away if gone]
    return [still_open for still_open in there if still_open is not None] + unreached


def _there(manifest: Manifest, target: Target, gone: Sequence[ManifestRecipient]) -> StillOpens | None:
    keys = tuple(wrapping_keys(manifest))
    if not gone:
        old = old_versions(target, *map(envelopes_prefix, keys))
        found = _on(manifest, target.name, gone, until=locked_until(manifest, target), old=old)
        return found if old.count > 0 else None
    old = hidden_of(target, manifest.backup_id, keys)
    return _on(manifest, target.name, gone, until=locked_until(manifest, target), old=old)


def _on(
    manifest: Manifest,
    name: str,
    gone: Sequence[ManifestRecipient],
    *,
    until: str,
    reached: bool = True,
    old: OldVersions = NO_VERSIONS,
) -> StillOpens:
    return StillOpens(
        backup=manifest.backup_id,
        target=name,
        keys=tuple(recipient.describes for recipient in gone) or (EARLIER,),
        fingerprints=tuple(recipient.fingerprint for recipient in gone),
        until=until,
        reached=reached,
        old_versions=old,
    )
