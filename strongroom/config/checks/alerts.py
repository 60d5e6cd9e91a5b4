"""Alerts, and messages of a recovery: mail needs a server, a password no open line, a message no gap."""

from __future__ import annotations

import re
from collections.abc import Iterator

from strongroom.config.checks.context import Context, Finding
from strongroom.config.checks.secrets import missing
from strongroom.config.model import Settings
from strongroom.config.recovery import PLACES
from strongroom.system.host import is_loopback

_NAMED = re.compile(r"\{([^{}]*)\}")


def check(context: Context) -> Iterator[Finding]:
    """Yield what keeps mail from being sent, or would show a password."""
    if not context.is_bad("mail"):
        yield from _mail(context.settings)
        if context.settings.alerts.email and context.settings.mail.host is None:
            yield Finding(
                ("mail", "host"), "missing, and alerts.email names who is notified", "Name the server."
            )
    yield from _recovery(context)


def _mail(settings: Settings) -> Iterator[Finding]:
    mail = settings.mail
    if (mail.username is None) != (mail.password_file is None):
        what, other = ("username", "password_file")[:: 1 if mail.username is None else -1]
        yield Finding(("mail", what), f"missing, while {other} is given", "Give both, or neither.")
    if mail.security == "none":
        if mail.username is not None and not is_loopback(mail.host or "localhost"):
            right = 'Use security = "starttls" or "tls"; "none" with a login is for a server on this host.'
            yield Finding(("mail", "security"), "would show the password to the network", right)
        if mail.ca_file is not None:
            yield Finding(("mail", "ca_file"), "has no effect without TLS", 'Use "starttls" or "tls".')
    if mail.ca_file and (why := missing(mail.ca_file)):
        yield Finding(("mail", "ca_file"), why, "Name the file of certificates (PEM).")


def _recovery(context: Context) -> Iterator[Finding]:
    """Yield what would keep a message from being sent, or leave a gap in it."""
    recovery, called = context.settings.recovery, context.settings.contacts.escalation
    mailed = recovery.stakeholders or (called is not None and called.mail)
    if mailed and context.settings.mail.host is None and not context.is_bad("mail"):
        yield Finding(
            ("mail", "host"), "missing, and a recovery mails its messages to somebody", "Name the server."
        )
    for name in ("opened", "restored", "closed", "late"):
        unknown = [word for word in _NAMED.findall(getattr(recovery.messages, name)) if word not in PLACES]
        if unknown:
            right = f"Name one of these in braces: {', '.join(PLACES)}."
            yield Finding(
                ("recovery", "messages", name), f"names '{{{unknown[0]}}}', and no such thing is known", right
            )
