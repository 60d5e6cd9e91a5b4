"""undo: sealed files of what a restore is about to overwrite.

Sealed to whoever could open the backup that is being restored: to the public side of the
same identities. Each batch of a restore gets its file before it writes.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from strongroom.container.about import About
from strongroom.container.certificate import CertifiedSigner
from strongroom.container.digests import name_hash
from strongroom.container.manifest import (
    Counts,
    Manifest,
    ManifestRecipient,
    ManifestSelection,
    sign_manifest,
)
from strongroom.container.receipt import sign_receipt
from strongroom.container.wrapping import WrappingKey
from strongroom.container.writer import Sealed, write_container
from strongroom.errors import ConfigError
from strongroom.keys import Opener, Recipient
from strongroom.keys.allof import TYPE as ALL_OF
from strongroom.keys.allof import AllOfIdentity
from strongroom.model import Entry
from strongroom.operations.layout import container_entry, container_name, manifest_name, sealed_receipt
from strongroom.operations.restore.record import KEY_NAME
from strongroom.operations.restore.restore import Undo
from strongroom.sources import Source
from strongroom.sources.history import only
from strongroom.sources.memory import MemoryStore
from strongroom.targets.single_file import BundleWriter
from strongroom.timestamps import rfc3339, unique

UNDO = "(undo)"
"""What stands in the place of a policy's name in an undo file."""


def undo_into(
    folder: Path,
    source: Source,
    identities: Sequence[Opener],
    signer: CertifiedSigner,
    *,
    manifest: Manifest | None = None,
) -> Undo:
    """Return an :data:`Undo` that writes ``folder/0001.strongroom`` and so on.

    Args:
        manifest: the backup's that is restored, if there is one: whoever needed several keys
            for it needs them for the way back too.
    """
    recipients = _recipients(identities, manifest)
    written = len(list(folder.glob("*.strongroom")))  # an attempt that died may have kept some

    def keep(names: Sequence[str]) -> str:
        nonlocal written
        written += 1
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = folder / f"{written:04}.strongroom"
        seal_to_file(file, source, names, recipients=recipients, signer=signer)
        return file.name

    return keep


def seal_record_key(
    path: Path,
    key: bytes,
    identities: Sequence[Opener],
    signer: CertifiedSigner,
    *,
    manifest: Manifest | None = None,
) -> None:
    """Seal the key of a record's digests for those who can open the undo files."""
    source = MemoryStore([only(KEY_NAME, key)], name="undo")
    recipients = _recipients(identities, manifest)
    seal_to_file(path, source, [KEY_NAME], recipients=recipients, signer=signer)


def _recipients(identities: Sequence[Opener], manifest: Manifest | None) -> list[Recipient]:
    """Return the backup's own recipients as far as they are at hand, else everything at hand.

    Raises:
        ConfigError: nothing is at hand that could open an undo file.
    """
    sealing = (each for each in identities if not isinstance(each, AllOfIdentity) or each.seals)
    recipients = [identity.recipient() for identity in sealing]
    own = {recipient.fingerprint for recipient in manifest.recipients} if manifest else set()
    all_of = {recipient.type for recipient in manifest.recipients} == {ALL_OF} if manifest else False
    fitting = [recipient for recipient in recipients if recipient.fingerprint in own]
    if not fitting and all_of:
        fitting = [recipient for recipient in recipients if recipient.type == ALL_OF]
    found = fitting or [recipient for recipient in recipients if recipient.type != ALL_OF]
    if not found:
        raise ConfigError(
            "a restore overwrites nothing without an undo file, and needs an identity to seal it"
        )
    return found


def seal_to_file(
    path: Path,
    source: Source,
    names: Sequence[str],
    *,
    recipients: Sequence[Recipient],
    signer: CertifiedSigner,
    policy: str = UNDO,
    replace: bool = False,
) -> None:
    """Seal the named secrets as they are now into one single-file backup."""
    about = _about(source.name, policy)
    hashed = sorted((name_hash(about.name_key, name), name) for name in names)
    secrets = source.read([Entry(name, 0) for _, name in hashed])
    rows = ((place, secret) for (place, _), secret in zip(hashed, secrets, strict=True) if secret is not None)
    content = bytearray()
    sealed = write_container(
        content.extend,
        rows,
        about=about,
        wrapping_key=WrappingKey.create(recipients),
        signer=signer,
        digest_key=os.urandom(32),
    )
    manifest = sign_manifest(_manifest(about, sealed, recipients, signer), signer)
    with BundleWriter(path, replace=replace) as bundle:
        _add(bundle, container_name(about.backup_id, sealed.hexdigest), content)
        _add(bundle, manifest_name(about.backup_id), manifest)
        bundle.close(commit=True)


def _add(bundle: BundleWriter, name: str, content: bytes | bytearray) -> None:
    bundle.put(name, [bytes(content)], size=len(content), sha256=hashlib.sha256(content).digest())


def _about(source: str, policy: str) -> About:
    now = time.time()
    return About(
        backup_id=unique(now),
        piece=0,
        pieces=1,
        source=source,
        policy=policy,
        values=True,
        created_at=rfc3339(now),
        name_key=os.urandom(32),
    )


def _manifest(
    about: About, sealed: Sealed, recipients: Sequence[Recipient], signer: CertifiedSigner
) -> Manifest:
    receipt = sealed_receipt(about, sealed)
    return Manifest(
        backup_id=about.backup_id,
        policy=about.policy,
        source=about.source,
        created_at=about.created_at,
        values=True,
        sealed=True,
        selection=ManifestSelection(),
        counts=Counts(secrets=sealed.secrets, versions=sealed.versions, size=sealed.size),
        recipients=tuple(
            ManifestRecipient(
                name=recipient.label,
                type=recipient.type,
                fingerprint=recipient.fingerprint,
                post_quantum=recipient.post_quantum,
                describes=recipient.describe(),
            )
            for recipient in recipients
        ),
        targets=(),
        quorum=1,
        regions=1,
        providers=1,
        not_contained=(),
        containers=(container_entry(receipt, sign_receipt(receipt, signer), signer.public),),
        previous=None,
    )
