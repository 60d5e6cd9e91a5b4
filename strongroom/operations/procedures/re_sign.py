"""re-sign: what a signer that is distrusted by now signed, signed anew by one that is trusted.

Distrust takes every backup of a leaked signer out of use, the good ones too. Those that this
installation recorded when it made them, byte for byte, get a second signature. The new manifest
lies beside the old one, so that it works under locks and nothing is overwritten. A file that a command
wrote cannot be added to: it is written anew beside itself, and takes its own place once it was read back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from strongroom.container.errors import DAMAGE, FormatError, MissingPiece, UntrustedSigner
from strongroom.container.manifest import Manifest, SignedManifest, open_manifest, sign_manifest
from strongroom.container.signing import ever_trusted, require_trusted
from strongroom.container.wrapping import WrappingKeyRecord, unlock, write_detached
from strongroom.errors import ConfigError, StrongroomError
from strongroom.model import Depth, Role
from strongroom.operations.archive.envelopes import (
    envelope_name,
    find_all,
    find_newest,
    first_answer,
    wrapping_keys,
)
from strongroom.operations.archive.inventory import away, in_a_file, lying, said_gone
from strongroom.operations.archive.open import ReadBackKeys, read_back
from strongroom.operations.archive.removal import lock_backup, lock_until
from strongroom.operations.engine.layout import manifest_name
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.spread import put_lists
from strongroom.operations.rotation.single_file import copy
from strongroom.state.records import CatalogEntry, Replica
from strongroom.targets import Target
from strongroom.targets.reading import Objects, put_beside, sound_copy
from strongroom.targets.single_file import BundleReader, BundleWriter


class Rests(Struct, frozen=True, kw_only=True):
    """What of a backup bears a signer's signature: its manifest, containers, or envelopes on a target or
    in the ``file`` that a command wrote."""

    backup: str
    created_at: str
    manifest: bool
    containers: int
    envelopes: int
    file: str = ""


class ReSigned(Struct, frozen=True, kw_only=True):
    """What became of one backup. ``missed`` says why a target lacks the new signature."""

    backup: str
    manifest: bool
    envelopes: int
    missed: Mapping[str, str]


def rests_on(services: Services, entry: CatalogEntry, fingerprint: str) -> list[Rests]:
    """Say what of a backup a signer signed, on the first target that gives it, or in each of its files.

    Raises:
        StrongroomError: it could not be looked at.
    """
    if not in_a_file(entry):
        target, signed, _ = _recorded(services, entry)
        return [_rests(target, signed, fingerprint)]
    dependencies = []
    for path, name in _files(services, entry.backup):
        with BundleReader(path) as file:
            dependencies.append(
                _rests(file, _any_in(services, file, name, entry), fingerprint, file=str(path))
            )
    return dependencies


def _any_in(services: Services, file: BundleReader, name: str, entry: CatalogEntry) -> SignedManifest:
    """Return a file's manifest, of whoever ever signed here if nothing better is there."""
    try:
        return _signed_in(services, file, name, entry)
    except UntrustedSigner:
        ever = ever_trusted(services.signer_fingerprints)
        return sound_copy(file, manifest_name(name), lambda content: open_manifest(content, trusted=ever))


def _rests(objects: Objects, signed: SignedManifest, fingerprint: str, *, file: str = "") -> Rests:
    return Rests(
        backup=signed.manifest.backup_id,
        created_at=signed.manifest.created_at,
        manifest=signed.certificate.key_fingerprint == fingerprint,
        containers=sum(
            container_entry.signer_fingerprint == fingerprint
            for container_entry in signed.manifest.containers
        ),
        envelopes=sum(_signed_by(objects, key, fingerprint) for key in wrapping_keys(signed.manifest)),
        file=file,
    )


def _signed_by(objects: Objects, key: str, fingerprint: str) -> bool:
    certificates = find_all(objects, key, trusted=None).certificates.values()
    return any(certificate.key_fingerprint == fingerprint for certificate in certificates)


def re_sign_backup(services: Services, entry: CatalogEntry) -> ReSigned:
    """Sign a backup's manifest and envelopes anew where a distrusted signer did.

    It may die at any instruction and be done again.

    Raises:
        MissingPiece: no target gives the very manifest that was recorded, or its file is not there.
        UntrustedSigner: its signer was never one of this installation.
    """
    return _in_files(services, entry) if in_a_file(entry) else _on_targets(services, entry)


def _on_targets(services: Services, entry: CatalogEntry) -> ReSigned:
    _, signed, recorded = _recorded(services, entry)
    content = _signed_anew(services, signed)
    missed: dict[str, str] = {}
    placed = envelopes = 0
    for replica in services.store.replicas(entry.backup):
        try:
            target = services.target(replica.target)
            put_lists(target, services.signers(Role.RECOVER).lists)
            if content is not None or _lacks(services, target, entry.backup):
                _beside(target, manifest_name(entry.backup), content or recorded)
                placed += 1
            envelopes += _envelopes(services, target, signed.manifest)
            _lock(services, target, signed.manifest)
        except StrongroomError as error:
            missed[replica.target] = f"{error.code}: {error.message}"
            if isinstance(error, DAMAGE):  # one that is merely away stays what it was known to be
                services.store.set_replica(msgspec.structs.replace(replica, good=False))
    if content is not None and placed:
        _note(services, entry, content, missed)
    return ReSigned(backup=entry.backup, manifest=placed > 0, envelopes=envelopes, missed=missed)


def _lacks(services: Services, target: Target, backup: str) -> bool:
    """Tell whether a target missed a new signature: it holds the manifest, and no copy of it counts."""
    trusted = services.signer_fingerprints
    try:
        sound_copy(target, manifest_name(backup), lambda content: open_manifest(content, trusted=trusted))
    except MissingPiece:  # it holds nothing of the backup, and a manifest alone must not say that it does
        return False
    except FormatError:
        return True
    return False


def _signed_anew(services: Services, signed: SignedManifest) -> bytes | None:
    """Return a manifest with a signature that counts; ``None`` if it has one.

    It states the newest trust list that is known here, and not what the leaked key stated: a number that
    never was would have every reader miss that list for ever.
    """
    try:
        require_trusted(signed.certificate, services.signer_fingerprints)
    except UntrustedSigner:
        pass
    else:
        return None
    signer = services.signers(Role.RECOVER)
    return sign_manifest(msgspec.structs.replace(signed.manifest, trust=signer.trust), signer)


# -- in files ------------------------------------------------------------------


def _files(services: Services, backup: str) -> list[tuple[Path, str]]:
    """Return a backup's files, each with the id that it bears; none, if it is said to be gone."""
    files = lying(services, backup)
    if not files and backup not in said_gone(services):
        raise away(services, backup)
    return files


def _signed_in(services: Services, file: BundleReader, name: str, entry: CatalogEntry) -> SignedManifest:
    """Return a file's manifest: the one that was recorded, or one that needs nobody's vouching."""
    trusted = services.signer_fingerprints

    def parsed(content: bytes) -> SignedManifest:
        recorded = hashlib.sha256(content).hexdigest() == entry.manifest_sha256
        return open_manifest(content, trusted=ever_trusted(trusted) if recorded else trusted)

    return sound_copy(file, manifest_name(name), parsed)


def _in_files(services: Services, entry: CatalogEntry) -> ReSigned:
    manifests = envelopes = 0
    for path, name in _files(services, entry.backup):
        try:
            manifest, renewed = _in_file(services, entry, path, name)
        except UntrustedSigner as error:
            raise UntrustedSigner(
                f"made by a command, in {path}, and not what is on record: {error.message} Write it again, "
                "or give --signer when restoring from it"
            ) from None
        manifests += manifest
        envelopes += renewed
    return ReSigned(backup=entry.backup, manifest=manifests > 0, envelopes=envelopes, missed={})


def _in_file(services: Services, entry: CatalogEntry, path: Path, name: str) -> tuple[bool, int]:
    """Write a file anew with what it lacks; it takes its own place once it was read back whole."""
    with BundleReader(path) as old:
        signed = _signed_in(services, old, name, entry)
        content = _signed_anew(services, signed)
        keys = wrapping_keys(signed.manifest)
        if content is None and not any(list(_unbelieved(services, old, key)) for key in keys):
            return False, 0
        with BundleWriter(path, over=old) as new:
            for info in old.list():
                copy(old, new, info.name)
            if content is not None:
                put_lists(new, services.signers(Role.RECOVER).lists)
                _beside(new, manifest_name(name), content)
            envelopes = _envelopes(services, new, signed.manifest)
            read_back(new, signed.manifest, Depth.DIGEST, ReadBackKeys(trusted=services.signer_fingerprints))
            new.close(commit=True)
    if content is not None:
        _note(services, entry, content, {})
    return content is not None, envelopes


# -- what was recorded ---------------------------------------------------------


def _note(services: Services, entry: CatalogEntry, content: bytes, missed: Mapping[str, str]) -> None:
    digest = hashlib.sha256(content).hexdigest()
    services.store.put_backup(msgspec.structs.replace(entry, manifest_sha256=digest))
    detail = {"backup": entry.backup, "was": entry.manifest_sha256, "now": digest}
    services.store.event("signer.re-signed", **detail, missed=sorted(missed))


def _recorded(services: Services, entry: CatalogEntry) -> tuple[Target, SignedManifest, bytes]:
    """Return who gave the manifest that was recorded, of whoever ever signed here; it, and its bytes."""
    ever = ever_trusted(services.signer_fingerprints)

    def parsed(content: bytes) -> tuple[SignedManifest, bytes]:
        if hashlib.sha256(content).hexdigest() != entry.manifest_sha256:
            raise MissingPiece(f"no target gives the manifest of {entry.backup} that was recorded")
        return open_manifest(content, trusted=ever), content

    def read(replica: Replica) -> tuple[Target, SignedManifest, bytes]:
        target = services.target(replica.target)
        return target, *sound_copy(target, manifest_name(entry.backup), parsed)

    return first_answer(services.store.replicas(entry.backup), read, of=f"backup {entry.backup}")


def _envelopes(services: Services, target: Target, manifest: Manifest) -> int:
    """Put what counts no more of a target's envelopes there, signed anew; return how many that were."""
    done = 0
    for key in wrapping_keys(manifest):
        for record in _unbelieved(services, target, key):
            unlock(record, services.identities())  # its MAC proves that no stranger made it
            renewed = write_detached(record, services.signers(Role.RECOVER))
            _beside(target, envelope_name(key, record.generation), renewed)
            done += 1
    return done


def _unbelieved(services: Services, target: Objects, key: str) -> Iterator[WrappingKeyRecord]:
    """Yield the newest envelope, if it is one that counts only as long as its signer was trusted."""
    trusted = services.signer_fingerprints
    ever = find_newest(target, key, trusted=ever_trusted(trusted)).newest
    now = find_newest(target, key, trusted=trusted).newest
    if ever is not None and (now is None or now.generation < ever.generation):
        yield ever


def _beside(target: Target, name: str, content: bytes) -> None:
    put_beside(target, name, lambda: [content], size=len(content), sha256=hashlib.sha256(content).digest())


def _lock(services: Services, target: Target, manifest: Manifest) -> None:
    try:
        minimum_retention_days = services.pinned(manifest.policy).spec.minimum_retention_days
    except ConfigError:
        return  # a policy that is gone locks nothing more
    if why := lock_backup(target, manifest, lock_until(manifest, minimum_retention_days)):
        services.store.event("replica.unlocked", backup=manifest.backup_id, target=target.name, why=why)
