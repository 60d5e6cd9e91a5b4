"""The record of events as a ledger, and searched."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from strongroom.errors import StrongroomError
from strongroom.state.catalog import digest
from strongroom.state.errors import LedgerChanged, LedgerCut
from strongroom.state.records import ChainedEvent, Event
from strongroom.state.store import RunStore
from strongroom.system.files import write_whole
from strongroom.times import rfc3339

# -- The record of events as a ledger: its head, and whether it still leads to one that was printed ---


_PAGE = 1000
UNREADABLE = "ledger.unreadable"
BEFORE_ALL = -(2**62)
"""Numbers begin at 1: an attacker who writes to the database may begin elsewhere."""
UNLIKE = (
    "Somebody wrote to the state database, or an older one was put in its place: keep a copy, and treat it "
    "as an incident unless you know why. Backups do not depend on it: a new one can begin "
    "('strongroom backups rebuild')."
)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LAST_TIME = 253_402_300_800  # the year 10000, which RFC 3339 cannot write


class LedgerPosition(Struct, frozen=True, kw_only=True):
    """An event's number, time (RFC 3339) and kind, and the digest in hex of all up to it."""

    id: int
    at: str
    kind: str
    sha256: str


class LedgerFindings(Struct, frozen=True, kw_only=True):
    """What the record is: how many events, the newest, and the printed one if there is such a one.

    ``broken`` is the first event that does not carry the digest it should; ``None`` if all do.
    """

    events: int
    head: LedgerPosition | None
    printed: LedgerPosition | None = None
    broken: int | None = None


def verify_chain(store: RunStore, *, number: int | None = None) -> LedgerFindings:
    """Make the chain anew over the whole record. ``number`` is that of an event that was printed."""
    count, newest, printed, broken = 0, None, None, None
    for link, made in chain(store):
        count, newest = count + 1, (link, made)
        if link.id == number:
            printed = head_of(link, made)
        if broken is None and link.chain != made:
            broken = link.id
    head = head_of(*newest) if newest else None
    return LedgerFindings(events=count, head=head, printed=printed, broken=broken)


# -- What one look reads of a long record -------------------------------------------------------
#
# A look comes every few minutes, and a record of a million events takes many seconds to read. So of a long
# one this host reads all once a day, and at each look what came since. Only a whole reading that found
# nothing is remembered: what is found is found by every look from then on. Where the record does not have
# the event up to which all was read, with the digest of all up to it, somebody made the chain anew or put an
# older record there, and all is read.


LONG: Final = 50_000
"""Events. A record that is no longer is read whole at each look: some tenths of a second."""

WHOLE_EVERY: Final = 86_400.0
"""Seconds after which a long record is read whole again: so long a change of an old event stays unseen."""

_MEMORY: Final = "ledger-read.json"


class WholeReading(Struct, frozen=True, kw_only=True):
    """When (epoch seconds) this host last read all of a record and found it sound, the event it ended with,
    the digest of all up to that (hex), and how many there were."""

    at: float
    event: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    sha256: str
    events: int


class LedgerLook(Struct, frozen=True, kw_only=True):
    """What a look found: how many events there are, and the first that is not what was appended.

    ``fresh`` counts those that it read if it did not read all, which was done at ``whole_at`` (epoch
    seconds).
    """

    events: int
    broken: int | None = None
    fresh: int = 0
    whole_at: float | None = None


def look(store: RunStore, folder: Path | None, *, now: float) -> LedgerLook:
    """Hold the record against itself: all of it, or of a long one what came since all was read today.

    Args:
        folder: where this host remembers that; without one all is read.
    """
    whole = _remembered(store, folder, now)
    if whole is None:
        return _look_at_all(store, folder, now)
    fresh, broken = 0, None
    for link, made in chain(store, after=whole.event, made=whole.sha256):
        fresh += 1
        if broken is None and link.chain != made:
            broken = link.id
    return LedgerLook(events=whole.events + fresh, broken=broken, fresh=fresh, whole_at=whole.at)


def _look_at_all(store: RunStore, folder: Path | None, now: float) -> LedgerLook:
    found = verify_chain(store)
    if folder is not None and found.broken is None and found.head is not None and found.events > LONG:
        whole = WholeReading(at=now, event=found.head.id, sha256=found.head.sha256, events=found.events)
        with suppress(OSError, StrongroomError):  # the next look reads all
            write_whole(folder / _MEMORY, msgspec.json.encode(whole), replace=True)
    return LedgerLook(events=found.events, broken=found.broken)


def _remembered(store: RunStore, folder: Path | None, now: float) -> WholeReading | None:
    """Return the whole reading of this host, if it is of today and of this record."""
    if folder is None:
        return None
    try:
        whole = msgspec.json.decode((folder / _MEMORY).read_bytes(), type=WholeReading)
    except (OSError, ValueError):
        return None
    there = store.links(after=whole.event - 1, limit=1)
    same = bool(there) and (there[0].id, there[0].chain) == (whole.event, whole.sha256)
    return whole if same and whole.events > LONG and now - WHOLE_EVERY < whole.at <= now else None


# -- Holding it against what was printed, or lies elsewhere -------------------------------------


def check(store: RunStore, *, number: int | None = None, sha256: str = "") -> LedgerFindings:
    """Hold the record against itself, and against a head that was printed.

    Args:
        number: of the printed event.
        sha256: its digest, in hex.

    Raises:
        LedgerChanged: an event was changed, added or removed since it was appended, or printed.
        LedgerCut: the record ends before the printed event.
    """
    found = verify_chain(store, number=number)
    if number is not None:
        _hold(found, number, sha256)
    if found.broken is not None:
        before = f" Up to event {number}, which was printed, nothing changed." if number is not None else ""
        raise LedgerChanged(
            f"Event {found.broken} is not what was appended, or one before it is gone.{before}"
        )
    return found


def leads_on(store: RunStore, *, number: int, sha256: str) -> None:
    """Hold the record against a head that lies elsewhere, and what followed it against itself.

    Raises:
        LedgerChanged: that event, or one after it, is not what was appended.
        LedgerCut: the record ends before that event.
    """
    links = store.links(after=number - 1, limit=1)
    if not links:
        raise LedgerCut(
            f"The record ends before event {number}, and a signed head of that event is on a target."
        )
    if (links[0].id, links[0].chain) != (number, sha256):
        raise LedgerChanged(
            f"Event {number} is not the one that a signed head on a target is of.", hint=UNLIKE
        )
    for link, made in chain(store, after=number, made=sha256):
        if link.chain != made:
            raise LedgerChanged(
                f"Event {link.id} is not what was appended, or one before it is gone.", hint=UNLIKE
            )


def _hold(found: LedgerFindings, number: int, sha256: str) -> None:
    """Compare what the record leads to at an event with what was printed of it."""
    if found.head is None or found.head.id < number:
        last = f"with event {found.head.id}, of {found.head.at}" if found.head else "before it begins"
        raise LedgerCut(f"The record ends {last}: event {number} and what came with it is gone.")
    if found.printed is None:
        raise LedgerChanged(f"There are later events, and event {number} is gone.")
    if found.printed.sha256 != sha256:
        made = found.printed.sha256
        raise LedgerChanged(f"Up to event {number} the record leads to {made}, not to what was printed.")


def chain(store: RunStore, *, after: int = BEFORE_ALL, made: str = "") -> Iterator[tuple[ChainedEvent, str]]:
    """Yield each event after one whose digest is ``made``, with the digest that it should carry.

    One that was never appended so comes as ``ledger.unreadable``: no made-up row keeps an alarm back. So
    does, at the end, what is missing of a run that is on record: its beginning is always an event.
    """
    whole_record = after == BEFORE_ALL
    while page := store.links(after=after, limit=_PAGE):
        for link in page:
            seen = link if _readable(link) else _unreadable(link.id)
            made = digest(made, at=seen.at, kind=seen.kind, run=seen.run, detail=seen.detail)
            yield seen, made
        after = page[-1].id
    if whole_record and store.run_without_event() is not None:
        missing = _unreadable(max(after, 1))
        yield missing, digest(made, at=missing.at, kind=missing.kind, run=missing.run, detail=missing.detail)


def is_well_formed(link: ChainedEvent) -> bool:
    """Tell whether an event can be one that was appended."""
    return _readable(link) and _DIGEST.fullmatch(link.chain) is not None


def _unreadable(number: int) -> ChainedEvent:
    """Return what stands for a made-up row: whatever digest that carries, this has none that fits."""
    return ChainedEvent(id=number, at=0.0, kind=UNREADABLE, run=None, detail="{}", chain="")


def _readable(link: ChainedEvent) -> bool:
    """Tell whether an event has what each has: SQLite keeps anything in any column."""
    at: object = link.at
    kind: object = link.kind
    run: object = link.run or ""
    detail: object = link.detail
    chained: object = link.chain
    # Spelt out: of a million events a loop over the four takes longer than their digests.
    texts = isinstance(kind, str) and isinstance(run, str)
    texts = texts and isinstance(detail, str) and isinstance(chained, str)
    return texts and isinstance(at, float | int) and 0 <= at < _LAST_TIME


def head_of(link: ChainedEvent, made: str) -> LedgerPosition:
    return LedgerPosition(id=link.id, at=rfc3339(link.at), kind=link.kind, sha256=made)


# -- Forensics: what the record of events has of somebody, of something, since a time, from a place ---


_WHO: Final = ("by", "who", "requester", "reviewers", "entry", "owner", "host")
_FROM: Final = ("from", "origin", "host", "where", "owner")


class Question(Struct, frozen=True, kw_only=True):
    """What is asked: parts of words, in small or capital letters; empty: anything. Times in epoch seconds."""

    who: str = ""
    what: str = ""
    origin: str = ""
    since: float = 0.0
    until: float = float("inf")


def search(store: RunStore, question: Question) -> Iterator[Event]:
    """Yield the events that fit, oldest first."""
    after = 0
    while page := store.events(after=after):
        yield from (event for event in page if _fits(event, question))
        after = page[-1].id


def happened_at(event: Event) -> float:
    """Return when it happened: a log or another host may have told much later."""
    for name in ("last", "noted"):
        if isinstance(said := event.detail.get(name), int | float):
            return float(said)
    return event.at


def who_of(event: Event) -> str:
    """Return who did it, as far as the event says."""
    return _text(event, ("by", "who", "requester"))


def origin_of(event: Event) -> str:
    """Return from where, as far as the event says."""
    return _text(event, ("from", "origin", "host"))


def _text(event: Event, names: tuple[str, ...]) -> str:
    return next((str(event.detail[name]) for name in names if event.detail.get(name)), "")


def _fits(event: Event, question: Question) -> bool:
    if not question.since <= happened_at(event) < question.until:
        return False
    everything = (event.kind, event.run or "", json.dumps(event.detail, ensure_ascii=False))
    return (
        _has(question.who, (str(event.detail.get(name, "")) for name in _WHO))
        and _has(question.origin, (str(event.detail.get(name, "")) for name in _FROM))
        and _has(question.what, everything)
    )


def _has(part: str, texts: tuple[str, ...] | Iterator[str]) -> bool:
    wanted = part.casefold()
    return not wanted or any(wanted in text.casefold() for text in texts)
