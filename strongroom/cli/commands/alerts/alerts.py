"""backup-alerts, ack and silence: what is wrong with the backups, who is told, and who is not."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from msgspec import Struct, to_builtins

from strongroom.alert_kinds import KINDS
from strongroom.cli.commands.alerts.arguments import AcknowledgeAlert, ListAlerts, SendAlerts, SilenceAlerts
from strongroom.cli.shared.services import run_store
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, in_line, plural
from strongroom.config import Settings, load_settings
from strongroom.config.values import MAIL_ADDRESS
from strongroom.errors import StrongroomError, UsageError, by_name
from strongroom.operations.engine import muted
from strongroom.operations.engine.findings import AlertRecord, Finding
from strongroom.operations.engine.muted import Muted
from strongroom.operations.judge import sheets
from strongroom.operations.judge.fact_records import AlertLimits, WatchedInstallation
from strongroom.operations.judge.freshness import Freshness, PolicyStanding, judge, standing
from strongroom.operations.judge.sheets import counted
from strongroom.operations.notify.notify import (
    Delivery,
    JudgedFacts,
    acknowledge,
    gather_and_judge,
    muted_now,
    put_lost_on_record,
    tell_people,
    to_tell,
)
from strongroom.sheet import Lines, Mood, Sheet, Table
from strongroom.system.process import who
from strongroom.times import about, for_people, rfc3339
from strongroom.wiring import watching as wiring_alerts
from strongroom.wiring.watching import sending
from workers.cluster_facts import cluster_facts

# -- What is wrong with the backups, and who was told, in words and for machines ----------------


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
    if freshness.overdue or freshness.missed_at is not None:
        return "overdue" if freshness.overdue else "due"
    return "fresh" if freshness.judged else "no backup yet"


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


class ErrorRecord(Struct, frozen=True, kw_only=True):
    """What went wrong, for machines."""

    code: str
    message: str


class RouteRecord(Struct, frozen=True, kw_only=True, rename={"told_of": "told"}):
    """What became of a route's message, for machines."""

    route: str
    to: tuple[str, ...]
    sent_by: str | None
    told_of: tuple[str, ...]
    over: tuple[str, ...]
    missed: tuple[str, ...]
    left_to: str | None
    error: ErrorRecord | None


class AlertsRecord(Struct, frozen=True, kw_only=True):
    """What is wrong, how each policy stands, and who was notified, for machines."""

    alerts: tuple[AlertRecord, ...]
    policies: tuple[PolicyStanding, ...]
    targets_away: tuple[str, ...]
    state: str | None
    routes: tuple[RouteRecord, ...]
    error: ErrorRecord | None


def record(found: JudgedFacts, limits: AlertLimits, told: RouteResults) -> AlertsRecord:
    """Return the answer for machines."""
    fresh = zip(found.facts.policies, _fresh(found, limits), strict=True)
    return AlertsRecord(
        alerts=tuple(alert.record for alert in found.alerts),
        policies=tuple(standing(policy, freshness) for policy, freshness in fresh),
        targets_away=tuple(found.facts.away),
        state=found.facts.state,
        routes=tuple(map(_route_record, told.deliveries)),
        error=_error_record(told.trouble),
    )


def _route_record(delivery: Delivery) -> RouteRecord:
    telling = delivery.telling
    return RouteRecord(
        route=delivery.route.name,
        to=tuple(channel.where for channel in delivery.route.channels),
        sent_by=delivery.channel or None,
        told_of=tuple(item.alert.key for item in telling.items),
        over=tuple(alert.key for alert in telling.over),
        missed=delivery.missed,
        left_to=delivery.teller or None,
        error=_error_record(delivery.error),
    )


def _error_record(error: StrongroomError | None) -> ErrorRecord | None:
    return None if error is None else ErrorRecord(code=error.code, message=error.message)


def _fresh(found: JudgedFacts, limits: AlertLimits) -> list[Freshness]:
    facts = found.facts
    return [
        judge(policy, threshold=limits.threshold_age, now=facts.now, recorded=facts.state is None)
        for policy in facts.policies
    ]


# -- alerts and alerts send: what is wrong with the backups, without beat, broker or worker -----


def list_alerts(given: ListAlerts, output: Output) -> Answer:
    return _report(given, dry_run=True)


def send_alerts(given: SendAlerts, output: Output) -> Answer:
    return _report(given, dry_run=given.dry_run)


def _report(given: ListAlerts, *, dry_run: bool) -> Answer:
    if not all(re.fullmatch(MAIL_ADDRESS, address) for address in given.email):
        raise UsageError("--email takes a plain address, such as alerts@example.org.")
    settings = load_settings()
    watched = replace(wiring_alerts.watched(settings), cluster=partial(cluster_facts, settings))
    limits = wiring_alerts.limits(settings, threshold_age=given.threshold_age)
    found = gather_and_judge(watched, limits)
    if not dry_run:
        put_lost_on_record(watched, found)
    told = _tell(given, settings, watched, found, dry_run=dry_run)
    return Answer(
        record=record(found, limits, told),
        sheet=sheet(found, limits, told, muted_now(watched, found)),
        error=told.trouble or _worst(found.alerts),
    )


def _tell(
    given: ListAlerts,
    settings: Settings,
    watched: WatchedInstallation,
    found: JudgedFacts,
    *,
    dry_run: bool,
) -> RouteResults:
    """Tell people. What goes wrong with that is raised only after the answer was printed."""
    try:
        how = sending(settings, email=given.email, everything=given.all)
    except StrongroomError as error:
        return RouteResults(trouble=error)
    if how is None:
        return RouteResults()
    if dry_run:
        return RouteResults(to_tell(watched, found, how), dry_run=True)
    deliveries = tell_people(watched, found, how)
    troubles = (delivery.error for delivery in deliveries)
    return RouteResults(
        deliveries, trouble=next((failure for failure in troubles if failure is not None), None)
    )


def _worst(alerts: tuple[Finding, ...]) -> StrongroomError | None:
    if not alerts:
        return None
    error = by_name(alerts[0].code) or StrongroomError
    worst = alerts[0]
    return error(f"{counted(alerts)}. The worst: {worst.what}.", hint=worst.to_do)


# -- ack and silence: say that somebody works on an alert, or that nobody wants to hear of some for a time


LONGEST_SUBJECT = 255
"""How long the key of an alert is at most."""


def acknowledge_alert(given: AcknowledgeAlert, output: Output) -> Answer:
    settings = load_settings()
    watched, limits = wiring_alerts.watched(settings), wiring_alerts.limits(settings)
    acknowledge(run_store(), watched, limits, given.key, by=who(), reason=given.reason)
    said = f"'{given.key}' is acknowledged: it is not repeated unless it becomes worse or comes back."
    return Answer(record={"acknowledged": given.key}, sheet=Sheet(verdict=said))


def silence_alerts(given: SilenceAlerts, output: Output) -> Answer:
    """Silence alerts, end a silence, or list those that last."""
    if given.subject.end is not None:
        return _end_silence(given.subject.end)
    if given.subject.pattern is None or given.until is None or given.reason is None:
        return _list_silences()
    return _add_silence(given.subject.pattern, given.until, given.reason)


def _add_silence(pattern: str, until: float, reason: str) -> Answer:
    now = time.time()
    kind = pattern.partition(":")[0]
    if len(pattern) > LONGEST_SUBJECT or (kind not in KINDS and not set(kind) & set("*?[")):
        raise UsageError(
            f"There is no alert '{pattern}'.",
            hint="'strongroom alerts' lists the alerts by their names.",
        )
    if not now < until <= now + muted.LONGEST:
        raise UsageError(
            "A silence ends in the future, and within 30 days.", hint="Nothing was silenced. Such as: 4h."
        )
    name = muted.put_silence(run_store(), pattern, until=until, by=who(), reason=reason)
    said = (
        f"Silenced until {for_people(until)}: {pattern}. "
        "Nobody is notified of these alerts, nor that they are over."
    )
    return Answer(
        record={"id": name, "pattern": pattern, "until": rfc3339(until)},
        sheet=Sheet(verdict=said, about=f"End it before: strongroom alerts silence --end {name}"),
    )


def _list_silences() -> Answer:
    silences = muted.read_muted(run_store(), now=time.time()).silences
    head = ("ID", "Alerts", "Until", "By", "Reason")
    rows = [(s.id, s.pattern, for_people(s.until), s.by, s.reason) for s in silences]
    dated = [to_builtins(s) | {"since": rfc3339(s.since), "until": rfc3339(s.until)} for s in silences]
    sheet = Sheet(parts=[Table(head, rows, nothing="Nothing is silenced.")])
    return Answer(record={"silences": dated}, sheet=sheet)


def _end_silence(name: str) -> Answer:
    store = run_store()
    silences = {silence.id: silence for silence in muted.read_muted(store, now=time.time()).silences}
    if name not in silences:
        raise UsageError(
            f"There is no silence '{name}'.", hint="Nothing was changed. See: strongroom alerts silence"
        )
    muted.end_silence(store, silences[name], by=who())
    said = f"Ended: {silences[name].pattern}. The next check tells of it again."
    return Answer(record={"ended": name}, sheet=Sheet(verdict=said))
