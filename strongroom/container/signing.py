"""Ed25519 signatures (RFC 8032), each bound to a domain so that none passes for another."""

from __future__ import annotations

import hashlib
from typing import NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from strongroom.errors import Tampered, UntrustedSigner

PUBLIC = 32
SIGNATURE = 64


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


def verify(public: bytes, domain: bytes, message: bytes, signature: bytes) -> None:
    """Return if the signature is right; raise :class:`~strongroom.errors.Tampered` if not."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, _bound(domain, message))
    except (InvalidSignature, ValueError):
        raise Tampered("A signature does not fit what it signs.") from None


def require_trusted(public: bytes, trusted: frozenset[str] | None) -> None:
    """Refuse a signer whose fingerprint nobody here trusts; ``None`` leaves it unchecked."""
    if trusted is not None and fingerprint(public) not in trusted:
        raise UntrustedSigner(f"Signed by {fingerprint(public)}, which is not trusted here.")


def _bound(domain: bytes, message: bytes) -> bytes:
    if b"\x00" in domain:
        raise ValueError("a domain holds no zero byte")
    return domain + b"\x00" + message
