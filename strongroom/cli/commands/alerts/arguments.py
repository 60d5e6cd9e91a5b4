"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from strongroom.cli.parameters import Command, ending
from strongroom.cli.shared.options import add_reason_argument

# -- arguments


def _list_arguments(parser: ArgumentParser) -> None:
    parser.set_defaults(dry_run=True)
    _add_judging(parser)


def _send_arguments(parser: ArgumentParser) -> None:
    _add_judging(parser)
    parser.add_argument("--dry-run", action="store_true", help="send nothing; say what would be sent")


def _add_judging(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--email",
        metavar="ADDRESS",
        action="append",
        default=[],
        help="who is notified by mail, in place of alerts.email and all routes; repeatable",
    )
    parser.add_argument(
        "--threshold-age",
        metavar="AGE",
        help="how late a verified backup may be, such as 48h",
    )
    parser.add_argument(
        "--all", action="store_true", help="send all that is wrong, even what was sent before"
    )


def _ack_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("key", metavar="ALERT", help="the alert, such as backup.overdue:weekly")
    add_reason_argument(parser)


def _silence_arguments(parser: ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "pattern",
        metavar="ALERTS",
        nargs="?",
        help="an alert, or a pattern such as 'backup.*:weekly' or '*:region-a' (default: list the silences)",
    )
    what.add_argument("--end", metavar="ID", help="end a silence before its time")
    parser.add_argument(
        "--until",
        metavar="TIME",
        type=ending,
        help="when it ends: a length from now such as 4h, 2027-11-26, or 2027-11-26T08:00Z; 30d at most",
    )
    parser.add_argument("--reason", metavar="TEXT", help="why; it goes on record")


# -- What the command of this room takes --------------------------------------------------------


def _metrics_arguments(parser: ArgumentParser) -> None:
    way = parser.add_mutually_exclusive_group()
    way.add_argument(
        "--textfile",
        type=Path,
        metavar="FILE",
        help="write them into a file for node_exporter, readable to all; its name ends in .prom",
    )
    way.add_argument(
        "--serve",
        action="store_true",
        help="serve them over HTTP until stopped, as [metrics] of the configuration says",
    )


COMMANDS = {
    "alerts": Command(
        _list_arguments,
        "alerts:report_alerts",
        "It says what 'alerts send' would send, and sends nothing. The exit codes are the same.",
    ),
    "alerts send": Command(
        _send_arguments,
        "alerts:report_alerts",
        "Run it by cron, on any host that reaches the targets: it needs no beat, broker or worker. Ages\n"
        "come from the record and from the targets themselves. Exit code 0: nothing is wrong. 70: warnings\n"
        "alone. 40: a target could not be read. Otherwise it is that of the worst alert\n"
        "(docs/reference/alerts.md).",
    ),
    "alerts ack": Command(
        _ack_arguments,
        "alerts:acknowledge_alert",
        "It holds for up to 90 days. People are notified if the alert becomes worse, when it is over, and\n"
        "if it comes back. 'strongroom alerts' lists the alerts by their names.",
    ),
    "alerts silence": Command(
        _silence_arguments,
        "alerts:silence_alerts",
        "Silences alerts until a time; without ALERTS it lists what is silenced. A silenced alert is still\n"
        "listed. Nobody is notified of it, nor that it is over.",
    ),
    "metrics": Command(
        _metrics_arguments,
        "metrics:hand_out",
        "Prints them in Prometheus' text format, after a check of the targets. With --serve the record is\n"
        "read at each scrape, and the targets are checked every metrics.check_targets. It needs no beat,\n"
        "broker or worker (docs/how-to/scrape-metrics.md).",
    ),
}
