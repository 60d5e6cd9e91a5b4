"""A container's receipt: capture signs what it sealed, upload and commit check it.

The state database only carries it, so an edited row can swap no container.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from strongroom.container import canonical
from strongroom.container.signing import Signer, verify_any

DOMAIN = b"strongroom/v1/receipt"


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
    return signer.sign(DOMAIN, canonical.encode(receipt)).hex()


def verify_receipt(receipt: Receipt, signature: str, publics: Sequence[bytes]) -> bytes:
    """Return which of these keys signed this receipt; raise Tampered or Malformed if none did."""
    return verify_any(
        publics, DOMAIN, canonical.encode(receipt), canonical.unhex(signature, 64, "A receipt's signature")
    )
