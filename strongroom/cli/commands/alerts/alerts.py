"""alerts and alerts send: what is wrong with the backups, without beat, broker or worker."""

from __future__ import annotations

import re
from argparse import Namespace

from strongroom import durations
from strongroom.cli.commands.alerts import render
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.config import Settings, load_settings
from strongroom.config.fields import MAIL_ADDRESS
from strongroom.errors import StrongroomError, UsageError, by_name
from strongroom.operations.alerts.notify import (
    JudgedFacts,
    gather_and_judge,
    muted_now,
    put_lost_on_record,
    tell_people,
    to_tell,
)
from strongroom.operations.facts.watched import WatchedInstallation
from strongroom.operations.findings import Finding
from strongroom.operations.judge.sheets import counted
from strongroom.wiring import alerts as wiring_alerts
from strongroom.wiring.channels import sending

LEAST, MOST = 60, 366 * 86_400
"""Seconds: below, every backup that is being made is late; above, nothing ever is."""


def report_alerts(arguments: Namespace, output: Output) -> Answer:
    threshold_age = _check(arguments)
    settings = load_settings()
    watched = wiring_alerts.watched(settings)
    limits = wiring_alerts.limits(settings, threshold_age=threshold_age)
    found = gather_and_judge(watched, limits)
    if not arguments.dry_run:
        put_lost_on_record(watched, found)
    told = _tell(arguments, settings, watched, found)
    return Answer(
        record=render.document(found, limits, told),
        sheet=render.sheet(found, limits, told, muted_now(watched, found)),
        error=told.trouble or _worst(found.alerts),
    )


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


def _tell(
    arguments: Namespace, settings: Settings, watched: WatchedInstallation, found: JudgedFacts
) -> render.RouteResults:
    """Tell people. What goes wrong with that is raised only after the answer was printed."""
    try:
        how = sending(settings, email=arguments.email, everything=arguments.all)
    except StrongroomError as error:
        return render.RouteResults(trouble=error)
    if how is None:
        return render.RouteResults()
    if arguments.dry_run:
        return render.RouteResults(to_tell(watched, found, how), dry_run=True)
    deliveries = tell_people(watched, found, how)
    troubles = (delivery.error for delivery in deliveries)
    return render.RouteResults(
        deliveries, trouble=next((failure for failure in troubles if failure is not None), None)
    )


def _worst(alerts: tuple[Finding, ...]) -> StrongroomError | None:
    if not alerts:
        return None
    error = by_name(alerts[0].code) or StrongroomError
    worst = alerts[0]
    return error(f"{counted(alerts)}. The worst: {worst.what}.", hint=worst.to_do)
