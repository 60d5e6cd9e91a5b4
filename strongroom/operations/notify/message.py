"""What is told now and to whom: one message with all that is new, the worst first."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from textwrap import wrap
from typing import Any, Final

import msgspec
from msgspec import Struct, to_builtins
from msgspec.structs import replace

from strongroom.alert_kinds import Severity
from strongroom.operations.engine.findings import Finding
from strongroom.operations.engine.muted import Muted
from strongroom.operations.judge.kinds import kind_of, policy_of
from strongroom.operations.notify.channels import AlertMessage, Channel
from strongroom.state.notes import NotifiedAlert
from strongroom.times import about, rfc3339
from strongroom.words import plural, spelled_out

# -- What is told now, of what is wrong and what was told before. Pure: rows are read and written elsewhere


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


# -- One message with all that is new, the worst first: plain text, in which nothing forges a line ---


WIDTH = 76
NOTHING = (
    "Somebody asked for all alerts of this route ('strongroom alerts send --all'), and no alert is active. "
    "That you read this shows that the route works."
)
_NEWS = {News.NEW: "", News.WORSE: ", worse than before", News.AGAIN: ", still so"}


def write_message(telling: DueNews, *, host: str, now: float, notes: Sequence[str] = ()) -> AlertMessage:
    """Write what is told.

    Args:
        host: this host's name.
        notes: what the reader has to know besides, such as that the state was away.
    """
    worst = [severity for severity in Severity if telling.count(severity)]
    return AlertMessage(
        id=f"alerts_{telling.id}" if not telling.is_empty else f"nothing_{now * 1000:.0f}",
        at=now,
        subject=subject(telling, host),
        text="\n".join(_lines(telling, host, now, notes)) + "\n",
        severity=worst[0] if worst else None,
        document=_document(telling, host, notes),
    )


def with_notes(message: AlertMessage, notes: Sequence[str]) -> AlertMessage:
    """Put more notes before a message."""
    lines = "".join(f"{line}\n" for note in notes for line in (*_wrapped(note), ""))
    document = {**message.document, "notes": [*notes, *message.document["notes"]]}
    return replace(message, text=lines + message.text, document=document)


def _document(telling: DueNews, host: str, notes: Sequence[str]) -> dict[str, Any]:
    return {
        "host": host,
        "notes": list(notes),
        "alerts": [
            {**to_builtins(item.alert.record), "news": item.news.value, "since": rfc3339(item.since)}
            for item in telling.items
        ],
        "resolved": [
            {
                "key": alert.key,
                "severity": alert.severity,
                "what": alert.what,
                "since": rfc3339(alert.first_seen),
            }
            for alert in telling.over
        ],
    }


def subject(telling: DueNews, host: str) -> str:
    """Return the subject: how many of what, and where."""
    critical, warning = telling.count(Severity.CRITICAL), telling.count(Severity.WARNING)
    counts = [f"{critical} critical"] if critical else []
    counts += [plural(warning, "warning")] if warning else []
    counts += [f"{len(telling.over)} resolved"] if telling.over else []
    return f"[strongroom] {', '.join(counts) or 'nothing to report'} on {spelled_out(host)}"


def _lines(telling: DueNews, host: str, now: float, notes: Sequence[str]) -> Iterator[str]:
    for note in notes:
        yield from (*_wrapped(note), "")
    if telling.is_empty:
        yield from (*_wrapped(NOTHING), "")
    for item in telling.items:
        yield from (*_item(item, now), "")
    if telling.over:
        yield from ("RESOLVED: this is not so any more.", "")
        for alert in telling.over:
            yield from (*_wrapped(f"{alert.key}: {alert.what}.", "  "), "")
    yield from _wrapped(
        "How it stands now: 'strongroom alerts', 'strongroom runs', 'strongroom backups replicas'."
    )
    yield from ("", "-- ")
    at = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S} UTC"
    yield from _wrapped(f"Sent by Strongroom on {host} at {at}.")


def _item(item: NewsItem, now: float) -> Iterator[str]:
    known = f", for {about(now - item.since)}" if item.news is not News.NEW else ""
    alert = item.alert
    yield from _wrapped(f"{alert.severity.upper()}: {alert.key}{_NEWS[item.news]}{known}")
    yield from _wrapped(f"{alert.what[:1].upper()}{alert.what[1:]}.", "  ")
    yield from _wrapped(alert.means, "  What it means: ")
    yield from _wrapped(alert.to_do, "  What to do: ")


def _wrapped(text: str, first: str = "") -> list[str]:
    return wrap(
        spelled_out(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent="    " if first.strip() else first,
        break_long_words=False,
        break_on_hyphens=False,
    )


# -- Which alerts go to whom. Pure: nothing is asked and nothing sent here ----------------------


class Route(Struct, frozen=True, kw_only=True):
    """Alerts from a severity on, of some policies and kinds (all, if none is named), and their channels.

    The first channel gets the message, and each other only if those before it fail. ``audience`` is who is
    told, whatever else changes: what they know is on record for it. ``repeat`` is in seconds.
    """

    name: str
    audience: tuple[str, ...]
    channels: tuple[Channel, ...]
    repeat: float
    severity: Severity = Severity.WARNING
    policies: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()

    def takes(self, alert: Finding) -> bool:
        """Tell whether an alert goes this way."""
        severe = alert.severity is Severity.CRITICAL or self.severity is Severity.WARNING
        policy = not self.policies or policy_of(alert.key) in self.policies
        return (
            severe
            and policy
            and (not self.kinds or any(fnmatchcase(alert.kind, kind) for kind in self.kinds))
        )

    @property
    def where(self) -> str:
        """Where it leads, for people."""
        return ", else ".join(channel.where for channel in self.channels)


def audience(route: Route, *, threshold: float) -> str:
    """Return what stands on record for those who are told together, by one threshold.

    Checks by two thresholds would otherwise each call over what the other one told.
    """
    return hashlib.sha256("\n".join((f"{threshold:g}", *route.audience)).encode()).hexdigest()
