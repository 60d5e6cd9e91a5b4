"""A ledger head: how far the record of events had come at a time, signed, so that it can lie anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from strongroom.container import canonical, document
from strongroom.container.canonical import unhex
from strongroom.container.certificate import MANIFEST_ROLES, Certificate, CertifiedSigner, require_in_time
from strongroom.container.document import Kind
from strongroom.container.errors import Malformed
from strongroom.container.marks import MAX_NUMBER
from strongroom.container.trust_list import check_number, require_numbered
from strongroom.model import prepare

HEAD = Kind("head", "ledger head", MANIFEST_ROLES)
MOST = 256 * 1024
"""Bytes of a whole head; it has some 600, and 40 for each backup that was ever in quarantine."""
MOST_POLICIES, MOST_MARKED = 1_000, 4_000


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


def sign_head(head: LedgerHead, signer: CertifiedSigner) -> bytes:
    """Return the head's file. The same head and signer give the same bytes."""
    _check(head)
    data = document.write(HEAD, canonical.encode(head), signer)
    if len(data) > MOST:
        raise Malformed("The ledger head would be larger than the format allows.")
    return data


def parse_head(data: bytes, *, trusted: frozenset[str] | None) -> LedgerHead:
    """Parse strictly and check the signature: see :func:`open_head`."""
    return open_head(data, trusted=trusted)[0]


def open_head(data: bytes, *, trusted: frozenset[str] | None) -> tuple[LedgerHead, Certificate]:
    """Parse strictly, check the signature, and return whose it is too.

    Raises, in this order: NotABackup, UnsupportedVersion, Truncated, Tampered, UntrustedSigner,
    UnsupportedVersion of before the first release, Malformed, and UntrustedSigner again if a retired signer
    made it after its time.
    """
    if len(data) > MOST:
        raise Malformed("The ledger head is larger than the format allows.")
    parsed = document.parse(HEAD, data, trusted=trusted)
    require_numbered(parsed.body, b"made_at", "The ledger head")
    head = canonical.decode(parsed.body, LedgerHead, "The ledger head")
    _check(head)
    require_in_time(parsed.certificate, head.made_at, trusted)
    return head, parsed.certificate


def _check(head: LedgerHead) -> None:
    unhex(head.ledger, 32, "A ledger's first digest")
    unhex(head.sha256, 32, "A ledger's digest")
    try:
        zones = [datetime.fromisoformat(moment).tzinfo for moment in (head.at, head.made_at)]
    except ValueError:
        zones = [None]
    if head.event < 1 or None in zones:
        raise Malformed("The ledger head's number is below 1, or its time has no zone.")
    check_number(head.trust, "The number of the ledger head's trust list")
    if len(head.backups) > MOST_POLICIES or len(head.marks) > MOST_MARKED:
        raise Malformed("The ledger head names more than the format allows.")
    if "" in head.backups.values() or not all(1 <= one <= MAX_NUMBER for one in head.marks.values()):
        raise Malformed(
            "The ledger head leaves a backup without a name, or a mark's number is out of its range."
        )
