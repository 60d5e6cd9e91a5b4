"""backup-alerts: what is wrong with the backups, printed and told by mail, without beat, broker or worker."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import TYPE_CHECKING

from strongroom import durations
from strongroom.cli.commands.health import render_alerts
from strongroom.cli.terminal.command import Command
from strongroom.cli.terminal.output import Output, plural
from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from strongroom.config import Settings
    from strongroom.operations.alerts.alert_kinds import Alert
    from strongroom.operations.alerts.context import Watched
    from strongroom.operations.alerts.notification import Telling
    from strongroom.operations.alerts.notify import Found, Sending

LEAST, MOST = 60, 366 * 86_400
"""Seconds: below, every backup that is being made is late; above, nothing ever is."""


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--email",
        metavar="ADDRESS",
        type=_address,
        action="append",
        default=[],
        help="who is told, in place of alerts.email; may be repeated",
    )
    parser.add_argument(
        "--threshold-age",
        metavar="AGE",
        type=_age,
        help="how long after its time a verified backup may be missing, such as 48h",
    )
    parser.add_argument("--all", action="store_true", help="tell all that is wrong, whatever was told before")
    parser.add_argument("--dry-run", action="store_true", help="send nothing; say what would be told")


def _address(word: str) -> str:
    from strongroom.config.fields import MAIL_ADDRESS  # noqa: PLC0415 - half of what '--help' would cost

    if not re.fullmatch(MAIL_ADDRESS, word):
        raise ArgumentTypeError("is a plain address, such as alerts@example.org")
    return word


def _age(word: str) -> int:
    try:
        seconds = int(durations.parse(word))
    except ValueError:
        seconds = 0
    if not LEAST <= seconds <= MOST:
        raise ArgumentTypeError("is a length of time from 1m to 366d, such as 48h")
    return seconds


def _alerts(arguments: Namespace, output: Output) -> None:
    from strongroom.cli.shared.settings import settings  # noqa: PLC0415 - the whole configuration
    from strongroom.operations.alerts.notify import gather_and_judge, put_lost_on_record  # noqa: PLC0415 - sqlalchemy
    from strongroom.wiring import alerts as wiring_alerts  # noqa: PLC0415

    configured = settings()
    watched = wiring_alerts.watched(configured)
    limits = wiring_alerts.limits(configured, threshold_age=arguments.threshold_age)
    found = gather_and_judge(watched, limits)
    put_lost_on_record(watched, found)
    sending, trouble = _sending_or_why(arguments, configured)
    telling = None
    if trouble is None:
        telling, trouble = _tell(watched, found, sending, dry_run=arguments.dry_run)
    mail = render_alerts.Mail(sending, telling, trouble, dry_run=arguments.dry_run)
    output.answer(render_alerts.document(found, limits, mail), render_alerts.lines(found, limits, mail))
    if trouble is not None:
        raise trouble
    _raise(found.alerts)


def _sending_or_why(
    arguments: Namespace, configured: Settings
) -> tuple[Sending | None, StrongroomError | None]:
    """Return how people are told. Without a mail server what is wrong is printed all the same."""
    try:
        return _sending(arguments, configured), None
    except StrongroomError as error:
        return None, error


def _sending(arguments: Namespace, configured: Settings) -> Sending | None:
    """Return who is told and how; ``None`` if nobody is named."""
    from strongroom.operations.alerts.notify import Sending  # noqa: PLC0415 - sqlalchemy
    from strongroom.wiring import alerts as wiring_alerts  # noqa: PLC0415

    recipients = tuple({one.lower(): one for one in arguments.email or configured.alerts.email}.values())
    if not recipients:
        return None
    return Sending(
        server=wiring_alerts.mail_server(configured),
        recipients=recipients,
        repeat=configured.alerts.repeat,
        everything=arguments.all,
    )


def _tell(
    watched: Watched, found: Found, sending: Sending | None, *, dry_run: bool
) -> tuple[Telling | None, StrongroomError | None]:
    """Tell people. What went wrong with that is raised only after the answer was printed."""
    from strongroom.operations.alerts.notify import tell_people, to_tell  # noqa: PLC0415 - sqlalchemy

    if sending is None:
        return None, None
    if dry_run:
        return to_tell(watched, found, sending), None
    try:
        return tell_people(watched, found, sending), None
    except StrongroomError as error:
        return None, error


def _raise(alerts: tuple[Alert, ...]) -> None:
    from strongroom.operations.alerts.alert_kinds import KINDS, Severity  # noqa: PLC0415

    if not alerts:
        return
    worst = alerts[0]
    critical = sum(alert.severity is Severity.CRITICAL for alert in alerts)
    counts = [f"{critical} critical"] if critical else []
    counts += [plural(len(alerts) - critical, "warning")] if len(alerts) > critical else []
    raise KINDS[worst.kind].error(f"{', '.join(counts)}. The worst: {worst.what}.", hint=worst.do)


COMMANDS = {
    "backup-alerts": Command(
        _arguments,
        _alerts,
        "For cron, on any host that reaches the targets: it rests on no beat, broker or worker. Ages come\n"
        "from the record and from what really lies on the targets. Exit code 0: nothing is wrong; 70:\n"
        "warnings alone; 40: a target was not looked at; else that of the worst alert: see "
        "docs/reference/alerts.md.",
    )
}
