"""The quarantine mark: a signed word beside a backup that it is not to be restored from, or is again.

A mark is never removed or changed, so it works under Object Lock: a later one counts.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

from strongroom.container import canonical, document
from strongroom.container.certificate import MANIFEST_ROLES, Certificate, CertifiedSigner, require_in_time
from strongroom.container.document import Kind
from strongroom.container.errors import Malformed
from strongroom.model import prepare

MARK = Kind("quarantine", "quarantine mark", MANIFEST_ROLES)
MAX_MARK = 16 * 1024
MAX_TEXT = 1_000
MAX_NUMBER = 99_999_999


class Mark(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One word about a backup. Of several, the one with the highest ``number`` counts."""

    backup_id: str
    number: int
    state: Literal["quarantined", "released"]
    reason: str
    incident: str
    by: str
    at: str


prepare(Mark)


class SignedMark(Struct, frozen=True):
    """A parsed mark, with the certificate of the key that signed it."""

    mark: Mark
    certificate: Certificate


def sign_mark(mark: Mark, signer: CertifiedSigner) -> bytes:
    """Return the mark's file. The same mark and signer give the same bytes."""
    check_mark(mark)
    data = document.write(MARK, canonical.encode(mark), signer)
    if len(data) > MAX_MARK:
        raise Malformed("The quarantine mark would be larger than the format allows.")
    return data


def open_mark(data: bytes, *, trusted: frozenset[str] | None) -> SignedMark:
    """Parse strictly and check the signature; raises as :func:`~.manifest.open_manifest` does."""
    if len(data) > MAX_MARK:
        raise Malformed("The quarantine mark is larger than the format allows.")
    parsed = document.parse(MARK, data, trusted=trusted)
    mark = canonical.decode(parsed.body, Mark, "The quarantine mark")
    check_mark(mark)
    require_in_time(parsed.certificate, mark.at, trusted)
    return SignedMark(mark, parsed.certificate)


def check_mark(mark: Mark) -> None:
    """Hold a mark to the format's rules; raise Malformed."""
    if not 1 <= mark.number <= MAX_NUMBER:
        raise Malformed("The quarantine mark's number is out of its range.")
    if not _is_time(mark.at):
        raise Malformed("The quarantine mark's time is malformed, or has no zone.")
    texts = (mark.backup_id, mark.reason, mark.incident, mark.by, mark.at)
    if not all(canonical.printable(text, MAX_TEXT) for text in texts):
        raise Malformed("What the quarantine mark says is too long, or cannot be printed.")


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
