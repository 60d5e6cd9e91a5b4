"""What is told now, of what is wrong and what was told before. Pure: rows are read and written elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from strongroom.operations.alerts.alert_kinds import KINDS, Alert, Kind, Severity
from strongroom.state.alerts import Told

FORGOTTEN: Final = 90 * 86_400.0
"""Seconds for which a resolved alert stays on record."""


class News(StrEnum):
    """Why an alert is sent."""

    NEW = "new"
    WORSE = "worse"
    AGAIN = "again"


class Item(Struct, frozen=True, kw_only=True):
    """An alert that is sent, why, and since when it is known (epoch seconds)."""

    alert: Alert
    news: News
    since: float


class Telling(Struct, frozen=True, kw_only=True):
    """What to send, what is over, and the rows to write once it was sent."""

    items: tuple[Item, ...]
    over: tuple[Told, ...]
    rows: tuple[Told, ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not self.items and not self.over

    def count(self, severity: Severity) -> int:
        """Count what is told of a severity."""
        return sum(item.alert.severity is severity for item in self.items)


def audience(addresses: Iterable[str], *, by: str, threshold: float) -> str:
    """Return what stands on record for those who are told together, by one look and by one threshold.

    Two looks that see different things would otherwise each call over what the other one told.
    """
    terms = (by, f"{threshold:g}", *sorted(map(str.lower, addresses)))
    return hashlib.sha256("\n".join(terms).encode()).hexdigest()


def tell(
    alerts: Sequence[Alert],
    told: Sequence[Told],
    *,
    repeat: float,
    now: float,
    host: str = "",
    looked: bool = True,
    everything: bool = False,
) -> Telling:
    """Decide what is told.

    Args:
        alerts: what is wrong now.
        told: what was told before.
        repeat: after how many seconds what has not changed is told again.
        host: whose look this is.
        looked: whether every target was looked at. Otherwise what rests on them is not over.
        everything: repeat all that is wrong, whenever it was told.
    """
    known = {one.key: one for one in told if one.resolved_at is None}
    news = [(alert, _news(alert, known.get(alert.key), repeat=repeat, now=now)) for alert in alerts]
    items = tuple(
        Item(alert=alert, news=why or News.AGAIN, since=_since(alert, known, now))
        for alert, why in news
        if why is not None or everything
    )
    wrong = {alert.key for alert in alerts}
    ended = [one for one in known.values() if one.key not in wrong and _is_over(one.key, host, looked=looked)]
    over = tuple(one for one in ended if one.sent_at is not None and not _is_glimpsed(one.key))
    rows = (*(_row(item, now) for item in items), *(_resolved(one, now) for one in ended))
    return Telling(items=items, over=over, rows=rows)


def _news(alert: Alert, before: Told | None, *, repeat: float, now: float) -> News | None:
    if before is None or before.sent_at is None:
        return News.NEW
    if _badness(alert.severity, alert.weight) > _badness(before.severity, before.weight):
        return News.WORSE
    # A clock that was put back must not silence anything: a mail of tomorrow is none.
    return News.AGAIN if not 0 <= now - before.sent_at < repeat else None


def _badness(severity: str, weight: int) -> tuple[bool, int]:
    return severity == Severity.CRITICAL.value, weight


def _since(alert: Alert, known: dict[str, Told], now: float) -> float:
    return known[alert.key].first_seen if alert.key in known else now


def _kind(key: str) -> Kind | None:
    return KINDS.get(key.partition(":")[0])


def _is_glimpsed(key: str) -> bool:
    """Tell whether it may be so although it is not seen: told anew when it is seen again, and never over."""
    kind = _kind(key)
    return kind is not None and kind.glimpsed


def _is_over(key: str, host: str, *, looked: bool) -> bool:
    """Tell whether this look can say that what it does not see is over."""
    kind = _kind(key)
    return kind is None or ((looked or not kind.looks) and (not kind.local or key.endswith(f" on {host}")))


def _row(item: Item, now: float) -> Told:
    return Told(
        key=item.alert.key,
        severity=item.alert.severity.value,
        weight=item.alert.weight,
        what=item.alert.what,
        first_seen=item.since,
        sent_at=now,
    )


def _resolved(one: Told, now: float) -> Told:
    return msgspec.structs.replace(one, resolved_at=now)
