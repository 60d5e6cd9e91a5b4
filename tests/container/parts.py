"""Small real parts that the container's tests share."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroom.container.about import ContainerHeader
from strongroom.container.cobblestone import name_hash
from strongroom.container.manifest import (
    ContainerEntry,
    Counts,
    Manifest,
    ManifestRecipient,
    ManifestSelection,
    ManifestTarget,
)
from strongroom.container.metadata import DocumentAbout, write_document
from strongroom.container.signing import CertifiedSigner, Receipt, Signer, sign_receipt
from strongroom.container.wrapping import Recipient, Stanza, WrappingKey
from strongroom.container.writer import SealedContainer, write_container
from strongroom.model import Secret, SecretBytes, SecretVersion
from strongroom.operations.engine.layout import container_entry
from strongroom.targets.single_file import BundleWriter
from tests.certified import certified

NAME_KEY = bytes(range(32))
DIGEST_KEY = bytes(range(32, 64))
INSTALLATION = Signer.from_private(bytes(range(96, 128)))
SIGNER = certified("seal", installation=INSTALLATION, signer=Signer.from_private(bytes(range(64, 96))))
CONTROL, RECOVER = (certified(role, installation=INSTALLATION) for role in ("control", "recover"))
TRUSTED = frozenset({INSTALLATION.fingerprint})
DOCUMENT_ABOUT = DocumentAbout(
    backup_id="20261125T024501Z-3f9a0c1d",
    piece=0,
    pieces=1,
    source="local",
    policy="daily",
    created_at="2026-11-25T02:45:01Z",
)


class RawKey:
    """A recipient and identity that holds a bare AES-256 key."""

    type = "raw"
    label = "test"
    post_quantum = True

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.fingerprint = "raw"

    def describe(self) -> str:
        return "a raw key"

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:
        nonce = os.urandom(12)
        wrapped = AESGCM(self._key).encrypt(nonce, key, context)
        return Stanza(type="raw", label="test", args={"nonce": nonce.hex(), "wrapped": wrapped.hex()})

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        if stanza.type != "raw":
            return None
        nonce, wrapped = (bytes.fromhex(str(stanza.args[k])) for k in ("nonce", "wrapped"))
        try:
            return AESGCM(self._key).decrypt(nonce, wrapped, context)
        except InvalidTag:
            return None


KEY = RawKey(bytes(32))
OTHER = RawKey(bytes([1]) * 32)


def secret(name: str, value: bytes = b"CANARY-value", *, number: int = 1) -> Secret:
    return Secret(name=name, versions=(SecretVersion(number=number, value=SecretBytes(value)),))


def about(*, values: bool = True, piece: int = 0, pieces: int = 1) -> ContainerHeader:
    return ContainerHeader(
        backup_id="20261125T024501Z-3f9a0c1d",
        piece=piece,
        pieces=pieces,
        source="local",
        policy="weekly",
        values=values,
        created_at="2026-11-25T02:45:01Z",
        name_key=NAME_KEY,
    )


def hashed(secrets: Iterable[Secret]) -> list[tuple[bytes, Secret]]:
    return sorted(((name_hash(NAME_KEY, s.name), s) for s in secrets), key=lambda pair: pair[1].name)


def sealed(
    secrets: Iterable[Secret],
    *,
    recipients: Iterable[Recipient] = (KEY,),
    wrapping_key: WrappingKey | None = None,
    about_: ContainerHeader | None = None,
    signer: CertifiedSigner = SIGNER,
) -> tuple[bytes, SealedContainer]:
    parts: list[bytes] = []
    record = write_container(
        parts.append,
        hashed(secrets),
        about=about_ or about(),
        wrapping_key=wrapping_key or WrappingKey.create(list(recipients)),
        signer=signer,
        digest_key=DIGEST_KEY,
    )
    return b"".join(parts), record


def document(secrets: Iterable[Secret]) -> bytes:
    parts: list[bytes] = []
    write_document(parts.append, secrets, about=DOCUMENT_ABOUT)
    return b"".join(parts)


def packed(objects: Mapping[str, bytes]) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, "backup")
        with BundleWriter(path) as bundle:
            for name, content in objects.items():
                bundle.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())
            bundle.close(commit=True)
        return path.read_bytes()


def entry(piece: int, first: str, last: str, *, secrets: int = 2) -> ContainerEntry:
    receipt = Receipt(
        run="20261125T024501Z-3f9a0c1d",
        piece=piece,
        sha256="ab" * 32,
        size=1000,
        secrets=secrets,
        versions=secrets,
        first=first * 16,
        last=last * 16,
        wrapping_key="cd" * 16,
        container_signature="ef" * 64,
    )
    return container_entry(receipt, sign_receipt(receipt, SIGNER), SIGNER.public)


def manifest(*containers: ContainerEntry, sealed: bool = True) -> Manifest:
    containers = containers or (entry(0, "11", "22"), entry(1, "33", "44"))
    return Manifest(
        backup_id="20261125T024501Z-3f9a0c1d",
        policy="weekly",
        source="local",
        created_at="2026-11-25T02:45:01Z",
        values=True,
        sealed=sealed,
        selection=ManifestSelection(tags={"team": "payments", "priority": "critical"}),
        counts=Counts(
            secrets=sum(c.secrets for c in containers),
            versions=sum(c.versions for c in containers),
            size=sum(c.size for c in containers),
        ),
        recipients=(
            ManifestRecipient(
                name="recovery", type="hpke", fingerprint="f", post_quantum=True, describes="the holder"
            ),
        ),
        targets=(ManifestTarget(name="a", address="/a", region="eu", provider="directory", counts=True),),
        quorum=1,
        regions=1,
        providers=1,
        not_contained=(),
        containers=containers,
        previous=None,
        trust=0,
    )
