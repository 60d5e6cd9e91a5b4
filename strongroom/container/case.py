"""Entries of a case: signed words about something that people do over hours and on several hosts.

A case (an incident) is the sum of its entries. None is ever changed or removed: that works under Object Lock,
and what two hosts enter at the same time stands both. An entry's name on a target has its number and the
beginning of its digest, so two hosts' never meet, and a name whose bytes are known need not be read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Generic, TypeVar

from msgspec import Struct

from strongroom.container.certificate import MANIFEST_ROLES
from strongroom.container.errors import Malformed
from strongroom.container.statement import MAX_NUMBER, StatementKind, is_time

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


class CaseKind(StatementKind[E], Generic[E], frozen=True, kw_only=True):
    """A kind of case: every entry of it counts.

    Args:
        event: the kind of the events that have its entries in an installation's record.
        rules: holds an entry to the rules that this kind alone has; raises Malformed.
    """

    roles: tuple[str, ...] = MANIFEST_ROLES
    most: int = 4 * 1024 * 1024
    pattern: str = r"([A-Za-z0-9][A-Za-z0-9._-]{0,199})/[0-9]{8}-[0-9a-f]{16}\.json"
    event: str
    rules: Callable[[E], None] = lambda entry: None

    def name_of(self, statement: E, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()[:_SHOWN]
        return f"{self.prefix}{statement.case}/{statement.number:08}-{digest}.json"

    def check(self, statement: E) -> None:
        if not _CASE.fullmatch(statement.case):
            raise Malformed(f"The {self.words}'s case has an impossible name.")
        if not 1 <= statement.number <= MAX_NUMBER:
            raise Malformed(f"The {self.words}'s number is out of its range.")
        if not is_time(statement.at):
            raise Malformed(f"The {self.words}'s time is malformed, or has no zone.")
        self.rules(statement)
