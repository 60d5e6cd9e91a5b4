"""Ed25519 signatures, each bound to a domain, and the certificates by which an installation vouches for
its roles' keys."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from functools import lru_cache
from typing import NoReturn, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from strongroom.container import canonical
from strongroom.container.errors import Malformed, Tampered, TrustListMissing, UntrustedSigner
from strongroom.model import Role, prepare
from strongroom.times import rfc3339

# -- Ed25519 signatures (RFC 8032), each bound to a domain so that none passes for another ------


PUBLIC = 32
SIGNATURE = 64
SIGNERS = 256
"""Public keys that are kept ready: thousands of documents are of a few signers."""


@lru_cache(maxsize=SIGNERS)
def fingerprint(public: bytes) -> str:
    """Return what people compare: ``sr1:`` and the SHA-256 of the raw public key in hex."""
    return "sr1:" + hashlib.sha256(public).hexdigest()


class Signer:
    """A private Ed25519 key. Neither ``repr`` nor pickle shows it."""

    __slots__ = ("_private", "fingerprint", "public")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public: bytes = private.public_key().public_bytes_raw()
        self.fingerprint: str = fingerprint(self.public)

    @classmethod
    def generate(cls) -> Signer:
        """Make a new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_private(cls, private: bytes) -> Signer:
        """Load the 32 raw private bytes that :meth:`private_bytes` gave."""
        return cls(Ed25519PrivateKey.from_private_bytes(private))

    def private_bytes(self) -> bytes:
        """Return the 32 raw private bytes, for the key's own file and nowhere else."""
        return self._private.private_bytes_raw()

    def sign(self, domain: bytes, message: bytes) -> bytes:
        """Sign ``domain || 0x00 || message``; 64 bytes."""
        return self._private.sign(_bound(domain, message))

    def __repr__(self) -> str:
        return f"Signer({self.fingerprint})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signing key must not be pickled")


_SMALL_ORDER = frozenset(
    [
        *(y.to_bytes(32, "little") for y in (0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18)),
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    ]
)
"""The points of edwards25519 of order 1, 2, 4 and 8, also as no writer spells them, without the sign of x."""


def is_small_order(public: bytes) -> bool:
    """Tell whether a public key is one under which a signature fits any message, or one of eight."""
    return public[:-1] + bytes([public[-1] & 0x7F]) in _SMALL_ORDER


def verify(public: bytes, domain: bytes, message: bytes, signature: bytes) -> None:
    """Return if the signature is right; raise :class:`~strongroom.container.errors.Tampered` if not."""
    try:
        _handle(public).verify(signature, _bound(domain, message))
    except (InvalidSignature, ValueError):
        raise unfit(domain) from None


@lru_cache(maxsize=SIGNERS)
def _handle(public: bytes) -> Ed25519PublicKey:
    if is_small_order(public):
        raise ValueError("nobody alone holds such a key")
    return Ed25519PublicKey.from_public_bytes(public)


def verify_any(publics: Sequence[bytes], domain: bytes, message: bytes, signature: bytes) -> bytes:
    """Return which of several keys made a signature, a role's versions; raise Tampered if none did."""
    for public in publics:
        try:
            verify(public, domain, message, signature)
        except Tampered:
            continue
        return public
    raise unfit(domain)


def unfit(domain: bytes) -> Tampered:
    """Return what is said of a signature that does not fit, by what it should sign."""
    what = domain.rpartition(b"/")[2].decode().replace("-", " ")
    return Tampered(f"The signature of the {what} does not fit: its bytes were changed after it was signed.")


class Signers(frozenset[str]):
    """Fingerprints of the installations whose signatures count, and what is known of some of their keys.

    ``retired`` says until when what a role's key makes counts (RFC 3339): a key that was rotated away
    stays good for what it signed then. ``distrusted`` are the keys that do not count any more, with
    since when and why. Both are by the role key's own fingerprint; they narrow trust and never widen it.
    ``lists`` has the number of the highest trust list that was found of an installation, by its fingerprint,
    where the places that are read were asked for lists; whoever states a higher one is not believed.
    ``lifted`` are the keys that a person named, which no list distrusts.
    ``strangers`` has what installations that are not pinned say of their own keys, where that was asked: it
    counts for what they made, and for nothing else.
    """

    retired: Mapping[str, str]
    distrusted: Mapping[str, str]
    lists: Mapping[str, int]
    lifted: frozenset[str]
    strangers: Mapping[str, Signers] | None

    def __new__(
        cls,
        trusted: Iterable[str] = (),
        *,
        retired: Mapping[str, str] | None = None,
        distrusted: Mapping[str, str] | None = None,
        lists: Mapping[str, int] | None = None,
        lifted: Iterable[str] = (),
        strangers: Mapping[str, Signers] | None = None,
    ) -> Self:
        signers = super().__new__(cls, trusted)
        signers.retired, signers.distrusted = dict(retired or {}), dict(distrusted or {})
        signers.lists, signers.lifted = dict(lists or {}), frozenset(lifted)
        signers.strangers = strangers
        return signers

    def __or__(self, other: AbstractSet[object]) -> Signers:
        """Return these and others; a key that either distrusts is distrusted."""
        more = other if isinstance(other, Signers) else Signers(str(fingerprint) for fingerprint in other)
        return Signers(
            {*self, *more},
            retired={**more.retired, **self.retired},
            distrusted={**more.distrusted, **self.distrusted},
            lists={**more.lists, **self.lists},
            lifted=self.lifted | more.lifted,
            strangers=more.strangers if self.strangers is None else self.strangers,
        )

    __ror__ = __or__

    def with_named(self, fingerprints: Iterable[str]) -> Signers:
        """Return these and those that a person named.

        An installation's fingerprint is pinned. That of a key which is retired or distrusted here is
        believed again, as long as its installation is; it is not pinned: whoever holds a leaked key
        could certify others with it.
        """
        named = frozenset(fingerprints)
        keys = named & (self.retired.keys() | self.distrusted.keys())
        return Signers(
            {*self, *(named - keys)},
            retired={
                fingerprint: until for fingerprint, until in self.retired.items() if fingerprint not in keys
            },
            distrusted={
                fingerprint: why for fingerprint, why in self.distrusted.items() if fingerprint not in keys
            },
            lists=self.lists,
            lifted=self.lifted | named,
            strangers=self.strangers,
        )

    def of_stranger(self, installation: str) -> Signers:
        """Return an installation that is not pinned, alone: by what it says itself of its keys, too."""
        own = (self.strangers or {}).get(installation, Signers())
        return Signers(
            [installation],
            retired=self.retired,
            distrusted={**own.distrusted, **self.distrusted},
            lists={} if self.strangers is None else {installation: own.lists.get(installation, 0)},
        )


def ever_trusted(trusted: frozenset[str]) -> frozenset[str]:
    """Return these installations, with their retired and distrusted keys counting as they once did."""
    return frozenset(trusted)


def _bound(domain: bytes, message: bytes) -> bytes:
    if b"\x00" in domain:
        raise ValueError("a domain holds no zero byte")
    return domain + b"\x00" + message


# -- Certificates: an installation key vouches for the roles' keys, so that people pin one fingerprint
#
# Whoever reads a backup elsewhere, years and rotations later, knows the installation's fingerprint and
# nothing else. Every signed document and every container carries the certificate of the key that signed it.


DOMAIN = b"strongroom/v1/certificate"

MANIFEST_ROLES = (Role.CONTROL, Role.RECOVER)
"""Who signs manifests: a backup's, and a rotation's or undo file's. Ledger heads and reports too."""
ENVELOPE_ROLES = (Role.RECOVER,)
CONTAINER_ROLES = (Role.SEAL, Role.RECOVER)

_PATTERN = re.compile(
    rb'\{"installation":"([0-9a-f]{64})","role":"([a-z]{1,16})","key":"([0-9a-f]{64})",'
    rb'"issued_at":"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)","signature":"([0-9a-f]{128})"\}'
)


class _UnsignedCertificate(Struct, frozen=True):
    installation: str
    role: str
    key: str
    issued_at: str


class Certificate(Struct, frozen=True, forbid_unknown_fields=True):
    """The installation's word that a key is its role's. Keys and signature in hex."""

    installation: str
    role: str
    key: str
    issued_at: str
    signature: str

    @property
    def public(self) -> bytes:
        """The role's raw public key."""
        return bytes.fromhex(self.key)

    @property
    def key_fingerprint(self) -> str:
        """The role key's fingerprint: what 'strongroom keys signers list' shows, and nobody pins."""
        return fingerprint(self.public)

    @property
    def fingerprint(self) -> str:
        """The installation's fingerprint: what people pin."""
        return fingerprint(bytes.fromhex(self.installation))

    def encode(self) -> bytes:
        """Return its canonical JSON."""
        return canonical.encode(self)

    def check_form(self) -> None:
        """Hold it to the format's spelling; raise Malformed."""
        if not _PATTERN.fullmatch(self.encode()):
            raise Malformed("A signer's certificate is not what the format asks for.")

    def verify(self) -> None:
        """Check the installation's signature; raise Tampered."""
        _verified(self)


@lru_cache(maxsize=SIGNERS)
def _verified(certificate: Certificate) -> None:
    """Check a certificate once: thousands of documents carry the same few. A failure is not kept."""
    unsigned = _UnsignedCertificate(
        certificate.installation, certificate.role, certificate.key, certificate.issued_at
    )
    public, signature = bytes.fromhex(certificate.installation), bytes.fromhex(certificate.signature)
    try:
        verify(public, DOMAIN, canonical.encode(unsigned), signature)
    except Tampered:
        raise Tampered("The installation's signature under a signer's certificate is wrong.") from None


prepare(Certificate)


def certify(installation: Signer, *, role: str, public: bytes, issued_at: datetime) -> Certificate:
    """Have an installation vouch for a role's key."""
    moment = rfc3339(issued_at)
    unsigned = _UnsignedCertificate(installation.public.hex(), role, public.hex(), moment)
    signature = installation.sign(DOMAIN, canonical.encode(unsigned)).hex()
    certificate = Certificate(unsigned.installation, role, unsigned.key, moment, signature)
    certificate.check_form()
    return certificate


def parse_certificate(data: bytes) -> Certificate | None:
    """Take a certificate's canonical JSON apart; ``None`` if it is spelt in any other way."""
    match = _PATTERN.fullmatch(data)
    return Certificate(*(part.decode() for part in match.groups())) if match else None


class CertifiedSigner(Signer):
    """A role's key with its certificate: what signs documents and containers.

    ``trust`` is the number of the newest trust list that whoever holds it knows, or 0: manifests and
    ledger heads state it. ``lists`` are the files that have to lie beside them then, by their names.
    """

    __slots__ = ("certificate", "lists", "trust")

    def __init__(
        self,
        private: Ed25519PrivateKey,
        certificate: Certificate,
        *,
        trust: int = 0,
        lists: Mapping[str, bytes] | None = None,
    ) -> None:
        super().__init__(private)
        if certificate.public != self.public:
            raise ValueError("the certificate is another key's")
        self.certificate = certificate
        self.trust = trust
        self.lists = dict(lists or {})

    @classmethod
    def of(
        cls,
        signer: Signer,
        certificate: Certificate,
        *,
        trust: int = 0,
        lists: Mapping[str, bytes] | None = None,
    ) -> Self:
        """Return a key together with its certificate."""
        private = Ed25519PrivateKey.from_private_bytes(signer.private_bytes())
        return cls(private, certificate, trust=trust, lists=lists)

    @classmethod
    def issued(cls, signer: Signer, *, installation: Signer, role: str, issued_at: datetime) -> Self:
        """Return a key that an installation certifies now."""
        return cls.of(signer, certify(installation, role=role, public=signer.public, issued_at=issued_at))


def require_signer(
    certificate: Certificate, *, may: Collection[str], what: str, trusted: frozenset[str] | None
) -> None:
    """Refuse a signer who may not sign this, or whose installation is not pinned.

    Args:
        may: the roles that sign this kind of thing.
        trusted: the installations' fingerprints; ``None`` checks certificate and role alone.

    Raises:
        Tampered: the certificate is not the installation's.
        UntrustedSigner: the role may not sign this, the installation is unknown, or the key is distrusted.
    """
    certificate.verify()
    if certificate.role not in may:
        raise UntrustedSigner(
            f"Signed by the key of role '{certificate.role}', which does not sign a {what}.",
            hint="Treat the key as leaked: somebody who has it made this. See 'strongroom keys signers "
            "distrust'.",
        )
    require_trusted(certificate, trusted)


def require_trusted(certificate: Certificate, trusted: frozenset[str] | None) -> None:
    """Refuse an installation that is not pinned, and a key of it that is distrusted here."""
    if trusted is None:
        return
    if certificate.fingerprint not in trusted:
        raise unknown_installation(certificate.fingerprint)
    key = certificate.key_fingerprint
    if isinstance(trusted, Signers) and key in trusted.distrusted:
        raise UntrustedSigner(
            f"Signed by {key}, a key of role '{certificate.role}' which is distrusted here since "
            f"{trusted.distrusted[key]}.",
            hint="What was made before that may be good: see 'strongroom keys signers re-sign'.",
        )


def require_listed(certificate: Certificate, stated: int, trusted: frozenset[str] | None) -> None:
    """Refuse what states a newer trust list than any that was found.

    Raises:
        TrustListMissing: somebody keeps it back, and so maybe that a key is distrusted.
    """
    found = trusted.lists.get(certificate.fingerprint) if isinstance(trusted, Signers) else None
    if found is not None and stated > found:
        there = f"the highest that was found is {found}" if found else "none was found"
        raise TrustListMissing(
            f"Trust list {stated} of installation {certificate.fingerprint} is missing: {there}. It may "
            "distrust a key that was believed here without it. What states it is signed by "
            f"{certificate.key_fingerprint}, a key of role '{certificate.role}'."
        )


def unknown_installation(fingerprint: str) -> UntrustedSigner:
    """Return what is said of a signature that is right, and of an installation that is not pinned."""
    return UntrustedSigner(f"Signed by installation {fingerprint}, which is not trusted here.")


def require_in_time(certificate: Certificate, made_at: str, trusted: frozenset[str] | None) -> None:
    """Refuse what a retired key is said to have made after its time."""
    key = certificate.key_fingerprint
    ends = trusted.retired.get(key) if isinstance(trusted, Signers) else None
    if ends is not None and not _made_by(made_at, datetime.fromisoformat(ends)):
        raise UntrustedSigner(
            f"Signed by {key}, a key of role '{certificate.role}'. Nothing that it signed after {ends} "
            f"counts; this was made {made_at}.",
            hint="Somebody may hold a key that was rotated away. Take another backup, and distrust the key.",
        )


def _made_by(made_at: str, ends: datetime) -> bool:
    try:
        return datetime.fromisoformat(made_at) <= ends
    except (ValueError, TypeError):  # no time, or one of no zone: whoever signs new things writes better
        return False


# -- A container's receipt: capture signs what it sealed, upload and commit check it ------------
#
# The state database only carries it, so an edited row can swap no container.


RECEIPT_DOMAIN = b"strongroom/v1/receipt"


class Receipt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one capture sealed. Hashes in hex; ``size`` in bytes.

    ``container_signature`` is the container's own (empty if it is not sealed): it binds all that is read of
    the container without hashing it whole.
    """

    run: str
    piece: int
    sha256: str
    size: int
    secrets: int
    versions: int
    first: str
    last: str
    wrapping_key: str
    container_signature: str


def sign_receipt(receipt: Receipt, signer: Signer) -> str:
    """Return the signature in hex."""
    return signer.sign(RECEIPT_DOMAIN, canonical.encode(receipt)).hex()


def verify_receipt(receipt: Receipt, signature: str, publics: Sequence[bytes]) -> bytes:
    """Return which of these keys signed this receipt; raise Tampered or Malformed if none did."""
    return verify_any(
        publics,
        RECEIPT_DOMAIN,
        canonical.encode(receipt),
        canonical.unhex(signature, 64, "A receipt's signature"),
    )
