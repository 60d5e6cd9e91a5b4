"""The manifest: the small signed record that makes a backup visible."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

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
    containers = manifest.containers
    if len(containers) > MAX_CONTAINERS:
        raise Malformed("The manifest lists too many containers.")
    if [c.piece for c in containers] != list(range(len(containers))):
        raise Malformed("The manifest's containers are not numbered without a gap.")
    _check_entries(containers, sealed=manifest.sealed)
    _check_counts(manifest)
    if manifest.sealed:
        _check_ranges(containers)
    _check_texts(manifest.not_contained)
    if manifest.previous is not None:
        unhex(manifest.previous, 32, "The previous manifest's digest")


def _check_texts(texts: Sequence[str]) -> None:
    if len(texts) > MAX_TEXTS or any(len(text) > MAX_TEXT or not text.isprintable() for text in texts):
        raise Malformed("What the manifest says is not contained is too long, or cannot be printed.")


def _check_entries(entries: Sequence[ContainerEntry], *, sealed: bool) -> None:
    """Check each field over all containers: there may be many, and whoever rotates reads thousands."""
    check_hex([one.sha256 for one in entries], 32, "A container's digest")
    check_hex([one.signer for one in entries], 32, "A container's signer")
    check_hex([one.signature for one in entries], 64, "A container's signature")
    check_hex([one.wrapping_key for one in entries], 16 if sealed else 0, "A wrapping key's id")
    if any(one.size < 0 or one.secrets < 0 or one.versions < 0 for one in entries):
        raise Malformed("A container's count is negative.")
    full = [one for one in entries if sealed and one.secrets]
    empty = [one for one in entries if not (sealed and one.secrets)]
    for some, size in ((full, SIZE), (empty, 0)):
        check_hex([name for one in some for name in (one.first, one.last)], size, "A name's hash")


def _check_counts(manifest: Manifest) -> None:
    counts, containers = manifest.counts, manifest.containers
    sums = Counts(
        secrets=sum(c.secrets for c in containers),
        versions=sum(c.versions for c in containers),
        size=sum(c.size for c in containers),
    )
    if counts != sums:
        raise Malformed("The manifest's counts are not those of its containers.")


def _check_ranges(containers: Sequence[ContainerEntry]) -> None:
    last = ""
    for container in containers:
        if not container.secrets:
            continue
        if not last < container.first <= container.last:
            raise Malformed("The containers' ranges of names overlap.")
        last = container.last
