"""The manifest: the small signed record that makes a backup visible."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from operator import not_
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import astuple

from strongroom.container import canonical, document
from strongroom.container.canonical import check_hex, printable, unhex
from strongroom.container.cobblestone import SIZE
from strongroom.container.document import DocumentKind
from strongroom.container.errors import Malformed, Tampered
from strongroom.container.marks import check_number, require_numbered
from strongroom.container.signing import (
    MANIFEST_ROLES,
    Certificate,
    CertifiedSigner,
    Receipt,
    fingerprint,
    require_in_time,
    require_listed,
    verify_receipt,
)
from strongroom.model import prepare

MANIFEST = DocumentKind("manifest", "manifest", MANIFEST_ROLES)
MAX_CONTAINERS = 100_000
MAX_TEXTS = 1_000
MAX_TEXT = 1_000


class Counts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much is in a backup; ``size`` in bytes, of all containers together."""

    secrets: int
    versions: int
    size: int


class ManifestRecipient(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who can open the backup; all of it public."""

    name: str
    type: str
    fingerprint: str
    post_quantum: bool
    describes: str


class ManifestTarget(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the backup was to lie. Which targets hold it now, the catalog says.

    ``counts`` is false for one that would be lost together with the source."""

    name: str
    address: str
    region: str
    provider: str
    counts: bool


class ManifestSelection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which secrets were meant."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    tags: dict[str, str] = {}


class ContainerEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One container. ``first`` and ``last`` are name hashes in hex (empty: no secret, or
    not sealed). ``signer`` (a public key) and ``signature`` are its receipt's,
    ``container_signature`` is that at the container's own end (empty: not sealed).

    Its fields are texts and numbers, so the collector of cycles need not look at any.
    """

    piece: int
    sha256: str
    size: int
    secrets: int
    versions: int
    first: str
    last: str
    wrapping_key: str
    signer: str
    container_signature: str
    signature: str

    @property
    def signer_fingerprint(self) -> str:
        """The fingerprint of whoever captured it."""
        return fingerprint(bytes.fromhex(self.signer))


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A backup. ``previous`` is the SHA-256 (hex) of the manifest before it in its policy, ``trust`` the
    number of the newest trust list that its signer knew, or 0.

    ``not_contained`` says in words what else the source has and this backup does not contain.

    ``containers`` ascend by ``piece`` from 0, without a gap; when sealed, their hash
    ranges ascend and do not overlap, so a name is in one of them at most.
    """

    backup_id: str
    policy: str
    source: str
    created_at: str
    values: bool
    sealed: bool
    selection: ManifestSelection
    counts: Counts
    recipients: tuple[ManifestRecipient, ...]
    targets: tuple[ManifestTarget, ...]
    quorum: int
    regions: int
    providers: int
    not_contained: tuple[str, ...]
    containers: tuple[ContainerEntry, ...]
    previous: str | None
    trust: int

    def candidates(self, name_hash: bytes) -> tuple[ContainerEntry, ...]:
        """Return the containers whose range this hash falls in: one or none."""
        text = name_hash.hex()
        return tuple(c for c in self.containers if c.first and c.first <= text <= c.last)


prepare(Manifest)


class SignedManifest(Struct, frozen=True):
    """A parsed manifest, with the certificate of the key that signed it."""

    manifest: Manifest
    certificate: Certificate

    @property
    def fingerprint(self) -> str:
        """The installation's fingerprint."""
        return self.certificate.fingerprint


def sign_manifest(manifest: Manifest, signer: CertifiedSigner) -> bytes:
    """Return the manifest's file. The same manifest and signer give the same bytes."""
    check_manifest(manifest)
    return document.write(MANIFEST, canonical.encode(manifest), signer)


def parse_manifest(data: bytes, *, trusted: frozenset[str] | None, receipts: bool = True) -> Manifest:
    """Parse strictly and check the signature; see :func:`open_manifest`."""
    return open_manifest(data, trusted=trusted, receipts=receipts).manifest


def open_manifest(data: bytes, *, trusted: frozenset[str] | None, receipts: bool = True) -> SignedManifest:
    """Parse strictly, check the signature, and return the signer too.

    Args:
        receipts: whether every container's receipt is checked. Re-wrapping thousands of backups reads the
            end of one container each, whose own signature it checks: a hundred signatures more would be
            most of what it takes.

    Raises, in this order: NotABackup, UnsupportedVersion, Truncated, Tampered,
    UntrustedSigner, UnsupportedVersion of before the first release, Malformed, UntrustedSigner again if a
    retired key made it after its time, TrustListMissing if it states a newer trust list than was found, and
    Tampered if a container's receipt is not its signer's.
    ``trusted=None`` accepts any installation, and the caller has to say so.
    """
    parsed = document.parse(MANIFEST, data, trusted=trusted)
    require_numbered(parsed.body, b"previous", "The manifest")
    manifest = canonical.decode(parsed.body, Manifest, "The manifest")
    check_manifest(manifest)
    require_in_time(parsed.certificate, manifest.created_at, trusted)
    require_listed(parsed.certificate, manifest.trust, trusted)
    if receipts:
        check_receipts(manifest)
    return SignedManifest(manifest, parsed.certificate)


def receipt_of(manifest: Manifest, entry: ContainerEntry) -> Receipt:
    """Return what the signature of a container's entry is over."""
    fields = {name: getattr(entry, name) for name in Receipt.__struct_fields__ if name != "run"}
    return Receipt(run=manifest.backup_id, **fields)


def check_receipts(manifest: Manifest) -> None:
    """Hold every container's entry to the signature of whoever sealed it; raise Tampered."""
    for entry in manifest.containers:
        try:
            verify_receipt(receipt_of(manifest, entry), entry.signature, [bytes.fromhex(entry.signer)])
        except Tampered:
            raise Tampered(
                f"The receipt of container {entry.piece} is not of the key that the manifest names."
            ) from None


def check_manifest(manifest: Manifest) -> None:
    """Hold a manifest to the format's rules; raise Malformed."""
    if len(manifest.containers) > MAX_CONTAINERS:
        raise Malformed("The manifest lists too many containers.")
    columns = _Columns.of(manifest.containers)
    if columns.piece != tuple(range(len(columns.piece))):
        raise Malformed("The manifest's containers are not numbered without a gap.")
    _check_columns(columns, sealed=manifest.sealed)
    sums = (sum(columns.secrets), sum(columns.versions), sum(columns.size))
    if (manifest.counts.secrets, manifest.counts.versions, manifest.counts.size) != sums:
        raise Malformed("The manifest's counts are not those of its containers.")
    if manifest.sealed:
        before = ""
        for first, last in compress(zip(columns.first, columns.last, strict=True), columns.secrets):
            if not before < first <= last:
                raise Malformed("The containers' ranges of names overlap.")
            before = last
    _check_texts(manifest.not_contained)
    if manifest.previous is not None:
        unhex(manifest.previous, 32, "The previous manifest's digest")
    check_number(manifest.trust, "The number of the manifest's trust list")


class _Columns(NamedTuple):
    """The containers' entries, field by field and in their order: there may be many, and a rotation checks
    thousands of manifests."""

    piece: tuple[int, ...] = ()
    sha256: tuple[str, ...] = ()
    size: tuple[int, ...] = ()
    secrets: tuple[int, ...] = ()
    versions: tuple[int, ...] = ()
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    wrapping_key: tuple[str, ...] = ()
    signer: tuple[str, ...] = ()
    container_signature: tuple[str, ...] = ()
    signature: tuple[str, ...] = ()

    @classmethod
    def of(cls, containers: Sequence[ContainerEntry]) -> _Columns:
        return cls(*zip(*map(astuple, containers), strict=True))


def _check_texts(texts: Sequence[str]) -> None:
    if len(texts) > MAX_TEXTS or not all(printable(text, MAX_TEXT) for text in texts):
        raise Malformed("What the manifest says is not contained is too long, or cannot be printed.")


def _check_columns(columns: _Columns, *, sealed: bool) -> None:
    check_hex(columns.sha256, 32, "A container's digest")
    check_hex(columns.signer, 32, "A container's signer")
    check_hex(columns.container_signature, 64 if sealed else 0, "A container's signature")
    check_hex(columns.signature, 64, "A receipt's signature")
    check_hex(columns.wrapping_key, 16 if sealed else 0, "A wrapping key's id")
    if any(min(numbers, default=0) < 0 for numbers in (columns.size, columns.secrets, columns.versions)):
        raise Malformed("A container's count is negative.")
    hashes = columns.first + columns.last
    full = (columns.secrets if sealed else (0,) * len(columns.secrets)) * 2
    check_hex(tuple(compress(hashes, full)), SIZE, "A name's hash")
    check_hex(tuple(compress(hashes, map(not_, full))), 0, "A name's hash")
