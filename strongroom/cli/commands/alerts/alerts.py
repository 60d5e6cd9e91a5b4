"""backup-alerts: what is wrong with the backups, printed and told by mail, without beat, broker or worker."""

from __future__ import annotations

import re
from argparse import Namespace

from strongroom import durations
from strongroom.cli.commands.alerts import render
from strongroom.cli.terminal.output import Output, plural
from strongroom.config import Settings, load_settings
from strongroom.config.fields import MAIL_ADDRESS
from strongroom.errors import StrongroomError, UsageError
from strongroom.operations.alerts.alert_kinds import KINDS, Alert, Severity
from strongroom.operations.alerts.due_notifications import Telling
from strongroom.operations.alerts.notify import (
    Found,
    Sending,
    gather_and_judge,
    put_lost_on_record,
    tell_people,
    to_tell,
)
from strongroom.operations.facts.watched import Watched
from strongroom.wiring import alerts as wiring_alerts

LEAST, MOST = 60, 366 * 86_400
"""Seconds: below, every backup that is being made is late; above, nothing ever is."""


def report_alerts(arguments: Namespace, output: Output) -> None:
    threshold_age = _check(arguments)
    settings = load_settings()
    watched = wiring_alerts.watched(settings)
    limits = wiring_alerts.limits(settings, threshold_age=threshold_age)
    found = gather_and_judge(watched, limits)
    put_lost_on_record(watched, found)
    sending, trouble = _sending_or_why(arguments, settings)
    telling = None
    if trouble is None:
        telling, trouble = _tell(watched, found, sending, dry_run=arguments.dry_run)
    mail = render.Mail(sending, telling, trouble, dry_run=arguments.dry_run)
    output.answer(render.document(found, limits, mail), render.lines(found, limits, mail))
    if trouble is not None:
        raise trouble
    _raise_worst(found.alerts)


def _check(arguments: Namespace) -> int | None:
    """Refuse what is no address or no length of time; return the latter in seconds."""
    if not all(re.fullmatch(MAIL_ADDRESS, address) for address in arguments.email):
        raise UsageError("--email takes a plain address, such as alerts@example.org.")
    if arguments.threshold_age is None:
        return None
    try:
        seconds = int(durations.parse(arguments.threshold_age))
    except ValueError:
        seconds = 0
    if not LEAST <= seconds <= MOST:
        raise UsageError("--threshold-age takes a length of time from 1m to 366d, such as 48h.")
    return seconds


def _sending_or_why(
    arguments: Namespace, settings: Settings
) -> tuple[Sending | None, StrongroomError | None]:
    """Return how people are told. Without a mail server what is wrong is printed all the same."""
    try:
        return _sending(arguments, settings), None
    except StrongroomError as error:
        return None, error


def _sending(arguments: Namespace, settings: Settings) -> Sending | None:
    """Return who is told and how; ``None`` if nobody is named."""
    recipients = tuple({one.lower(): one for one in arguments.email or settings.alerts.email}.values())
    if not recipients:
        return None
    return Sending(
        server=wiring_alerts.mail_server(settings),
        recipients=recipients,
        repeat=settings.alerts.repeat,
        everything=arguments.all,
    )


def _tell(
    watched: Watched, found: Found, sending: Sending | None, *, dry_run: bool
) -> tuple[Telling | None, StrongroomError | None]:
    """Tell people. What went wrong with that is raised only after the answer was printed."""
    if sending is None:
        return None, None
    if dry_run:
        return to_tell(watched, found, sending), None
    try:
        return tell_people(watched, found, sending), None
    except StrongroomError as error:
        return None, error


def _raise_worst(alerts: tuple[Alert, ...]) -> None:
    if not alerts:
        return
    worst = alerts[0]
    critical = sum(alert.severity is Severity.CRITICAL for alert in alerts)
    counts = [f"{critical} critical"] if critical else []
    counts += [plural(len(alerts) - critical, "warning")] if len(alerts) > critical else []
    raise KINDS[worst.kind].error(f"{', '.join(counts)}. The worst: {worst.what}.", hint=worst.do)
