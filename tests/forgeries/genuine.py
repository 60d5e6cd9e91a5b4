"""The genuine backup that every forgery begins with, and what an attacker may hold of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from msgspec.structs import replace

from strongroom.container import canonical, document
from strongroom.container.cobblestone import name_hash
from strongroom.container.manifest import (
    MANIFEST,
    ContainerEntry,
    Manifest,
    ManifestSelection,
    receipt_of,
)
from strongroom.container.signing import CertifiedSigner, sign_receipt
from strongroom.container.wrapping import Recipient, WrappingKey, write_detached
from strongroom.keys.keyfile import KeyFileRecipient
from strongroom.model import Secret
from strongroom.operations.engine.layout import container_entry, container_name, sealed_receipt
from tests.vectors import good
from tests.vectors import material as m
from tests.vectors.targets import with_entries

BACKUP = m.BACKUP
OLDER = "20261124T024501Z-00000000"
NEWER = "20261126T024501Z-ffffffff"
PINS = frozenset({m.INSTALLATION.fingerprint})

OURS = {role: m.role_key(role) for role in ("control", "seal", "recover", "transfer", "verify")}
THEIRS = {role: m.role_key(role, m.STRANGERS) for role in ("control", "seal", "recover")}

Objects = dict[str, bytes]


def secrets(word: str) -> list[Secret]:
    """Return the secrets of a backup; ``word`` is in each value, so that a forged one is known."""
    return [m.secret(f"app/{n}", f"CANARY-{word}-{n}".encode()) for n in range(8)]


@dataclass(frozen=True)
class Made:
    """A backup as its maker wrote it: objects by name, and the keys that made them."""

    manifest: Manifest
    objects: Objects
    wrapping: WrappingKey
    """Of generation 2: rotated from the old key file to the new private key."""
    contents: list[Secret]

    @property
    def id(self) -> str:
        return self.manifest.backup_id

    @property
    def name(self) -> str:
        return f"manifests/{self.id}.json"

    @property
    def pieces(self) -> list[str]:
        return [container_name(self.id, entry.sha256) for entry in self.manifest.containers]

    def envelope(self, generation: int = 2) -> str:
        return f"keys/{self.wrapping.id}/{generation:08}"

    def later(self, generation: int = 3, *recipients: Recipient) -> WrappingKey:
        """Return the wrapping key in a later generation, as whoever can unwrap it can make one."""
        return self.wrapping.rewrap(list(recipients) or [key_file(b"third")], generation=generation)


def key_file(seed: bytes) -> KeyFileRecipient:
    return KeyFileRecipient(m.fixed(seed.decode()), label=seed.decode(), random=m.stream(f"{seed!r}"))


def old_recipient() -> Recipient:
    return KeyFileRecipient(m.KEY_FILE, label="old", random=m.stream("forgeries/old"))


def make(
    word: str,
    backup: str = BACKUP,
    *,
    signers: dict[str, CertifiedSigner] = OURS,
    sealer: CertifiedSigner | None = None,
    name_keys: tuple[bytes, bytes] = (m.NAME_KEY, m.NAME_KEY),
    about: dict[str, Any] | None = None,
) -> Made:
    """Make a backup of two containers, rotated once, as the holder of these keys does.

    Args:
        about: members of the second container's index that its sealer lies about.
    """
    random = m.stream(f"forgeries/{word}/{backup}")
    sealer = sealer or signers["seal"]
    first = WrappingKey.create([old_recipient()], _random=random)
    ordered = sorted(secrets(word), key=lambda s: name_hash(m.NAME_KEY, s.name))
    objects: Objects = {}
    entries: list[ContainerEntry] = []
    for number, part in enumerate((slice(4), slice(4, None))):
        told = replace(m.about(piece=number, pieces=2), backup_id=backup, name_key=name_keys[number])
        told = replace(told, **(about or {})) if number else told
        data, sealed = m.piece(random, ordered[part], told, first, signer=sealer)
        receipt = replace(sealed_receipt(told, sealed), run=backup, piece=number)
        objects[container_name(backup, sealed.hexdigest)] = data
        entries.append(container_entry(receipt, sign_receipt(receipt, sealer), sealer.public))
    record = replace(good.manifest_record(), backup_id=backup, selection=ManifestSelection(), previous=None)
    manifest = with_entries(record, *entries)
    wrapping = first.rewrap([m.X25519.recipient()])
    made = Made(manifest, objects, wrapping, ordered)
    objects[made.envelope()] = write_detached(wrapping.record, signers["recover"])
    objects[made.name] = signed(manifest, signers["control"])
    return made


def signed(manifest: Manifest, signer: CertifiedSigner = OURS["control"]) -> bytes:
    """Sign a manifest, even one that no writer of ours would."""
    return document.write(MANIFEST, canonical.encode(manifest), signer)


def signed_body(body: bytes, signer: CertifiedSigner = OURS["control"]) -> bytes:
    """Sign whatever stands where a manifest's body should."""
    return document.write(MANIFEST, body, signer)


def received(manifest: Manifest, entry: ContainerEntry, **lies: Any) -> ContainerEntry:
    """Return a container's entry with other members, and a receipt of its sealer that says the same."""
    changed = replace(entry, **lies)
    receipt = receipt_of(manifest, changed)
    return container_entry(receipt, sign_receipt(receipt, OURS["seal"]), OURS["seal"].public)


def lying(made: Made, number: int = 0, **lies: Any) -> Manifest:
    """Return a manifest that lies about one container, with the counts that fit the lie."""
    entries = list(made.manifest.containers)
    entries[number] = received(made.manifest, entries[number], **lies)
    return with_entries(made.manifest, *entries)


@cache
def genuine() -> Made:
    return make("genuine")


@cache
def older() -> Made:
    """An earlier backup of the same installation, of earlier values."""
    return make("older", OLDER)


@cache
def strangers(backup: str) -> Made:
    """A whole backup that somebody else made, for a recipient of ours: public keys are public."""
    return make("forged", backup, signers=THEIRS)


Forge = Callable[[Objects, Made], None]
