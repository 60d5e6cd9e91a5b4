"""The receipt of an index of names: the control role's word, given as a backup is made, which index is its.

An index is signed by whoever sealed it. A key of that role which is stolen later could sign another one; a
receipt makes that worth nothing.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from strongroom.container import canonical, document
from strongroom.container.canonical import unhex
from strongroom.container.certificate import MANIFEST_ROLES, CertifiedSigner, require_in_time
from strongroom.container.document import Kind
from strongroom.container.errors import Malformed
from strongroom.container.name_index import Link
from strongroom.model import prepare

INDEX = Kind("index", "receipt of an index of names", MANIFEST_ROLES)
MOST = 16_384
"""Bytes of a whole receipt; it has some 900."""


class IndexReceipt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The index of a backup is the file of this ``sha256``, and the container of this signature.
    ``containers`` and ``previous`` are as in its
    head, ``chain`` is the backup of the first of those that it continues, or its own."""

    backup_id: str
    sha256: str
    container_signature: str
    containers: str
    chain: str
    previous: Link | None
    made_at: str


prepare(IndexReceipt)


def sign_index_receipt(receipt: IndexReceipt, signer: CertifiedSigner) -> bytes:
    """Return the receipt's file. The same receipt and signer give the same bytes."""
    _check(receipt)
    return document.write(INDEX, canonical.encode(receipt), signer)


def parse_index_receipt(data: bytes, *, trusted: frozenset[str] | None) -> IndexReceipt:
    """Parse strictly and check the signature.

    Raises, in this order: NotABackup, UnsupportedVersion, Truncated, Tampered, UntrustedSigner,
    Malformed, and UntrustedSigner again if a retired signer made it after its time; Malformed first of all if
    it is too large.
    """
    if len(data) > MOST:
        raise Malformed("The receipt of an index of names is larger than the format allows.")
    parsed = document.parse(INDEX, data, trusted=trusted)
    receipt = canonical.decode(parsed.body, IndexReceipt, "The receipt of an index of names")
    _check(receipt)
    require_in_time(parsed.certificate, receipt.made_at, trusted)
    return receipt


def _check(receipt: IndexReceipt) -> None:
    unhex(receipt.sha256, 32, "An index's digest")
    unhex(receipt.container_signature, 64, "An index's signature")
    unhex(receipt.containers, 32, "A digest of containers")
    before = receipt.previous
    if before is not None:
        unhex(before.sha256, 32, "An index's digest")
    fits = before is None or receipt.chain <= before.backup_id < receipt.backup_id
    if not fits or (before is None) != (receipt.chain == receipt.backup_id):
        raise Malformed("The receipt of an index of names continues what it cannot.")
    try:
        zone = datetime.fromisoformat(receipt.made_at).tzinfo
    except ValueError:
        zone = None
    if zone is None:
        raise Malformed("The time of the receipt of an index of names has no zone.")
