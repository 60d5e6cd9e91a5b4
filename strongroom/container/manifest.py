"""The manifest: the small signed record that makes a backup visible."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from operator import not_
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import astuple

from strongroom.container import canonical, document
from strongroom.container.canonical import check_hex, unhex
from strongroom.container.digests import SIZE
from strongroom.container.document import Kind
from strongroom.container.signing import Signer, fingerprint, require_in_time
from strongroom.errors import Malformed
from strongroom.model import prepare

MANIFEST = Kind("manifest", "manifest")
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
    not sealed). ``signer`` (a public key) and ``signature`` are its receipt's.

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
    signature: str

    @property
    def signer_fingerprint(self) -> str:
        """The fingerprint of whoever captured it."""
        return fingerprint(bytes.fromhex(self.signer))


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A backup. ``previous`` is the SHA-256 (hex) of the manifest before it in its policy.

    ``not_contained`` says in words what the source has besides, and a backup of it lacks.

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

    def candidates(self, name_hash: bytes) -> tuple[ContainerEntry, ...]:
        """Return the containers whose range this hash falls in: one or none."""
        text = name_hash.hex()
        return tuple(c for c in self.containers if c.first and c.first <= text <= c.last)


prepare(Manifest)


class SignedManifest(Struct, frozen=True):
    """A parsed manifest, with the raw public key that signed it."""

    manifest: Manifest
    signer: bytes

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.signer)


def sign_manifest(manifest: Manifest, signer: Signer) -> bytes:
    """Return the manifest's file. The same manifest and signer give the same bytes."""
    check_manifest(manifest)
    return document.write(MANIFEST, canonical.encode(manifest), signer)


def parse_manifest(data: bytes, *, trusted: frozenset[str] | None) -> Manifest:
    """Parse strictly and check the signature; see :func:`open_manifest`."""
    return open_manifest(data, trusted=trusted).manifest


def open_manifest(data: bytes, *, trusted: frozenset[str] | None) -> SignedManifest:
    """Parse strictly, check the signature, and return the signer too.

    Raises, in this order: NotABackup, UnsupportedVersion, Truncated, Tampered,
    UntrustedSigner, Malformed, and UntrustedSigner again if a retired signer made it after
    its time. ``trusted=None`` leaves the signer unchecked, and the caller has to say so.
    """
    parsed = document.parse(MANIFEST, data, trusted=trusted)
    manifest = canonical.decode(parsed.body, Manifest, "The manifest")
    check_manifest(manifest)
    require_in_time(parsed.signer, manifest.created_at, trusted)
    return SignedManifest(manifest, parsed.signer)


def check_manifest(manifest: Manifest) -> None:
    """Hold a manifest to the format's rules; raise Malformed."""
    if len(manifest.containers) > MAX_CONTAINERS:
        raise Malformed("The manifest lists too many containers.")
    columns = _Columns.of(manifest.containers)
    if columns.piece != tuple(range(len(columns.piece))):
        raise Malformed("The manifest's containers are not numbered without a gap.")
    _check_columns(columns, sealed=manifest.sealed)
    _check_counts(manifest.counts, columns)
    if manifest.sealed:
        _check_ranges(columns)
    _check_texts(manifest.not_contained)
    if manifest.previous is not None:
        unhex(manifest.previous, 32, "The previous manifest's digest")


class _Columns(NamedTuple):
    """The containers' entries, field by field and in their order: there may be many, and whoever rotates
    checks thousands of manifests."""

    piece: tuple[int, ...] = ()
    sha256: tuple[str, ...] = ()
    size: tuple[int, ...] = ()
    secrets: tuple[int, ...] = ()
    versions: tuple[int, ...] = ()
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    wrapping_key: tuple[str, ...] = ()
    signer: tuple[str, ...] = ()
    signature: tuple[str, ...] = ()

    @classmethod
    def of(cls, containers: Sequence[ContainerEntry]) -> _Columns:
        return cls(*zip(*map(astuple, containers), strict=True))


def _check_texts(texts: Sequence[str]) -> None:
    if len(texts) > MAX_TEXTS or any(len(text) > MAX_TEXT or not text.isprintable() for text in texts):
        raise Malformed("What the manifest says is not contained is too long, or cannot be printed.")


def _check_columns(columns: _Columns, *, sealed: bool) -> None:
    check_hex(columns.sha256, 32, "A container's digest")
    check_hex(columns.signer, 32, "A container's signer")
    check_hex(columns.signature, 64, "A container's signature")
    check_hex(columns.wrapping_key, 16 if sealed else 0, "A wrapping key's id")
    if any(min(numbers, default=0) < 0 for numbers in (columns.size, columns.secrets, columns.versions)):
        raise Malformed("A container's count is negative.")
    hashes = columns.first + columns.last
    full = (columns.secrets if sealed else (0,) * len(columns.secrets)) * 2
    check_hex(tuple(compress(hashes, full)), SIZE, "A name's hash")
    check_hex(tuple(compress(hashes, map(not_, full))), 0, "A name's hash")


def _check_counts(counts: Counts, columns: _Columns) -> None:
    sums = (sum(columns.secrets), sum(columns.versions), sum(columns.size))
    if (counts.secrets, counts.versions, counts.size) != sums:
        raise Malformed("The manifest's counts are not those of its containers.")


def _check_ranges(columns: _Columns) -> None:
    before = ""
    for first, last in compress(zip(columns.first, columns.last, strict=True), columns.secrets):
        if not before < first <= last:
            raise Malformed("The containers' ranges of names overlap.")
        before = last
