"""Rotating single-file backups: the file is written anew beside itself and takes its own place.

A file cannot be added to, so its objects are copied, byte for byte as they are sealed. The new
file gets the name only after it was read back and opened; until then the old one is untouched.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.errors import WrongKey
from strongroom.container.manifest import Manifest, sign_manifest
from strongroom.container.wrapping import WrappingKey
from strongroom.errors import UsageError
from strongroom.keys import Recipient
from strongroom.keys.passphrase import PassphraseRecipient
from strongroom.model import COMMAND, Depth
from strongroom.operations.archive.envelopes import (
    envelopes_prefix,
    find_newest,
    named,
    readers_now,
    wrapping_keys,
)
from strongroom.operations.archive.open import Backup, ReadBackKeys, manifest_bytes, read_back, read_manifest
from strongroom.operations.engine.layout import container_name, manifest_name, successor_of
from strongroom.operations.engine.services import Services
from strongroom.operations.rotation.reencrypt import reseal, reseal_all, resealed_manifest
from strongroom.operations.rotation.rewrap import RewrapOrder, rewrap_backup
from strongroom.system.errors import Conflict, WouldOverwrite
from strongroom.targets import put_whole
from strongroom.targets.single_file import BundleReader, BundleWriter

RECENT = 100_000
"""How many runs back the files that this installation wrote are looked for."""


class FileRotated(Struct, frozen=True, kw_only=True):
    """What became of one file. ``was`` and ``now`` say who could and who can open it.

    ``verified`` is the depth it was read back to. ``kept`` is where the old file is now, which
    the old keys still open, or empty.
    """

    file: str
    backup: str
    changed: bool
    was: tuple[str, ...]
    now: tuple[str, ...]
    verified: str = ""
    kept: str = ""


def written_files(services: Services) -> list[Path]:
    """Return the backup files that this installation wrote and that are still there."""
    runs = services.store.runs(RECENT)
    paths = {Path(pin.address) for run in runs if run.spec.policy == COMMAND for pin in run.spec.targets}
    return sorted(path for path in paths if path.is_file())


def file_manifest(path: Path, *, trusted: frozenset[str]) -> Manifest:
    """Return a file's manifest, of a trusted signer, with those whom it opens for."""
    with BundleReader(path) as reader:
        return readers_now(reader, read_manifest(reader, trusted=trusted), trusted=trusted)


def opens_for(path: Path, *, trusted: frozenset[str]) -> tuple[str, ...]:
    """Say who can open a file by the newest envelope of each of its wrapping keys."""
    return tuple(recipient.describes for recipient in file_manifest(path, trusted=trusted).recipients)


def require_same_passphrases(path: Path, recipients: Sequence[Recipient], *, trusted: frozenset[str]) -> None:
    """Refuse a passphrase that is to be kept and does not open the file now: a slip would take the place of
    the right one, which is known by its label alone.

    Raises:
        UsageError: which passphrase it is.
    """
    with BundleReader(path) as file:
        manifest = read_manifest(file, trusted=trusted)
        now = {reader.fingerprint for reader in readers_now(file, manifest, trusted=trusted).recipients}
        for recipient in recipients:
            if not isinstance(recipient, PassphraseRecipient) or recipient.fingerprint not in now:
                continue
            try:
                Backup(file, manifest, [recipient.identity()], trusted=trusted).unlock()
            except WrongKey:
                raise UsageError(
                    f"The passphrase that was given for {recipient.describe()} does not open '{path}' now.",
                    hint="Nothing was changed. Correct the passphrase, then repeat.",
                ) from None


def rewrap_file(path: Path, rotation: RewrapOrder) -> FileRotated:
    """Write a file anew with one more envelope a wrapping key; its containers stay as they are."""
    was = opens_for(path, trusted=rotation.trusted)
    with BundleReader(path) as old, BundleWriter(path, over=old) as new:
        manifest = read_manifest(old, trusted=rotation.trusted)
        for name in _kept(old, manifest, rotation.trusted):
            copy(old, new, name)
        # A file takes no deletion: what is older is left out when it is written anew the next time.
        keys = list(rewrap_backup(manifest, [new], replace(rotation, keep_older=True)))
        if not any(key.made for key in keys):
            return FileRotated(file=str(path), backup=manifest.backup_id, changed=False, was=was, now=was)
        depth = _read_back(new, manifest, rotation)
        new.close(commit=True)
    now = opens_for(path, trusted=rotation.trusted)
    return FileRotated(
        file=str(path), backup=manifest.backup_id, changed=True, was=was, now=now, verified=depth.value
    )


def reencrypt_file(path: Path, rotation: RewrapOrder, *, digest_key: bytes, remove: bool) -> FileRotated:
    """Seal a file anew under new keys, in its own place; the old one is kept beside it.

    Args:
        remove: drop the old file instead. Copies of it elsewhere are out of reach.
    """
    was = opens_for(path, trusted=rotation.trusted)
    with BundleReader(path) as old, BundleWriter(path, over=old) as new:
        manifest = read_manifest(old, trusted=rotation.trusted)
        if _is_only_for(old, manifest, rotation):
            return FileRotated(file=str(path), backup=manifest.backup_id, changed=False, was=was, now=was)
        sealed = _reseal(old, new, manifest, rotation, digest_key)
        depth = _read_back(new, sealed, rotation)
        new.require_unchanged()
        kept = None if remove else _keep(path, manifest.backup_id)
        _take_over(new, path, kept)
    return FileRotated(
        file=str(path),
        backup=sealed.backup_id,
        changed=True,
        was=was,
        now=tuple(recipient.describes for recipient in sealed.recipients),
        verified=depth.value,
        kept=str(kept or ""),
    )


def _kept(old: BundleReader, manifest: Manifest, trusted: frozenset[str]) -> Iterator[str]:
    """Yield the objects to copy: all but the envelopes that a newer one replaced."""
    dropped = set()
    for key in wrapping_keys(manifest):
        newest = find_newest(old, key, trusted=trusted).newest
        dropped |= {name for name, number in named(old, key) if newest and number < newest.generation}
    return (info.name for info in old.list() if info.name not in dropped)


def copy(old: BundleReader, new: BundleWriter, name: str) -> None:
    """Put an object of one file into another."""
    digest = hashlib.sha256()
    size = 0
    for block in old.read(name):
        digest.update(block)
        size += len(block)
    new.put(name, old.read(name), size=size, sha256=digest.digest())


def _is_only_for(old: BundleReader, manifest: Manifest, rotation: RewrapOrder) -> bool:
    new = {recipient.fingerprint for recipient in rotation.recipients}
    detached = any(list(old.list(envelopes_prefix(key))) for key in wrapping_keys(manifest))
    return {recipient.fingerprint for recipient in manifest.recipients} == new and not detached


def _reseal(
    old: BundleReader, new: BundleWriter, manifest: Manifest, rotation: RewrapOrder, digest_key: bytes
) -> Manifest:
    backup = Backup(old, manifest, rotation.identities, trusted=rotation.trusted)
    seal = partial(
        reseal,
        backup=successor_of(manifest.backup_id),
        wrapping_key=WrappingKey.create(rotation.recipients),
        signer=rotation.signer,
        digest_key=digest_key,
    )
    entries = []
    for resealed in reseal_all(manifest.containers, backup.container, seal, unlock=backup.unlock):
        entries.append(resealed.entry)
        name = container_name(successor_of(manifest.backup_id), resealed.entry.sha256)
        put_whole(new, name, memoryview(resealed.content))
    content = manifest_bytes(old, manifest.backup_id, trusted=rotation.trusted)
    sealed = resealed_manifest(
        manifest,
        entries,
        rotation.recipients,
        backup=successor_of(manifest.backup_id),
        previous=hashlib.sha256(content).hexdigest(),
        trust=rotation.signer.trust,
    )
    for name, trust_list in rotation.signer.lists.items():
        put_whole(new, name, trust_list)
    put_whole(new, manifest_name(sealed.backup_id), sign_manifest(sealed, rotation.signer))
    return sealed


def _read_back(new: BundleWriter, manifest: Manifest, rotation: RewrapOrder) -> Depth:
    """Read the new file back, and open it if somebody who can is at hand."""
    keys = ReadBackKeys(identities=rotation.identities, trusted=rotation.trusted)
    try:
        read_back(new, manifest, Depth.OPENED, keys)
    except WrongKey:  # sealed for a key that is elsewhere, as it should be
        read_back(new, manifest, Depth.DIGEST, keys)
        return Depth.DIGEST
    return Depth.OPENED


def _take_over(new: BundleWriter, path: Path, kept: Path | None) -> None:
    """Complete the new file in the old one's place. If that fails, the old one has one name again.

    It has none again where somebody replaced or removed it meanwhile: that is theirs to say.
    """
    try:
        new.close(commit=True)
    except BaseException as error:
        if kept is not None and (isinstance(error, Conflict) or kept.samefile(path)):
            kept.unlink()
        raise


def _keep(path: Path, backup: str) -> Path:
    """Give the old file a second name, so that it stays when the first is taken over."""
    kept = path.with_name(f"{path.name}.{backup}.superseded")
    try:
        os.link(path, kept)
    except FileExistsError:
        if not kept.samefile(path):
            raise WouldOverwrite(f"{kept} is there already, and is another file.") from None
    return kept
