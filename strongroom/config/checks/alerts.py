"""Alerts: somebody to tell needs a server to tell them by, and a password no open line."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.config.checks.context import Context, Finding
from strongroom.config.checks.secrets import missing
from strongroom.config.model import Settings
from strongroom.system.host import is_loopback


def check(context: Context) -> Iterator[Finding]:
    """Yield what keeps mail from being sent, or would show a password."""
    if not context.is_bad("mail"):
        yield from _mail(context.settings)
        if context.settings.alerts.email and context.settings.mail.host is None:
            yield Finding(
                ("mail", "host"), "missing, and alerts.email names who is notified", "Name the server."
            )


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
