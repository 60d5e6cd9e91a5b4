"""One message with all that is new, the worst first: plain text, in which nothing forges a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from textwrap import wrap
from typing import Any

from msgspec.structs import replace

from strongroom.durations import about
from strongroom.operations.alerts.channel import AlertMessage
from strongroom.operations.alerts.due_notifications import DueNews, News, NewsItem
from strongroom.operations.findings import Severity
from strongroom.timestamps import rfc3339
from strongroom.words import plural, spelled_out

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
        "alerts": [_of_item(item) for item in telling.items],
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


def _of_item(item: NewsItem) -> dict[str, str]:
    alert = item.alert
    return {
        "key": alert.key,
        "kind": alert.kind,
        "subject": alert.subject,
        "severity": alert.severity.value,
        "news": item.news.value,
        "since": rfc3339(item.since),
        "what": alert.what,
        "means": alert.means,
        "do": alert.to_do,
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
