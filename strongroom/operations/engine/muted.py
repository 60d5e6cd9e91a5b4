"""What people said about alerts: that they work on one (acknowledged), or want to hear nothing of some for a
time (silenced). These are events of the ledger, so that what kept an alert quiet stays on record.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field

from strongroom.state.records import Event
from strongroom.times import for_people

if TYPE_CHECKING:
    from strongroom.state.store import RunStore

ACKNOWLEDGED: Final = "alert.acknowledged"
SILENCED: Final = "alert.silenced"
UNSILENCED: Final = "alert.unsilenced"
LONGEST: Final = 30 * 86_400.0
"""The longest that a silence may last, in seconds, whatever a row says."""
REMEMBERED: Final = 90 * 86_400.0
"""For how many seconds an acknowledgement keeps an alert from being repeated."""


class Silence(Struct, frozen=True, kw_only=True):
    """Alerts that nobody is told of until a time. ``pattern`` is one of keys, such as ``*:region-a``."""

    id: str
    pattern: str
    since: float
    until: float
    by: str
    reason: str

    def covers(self, key: str) -> bool:
        """Tell whether it is about an alert."""
        return fnmatchcase(key, self.pattern)


class Acknowledgement(Struct, frozen=True, kw_only=True):
    """Somebody works on an alert, which was so bad then."""

    key: str
    at: float
    severity: str
    weight: int
    by: str
    reason: str


class Muted(Struct, frozen=True, kw_only=True):
    """What counts now: the silences, and the newest acknowledgement of each alert."""

    silences: tuple[Silence, ...] = ()
    acknowledged: Mapping[str, Acknowledgement] = field(default_factory=dict)

    def silence_of(self, key: str) -> Silence | None:
        """Return the silence that lasts longest of those that cover an alert."""
        return max(
            (silence for silence in self.silences if silence.covers(key)),
            key=lambda silence: silence.until,
            default=None,
        )

    def said_of(self, key: str) -> Iterator[str]:
        """Yield in a sentence each what people said of an alert; any character may stand in it."""
        if silence := self.silence_of(key):
            yield f"Silenced until {for_people(silence.until)} by {silence.by}: {silence.reason}"
        if ack := self.acknowledged.get(key):
            yield f"Acknowledged at {for_people(ack.at)} by {ack.by}: {ack.reason}"


def read_muted(store: RunStore, *, now: float, since: float | None = None) -> Muted:
    """Return what counts at a time, of what was said since another. Rows that say nothing readable are left
    out."""
    start = now - REMEMBERED if since is None else since
    events = store.happened(ACKNOWLEDGED, SILENCED, UNSILENCED, since=start)
    ended = {_text(event, "id") for event in events if event.kind == UNSILENCED}
    silences = (_silence(event) for event in events if event.kind == SILENCED)
    return Muted(
        silences=tuple(
            silence
            for silence in silences
            if silence.id not in ended and silence.since <= now < silence.until
        ),
        acknowledged=_acknowledged(event for event in events if event.kind == ACKNOWLEDGED),
    )


def _silence(event: Event) -> Silence:
    return Silence(
        id=_text(event, "id"),
        pattern=_text(event, "pattern"),
        since=event.at,
        until=min(_number(event, "until"), event.at + LONGEST),
        by=_text(event, "by"),
        reason=_text(event, "reason"),
    )


def _acknowledged(events: Iterable[Event]) -> dict[str, Acknowledgement]:
    return {
        _text(event, "key"): Acknowledgement(
            key=_text(event, "key"),
            at=event.at,
            severity=_text(event, "severity"),
            weight=int(_number(event, "weight")),
            by=_text(event, "by"),
            reason=_text(event, "reason"),
        )
        for event in events
    }


def _text(event: Event, name: str) -> str:
    found: Any = event.detail.get(name)
    return found if isinstance(found, str) else ""


def _number(event: Event, name: str) -> float:
    found: Any = event.detail.get(name)
    return float(found) if isinstance(found, int | float) else 0.0


def put_silence(store: RunStore, pattern: str, *, until: float, by: str, reason: str) -> str:
    """Put a silence on record; return its id."""
    name = os.urandom(4).hex()
    store.event(SILENCED, id=name, pattern=pattern, until=until, by=by, reason=reason)
    return name


def end_silence(store: RunStore, silence: Silence, *, by: str) -> None:
    """End a silence before its time."""
    store.event(UNSILENCED, id=silence.id, pattern=silence.pattern, by=by)


def acknowledge(store: RunStore, key: str, *, severity: str, weight: int, by: str, reason: str) -> None:
    """Put on record that somebody works on an alert."""
    store.event(ACKNOWLEDGED, key=key, severity=severity, weight=weight, by=by, reason=reason)
