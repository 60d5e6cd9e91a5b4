"""Certificates: an installation key vouches for the roles' keys, so that people pin one fingerprint.

Whoever reads a backup elsewhere, years and rotations later, knows the installation's fingerprint and
nothing else. Every signed document and every container carries the certificate of the key that signed it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from strongroom.container import canonical
from strongroom.container.errors import Malformed, Tampered, TrustListMissing, UntrustedSigner
from strongroom.container.signing import SIGNERS, Signer, Signers, fingerprint, verify
from strongroom.model import prepare
from strongroom.timestamps import rfc3339

DOMAIN = b"strongroom/v1/certificate"

MANIFEST_ROLES = ("control", "recover")
"""Who signs manifests: a backup's, and a rotation's or undo file's. Ledger heads and reports too."""
ENVELOPE_ROLES = ("recover",)
CONTAINER_ROLES = ("seal", "recover")

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
