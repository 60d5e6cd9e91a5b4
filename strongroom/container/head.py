"""A ledger head: how far the record of events had come at a time, signed, so that it can lie anywhere."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from strongroom.container.canonical import unhex
from strongroom.container.certificate import MANIFEST_ROLES, require_listed
from strongroom.container.errors import Malformed
from strongroom.container.statement import MAX_NUMBER, Signed, StatementKind, is_time
from strongroom.container.trust_list import check_number, require_numbered
from strongroom.model import prepare

MOST = 256 * 1024
"""Bytes of a whole head; it has some 600, and 40 for each backup that was ever in quarantine."""
MOST_POLICIES, MOST_MARKED = 1_000, 4_000
SHOWN = 16
"""Hex digits of a ledger, and of a digest, in a head's name."""


class LedgerHead(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Event number ``event`` of a ledger, and the digest of everything up to it.

    ``ledger`` is the digest of the ledger's first event, which distinguishes one ledger from another: after
    a database was lost, a new ledger begins. Digests are SHA-256 in hex. ``at`` is the event's time,
    ``made_at`` that of the signature, both RFC 3339. ``trust`` is the number of the newest trust list that
    the signer knew, or 0.

    ``backups`` is each policy's newest backup that the place where the head lies was to hold, ``marks`` the
    highest number of the quarantine marks of each backup that has any: what is gone from there shows.
    """

    ledger: str
    event: int
    at: str
    sha256: str
    made_at: str
    trust: int
    backups: Mapping[str, str] = {}
    marks: Mapping[str, int] = {}


prepare(LedgerHead)


class HeadKind(StatementKind[LedgerHead], frozen=True, kw_only=True):
    """Ledger heads: of each ledger the newest counts."""

    def name_of(self, statement: LedgerHead, content: bytes) -> str:
        folder = f"{self.prefix}{statement.ledger[:SHOWN]}/{statement.made_at[:7]}"
        return f"{folder}/{statement.event:012}-{statement.sha256[:SHOWN]}.json"

    def require(self, signed: Signed[LedgerHead], trusted: frozenset[str] | None) -> None:
        require_listed(signed.certificate, signed.statement.trust, trusted)

    def recognize(self, body: bytes) -> None:
        require_numbered(body, b"made_at", "The ledger head")

    def check(self, statement: LedgerHead) -> None:
        head = statement
        unhex(head.ledger, 32, "A ledger's first digest")
        unhex(head.sha256, 32, "A ledger's digest")
        if head.event < 1 or not (is_time(head.at) and is_time(head.made_at)):
            raise Malformed("The ledger head's number is below 1, or its time has no zone.")
        check_number(head.trust, "The number of the ledger head's trust list")
        if len(head.backups) > MOST_POLICIES or len(head.marks) > MOST_MARKED:
            raise Malformed("The ledger head names more than the format allows.")
        if "" in head.backups.values() or not all(1 <= mark <= MAX_NUMBER for mark in head.marks.values()):
            raise Malformed(
                "The ledger head leaves a backup without a name, or a mark's number is out of its range."
            )


HEAD = HeadKind(
    name="head",
    words="ledger head",
    roles=MANIFEST_ROLES,
    most=MOST,
    record=LedgerHead,
    moment="made_at",
    prefix="ledger/",
    pattern=r"([0-9a-f]{16})/([0-9]{4}-[0-9]{2})/([0-9]{12})-([0-9a-f]{16})\.json",
)
