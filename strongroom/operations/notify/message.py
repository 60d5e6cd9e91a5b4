"""What is told now, of what is wrong and what was told before. Pure: rows are read and written elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from strongroom.operations.findings import Finding, Severity
from strongroom.operations.judge.kinds import kind_of
from strongroom.operations.muted import Muted
from strongroom.state.alerts import NotifiedAlert

FORGOTTEN: Final = 90 * 86_400.0
"""Seconds for which a resolved alert stays on record."""
NOTHING_MUTED: Final = Muted()


class News(StrEnum):
    """Why an alert is sent."""

    NEW = "new"
    WORSE = "worse"
    AGAIN = "again"


class NewsItem(Struct, frozen=True, kw_only=True):
    """An alert that is sent, why, and since when it is known (epoch seconds)."""

    alert: Finding
    news: News
    since: float


class DueNews(Struct, frozen=True, kw_only=True):
    """What to send, what is over, and the rows to write once it was sent. ``id`` names the news."""

    id: str
    items: tuple[NewsItem, ...]
    over: tuple[NotifiedAlert, ...]
    rows: tuple[NotifiedAlert, ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not self.items and not self.over

    def count(self, severity: Severity) -> int:
        """Count what is told of a severity."""
        return sum(item.alert.severity is severity for item in self.items)


def tell(
    alerts: Sequence[Finding],
    told: Sequence[NotifiedAlert],
    *,
    repeat: float,
    now: float,
    host: str = "",
    looked: bool = True,
    everything: bool = False,
    muted: Muted = NOTHING_MUTED,
    teller: bool = True,
) -> DueNews:
    """Decide what is told.

    Args:
        alerts: what is wrong now.
        told: what was told before.
        repeat: after how many seconds what has not changed is told again.
        host: whose look this is.
        looked: whether every target was looked at. Otherwise what rests on them is not over.
        everything: repeat all that is wrong, whenever it was told.
        muted: what people silenced or acknowledged.
        teller: whether it is this look that tells. Otherwise it tells only what is about this host.
    """
    alerts = [alert for alert in alerts if _is_mine(alert.key, host, muted, teller=teller)]
    told = [alert for alert in told if _is_mine(alert.key, host, muted, teller=teller)]
    known = {alert.key: alert for alert in told if alert.resolved_at is None}
    news = [(alert, _news(alert, known.get(alert.key), muted, repeat=repeat, now=now)) for alert in alerts]
    items = tuple(
        NewsItem(alert=alert, news=why or News.AGAIN, since=_since(alert, known, now))
        for alert, why in news
        if why is not None or everything
    )
    wrong = {alert.key for alert in alerts}
    ended = [
        alert
        for alert in known.values()
        if alert.key not in wrong and _is_over(alert.key, host, looked=looked)
    ]
    over = tuple(alert for alert in ended if alert.sent_at is not None and not _is_glimpsed(alert.key))
    rows = (*(_row(item, now) for item in items), *(_resolved(alert, now) for alert in ended))
    return DueNews(id=_id(items, over, told), items=items, over=over, rows=rows)


def _is_mine(key: str, host: str, muted: Muted, *, teller: bool) -> bool:
    kind = kind_of(key)
    local = kind is not None and kind.local and key.endswith(f" on {host}")
    return (teller or local) and muted.silence_of(key) is None


def _id(items: Sequence[NewsItem], over: Sequence[NotifiedAlert], told: Sequence[NotifiedAlert]) -> str:
    """Return the same for the same news: whoever died before it was recorded sends it once more."""
    before = {alert.key: f"{alert.sent_at} {alert.resolved_at}" for alert in told}
    words = [f"{item.alert.key} {item.news} {before.get(item.alert.key)}" for item in items]
    words += [f"{alert.key} over {before[alert.key]}" for alert in over]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:32]


def _news(
    alert: Finding, before: NotifiedAlert | None, muted: Muted, *, repeat: float, now: float
) -> News | None:
    if before is None or before.sent_at is None:
        return News.NEW
    if _badness(alert.severity, alert.weight) > _badness(before.severity, before.weight):
        return News.WORSE
    if _is_acknowledged(alert, before, muted):
        return None
    # A clock that was put back must not silence anything: a mail of tomorrow is none.
    return News.AGAIN if not 0 <= now - before.sent_at < repeat else None


def _is_acknowledged(alert: Finding, before: NotifiedAlert, muted: Muted) -> bool:
    """Tell whether somebody works on it: as bad as it is now, and since it began this time."""
    ack = muted.acknowledged.get(alert.key)
    return (
        ack is not None
        and ack.at >= before.first_seen
        and _badness(alert.severity, alert.weight) <= _badness(ack.severity, ack.weight)
    )


def _badness(severity: str, weight: int) -> tuple[bool, int]:
    return severity == Severity.CRITICAL.value, weight


def _since(alert: Finding, known: dict[str, NotifiedAlert], now: float) -> float:
    return known[alert.key].first_seen if alert.key in known else now


def _is_glimpsed(key: str) -> bool:
    """Tell whether it may be so although it is not seen: told anew when it is seen again, and never over."""
    kind = kind_of(key)
    return kind is not None and kind.glimpsed


def _is_over(key: str, host: str, *, looked: bool) -> bool:
    """Tell whether this look can say that what it does not see is over."""
    kind = kind_of(key)
    return kind is None or ((looked or not kind.looks) and (not kind.local or key.endswith(f" on {host}")))


def _row(item: NewsItem, now: float) -> NotifiedAlert:
    return NotifiedAlert(
        key=item.alert.key,
        severity=item.alert.severity.value,
        weight=item.alert.weight,
        what=item.alert.what,
        first_seen=item.since,
        sent_at=now,
    )


def _resolved(alert: NotifiedAlert, now: float) -> NotifiedAlert:
    return msgspec.structs.replace(alert, resolved_at=now)
