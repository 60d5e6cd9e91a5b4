"""The receipt of an index of names: the control role's word, given as a backup is made, which index is its.

An index is signed by whoever sealed it. A key of that role which is stolen later could sign another one; a
receipt makes that worth nothing.
"""

from __future__ import annotations

from msgspec import Struct

from strongroom.container.canonical import unhex
from strongroom.container.certificate import MANIFEST_ROLES
from strongroom.container.errors import Malformed
from strongroom.container.name_index import IndexLink
from strongroom.container.statement import StatementKind, is_time
from strongroom.model import prepare

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
    previous: IndexLink | None
    made_at: str


prepare(IndexReceipt)


class IndexReceiptKind(StatementKind[IndexReceipt], frozen=True, kw_only=True):
    """Receipts of indexes of names."""

    def check(self, statement: IndexReceipt) -> None:
        receipt = statement
        unhex(receipt.sha256, 32, "An index's digest")
        unhex(receipt.container_signature, 64, "An index's signature")
        unhex(receipt.containers, 32, "A digest of containers")
        before = receipt.previous
        if before is not None:
            unhex(before.sha256, 32, "An index's digest")
        fits = before is None or receipt.chain <= before.backup_id < receipt.backup_id
        if not fits or (before is None) != (receipt.chain == receipt.backup_id):
            raise Malformed("The receipt of an index of names continues what it cannot.")
        if not is_time(receipt.made_at):
            raise Malformed("The time of the receipt of an index of names has no zone.")


INDEX = IndexReceiptKind(
    name="index",
    words="receipt of an index of names",
    roles=MANIFEST_ROLES,
    most=MOST,
    record=IndexReceipt,
    moment="made_at",
)
