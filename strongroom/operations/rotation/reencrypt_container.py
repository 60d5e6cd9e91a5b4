"""Seal the content of a container anew under new keys, and compare it before it leaves memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import structs

from strongroom.container.certificate import CertifiedSigner
from strongroom.container.check import check_sealed
from strongroom.container.errors import VerificationFailed
from strongroom.container.keyless import read_outer
from strongroom.container.manifest import (
    ContainerEntry,
    Counts,
    Manifest,
    ManifestRecipient,
)
from strongroom.container.ranges import BytesReader
from strongroom.container.reader import Container
from strongroom.container.receipt import sign_receipt
from strongroom.container.wrapping import WrappingKey
from strongroom.container.writer import Pair, write_container
from strongroom.keys import Recipient
from strongroom.operations.layout import container_entry, sealed_receipt


class Resealed:
    """One container under new keys: its bytes, and its line in the new manifest."""

    __slots__ = ("content", "entry")

    def __init__(self, content: bytearray, entry: ContainerEntry) -> None:
        self.content = content
        self.entry = entry


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
