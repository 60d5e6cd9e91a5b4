"""Forensics: what the record of events has of somebody, of something, since a time, from a place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from strongroom.state.records import Event
from strongroom.state.store import RunStore

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
