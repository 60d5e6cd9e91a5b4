"""What is wrong with the backups, and who was told, in words and for machines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from strongroom.cli.terminal.output import in_line, plural, table
from strongroom.durations import about
from strongroom.errors import StrongroomError
from strongroom.operations.alerts.alert_kinds import Alert
from strongroom.operations.alerts.due_notifications import Telling
from strongroom.operations.alerts.notify import Found, Sending
from strongroom.operations.errors import MailUnavailable
from strongroom.operations.facts.freshness import Freshness, judge
from strongroom.operations.facts.records import Limits
from strongroom.timestamps import rfc3339


class Mail(NamedTuple):
    """Who gets mail (``None``: nobody), what was sent, and what went wrong."""

    sending: Sending | None
    telling: Telling | None
    trouble: StrongroomError | None
    dry_run: bool

    @property
    def missed(self) -> tuple[str, ...]:
        """Those who were not told, and were to be."""
        if self.trouble is None or self.sending is None:
            return ()
        return self.trouble.missed if isinstance(self.trouble, MailUnavailable) else self.sending.recipients


def lines(found: Found, limits: Limits, mail: Mail) -> Iterator[str]:
    """Yield the answer for people: what is wrong, how fresh each policy is, and who was told."""
    if not found.alerts:
        yield "Nothing is wrong."
    for alert in found.alerts:
        yield f"{alert.severity.upper()}  {in_line(alert.key)}"
        yield f"  {in_line(alert.what)}"
        yield f"  What to do: {in_line(alert.do)}"
    rows = [_row(one) for one in _fresh(found, limits)]
    yield from ["", *table(("POLICY", "BACKUP", "AGE", "VERIFIED", "STANDS"), rows)] if rows else ()
    yield _told(mail)


def _row(one: Freshness) -> tuple[str, str, str, str, str]:
    judged = one.judged
    return (
        one.policy,
        judged.backup if judged else "none",
        about(one.age) if one.age is not None else "-",
        judged.depth.value if judged and judged.depth else "-",
        _standing(one),
    )


def _standing(one: Freshness) -> str:
    if one.due_at is None:
        return "no schedule"
    return "overdue" if one.overdue else "due" if one.missed_at is not None else "fresh"


def _told(mail: Mail) -> str:
    if mail.sending is None and mail.trouble is not None:
        return "Nobody got mail: no mail could be prepared. See below."
    if mail.sending is None:
        return "Nobody gets mail: give --email, or set alerts.email."
    if mail.telling is None:
        return f"NOT told by mail: {', '.join(mail.missed)}"
    if mail.telling.is_empty:
        return "Nothing is new, so no mail is sent (--all tells all of it again)."
    over = f", of which {len(mail.telling.over):,} over" if mail.telling.over else ""
    told = plural(len(mail.telling.items) + len(mail.telling.over), "alert")
    what = f"{told}{over}, to {', '.join(mail.sending.recipients)}"
    return f"{'Would be told' if mail.dry_run else 'Told'} by mail: {what}"


def document(found: Found, limits: Limits, mail: Mail) -> dict[str, object]:
    """Return the answer for machines."""
    sending, telling = mail.sending, mail.telling
    return {
        "alerts": [_of_alert(alert) for alert in found.alerts],
        "policies": [_of_policy(one) for one in _fresh(found, limits)],
        "targets_away": found.facts.away,
        "state": found.facts.state,
        "mail": {
            "to": sending.recipients if sending else (),
            "sent": bool(telling and not telling.is_empty and not mail.dry_run),
            "told": [item.alert.key for item in telling.items] if telling else [],
            "over": [one.key for one in telling.over] if telling else [],
            "missed": mail.missed,
            "error": mail.trouble and {"code": mail.trouble.code, "message": mail.trouble.message},
        },
    }


def _fresh(found: Found, limits: Limits) -> list[Freshness]:
    facts = found.facts
    return [
        judge(policy, threshold=limits.threshold_age, now=facts.now, recorded=facts.state is None)
        for policy in facts.policies
    ]


def _of_alert(alert: Alert) -> dict[str, object]:
    return {
        "key": alert.key,
        "severity": alert.severity.value,
        "kind": alert.kind,
        "subject": alert.subject,
        "what": alert.what,
        "means": alert.means,
        "do": alert.do,
    }


def _of_policy(one: Freshness) -> dict[str, object]:
    judged = one.judged
    return {
        "policy": one.policy,
        "backup": judged.backup if judged else None,
        "made_at": rfc3339(judged.made_at) if judged else None,
        "verified": judged.depth.value if judged and judged.depth else None,
        "age_seconds": one.age,
        "due_at": rfc3339(one.due_at) if one.due_at is not None else None,
        "overdue": one.overdue,
    }
