"""Entries of a case: signed words about something that people do over hours and on several hosts.

A case (an incident) is the sum of its entries. None is ever changed or removed: that works under Object Lock,
and what two hosts enter at the same time stands both. An entry's name on a target has its number and the
beginning of its digest, so two hosts' never meet, and a name whose bytes are known need not be read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from typing import Generic, TypeVar

from msgspec import Struct

from strongroom.container import canonical, document
from strongroom.container.certificate import MANIFEST_ROLES, CertifiedSigner, require_in_time
from strongroom.container.document import Kind
from strongroom.container.errors import Malformed

MAX_ENTRY = 4 * 1024 * 1024
MAX_NUMBER = 99_999_999
_SHOWN = 16
"""Hex digits of its digest in an entry's name."""
_CASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class CaseEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every entry says: of which case, in which order, when (RFC 3339) and by whom."""

    case: str
    number: int
    at: str
    by: str


E = TypeVar("E", bound=CaseEntry)


class CaseKind(Struct, Generic[E], frozen=True, kw_only=True):
    """A kind of case.

    Args:
        name: what goes into ``format``, such as ``incident``.
        prefix: what its names on a target begin with.
        event: the kind of the events that have its entries in an installation's record.
        check: holds an entry to the rules that this kind alone has; raises Malformed.
    """

    name: str
    words: str
    record: type[E]
    prefix: str
    event: str
    check: Callable[[E], None] = lambda entry: None

    @property
    def document(self) -> Kind:
        return Kind(self.name, self.words, MANIFEST_ROLES)

    def object_name(self, entry: CaseEntry, signed: bytes) -> str:
        """Return an entry's name on every target."""
        digest = hashlib.sha256(signed).hexdigest()[:_SHOWN]
        return f"{self.prefix}{entry.case}/{entry.number:08}-{digest}.json"


def sign_entry(kind: CaseKind[E], entry: E, signer: CertifiedSigner) -> bytes:
    """Return the entry's file. The same entry and signer give the same bytes."""
    _check(kind, entry)
    data = document.write(kind.document, canonical.encode(entry), signer)
    if len(data) > MAX_ENTRY:
        raise Malformed(f"The {kind.words} would be larger than the format allows.")
    return data


def open_entry(kind: CaseKind[E], data: bytes, *, trusted: frozenset[str] | None) -> E:
    """Parse strictly and check the signature; raises as :func:`~.manifest.open_manifest` does."""
    if len(data) > MAX_ENTRY:
        raise Malformed(f"The {kind.words} is larger than the format allows.")
    parsed = document.parse(kind.document, data, trusted=trusted)
    entry = canonical.decode(parsed.body, kind.record, f"The {kind.words}")
    _check(kind, entry)
    require_in_time(parsed.certificate, entry.at, trusted)
    return entry


def _check(kind: CaseKind[E], entry: E) -> None:
    if not _CASE.fullmatch(entry.case):
        raise Malformed(f"The {kind.words}'s case has an impossible name.")
    if not 1 <= entry.number <= MAX_NUMBER:
        raise Malformed(f"The {kind.words}'s number is out of its range.")
    try:
        zone = datetime.fromisoformat(entry.at).tzinfo
    except ValueError:
        zone = None
    if zone is None:
        raise Malformed(f"The {kind.words}'s time is malformed, or has no zone.")
    kind.check(entry)
