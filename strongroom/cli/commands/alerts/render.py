"""What is wrong with the backups, and who was told, in words and for machines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from strongroom.cli.terminal.output import in_line, plural
from strongroom.durations import about
from strongroom.errors import StrongroomError
from strongroom.operations.alerts.notify import Delivery, JudgedFacts
from strongroom.operations.facts.freshness import Freshness, judge
from strongroom.operations.facts.records import AlertLimits
from strongroom.operations.findings import Finding
from strongroom.operations.judge import sheets
from strongroom.operations.muted import Muted
from strongroom.sheet import Lines, Mood, Sheet, Table
from strongroom.timestamps import rfc3339


class RouteResults(NamedTuple):
    """What became of each route's message; none, if nobody is told. ``trouble`` is what went wrong."""

    deliveries: tuple[Delivery, ...] = ()
    trouble: StrongroomError | None = None
    dry_run: bool = False


def sheet(found: JudgedFacts, limits: AlertLimits, told: RouteResults, muted: Muted) -> Sheet:
    """Return the answer for people: what is wrong, how fresh each policy is, and who was told."""
    alerts = found.alerts
    rows = [_row(freshness) for freshness in _fresh(found, limits)]
    mood = max((sheets.MOODS[finding.state] for finding in alerts), key=list(Mood).index, default=Mood.GOOD)
    return Sheet(
        verdict=f"Alerts: {sheets.counted(alerts)}." if alerts else "Nothing is wrong.",
        mood=mood,
        parts=[
            *(sheets.told(alert, muted) for alert in alerts),
            Table(("Policy", "Backup", "Age", "Verified", "Stands"), rows, heading="Policies"),
            Lines(list(_told(told)), heading="Who is notified"),
        ],
    )


def _row(freshness: Freshness) -> tuple[str, str, str, str, str]:
    judged = freshness.judged
    return (
        freshness.policy,
        judged.backup if judged else "none",
        about(freshness.age) if freshness.age is not None else "-",
        judged.depth.value if judged and judged.depth else "-",
        _standing(freshness),
    )


def _standing(freshness: Freshness) -> str:
    if freshness.due_at is None:
        return "no schedule"
    return "overdue" if freshness.overdue else "due" if freshness.missed_at is not None else "fresh"


def _told(told: RouteResults) -> Iterator[str]:
    if not told.deliveries and told.trouble is not None:
        yield "Nobody was notified: no message could be prepared. See below."
    elif not told.deliveries:
        yield "Nobody is notified: give --email, or set alerts.email or routes."
    for delivery in told.deliveries:
        yield _line(delivery, dry_run=told.dry_run)


def _line(delivery: Delivery, *, dry_run: bool) -> str:
    telling, where = delivery.telling, delivery.route.where
    if delivery.missed:
        yet = f" (others of '{delivery.channel}' were)" if delivery.channel else ""
        return f"NOT notified: {in_line(', '.join(delivery.missed))}{yet}"
    if delivery.teller and telling.is_empty:
        return f"Left to the check of '{in_line(delivery.teller)}', which notifies {where}."
    by = next(
        (channel.where for channel in delivery.route.channels if channel.name == delivery.channel), where
    )
    if telling.is_empty and delivery.channel:
        return f"Sent: that there is nothing to report, to {by}"
    if telling.is_empty:
        return f"Nothing is new for {where}, so nothing is sent (--all sends a message all the same)."
    over = f", of which {len(telling.over):,} over" if telling.over else ""
    what = plural(len(telling.items) + len(telling.over), "alert")
    return f"{'Would be sent' if dry_run else 'Sent'}: {what}{over}, to {by}"


def document(found: JudgedFacts, limits: AlertLimits, told: RouteResults) -> dict[str, object]:
    """Return the answer for machines."""
    return {
        "alerts": [_of_alert(alert) for alert in found.alerts],
        "policies": [_of_policy(freshness) for freshness in _fresh(found, limits)],
        "targets_away": found.facts.away,
        "state": found.facts.state,
        "routes": [_of_delivery(delivery) for delivery in told.deliveries],
        "error": _of_error(told.trouble),
    }


def _of_delivery(delivery: Delivery) -> dict[str, object]:
    telling = delivery.telling
    return {
        "route": delivery.route.name,
        "to": [channel.where for channel in delivery.route.channels],
        "sent_by": delivery.channel or None,
        "told": [item.alert.key for item in telling.items],
        "over": [alert.key for alert in telling.over],
        "missed": delivery.missed,
        "left_to": delivery.teller or None,
        "error": _of_error(delivery.error),
    }


def _of_error(error: StrongroomError | None) -> dict[str, str] | None:
    return error if error is None else {"code": error.code, "message": error.message}


def _fresh(found: JudgedFacts, limits: AlertLimits) -> list[Freshness]:
    facts = found.facts
    return [
        judge(policy, threshold=limits.threshold_age, now=facts.now, recorded=facts.state is None)
        for policy in facts.policies
    ]


def _of_alert(alert: Finding) -> dict[str, object]:
    return {
        "key": alert.key,
        "severity": alert.severity.value,
        "kind": alert.kind,
        "subject": alert.subject,
        "what": alert.what,
        "means": alert.means,
        "do": alert.to_do,
    }


def _of_policy(freshness: Freshness) -> dict[str, object]:
    judged = freshness.judged
    return {
        "policy": freshness.policy,
        "backup": judged.backup if judged else None,
        "made_at": rfc3339(judged.made_at) if judged else None,
        "verified": judged.depth.value if judged and judged.depth else None,
        "age_seconds": freshness.age,
        "due_at": rfc3339(freshness.due_at) if freshness.due_at is not None else None,
        "overdue": freshness.overdue,
    }
