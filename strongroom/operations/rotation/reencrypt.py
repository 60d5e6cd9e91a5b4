"""reencrypt: a backup sealed anew under new keys, for when an old key can no longer be trusted.

It makes another backup beside the old one, under the old one's name with ``-r1`` (``-r2`` …), so
that it stands where the old one stood in the order of time. The old copies stay until they are
deleted: a key that leaked still opens them, and that is said.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from strongroom.container.errors import FormatError, MissingPiece, VerificationFailed, WrongKey
from strongroom.container.manifest import ContainerEntry, Manifest, parse_manifest, sign_manifest
from strongroom.container.reader import Container
from strongroom.container.wrapping import WrappingKey
from strongroom.errors import StrongroomError, TargetError
from strongroom.model import Depth
from strongroom.operations.archive.catalog import entry_of
from strongroom.operations.archive.envelopes import find_newest, wrapping_keys
from strongroom.operations.archive.first_answer import first_answer
from strongroom.operations.archive.locks import lock_backup, lock_until
from strongroom.operations.archive.open import Backup, manifest_bytes
from strongroom.operations.archive.read_back import ReadBackKeys, read_back
from strongroom.operations.backup.quorum import missing_from_quorum
from strongroom.operations.backup.upload import place
from strongroom.operations.errors import QuorumNotMet, RotationContended
from strongroom.operations.key_management.exposure import StillOpens, still_opens
from strongroom.operations.layout import container_name, containers_prefix, manifest_name, successor_of
from strongroom.operations.rotation.reencrypt_container import reseal, resealed_manifest
from strongroom.operations.rotation.rewrap import RewrapOrder
from strongroom.operations.services import Services
from strongroom.operations.trust_lists.spread import put_lists
from strongroom.state.records import Replica, Run
from strongroom.targets import Target
from strongroom.targets.repaired import original_name, whole_copy


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
        depth = self._verified(new)
        self._catalogue(new, hashlib.sha256(content).hexdigest(), depth)
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
        wrapping_key = WrappingKey.create(self._rotation.recipients)
        for entry in self._old.containers:
            new = reseal(
                self._opened(entry),
                backup=self._id,
                wrapping_key=wrapping_key,
                signer=self._rotation.signer,
                digest_key=self._services.digest_key,
            )
            content = bytes(new.content)
            self._each(partial(_place, backup=self._id, entry=new.entry, content=lambda: [content]))  # noqa: B023
            self._require_quorum(f"container {entry.piece}")
            yield new.entry

    def _opened(self, entry: ContainerEntry) -> Container:
        """Open one container from the first target that gives it back."""
        return first_answer(
            self._targets,
            lambda target: self._backup(target, self._old).container(entry),
            of=f"backup {self._id}",
        )

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

    def _catalogue(self, new: Manifest, digest: str, depth: Depth) -> None:
        good = {target.name for target in self._targets}
        replicas = [
            Replica(
                backup=new.backup_id,
                target=pin.name,
                good=pin.name in good,
                verified=depth if pin.name in good else None,
                verified_at=time.time() if pin.name in good else None,
            )
            for pin in self._spec.targets
        ]
        self._services.store.put_backup(entry_of(new, digest), replicas)


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
