"""Certified keys for tests: an installation, and signers of its roles."""

from __future__ import annotations

from datetime import UTC, datetime

from strongroom.container.signing import CertifiedSigner, Signer

ISSUED = datetime(2026, 1, 1, tzinfo=UTC)


def certified(
    role: str, *, installation: Signer | None = None, signer: Signer | None = None
) -> CertifiedSigner:
    """Return a role's key, new unless given, certified by an installation, a stranger's unless given."""
    return CertifiedSigner.issued(
        signer or Signer.generate(),
        installation=installation or Signer.generate(),
        role=role,
        issued_at=ISSUED,
    )
