"""resign: what a signer that is distrusted by now signed, signed anew by one that is trusted.

Distrust takes every backup of a leaked signer out of use, the good ones too. Those that this
installation recorded when it made them, byte for byte, get a second signature. The new manifest
lies beside the old one, so that it works under locks and nothing is overwritten.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import msgspec
from msgspec import Struct

from strongroom.container.envelope import write_detached
from strongroom.container.manifest import Manifest, SignedManifest, open_manifest, sign_manifest
from strongroom.container.signing import ever_trusted
from strongroom.container.wrapping import WrappingKeyRecord, unlock
from strongroom.errors import ConfigError, MissingPiece, StrongroomError, UntrustedSigner
from strongroom.operations.envelopes import envelope_name, find_newest, wrapping_keys
from strongroom.operations.layout import manifest_name
from strongroom.operations.locks import lock_backup, lock_until
from strongroom.operations.services import Services
from strongroom.state.records import CatalogEntry
from strongroom.targets import Target
from strongroom.targets.repaired import put_beside, sound_copy


class Rests(Struct, frozen=True, kw_only=True):
    """What of a backup bears a signer's signature: its manifest, containers, or envelopes on a target."""

    backup: str
    created_at: str
    manifest: bool
    containers: int
    envelopes: int


class Resigned(Struct, frozen=True, kw_only=True):
    """What became of one backup. ``missed`` says why a target lacks the new signature."""

    backup: str
    manifest: bool
    envelopes: int
    missed: Mapping[str, str]


def rests_on(services: Services, entry: CatalogEntry, fingerprint: str) -> Rests:
    """Say what of a backup a signer signed, on the first target that gives it."""
    target, signed = _recorded(services, entry)
    own = frozenset({fingerprint})
    return Rests(
        backup=entry.backup,
        created_at=entry.created_at,
        manifest=signed.fingerprint == fingerprint,
        containers=sum(one.signer_fingerprint == fingerprint for one in signed.manifest.containers),
        envelopes=sum(
            len(find_newest(target, key, trusted=own).records) for key in wrapping_keys(signed.manifest)
        ),
    )


def resign_backup(services: Services, entry: CatalogEntry) -> Resigned:
    """Sign a backup's manifest and envelopes anew where a distrusted signer did.

    It may die at any instruction and be done again.

    Raises:
        MissingPiece: no target gives the very manifest that was recorded.
        UntrustedSigner: its signer was never one of this installation.
    """
    _, signed = _recorded(services, entry)
    content = None
    if signed.fingerprint not in services.signer_fingerprints:
        content = sign_manifest(signed.manifest, services.signers("recover"))
    missed: dict[str, str] = {}
    placed = envelopes = 0
    for replica in services.store.replicas(entry.backup):
        try:
            target = services.target(replica.target)
            if content is not None:
                _beside(target, manifest_name(entry.backup), content)
                placed += 1
            envelopes += _envelopes(services, target, signed.manifest)
            _lock(services, target, signed.manifest)
        except StrongroomError as error:
            missed[replica.target] = f"{error.code}: {error.message}"
            services.store.set_replica(msgspec.structs.replace(replica, good=False))
    if content is not None and placed:
        _note(services, entry, content, missed)
    return Resigned(backup=entry.backup, manifest=placed > 0, envelopes=envelopes, missed=missed)


def _note(services: Services, entry: CatalogEntry, content: bytes, missed: Mapping[str, str]) -> None:
    digest = hashlib.sha256(content).hexdigest()
    services.store.put_backup(msgspec.structs.replace(entry, manifest_sha256=digest))
    detail = {"backup": entry.backup, "was": entry.manifest_sha256, "now": digest}
    services.store.event("signer.resigned", **detail, missed=sorted(missed))


def _recorded(services: Services, entry: CatalogEntry) -> tuple[Target, SignedManifest]:
    """Return the manifest that was recorded, of whoever ever signed here, and who gave it."""
    ever = ever_trusted(services.signer_fingerprints)
    failures: list[StrongroomError] = []

    def parsed(content: bytes) -> SignedManifest:
        if hashlib.sha256(content).hexdigest() != entry.manifest_sha256:
            raise MissingPiece(f"no target gives the manifest of {entry.backup} that was recorded")
        return open_manifest(content, trusted=ever)

    for replica in services.store.replicas(entry.backup):
        try:
            target = services.target(replica.target)
            return target, sound_copy(target, manifest_name(entry.backup), parsed)
        except StrongroomError as error:
            failures.append(error)
    refused = next((error for error in failures if isinstance(error, UntrustedSigner)), None)
    raise refused or (failures[0] if failures else MissingPiece(f"no target holds backup {entry.backup}"))


def _envelopes(services: Services, target: Target, manifest: Manifest) -> int:
    """Put what counts no more of a target's envelopes there, signed anew; return how many that were."""
    done = 0
    for key in wrapping_keys(manifest):
        for record in _unbelieved(services, target, key):
            unlock(record, services.identities())  # its MAC proves that no stranger made it
            renewed = write_detached(record, services.signers("recover"))
            _beside(target, envelope_name(key, record.generation), renewed)
            done += 1
    return done


def _unbelieved(services: Services, target: Target, key: str) -> Iterator[WrappingKeyRecord]:
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
        keep_days = services.pinned(manifest.policy).spec.keep_days
    except ConfigError:
        return  # a policy that is gone locks nothing more
    if why := lock_backup(target, manifest, lock_until(manifest, keep_days)):
        services.store.event("replica.unlocked", backup=manifest.backup_id, target=target.name, why=why)
