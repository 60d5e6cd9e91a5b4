"""What is on record of approvals: requests, signatures and what became of them, as events of the ledger.

Nothing here is believed. Whoever can write to the state database can write any of it: a request counts if it
is the very one that a worker is about to do, and a signature if it fits the request.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field

from strongroom.container.errors import Malformed
from strongroom.operations.approval.request import ApprovalDocument, parse_document
from strongroom.operations.muted import Muted, read_muted
from strongroom.state.records import Event

if TYPE_CHECKING:
    from strongroom.state.store import RunStore

REQUESTED: Final = "approval.requested"
SIGNED: Final = "approval.signed"
REJECTED: Final = "approval.rejected"
REFUSED: Final = "approval.refused"
USED: Final = "approval.used"
SPENT: Final = "approval.spent"
ACCEPTED: Final = "approval.accepted"

BROKEN: Final = "approval.break-glass"
"""The alert that somebody has to acknowledge once they looked into it."""
LONGEST: Final = 30 * 86_400.0
"""The longest that a request may hold, in seconds."""


class Signature(Struct, frozen=True, kw_only=True):
    """A signature as it is on record. ``reason`` is signed too, where it is one of break-glass."""

    armored: str
    at: float = 0.0
    break_glass: bool = False
    reason: str = ""


class ApprovalCase(Struct, frozen=True, kw_only=True):
    """A request on record, and what is on record about it."""

    document: ApprovalDocument
    at: float
    signatures: tuple[Signature, ...] = ()
    rejected: str = ""
    used: bool = False
    broken: bool = False
    """Whether it was used without the approvals, by break-glass."""
    spent: bool = False
    acknowledged: bool = False


class ApprovalCases(Struct, frozen=True, kw_only=True):
    """All requests on record, the oldest first, and what was refused so far: each is told once."""

    cases: tuple[ApprovalCase, ...]
    refused: frozenset[tuple[str, str]] = field(default_factory=frozenset)

    def about(self, subject: str) -> tuple[ApprovalCase, ...]:
        """Return the requests about a run or a command."""
        return tuple(case for case in self.cases if case.document.request.subject == subject)

    def find(self, name: str) -> ApprovalCase | None:
        """Return the newest request of a run or command, or the one of an id."""
        found = [case for case in self.cases if name in (case.document.request.subject, case.document.id)]
        return found[-1] if found else None


def read_cases(store: RunStore, *, since: float | None = None) -> ApprovalCases:
    """Return what is on record. Rows that say nothing readable are left out."""
    start = time.time() - LONGEST - 86_400.0 if since is None else since
    kinds = (REQUESTED, SIGNED, REJECTED, REFUSED, USED, SPENT)
    events = store.happened(*kinds, since=start)
    documents: dict[str, tuple[ApprovalDocument, float]] = {}
    for event in events:
        if event.kind == REQUESTED and (document := _document(event)) is not None:
            documents.setdefault(document.id, (document, event.at))
    about, muted = _by_document(events), read_muted(store, now=time.time(), since=start)
    cases = tuple(
        _case(document, at, about.get(name, ()), muted) for name, (document, at) in documents.items()
    )
    refused = {
        (_text(event.detail, "document"), _text(event.detail, "what"))
        for event in events
        if event.kind == REFUSED
    }
    return ApprovalCases(cases=cases, refused=frozenset(refused))


def _by_document(events: Iterable[Event]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    for event in events:
        if event.kind != REQUESTED:
            found.setdefault(_text(event.detail, "document"), []).append(event)
    return found


def _case(document: ApprovalDocument, at: float, events: Iterable[Event], muted: Muted) -> ApprovalCase:
    told = list(events)
    by_kind = {event.kind: event for event in told}
    looked_into = muted.acknowledged.get(f"{BROKEN}:{document.request.subject}")
    rejected = by_kind.get(REJECTED)
    return ApprovalCase(
        document=document,
        at=at,
        signatures=tuple(_signature(event) for event in told if event.kind == SIGNED),
        rejected=_rejection(rejected) if rejected else "",
        used=USED in by_kind,
        broken=USED in by_kind and by_kind[USED].detail.get("break_glass") is True,
        spent=SPENT in by_kind,
        acknowledged=USED in by_kind and looked_into is not None and looked_into.at >= by_kind[USED].at,
    )


def _rejection(event: Event) -> str:
    return f"{_text(event.detail, 'by') or 'somebody'} rejected it: {_text(event.detail, 'reason')}"


def _signature(event: Event) -> Signature:
    return Signature(
        armored=_text(event.detail, "signature"),
        at=event.at,
        break_glass=event.detail.get("break_glass") is True,
        reason=_text(event.detail, "reason"),
    )


def _document(event: Event) -> ApprovalDocument | None:
    try:
        return parse_document(_text(event.detail, "request").encode())
    except (Malformed, UnicodeEncodeError):
        return None


def _text(detail: Mapping[str, Any], name: str) -> str:
    found = detail.get(name)
    return found if isinstance(found, str) else ""


def put_request(store: RunStore, document: ApprovalDocument) -> None:
    """Put a request on record."""
    _put(store, REQUESTED, document, request=document.content.decode())


def put_signature(store: RunStore, document: ApprovalDocument, signature: Signature, *, by: str) -> None:
    """Put a signature on record that was checked."""
    detail = {"signature": signature.armored, "break_glass": signature.break_glass}
    if signature.reason:
        detail["reason"] = signature.reason
    _put(store, SIGNED, document, by=by, **detail)


def put_refused(
    store: RunStore, document: ApprovalDocument, *, what: str, why: str, stale: bool = False
) -> None:
    """Put on record what did not count. ``what`` names it, so that it is told once. ``stale``: it was good
    for what was asked then, so that it is no attack."""
    _put(store, REFUSED, document, what=what, why=why, stale=stale)


def put_decision(store: RunStore, kind: str, document: ApprovalDocument, *, by: str, reason: str) -> None:
    """Put on record that somebody rejected a request."""
    _put(store, kind, document, by=by, reason=reason)


def put_used(store: RunStore, document: ApprovalDocument, *, by: Iterable[str], break_glass: bool) -> None:
    """Put on record that something is done on the word of these people."""
    request = document.request
    detail = {"action": request.action.value, "destination": request.destination, "size": request.size}
    _put(store, USED, document, by=list(by), break_glass=break_glass, **detail)


def put_spent(store: RunStore, document: ApprovalDocument) -> None:
    """Put on record that what was approved is over."""
    _put(store, SPENT, document)


def put_accepted(store: RunStore, host: str, *, what: str) -> None:
    """Put on record that a host remembers other settings as those in force."""
    store.event(ACCEPTED, None, host=host, what=what)


def _put(store: RunStore, kind: str, document: ApprovalDocument, **detail: Any) -> None:
    request = document.request
    said = {"subject": request.subject, "document": document.id, **detail}
    store.event(kind, None, **said)
