"""What the commands of this room take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Struct

from strongroom import times
from strongroom.cli.parameters import Command, UnreadableWord, argument, ending, one_of, option, reason
from strongroom.cli.shared import options

_LEAST, _MOST = 60, 366 * 86_400
"""Seconds: below, every backup that is being made is late; above, nothing ever is."""


def _threshold_age(word: str) -> int:
    try:
        seconds = int(times.parse(word))
    except ValueError:
        seconds = 0
    if not _LEAST <= seconds <= _MOST:
        raise UnreadableWord("takes a length of time from 1m to 366d, such as 48h")
    return seconds


class ListAlerts(Struct, frozen=True, kw_only=True):
    """From when on something is an alert, and who would be notified."""

    email: Annotated[
        tuple[str, ...],
        option(
            "who is notified by mail, in place of alerts.email and all routes; repeatable", metavar="ADDRESS"
        ),
    ] = ()
    threshold_age: Annotated[
        int | None,
        option("how late a verified backup may be, such as 48h", metavar="AGE", read=_threshold_age),
    ] = None
    all: Annotated[bool, option("send all that is wrong, even what was sent before")] = False


class SendAlerts(ListAlerts, frozen=True, kw_only=True):
    """The same, where people are notified unless somebody only wants to see of what."""

    dry_run: Annotated[bool, option("send nothing; say what would be sent")] = False


class AcknowledgeAlert(Struct, frozen=True, kw_only=True):
    """Which alert somebody works on, and how."""

    key: Annotated[str, argument("the alert, such as backup.overdue:weekly", metavar="ALERT")]
    reason: options.Reason


@one_of()
class SilenceSubject(Struct, frozen=True, kw_only=True):
    """Which alerts are silenced, or which silence ends; without either, silences are listed."""

    pattern: Annotated[
        str | None,
        argument(
            "an alert, or a pattern such as 'backup.*:weekly' or '*:region-a' (default: list the silences)",
            metavar="ALERTS",
        ),
    ] = None
    end: Annotated[str | None, option("end a silence before its time", metavar="ID")] = None


class SilenceAlerts(Struct, frozen=True, kw_only=True):
    """What is silenced, why and how long."""

    subject: SilenceSubject = SilenceSubject()
    until: Annotated[
        float | None,
        option(
            "when it ends: a length from now such as 4h, 2027-11-26, or 2027-11-26T08:00Z; 30d at most",
            metavar="TIME",
            read=ending,
        ),
    ] = None
    reason: Annotated[str | None, option("why; it goes on record", metavar="TEXT", read=reason)] = None

    def __post_init__(self) -> None:
        given = self.until is not None, self.reason is not None
        if self.subject.pattern is None and any(given):
            raise UnreadableWord("--until and --reason go with ALERTS: which are to be silenced?")
        if self.subject.pattern is not None and not all(given):
            raise UnreadableWord("a silence needs --until TIME and --reason TEXT")


@one_of()
class MetricsTaker(Struct, frozen=True, kw_only=True):
    """Who gets the metrics; without either, they are printed."""

    textfile: Annotated[
        Path | None,
        option(
            "write them into a file for node_exporter, readable to all; its name ends in .prom",
            metavar="FILE",
        ),
    ] = None
    serve: Annotated[
        bool, option("serve them over HTTP until stopped, as [metrics] of the configuration says")
    ] = False


class HandOutMetrics(Struct, frozen=True, kw_only=True):
    """Where metrics go."""

    taker: MetricsTaker = MetricsTaker()


COMMANDS = {
    "alerts": Command(
        ListAlerts,
        "alerts:list_alerts",
        "It says what 'alerts send' would send, and sends nothing. The exit codes are the same.",
    ),
    "alerts send": Command(
        SendAlerts,
        "alerts:send_alerts",
        "Run it by cron, on any host that reaches the targets: it needs no beat, broker or worker. Ages\n"
        "come from the record and from the targets themselves. Exit code 0: nothing is wrong. 70: warnings\n"
        "alone. 40: a target could not be read. Otherwise it is that of the worst alert\n"
        "(docs/reference/alerts.md).",
    ),
    "alerts ack": Command(
        AcknowledgeAlert,
        "alerts:acknowledge_alert",
        "It holds for up to 90 days. People are notified if the alert becomes worse, when it is over, and\n"
        "if it comes back. 'strongroom alerts' lists the alerts by their names.",
    ),
    "alerts silence": Command(
        SilenceAlerts,
        "alerts:silence_alerts",
        "Silences alerts until a time; without ALERTS it lists what is silenced. A silenced alert is still\n"
        "listed. Nobody is notified of it, nor that it is over.",
    ),
    "metrics": Command(
        HandOutMetrics,
        "metrics:hand_out",
        "Prints them in Prometheus' text format, after a check of the targets. With --serve the record is\n"
        "read at each scrape, and the targets are checked every metrics.check_targets. It needs no beat,\n"
        "broker or worker (docs/how-to/scrape-metrics.md).",
    ),
}
