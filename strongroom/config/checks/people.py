"""Alerts, and messages of a recovery: a way to people, a route for each alert, no gap, no open password."""

from __future__ import annotations

import re
from collections.abc import Iterator

from strongroom.config.channels import ChannelSettings, MailChannel, PingChannel, WebhookChannel
from strongroom.config.checks.context import Context, Misfit
from strongroom.config.checks.secrets import missing
from strongroom.config.model import Settings
from strongroom.config.problems import KeyPath
from strongroom.config.recovery import PLACES
from strongroom.system.host import is_loopback

_NAMED = re.compile(r"\{([^{}]*)\}")


def check(context: Context) -> Iterator[Misfit]:
    """Yield what keeps mail from being sent, or would show a password."""
    settings = context.settings
    if not context.is_bad("mail"):
        yield from _mail(settings)
        if settings.mail.host is None and (who := _who_gets_mail(settings)):
            yield Misfit(("mail", "host"), f"missing, and {who} names who is notified", "Name the server.")
    for name, channel in settings.channels.items():
        yield from _channel(name, channel)
    for key, named in _named(settings):
        yield from context.reference(key, named, "channels")
        if named in settings.channels and isinstance(settings.channels[named], PingChannel) == (
            key[0] == "routes"
        ):
            yield Misfit(key, "not a channel that does this", _PINGS)
    yield from _gaps(settings)
    yield from _recovery(context)


_PINGS = 'Routes need channels that carry a message; alerts.ping and the ping of a policy need kind = "ping".'


def _who_gets_mail(settings: Settings) -> str:
    if settings.alerts.email:
        return "alerts.email"
    mails = (name for name, channel in settings.channels.items() if isinstance(channel, MailChannel))
    return next((f"channels.{name}" for name in mails), "")


def _channel(name: str, channel: ChannelSettings) -> Iterator[Misfit]:
    if isinstance(channel, WebhookChannel | PingChannel):
        if (channel.url is None) == (channel.url_file is None):
            what = "missing" if channel.url is None else "given twice, with url_file"
            yield Misfit(("channels", name, "url"), what, "Give one of url and url_file.")
        if channel.ca_file and (why := missing(channel.ca_file)):
            yield Misfit(("channels", name, "ca_file"), why, "Name the file of certificates (PEM).")


def _named(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    """Yield where a channel is named, and which."""
    for route, found in settings.routes.items():
        yield from ((("routes", route, "to", place), name) for place, name in enumerate(found.to))
    for policy, entry in settings.policies.items():
        if entry.ping is not None:
            yield ("policies", policy, "ping"), entry.ping
    if settings.alerts.ping is not None:
        yield ("alerts", "ping"), settings.alerts.ping


def _gaps(settings: Settings) -> Iterator[Misfit]:
    """Yield routes to policies that there are not, and that critical alerts may go nowhere at all."""
    for name, route in settings.routes.items():
        for policy in set(route.policies) - set(settings.policies):
            yield Misfit(("routes", name, "policies"), f"there is no policy '{policy}'", "Name one.")
    takes_all = (not route.policies and not route.kinds for route in settings.routes.values())
    if settings.routes and not settings.alerts.email and not any(takes_all):
        what = "no route takes every critical alert, so some would reach nobody"
        yield Misfit(("routes",), what, "Give one route without policies and kinds, or set alerts.email.")


def _mail(settings: Settings) -> Iterator[Misfit]:
    mail = settings.mail
    if (mail.username is None) != (mail.password_file is None):
        what, other = ("username", "password_file")[:: 1 if mail.username is None else -1]
        yield Misfit(("mail", what), f"missing, while {other} is given", "Give both, or neither.")
    if mail.security == "none":
        if mail.username is not None and not is_loopback(mail.host or "localhost"):
            right = 'Use security = "starttls" or "tls"; "none" with a login is for a server on this host.'
            yield Misfit(("mail", "security"), "would show the password to the network", right)
        if mail.ca_file is not None:
            yield Misfit(("mail", "ca_file"), "has no effect without TLS", 'Use "starttls" or "tls".')
    if mail.ca_file and (why := missing(mail.ca_file)):
        yield Misfit(("mail", "ca_file"), why, "Name the file of certificates (PEM).")


def _recovery(context: Context) -> Iterator[Misfit]:
    """Yield what would keep a message from being sent, or leave a gap in it."""
    recovery, called = context.settings.recovery, context.settings.contacts.escalation
    mailed = recovery.stakeholders or (called is not None and called.mail)
    if mailed and context.settings.mail.host is None and not context.is_bad("mail"):
        yield Misfit(
            ("mail", "host"), "missing, and a recovery mails its messages to somebody", "Name the server."
        )
    for name in ("opened", "restored", "closed", "late"):
        unknown = [word for word in _NAMED.findall(getattr(recovery.messages, name)) if word not in PLACES]
        if unknown:
            right = f"Name one of these in braces: {', '.join(PLACES)}."
            yield Misfit(
                ("recovery", "messages", name), f"names '{{{unknown[0]}}}', and no such thing is known", right
            )
