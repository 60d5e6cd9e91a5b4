"""reencrypt: a backup sealed anew under new keys, and the one that it replaces removed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from struct import Struct as Packed
from types import MappingProxyType
from typing import NamedTuple

import msgspec
from msgspec import Struct, structs

from strongroom.container.errors import FormatError, MissingPiece, VerificationFailed, WrongKey
from strongroom.container.manifest import (
    ContainerEntry,
    Counts,
    Manifest,
    ManifestRecipient,
    parse_manifest,
    sign_manifest,
)
from strongroom.container.ranges import BytesReader
from strongroom.container.reader import Container, read_outer
from strongroom.container.signing import CertifiedSigner, sign_receipt
from strongroom.container.wrapping import WrappingKey
from strongroom.container.writer import Pair, check_sealed, write_container
from strongroom.errors import StrongroomError, TargetError, UsageError
from strongroom.keys import Recipient
from strongroom.model import Depth
from strongroom.operations.archive.catalog import entry_of
from strongroom.operations.archive.envelopes import (
    OldVersions,
    find_newest,
    first_answer,
    hidden_of,
    locked_until,
    wrapping_keys,
)
from strongroom.operations.archive.holds import Holds, HoldSubject, read_holds
from strongroom.operations.archive.open import (
    Backup,
    ReadBackKeys,
    manifest_bytes,
    on_every_core,
    read_back,
    read_manifest,
)
from strongroom.operations.archive.quarantine import all_quarantined
from strongroom.operations.archive.removal import (
    Successors,
    keys_by_containers,
    lock_backup,
    lock_until,
    remove_backup,
    why_set_aside,
)
from strongroom.operations.backup.commit import place
from strongroom.operations.backup.order import checks_of_replica
from strongroom.operations.backup.verify import missing_from_quorum
from strongroom.operations.engine.layout import (
    container_entry,
    container_name,
    containers_prefix,
    manifest_name,
    sealed_receipt,
    successor_of,
)
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.spread import put_lists
from strongroom.operations.errors import QuorumNotMet, RotationContended
from strongroom.operations.keys.usage import StillOpens, still_opens
from strongroom.operations.rotation.rewrap import RewrapOrder
from strongroom.state.records import Replica, Run
from strongroom.targets import Target
from strongroom.targets.reading import copies, original_name, whole_copy

# -- Seal the content of a container anew under new keys, and compare it before it leaves memory ---


class Resealed:
    """One container under new keys: its bytes, and its line in the new manifest."""

    __slots__ = ("content", "entry")

    def __init__(self, content: bytearray | memoryview, entry: ContainerEntry) -> None:
        self.content = content
        self.entry = entry


Seal = Callable[[Container], Resealed]
_LENGTH = Packed(">I")


def reseal_all(
    entries: Sequence[ContainerEntry],
    opened: Callable[[ContainerEntry], Container],
    seal: Seal,
    *,
    unlock: Callable[[], None],
) -> Iterator[Resealed]:
    """Yield each container sealed anew, in order, while every core seals one. Memory is bounded by that.

    A container is handed over whole or not at all: sealed again it is another one.
    """

    def work(entry: ContainerEntry) -> Iterator[bytes]:
        resealed = seal(opened(entry))
        line = msgspec.msgpack.encode(resealed.entry)
        yield b"".join((_LENGTH.pack(len(line)), line, resealed.content))

    for part in on_every_core(entries, work, unlock=unlock):
        (length,) = _LENGTH.unpack_from(part)
        line, content = memoryview(part)[_LENGTH.size :][:length], memoryview(part)[_LENGTH.size + length :]
        yield Resealed(content, msgspec.msgpack.decode(line, type=ContainerEntry))


def reseal(
    old: Container, *, backup: str, wrapping_key: WrappingKey, signer: CertifiedSigner, digest_key: bytes
) -> Resealed:
    """Seal a container's secrets anew, as a piece of another backup, and compare every value.

    The key that names are hashed under stays: another would put the names into other
    containers. It opens nothing; whoever knew it can tell whether a name that
    they guess lies in a container's range.

    Raises:
        VerificationFailed: what was sealed is not what was read. Nothing has left this process.
    """
    about = structs.replace(old.about, backup_id=backup)
    content = bytearray()
    sealed = write_container(
        content.extend,
        old.hashed(),
        about=about,
        wrapping_key=wrapping_key,
        signer=signer,
        digest_key=digest_key,
    )
    reader = BytesReader(content)
    check_sealed(reader, sealed)
    new = Container(reader, read_outer(reader, trusted=None), sealed.file_key.reveal())
    _compare(old.hashed(), new.hashed())
    receipt = sealed_receipt(about, sealed)
    return Resealed(content, container_entry(receipt, sign_receipt(receipt, signer), signer.public))


def _compare(before: Iterator[Pair], after: Iterator[Pair]) -> None:
    for read, sealed in zip(before, after, strict=True):
        if read != sealed:
            raise VerificationFailed(f"secret '{read[1].name}' would not be sealed as it was read")


def resealed_manifest(
    old: Manifest,
    entries: Sequence[ContainerEntry],
    recipients: Sequence[Recipient],
    *,
    backup: str,
    previous: str,
    trust: int,
) -> Manifest:
    """Return the manifest of a backup that was sealed anew: the same but for keys and containers.

    ``previous`` is the SHA-256 (hex) of the manifest that this one replaces, ``trust`` the number of the
    newest trust list that its signer knows.
    """
    counts = Counts(
        secrets=sum(entry.secrets for entry in entries),
        versions=sum(entry.versions for entry in entries),
        size=sum(entry.size for entry in entries),
    )
    if (counts.secrets, counts.versions) != (old.counts.secrets, old.counts.versions):
        raise VerificationFailed("the re-encrypted backup holds another number of secrets than before")
    return structs.replace(
        old,
        backup_id=backup,
        counts=counts,
        recipients=tuple(manifest_recipient(recipient) for recipient in recipients),
        containers=tuple(entries),
        previous=previous,
        trust=trust,
    )


def manifest_recipient(recipient: Recipient) -> ManifestRecipient:
    """Return a recipient as a manifest names it."""
    return ManifestRecipient(
        name=recipient.label,
        type=recipient.type,
        fingerprint=recipient.fingerprint,
        post_quantum=recipient.post_quantum,
        describes=recipient.describe(),
    )


# -- reencrypt: a backup sealed anew under new keys, for when an old key can no longer be trusted ---
#
# It makes another backup beside the old one, under the old one's name with ``-r1`` (``-r2`` …), so
# that it stands where the old one stood in the order of time. The old copies stay until they are
# deleted: a key that leaked still opens them, and that is said.


class Reencrypted(NamedTuple):
    """What a backup is now, how deep that was read back, why a target lacks it, and what still opens; no
    ``new`` if there was nothing to do."""

    new: str | None = None
    verified: str = ""
    missed: Mapping[str, str] = MappingProxyType({})
    still: tuple[StillOpens, ...] = ()


def reencrypt_backup(
    run: Run, manifest: Manifest, targets: Sequence[Target], rotation: RewrapOrder, services: Services
) -> Reencrypted:
    """Seal one backup anew on its targets; the result says what it is now and what still opens.

    Does nothing for one that opens for the new recipients alone, and goes on where an
    earlier attempt got to: the manifest, written last, says whether there is a new backup.

    Raises:
        QuorumNotMet: too few targets took it. There is no new backup, the old one is untouched.
    """
    if is_sealed_only_for(manifest, targets, rotation) and not rotation.renew:
        return Reencrypted()
    rotation.pace()
    new, depth, missed = _Reencryption(run, manifest, targets, rotation, services).finish()
    away = away_from(services.store.replicas(manifest.backup_id), targets)
    still = still_opens(manifest, targets, rotation.recipients, away=away, leaked=True)
    return Reencrypted(new=new.backup_id, verified=depth, missed=missed, still=tuple(still))


def away_from(replicas: Iterable[Replica], targets: Sequence[Target]) -> list[str]:
    """Name media and former targets that hold a backup by the catalog and are none of these targets."""
    reached = {target.name for target in targets}
    return [replica.target for replica in replicas if replica.good and replica.target not in reached]


def is_sealed_only_for(manifest: Manifest, targets: Sequence[Target], rotation: RewrapOrder) -> bool:
    """Tell whether no other key than the new recipients' ever opened this backup."""
    new = {recipient.fingerprint for recipient in rotation.recipients}
    if {recipient.fingerprint for recipient in manifest.recipients} != new:
        return False
    return not any(
        find_newest(target, key, trusted=rotation.trusted).records
        for key in wrapping_keys(manifest)
        for target in targets
    )


class _Reencryption:
    """One backup being sealed anew on several targets."""

    def __init__(
        self, run: Run, old: Manifest, targets: Sequence[Target], rotation: RewrapOrder, services: Services
    ) -> None:
        self._old = old
        self._id = successor_of(old.backup_id)
        self._spec = services.pinned(run.spec.policy).spec
        self._targets = list(targets)
        self._rotation = rotation
        self._services = services
        self._missed: dict[str, str] = {}

    def finish(self) -> tuple[Manifest, str, dict[str, str]]:
        """Make the new backup, or bring one that was begun to every target; enter it in the catalog."""
        content = self._committed()
        if content is None:
            content = self._make()
        new = parse_manifest(content, trusted=self._rotation.trusted)
        self._each(lambda target: self._complete(target, new, content))
        self._each(lambda target: _sweep(target, new))
        began = time.time()
        depth = self._verified(new)
        self._catalogue(new, hashlib.sha256(content).hexdigest(), depth, at=began)
        return new, depth.value, self._missed

    # -- making it -------------------------------------------------------------

    def _committed(self) -> bytes | None:
        """Return the new backup's manifest, if an earlier attempt or another worker wrote one."""
        for target in self._targets:
            with suppress(StrongroomError):
                return manifest_bytes(target, self._id, trusted=self._rotation.trusted)
        return None

    def _make(self) -> bytes:
        entries = tuple(self._containers())
        self._require_quorum("its new containers")
        first = self._targets[0]
        old = manifest_bytes(first, self._old.backup_id, trusted=self._rotation.trusted)
        manifest = resealed_manifest(
            self._old,
            entries,
            self._rotation.recipients,
            backup=self._id,
            previous=hashlib.sha256(old).hexdigest(),
            trust=self._rotation.signer.trust,
        )
        return sign_manifest(manifest, self._rotation.signer)

    def _containers(self) -> Iterator[ContainerEntry]:
        seal = partial(
            reseal,
            backup=self._id,
            wrapping_key=WrappingKey.create(self._rotation.recipients),
            signer=self._rotation.signer,
            digest_key=self._services.digest_key,
        )
        opening = {target.name: self._backup(target, self._old) for target in self._targets}

        def opened(entry: ContainerEntry) -> Container:
            """Open one container from the first target that gives it back."""
            return first_answer(
                self._targets, lambda target: opening[target.name].container(entry), of=f"backup {self._id}"
            )

        def unlock() -> None:
            for entry in wrapping_keys(self._old).values():
                opened(entry)

        for new in reseal_all(self._old.containers, opened, seal, unlock=unlock):
            self._each(
                partial(_place, backup=self._id, entry=new.entry, content=lambda: [bytes(new.content)])  # noqa: B023
            )
            self._require_quorum(f"container {new.entry.piece}")
            yield new.entry

    def _backup(self, target: Target, manifest: Manifest) -> Backup:
        return Backup(target, manifest, self._rotation.identities, trusted=self._rotation.trusted)

    # -- every target ----------------------------------------------------------

    def _complete(self, target: Target, new: Manifest, content: bytes) -> None:
        """Bring what a target lacks of the new backup from another one, and the manifest last."""
        for entry in new.containers:
            name = container_name(new.backup_id, entry.sha256)
            if whole_copy(target, name, sha256=bytes.fromhex(entry.sha256), most=entry.size) is None:
                source = self._whole(name, entry)
                _place(target, backup=new.backup_id, entry=entry, content=partial(source.read, name))
        put_lists(target, self._rotation.signer.lists)
        _publish(target, new.backup_id, content)
        lock_backup(target, new, lock_until(new, self._spec.minimum_retention_days))

    def _whole(self, name: str, entry: ContainerEntry) -> Target:
        for target in self._targets:
            if whole_copy(target, name, sha256=bytes.fromhex(entry.sha256), most=entry.size) == name:
                return target
        raise MissingPiece(f"no target has container {entry.piece} of {self._id} whole")

    def _each(self, work: Callable[[Target], object]) -> None:
        """Do something on every target that still takes part. A target that fails takes part no more."""
        going = []
        for target in self._targets:
            try:
                work(target)
                going.append(target)
            except (TargetError, FormatError, VerificationFailed) as error:
                self._missed[target.name] = f"{error.code}: {error.message}"
        self._targets = going

    def _require_quorum(self, what: str) -> None:
        if lacking := missing_from_quorum(self._spec, tuple(target.name for target in self._targets)):
            why = "; ".join(f"'{name}': {said}" for name, said in self._missed.items())
            why = f" ({why})" if why else ""  # one that was away from the beginning is not among these
            raise QuorumNotMet(f"{what} of {self._old.backup_id} could not be placed: {lacking}{why}")

    # -- afterwards ------------------------------------------------------------

    def _verified(self, new: Manifest) -> Depth:
        """Read the new backup back from each target, as deep as an identity at hand allows."""
        keys = ReadBackKeys(
            identities=self._rotation.identities,
            digest_key=self._services.digest_key,
            trusted=self._rotation.trusted,
        )
        depth = Depth.COMPARED if self._opens(new) else Depth.DIGEST
        self._each(lambda target: read_back(target, new, depth, keys))
        self._require_quorum("the new backup in place")
        return depth

    def _opens(self, new: Manifest) -> bool:
        try:
            self._backup(self._targets[0], new).container(new.containers[0])
        except WrongKey:
            return False
        return True

    def _catalogue(self, new: Manifest, digest: str, depth: Depth, *, at: float) -> None:
        """Enter the new backup, with what was read back of it from a time on."""
        good = {target.name for target in self._targets}
        replicas = [
            Replica(
                backup=new.backup_id,
                target=pin.name,
                good=pin.name in good,
                verified=depth if pin.name in good else None,
                verified_at=at if pin.name in good else None,
            )
            for pin in self._spec.targets
        ]
        store = self._services.store
        store.put_backup(entry_of(new, digest), replicas)
        for name in good:
            store.put_checks(checks_of_replica(new.backup_id, name, len(new.containers), depth, at=at))


def _place(
    target: Target, *, backup: str, entry: ContainerEntry, content: Callable[[], Iterable[bytes]]
) -> None:
    place(target, container_name(backup, entry.sha256), content, size=entry.size, sha256=entry.sha256)


def _publish(target: Target, backup: str, content: bytes) -> None:
    """Put the manifest if there is none; another worker's stays, and ours is not a backup then."""
    digest = hashlib.sha256(content)
    name = manifest_name(backup)
    target.put(name, [content], size=len(content), sha256=digest.digest())
    if whole_copy(target, name, sha256=digest.digest()) is None:
        raise RotationContended(f"backup {backup} is being sealed again elsewhere too")


def _sweep(target: Target, new: Manifest) -> None:
    """Remove what earlier attempts without a manifest left under the new backup's name."""
    keep = {container_name(new.backup_id, entry.sha256) for entry in new.containers}
    prefix = containers_prefix(new.backup_id)
    target.abort_incomplete(prefix)
    for name in [info.name for info in target.list(prefix)]:
        if original_name(name) not in keep:
            target.delete(name)


# -- Removing what a re-encryption replaced: only once the new backup is good, only where nothing locks
#
# Deletion takes back nothing that was copied; it ends what a key that leaked opens here, once the
# store has let go of the versions that it may hide.


class ReplacedRemoval(Struct, frozen=True, kw_only=True):
    """What became of a replaced backup: the targets it is gone from, and why it stays on others.

    ``hidden`` is what of it some of those that it is gone from still hide.
    """

    backup: str
    gone: tuple[str, ...]
    kept: dict[str, str]
    hidden: dict[str, OldVersions]


def remove_replaced(services: Services, old: str) -> ReplacedRemoval:
    """Remove a backup from each target that has its successor good, as last read back.

    It may be repeated, and die at any point: the manifest goes first, so that no half of a backup
    is ever visible, and what is left of its objects goes the next time.

    Raises:
        MissingPiece: the catalog does not know it.
        UsageError: it was never sealed anew.
        QuorumNotMet: its successor is not good on enough targets to be a backup.
    """
    new, good = _safe_successor(services, old)
    held = read_holds(services, now=time.time())
    aside = why_set_aside(services, new, quarantined=all_quarantined(services))
    kept: dict[str, str] = {}
    hidden: dict[str, OldVersions] = {}
    for replica in services.store.replicas(old):
        if replica.target not in good:
            kept[replica.target] = "its successor is not good there"
            continue
        if aside:
            kept[replica.target] = aside
            continue
        left = _remove_from_target(services, old, new, replica.target, held)
        if isinstance(left, str):
            kept[replica.target] = left
        else:
            services.store.drop_replica(old, replica.target)
            hidden[replica.target] = left
    gone = tuple(hidden)
    hidden = {name: left for name, left in hidden.items() if left.count}
    noted = {"gone": gone, "kept": kept, "hidden": msgspec.to_builtins(hidden)}
    services.store.event("backup.removed", backup=old, successor=new, **noted)
    return ReplacedRemoval(backup=old, gone=gone, kept=kept, hidden=hidden)


def _safe_successor(services: Services, old: str) -> tuple[str, set[str]]:
    """Return what replaces a backup, and the targets that have it good. Raises if these are too few."""
    entry, new = services.store.backup(old), services.store.backup(successor_of(old))
    if entry is None:
        raise MissingPiece(f"the catalog has no backup '{old}'")
    if new is None:
        raise UsageError(f"Backup {old} was not re-encrypted, so nothing replaces it.", hint="")
    replicas = services.store.replicas(new.backup)
    good = {replica.target for replica in replicas if replica.good and replica.verified}
    if lacking := missing_from_quorum(services.pinned(entry.policy).spec, tuple(good)):
        raise QuorumNotMet(
            f"what replaces {old} is not safe yet: {lacking}", hint="Verify or repair it first."
        )
    return new.backup, good


def _remove_from_target(
    services: Services, backup: str, successor: str, name: str, held: Holds
) -> str | OldVersions:
    """Remove a backup from one target; return why it stays, or what the target still hides of it."""
    try:
        target = services.target(name)
        if not copies(target, manifest_name(successor)):
            # Another medium under the name of the one that was here: nothing is known of that one.
            return "its successor is not there: this may be another medium"
        if why := Successors(services).why_not_whole(successor, name):
            return why
        manifest = _read_manifest(services, target, backup)
        if manifest is not None and (why := held.why(HoldSubject.of(manifest))):
            return why
        if manifest is not None and (until := locked_until(manifest, target)):
            return f"locked until {until}"
        keys = _keys(services, target, backup, manifest)
        trusted = services.signer_fingerprints
        # A key that leaked opens the indexes too.
        removed = remove_backup(target, backup, keys, trusted=trusted, forget_names=True)
    except StrongroomError as error:
        return f"{error.code}: {error.message}"
    return removed.why if removed.left else hidden_of(target, backup, keys)


def _read_manifest(services: Services, target: Target, backup: str) -> Manifest | None:
    if not copies(target, manifest_name(backup)):
        return None  # an earlier attempt got that far
    return read_manifest(target, backup, trusted=services.signer_fingerprints)


def _keys(services: Services, target: Target, backup: str, manifest: Manifest | None) -> Iterable[str]:
    if manifest is not None:
        return wrapping_keys(manifest)
    return keys_by_containers(target, backup, trusted=services.signer_fingerprints)
