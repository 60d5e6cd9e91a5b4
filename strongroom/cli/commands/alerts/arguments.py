"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser

from strongroom.cli.terminal.command import Command


def _backup_alerts_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--email",
        metavar="ADDRESS",
        action="append",
        default=[],
        help="who gets the mail, instead of alerts.email; repeatable",
    )
    parser.add_argument(
        "--threshold-age",
        metavar="AGE",
        help="how late a verified backup may be, such as 48h",
    )
    parser.add_argument(
        "--all", action="store_true", help="mail all that is wrong, even what was mailed before"
    )
    parser.add_argument("--dry-run", action="store_true", help="send nothing; say what would be mailed")


COMMANDS = {
    "backup-alerts": Command(
        _backup_alerts_arguments,
        "alerts:report_alerts",
        "Run it by cron, on any host that reaches the targets: it needs no beat, broker or worker. Ages\n"
        "come from the record and from the targets themselves. Exit code 0: nothing is wrong. 70: warnings\n"
        "alone. 40: a target could not be read. Otherwise it is that of the worst alert\n"
        "(docs/reference/alerts.md).",
    ),
}
