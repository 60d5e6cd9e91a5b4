"""One mail with all that is new, the worst first: plain text, in which nothing forges a line or a header."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from textwrap import wrap

from strongroom.durations import about
from strongroom.operations.alerts.alert_kinds import Severity
from strongroom.operations.alerts.due_notifications import Item, News, Telling
from strongroom.words import plural, spelled_out

WIDTH = 76
_NEWS = {News.NEW: "", News.WORSE: ", worse than before", News.AGAIN: ", still so"}


def letter(
    telling: Telling,
    *,
    host: str,
    sender: str,
    recipients: Sequence[str],
    now: float,
    notes: Sequence[str] = (),
) -> EmailMessage:
    """Write the mail.

    Args:
        host: this host's name.
        notes: what the reader has to know of how it was looked, such as that the state was away.
    """
    content = "\n".join(_lines(telling, host, now, notes)) + "\n"
    return plain_mail(subject(telling, host), content, sender=sender, recipients=recipients, now=now)


def plain_mail(
    about: str, content: str, *, sender: str, recipients: Sequence[str], now: float
) -> EmailMessage:
    """Return a mail of plain text, as a program sends it."""
    message = EmailMessage(policy=SMTP)
    message["Subject"] = about
    message["From"] = Address(display_name="Strongroom", addr_spec=sender)
    message["To"] = tuple(Address(addr_spec=one) for one in recipients)
    message["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    message["Message-ID"] = make_msgid(domain=sender.partition("@")[2])
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answering machine answers it
    message.set_content(content, cte="quoted-printable")
    return message


def subject(telling: Telling, host: str) -> str:
    """Return the subject: how many of what, and where."""
    critical, warning = telling.count(Severity.CRITICAL), telling.count(Severity.WARNING)
    counts = [f"{critical} critical"] if critical else []
    counts += [plural(warning, "warning")] if warning else []
    counts += [f"{len(telling.over)} resolved"] if telling.over else []
    return f"[strongroom] {', '.join(counts)} on {spelled_out(host)}"


def _lines(telling: Telling, host: str, now: float, notes: Sequence[str]) -> Iterator[str]:
    for note in notes:
        yield from (*_wrapped(note), "")
    for item in telling.items:
        yield from (*_item(item, now), "")
    if telling.over:
        yield from ("RESOLVED: this is not so any more.", "")
        for one in telling.over:
            yield from (*_wrapped(f"{one.key}: {one.what}.", "  "), "")
    yield from _wrapped(
        "How it stands now: 'strongroom backup-alerts', 'strongroom status', 'strongroom replicas'."
    )
    yield from ("", "-- ")
    at = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S} UTC"
    yield from _wrapped(f"Sent by Strongroom on {host} at {at}.")


def _item(item: Item, now: float) -> Iterator[str]:
    known = f", for {about(now - item.since)}" if item.news is not News.NEW else ""
    alert = item.alert
    yield from _wrapped(f"{alert.severity.upper()}: {alert.key}{_NEWS[item.news]}{known}")
    yield from _wrapped(f"{alert.what[:1].upper()}{alert.what[1:]}.", "  ")
    yield from _wrapped(alert.means, "  What it means: ")
    yield from _wrapped(alert.do, "  What to do: ")


def _wrapped(text: str, first: str = "") -> list[str]:
    return wrap(
        spelled_out(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent="    " if first.strip() else first,
        break_long_words=False,
        break_on_hyphens=False,
    )
