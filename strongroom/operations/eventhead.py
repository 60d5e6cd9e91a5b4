"""The head of the event record: what a later look at it can be held against."""

from __future__ import annotations

import hashlib

import msgspec
from msgspec import Struct

from strongroom.operations.times import rfc3339
from strongroom.state.records import Event
from strongroom.state.store import RunStore

_PAGE = 1000


class Head(Struct, frozen=True, kw_only=True):
    """The newest event's number, time (RFC 3339) and kind, and a digest in hex of all up to it."""

    id: int
    at: str
    kind: str
    sha256: str


def event_head(store: RunStore, *, upto: int | None = None) -> Head | None:
    """Return the record's head, or what it was at event ``upto``; ``None`` if there is no such event.

    Each event is hashed together with the digest before it, so a changed, added or removed
    one shows in every head from there on.
    """
    digest, last, after = b"", None, 0
    while page := store.events(after=after, limit=_PAGE):
        for event in page:
            if upto is not None and event.id > upto:
                break
            digest, last = hashlib.sha256(digest + _bytes(event)).digest(), event
        after = page[-1].id
    if last is None or upto not in (None, last.id):
        return None
    return Head(id=last.id, at=rfc3339(last.at), kind=last.kind, sha256=digest.hex())


def _bytes(event: Event) -> bytes:
    return msgspec.json.encode(event, order="deterministic")
