"""open_backup: the one reader, of a single file and of a backup on a target alike.

Needs no state, broker or configuration: bytes, identities and trusted signers are enough.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import chain

from msgspec import Struct

from strongroom.container.cobblestone import name_hash, value_digester
from strongroom.container.errors import (
    FormatError,
    MissingPiece,
    NotABackup,
    Tampered,
    Truncated,
    TrustListMissing,
    UntrustedSigner,
    VerificationFailed,
    WrongKey,
)
from strongroom.container.manifest import ContainerEntry, Counts, Manifest, ManifestSelection, SignedManifest
from strongroom.container.metadata import ManifestPlace, check_document, read_document
from strongroom.container.ranges import RangeReader
from strongroom.container.reader import Container
from strongroom.container.segment import SecretRow
from strongroom.container.signing import ever_trusted, require_in_time
from strongroom.container.wrapping import WrappingKey, WrappingKeyRecord
from strongroom.container.writer import scrub
from strongroom.errors import StrongroomError
from strongroom.keys import Identity
from strongroom.keys.passphrase import unasked
from strongroom.model import Depth, Secret
from strongroom.operations.archive.envelopes import (
    Newest,
    UnreadableEnvelope,
    own_record,
    readers_now,
    wrapping_keys,
)
from strongroom.operations.engine.layout import container_name, manifest_name
from strongroom.system import every_core
from strongroom.targets.reading import ManifestListing, Objects, held_to_name, readable_copy, sound_copy
from strongroom.words import plural

__all__ = [
    "ORDER",
    "Backup",
    "DigestedRow",
    "Listed",
    "LoneContainer",
    "ObjectReader",
    "Objects",
    "Progress",
    "ReadBackKeys",
    "backup_ids",
    "carried_record",
    "manifest_bytes",
    "nothing_there",
    "on_every_core",
    "open_all",
    "open_backup",
    "read_back",
    "read_manifest",
    "readable_container",
    "require_digest",
    "require_size",
    "signed_copy",
]


Listed = SecretRow | Secret
"""A secret's name and metadata: as a sealed container lists it, or a plain document."""
DigestedRow = tuple[Listed, dict[int, bytes]]
"""The same, with the keyed digest of each value by its version's number; a plain document has none."""


class ObjectReader:
    """Ranged reads of one object."""

    def __init__(self, objects: Objects, name: str) -> None:
        object_info = objects.stat(name)
        if object_info is None:
            raise MissingPiece(f"'{name}' is not there")
        self.size = object_info.size
        self._objects = objects
        self._name = name

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes at ``offset``."""
        return b"".join(self._objects.read(self._name, offset=offset, length=length))


class Backup:
    """An opened backup: its manifest, checked, and its containers, opened as needed.

    Args:
        trusted: the installations whose containers and envelopes count; ``None`` for anybody's, which the
            caller must say.
        known: tells the newest generation of a wrapping key that is known from elsewhere (0: none).
            An older one here is a rollback: Stale.
        names: under which name a container is to be read, by its digest, as far as that is known.
    """

    def __init__(
        self,
        objects: Objects,
        manifest: Manifest,
        identities: Sequence[Identity],
        *,
        trusted: frozenset[str] | None = None,
        known: Callable[[str], int] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.manifest = manifest
        self._objects = objects
        self._identities = identities
        self._trusted = None if trusted is None else ever_trusted(trusted)
        self._newest = Newest(objects, trusted=trusted, known=known)
        self._name_key: bytes | None = None
        self._names = dict(names or {})
        self._unlocked: dict[str, WrappingKey] = {}

    def container(self, entry: ContainerEntry) -> Container:
        """Open one container: the one, at its place, that the manifest's signer vouched for.

        Its own signer may be retired or distrusted by now: the manifest's receipt vouches for its bytes.
        """
        newer = self._newest.of(entry.wrapping_key) if self.manifest.sealed else None
        if newer is not None and newer.generation == 1:
            newer = None  # no newer than what every container carries itself
        try:
            container = Container.open(
                self.reader(entry),
                self._identities,
                newer=newer,
                trusted=self._trusted,
                entry=entry,
                unlocked=self._unlocked,
            )
        except WrongKey as error:
            raise self._newest.explained(entry.wrapping_key, error) from None
        except FormatError:
            require_size(self._objects, self._name(entry), entry)
            require_digest(self._objects, self._name(entry), entry)
            raise
        container.check_entry(self.manifest, entry)
        # All containers of a backup hash names under one key, or a name could be in two of them.
        name_key = container.about.name_key
        if self._name_key is not None and not hmac.compare_digest(self._name_key, name_key):
            raise Tampered(f"Container {container.about.piece} has another name key than the others.")
        self._name_key = name_key
        return container

    @property
    def objects(self) -> Objects:
        """Where it lies."""
        return self._objects

    @property
    def identities(self) -> Sequence[Identity]:
        """Who tries to open it."""
        return self._identities

    @property
    def aside(self) -> tuple[UnreadableEnvelope, ...]:
        """Envelopes that were left aside with nothing in their place, of the containers opened so far."""
        return self._newest.aside

    def readers(self) -> Manifest:
        """Return the manifest with those who can open the backup now: it may have been rotated since."""
        if not self.manifest.sealed:
            return self.manifest
        return readers_now(self._objects, self.manifest, trusted=self._trusted)

    def unlock(self) -> None:
        """Open one container of each wrapping key: a wrong one, or a person who is asked, shows here."""
        for entry in wrapping_keys(self.manifest).values() if self.manifest.sealed else ():
            self.container(entry)

    def reader(self, entry: ContainerEntry) -> ObjectReader:
        """Return ranged reads of one container, refusing one of another size."""
        require_size(self._objects, self._name(entry), entry)
        return ObjectReader(self._objects, self._name(entry))

    def _name(self, entry: ContainerEntry) -> str:
        if entry.sha256 not in self._names:
            self._names[entry.sha256] = readable_container(self._objects, self.manifest.backup_id, entry)
        return self._names[entry.sha256]

    def containers(self) -> Iterator[Container]:
        """Open each container in turn."""
        for entry in self.manifest.containers:
            yield self.container(entry)

    def rows(self) -> Iterator[Listed]:
        """Yield the metadata of every secret; values are not read."""
        for entry in self.manifest.containers:
            yield from self.rows_in(entry)

    def secrets(self) -> Iterator[Secret]:
        """Yield every secret; memory is bounded by one segment."""
        for entry in self.manifest.containers:
            yield from self.secrets_in(entry)

    def rows_in(self, entry: ContainerEntry) -> Iterator[Listed]:
        """Yield the metadata of the secrets in one container."""
        yield from self.container(entry).rows() if self.manifest.sealed else self._document(entry)

    def secrets_in(self, entry: ContainerEntry) -> Iterator[Secret]:
        """Yield the secrets in one container."""
        yield from self.container(entry).secrets() if self.manifest.sealed else self._document(entry)

    def digested(self) -> Iterator[tuple[str, dict[int, bytes]]]:
        """Yield each secret's name, with the keyed digest of each of its values by the version's number."""
        for container in self.containers():
            yield from container.digested()

    def digested_rows(self) -> Iterator[DigestedRow]:
        """Yield the metadata and the digests of every secret; values are not read."""
        for entry in self.manifest.containers:
            yield from self.digested_rows_in(entry)

    def digested_rows_in(self, entry: ContainerEntry) -> Iterator[DigestedRow]:
        """Yield the metadata and the digests of the secrets in one container."""
        if self.manifest.sealed:
            yield from self.container(entry).digested_rows()
        else:
            yield from ((secret, {}) for secret in self._document(entry))

    def digested_row(self, name: str) -> DigestedRow | None:
        """Return one secret's metadata and digests with a few ranged reads, or ``None``."""
        if not self.manifest.sealed:
            return next((row for row in self.digested_rows() if row[0].name == name), None)
        described = (self.container(entry).digested_row(name) for entry in self._candidates(name))
        return next((found for found in described if found), None)

    def name_key(self) -> bytes:
        """Return the key under which the backup hashes names; it is known to whoever opens the backup."""
        if not self.manifest.containers:
            raise MissingPiece(f"backup {self.manifest.backup_id} has no container, so no key of its names")
        return self.container(self.manifest.containers[0]).about.name_key

    def find(self, name: str) -> Secret | None:
        """Return one secret with a few ranged reads, or ``None``."""
        if not self.manifest.sealed:
            return next((secret for secret in self.secrets() if secret.name == name), None)
        found = (self.container(entry).find(name) for entry in self._candidates(name))
        return next((secret for secret in found if secret), None)

    def some_in(self, entry: ContainerEntry, names: Collection[str]) -> Iterator[Secret]:
        """Yield those of the named secrets that one container holds."""
        if self.manifest.sealed:
            yield from self.container(entry).some(names)
        else:
            yield from (secret for secret in self._document(entry) if secret.name in names)

    def _candidates(self, name: str) -> Iterable[ContainerEntry]:
        if not self.manifest.containers:
            return ()
        if self._name_key is None:
            self.container(self.manifest.containers[0])
        return self.manifest.candidates(name_hash(self._name_key or b"", name))

    def _document(self, entry: ContainerEntry) -> Iterator[Secret]:
        """Yield the secrets of a piece that is not sealed: its digest is checked, since nothing else is."""
        reader = self.reader(entry)
        require_digest(self._objects, self._name(entry), entry)
        yield from read_document(reader, place=ManifestPlace(self.manifest, entry))


def backup_ids(objects: Objects) -> list[str]:
    """Return the ids of the backups visible here, oldest first."""
    return ManifestListing(objects).backups


def readable_container(objects: Objects, backup: str, entry: ContainerEntry) -> str:
    """Return under which name a container is to be read: its own, or that of a repair."""
    name = container_name(backup, entry.sha256)
    return readable_copy(objects, name, sha256=bytes.fromhex(entry.sha256), most=entry.size)


def require_size(objects: Objects, name: str, entry: ContainerEntry) -> None:
    """Hold a container to the size that its manifest names; raise MissingPiece, Truncated or Tampered."""
    object_info = objects.stat(name)
    if object_info is None:
        raise MissingPiece(f"container {entry.piece} is not there")
    if object_info.size != entry.size:
        kind = Truncated if object_info.size < entry.size else Tampered
        raise kind(
            f"container {entry.piece} has {plural(object_info.size, 'byte')} instead of {entry.size:,}"
        )


def require_digest(objects: Objects, name: str, entry: ContainerEntry) -> None:
    """Hold a container to the digest that its manifest names, reading it whole; raise Tampered.

    Bytes that nobody vouched for say nothing of their own structure: what a reader of a few ranges made of
    them, an unknown version say, is no finding about the backup.
    """
    digest = hashlib.sha256()
    for chunk in objects.read(name, length=entry.size + 1):
        digest.update(chunk)
    if digest.hexdigest() != entry.sha256:
        raise Tampered(f"container {entry.piece} is not the one that the manifest names")


def carried_record(objects: Objects, backup: str, entry: ContainerEntry) -> WrappingKeyRecord:
    """Return the wrapping key's record that a container carries in itself; reads no secret.

    The record is signed by itself, so it counts wherever it lies: a repair is looked for only if it is not
    to be had from the container's own place.

    Raises:
        FormatError, TargetError: it cannot be read, or whoever captured it did not sign it.
        Tampered: another container lies here, or it has another wrapping key than the manifest says.
    """
    name = container_name(backup, entry.sha256)
    try:
        return _carried_by(objects, name, backup, entry)
    except FormatError:
        if (copy := readable_container(objects, backup, entry)) == name:
            raise
        return _carried_by(objects, copy, backup, entry)


def _carried_by(objects: Objects, name: str, backup: str, entry: ContainerEntry) -> WrappingKeyRecord:
    record = own_record(ObjectReader(objects, name), entry)
    if record.id != entry.wrapping_key:
        raise Tampered(f"container {entry.piece} of {backup} has another wrapping key than its manifest says")
    return record


def read_manifest(objects: Objects, backup: str | None = None, *, trusted: frozenset[str] | None) -> Manifest:
    """Read and check a manifest: of the newest backup that has a sound one, unless told which."""
    if backup is None:
        return _newest(ManifestListing(objects), trusted)
    try:
        return signed_copy(objects, backup, trusted=trusted).manifest
    except MissingPiece as error:
        raise _not_there(ManifestListing(objects), backup, error) from None


def _newest(listing: ManifestListing, trusted: frozenset[str] | None) -> Manifest:
    """Return the newest sound manifest; if none is, what is said of the newest that somebody else signed,
    or else of the newest of all: anybody can put junk above."""
    refusals: list[FormatError] = []
    for backup in reversed(listing.backups):
        try:
            return listing.read(backup, trusted=trusted).manifest
        except FormatError as error:
            refusals.append(error)
    refusals.sort(key=lambda error: not isinstance(error, UntrustedSigner | TrustListMissing))
    raise refusals[0] if refusals else nothing_there({"the place that was named": listing})


def _not_there(listing: ManifestListing, backup: str, error: MissingPiece) -> FormatError:
    if not len(listing):
        return nothing_there({"the place that was named": listing})
    if backup in listing:
        return error
    return MissingPiece(
        f"there is no backup '{backup}' here",
        hint="See which there are with 'strongroom backups list --from-target TARGET'.",
    )


def nothing_there(places: Mapping[str, ManifestListing]) -> NotABackup:
    """Return what is said of places, by their names, without any manifest."""
    where = ", ".join(
        f"'{name}' ({address})" if (address := getattr(listing.objects, "address", "")) else f"'{name}'"
        for name, listing in places.items()
    )
    return NotABackup(
        f"no backup was found on {where}: it has no manifest",
        hint="The name of a configured target comes before a folder of that name: ./NAME is the folder. A "
        "target that is new or was emptied holds no backup yet.",
    )


def manifest_bytes(objects: Objects, backup: str, *, trusted: frozenset[str] | None) -> bytes:
    """Return the first manifest of a backup that is sound: the one that was written, or a repair of it."""

    def checked(content: bytes) -> bytes:
        held_to_name(content, backup, trusted=trusted)
        return content

    return sound_copy(objects, manifest_name(backup), checked)


def signed_copy(objects: Objects, backup: str, *, trusted: frozenset[str] | None) -> SignedManifest:
    """Return the first manifest of a backup that is sound, with who signed it."""
    return sound_copy(
        objects, manifest_name(backup), lambda content: held_to_name(content, backup, trusted=trusted)
    )


def open_backup(
    objects: Objects,
    backup: str | None = None,
    *,
    identities: Sequence[Identity],
    trusted: frozenset[str] | None,
) -> Backup:
    """Open a backup.

    Args:
        objects: a target, or a single-file backup.
        backup: which one; the newest if left out.
        identities: who tries to open. Nothing is unwrapped before a container is read.
        trusted: fingerprints of signers; ``None`` accepts any, which the caller must say.
    """
    manifest = read_manifest(objects, backup, trusted=trusted)
    if trusted is None:  # then nobody else's containers and envelopes count than its own installation's
        trusted = frozenset({signed_copy(objects, manifest.backup_id, trusted=None).fingerprint})
    return Backup(objects, manifest, identities, trusted=trusted)


# -- Containers, each core on one of them (the bars of verifying, comparing and sealing anew) ----


WORTH = 2 * 1024 * 1024
"""Sealed bytes from which on children are forked: below, that takes longer than it saves."""
ContainerWork = Callable[[ContainerEntry], Iterator[bytes]]


def on_every_core(
    entries: Sequence[ContainerEntry],
    here: ContainerWork,
    there: ContainerWork | None = None,
    *,
    unlock: Callable[[], None] = lambda: None,
    ordered: bool = True,
) -> Generator[bytes]:
    """Yield the parts that some work makes of each container, no value among them.

    Args:
        here: does it in this process, where it may ask people, go on to another place and say so.
        there: does it in a child; what is raised there has ``here`` do it. The same, if left out.
        unlock: opens what the containers are sealed under, so that children inherit the keys: nobody is
            asked twice, nor a key service. If it fails, the work meets that here.
        ordered: whether they are to come container by container.
    """
    parent = os.getpid()

    def work(entry: ContainerEntry) -> Iterator[bytes]:
        if os.getpid() == parent:
            yield from here(entry)
            return
        with unasked():
            yield from (there or here)(entry)

    if len(entries) < 2 or sum(entry.size for entry in entries) < WORTH or not _unlocks(unlock):
        return (part for entry in entries for part in here(entry))
    return every_core.in_order(work, entries) if ordered else every_core.as_they_come(work, entries)


def _unlocks(unlock: Callable[[], None]) -> bool:
    try:
        unlock()
    except StrongroomError:
        return False
    return True


# -- Reading a backup back from wherever it lies, with nothing but its bytes and a key ----------
#
# What a run's verify step does with a record, a target and a configuration, this does for a
# file on somebody's desk. The result names the depth that was reached (invariant 2).


ORDER = (Depth.PRESENT, Depth.DIGEST, Depth.OPENED, Depth.COMPARED)
Progress = Callable[[int], object]


class ReadBackKeys(Struct, frozen=True, kw_only=True):
    """What verifying may use: identities that open, the key of the values' digests, and whose
    detached envelopes count (``None``: anybody's)."""

    identities: Sequence[Identity] = ()
    digest_key: bytes | None = None
    trusted: frozenset[str] | None = None


def read_back(
    objects: Objects,
    manifest: Manifest,
    depth: Depth,
    keys: ReadBackKeys,
    *,
    progress: Progress | None = None,
) -> int:
    """Read every container back to ``depth``; return how many secrets they hold.

    Raises:
        MissingPiece, Truncated, Tampered, WrongKey, VerificationFailed: the first thing
            that is wrong, and in which container.
    """
    backup = Backup(objects, manifest, keys.identities, trusted=keys.trusted)

    def read(entry: ContainerEntry) -> Iterator[bytes]:
        _read_container(objects, backup, entry, depth, keys)
        yield b""

    entries = manifest.containers
    if depth is Depth.PRESENT:  # nothing is read
        parts: Iterator[bytes] = chain.from_iterable(map(read, entries))
    elif depth is Depth.DIGEST:
        parts = on_every_core(entries, read)
    else:
        parts = on_every_core(entries, read, unlock=backup.unlock)
    for entry, _ in zip(entries, parts, strict=True):
        if progress is not None:
            progress(entry.secrets)
    return manifest.counts.secrets


def _read_container(
    objects: Objects, backup: Backup, entry: ContainerEntry, depth: Depth, keys: ReadBackKeys
) -> None:
    """Read one container back to ``depth``."""
    manifest = backup.manifest
    name = readable_container(objects, manifest.backup_id, entry)
    require_size(objects, name, entry)
    if depth is Depth.PRESENT:
        return
    require_digest(objects, name, entry)
    if not manifest.sealed:
        check_document(ObjectReader(objects, name), place=ManifestPlace(manifest, entry))
    elif depth is Depth.DIGEST:
        scrub(
            ObjectReader(objects, name),
            trusted=None if keys.trusted is None else ever_trusted(keys.trusted),
            entry=entry,
        )
    else:
        container = backup.container(entry)
        seen = open_all(container, digest_key=keys.digest_key if depth is Depth.COMPARED else None)
        if seen != entry.secrets:
            held = plural(seen, "secret")
            raise VerificationFailed(f"container {entry.piece} holds {held}, not {entry.secrets}")


def open_all(container: Container, *, digest_key: bytes | None) -> int:
    """Decrypt every secret of a container, and compare each value if there is a digest key."""
    if digest_key is None:
        return container.check_all()
    return container.compare_all(value_digester(digest_key, container.about.source))


# -- One container alone: what is left where the file or target around it is lost. It opens by itself


class LoneContainer(Backup):
    """A container read as a backup. There is no manifest: its index says what it holds, and its own
    certificate who sealed it."""

    def __init__(self, container: Container, size: int) -> None:
        # What a manifest would say of this container alone.
        about = container.about
        self.manifest = Manifest(
            backup_id=about.backup_id,
            policy=about.policy,
            source=about.source,
            created_at=about.created_at,
            values=about.values,
            sealed=True,
            selection=ManifestSelection(),
            counts=Counts(secrets=container.secrets_count, versions=container.versions_count, size=size),
            recipients=(),
            targets=(),
            quorum=0,
            regions=0,
            providers=0,
            not_contained=(),
            containers=(_entry(container, size),),
            previous=None,
            trust=0,
        )
        self._container = container
        self._name_key = container.about.name_key

    @classmethod
    def open(
        cls, reader: RangeReader, identities: Sequence[Identity], *, trusted: frozenset[str] | None
    ) -> LoneContainer:
        """Open it with whichever identity fits.

        Raises:
            FormatError: as :meth:`strongroom.container.reader.Container.open` does; UntrustedSigner, too, if
                a retired key sealed it after its time.
        """
        container = Container.open(reader, identities, trusted=trusted)
        require_in_time(container.certificate, container.about.created_at, trusted)
        return cls(container, reader.size)

    @property
    def described(self) -> str:
        """What of a backup it is."""
        about = self._container.about
        return f"one container, {about.piece + 1} of the {about.pieces} of backup {about.backup_id}"

    @property
    def aside(self) -> tuple[()]:
        return ()

    def unlock(self) -> None:
        """It is open."""

    def readers(self) -> Manifest:
        """Return the manifest: nothing is known of a rotation."""
        return self.manifest

    def container(self, entry: ContainerEntry) -> Container:  # noqa: ARG002 - there is no other
        """It is the only one."""
        return self._container


def _entry(container: Container, size: int) -> ContainerEntry:
    """Return what a manifest's entry would say of it, but for its receipt: any name may be in it."""
    return ContainerEntry(
        piece=container.about.piece,
        sha256="",
        size=size,
        secrets=container.secrets_count,
        versions=container.versions_count,
        first="0" * 32,
        last="f" * 32,
        wrapping_key=container.record.id,
        signer="",
        container_signature="",
        signature="",
    )
