"""The channels and routes as this process's own configuration has them. Secrets are read on use."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import assert_never

from strongroom.config import Settings
from strongroom.config.alerts import PORTS
from strongroom.config.channels import (
    AppriseChannel,
    ChannelSettings,
    MailChannel,
    PingChannel,
    WebhookChannel,
)
from strongroom.errors import ConfigError
from strongroom.operations.alerts.apprise import Apprise
from strongroom.operations.alerts.channel import Channel
from strongroom.operations.alerts.mail import Mail, MailServer
from strongroom.operations.alerts.notify import Sending
from strongroom.operations.alerts.routes import Route
from strongroom.operations.alerts.webhook import Webhook
from strongroom.operations.findings import Severity
from strongroom.operations.ping import Ping
from strongroom.system import private_file

BY_MAIL = "alerts.email"
"""The route and the channel of those who are named there; no name of a table has a dot."""


def sending(
    settings: Settings, *, email: Sequence[str] = (), everything: bool = False, by: str = ""
) -> Sending | None:
    """Return who is notified and how; ``None`` if nobody is notified or pinged.

    Args:
        email: who is notified in place of all that are configured.
        everything: whatever was sent before.
        by: whose look it is; empty: that of this host.

    Raises:
        ConfigError: somebody gets mail, and no server is configured.
    """
    routes = [_by_mail(settings, email)] if email else _routes(settings)
    ping = ping_of(settings, settings.alerts.ping) if settings.alerts.ping and not email else None
    if not routes and ping is None:
        return None
    takeover = settings.alerts.takeover
    return Sending(routes=tuple(routes), ping=ping, takeover=takeover, everything=everything, by=by)


def _routes(settings: Settings) -> list[Route]:
    routes = [
        Route(
            name=name,
            audience=(name, *found.to),
            channels=tuple(_channel(channel, settings.channels[channel], settings) for channel in found.to),
            repeat=found.repeat or settings.alerts.repeat,
            severity=Severity(found.severity),
            policies=found.policies,
            kinds=found.kinds,
        )
        for name, found in settings.routes.items()
    ]
    by_mail = [_by_mail(settings, settings.alerts.email)] if settings.alerts.email else []
    return by_mail + routes


def _by_mail(settings: Settings, addresses: Sequence[str]) -> Route:
    recipients = tuple({address.lower(): address for address in addresses}.values())
    return Route(
        name=BY_MAIL,
        audience=tuple(sorted(map(str.lower, recipients))),
        channels=(Mail(name=BY_MAIL, server=mail_server(settings), recipients=recipients),),
        repeat=settings.alerts.repeat,
    )


def _channel(name: str, found: ChannelSettings, settings: Settings) -> Channel:
    match found:
        case MailChannel():
            return Mail(name=name, server=mail_server(settings), recipients=found.to)
        case WebhookChannel():
            return Webhook(
                name=name,
                url=_address(found),
                secret=partial(_read, found.secret_file),
                ca_file=found.ca_file,
                timeout=found.timeout,
            )
        case AppriseChannel():
            return Apprise(name=name, url=partial(_read, found.url_file), timeout=found.timeout)
        case PingChannel():  # the settings were checked
            raise ConfigError(f"channels.{name} is a dead man's switch: a message cannot go there.")
        case _:
            assert_never(found)


def ping_of(settings: Settings, name: str) -> Ping:
    """Return the dead man's switch of a name. Raises ConfigError if there is none."""
    found = settings.channels.get(name)
    if not isinstance(found, PingChannel):
        raise ConfigError(f"There is no channel '{name}' of kind ping.")
    return Ping(
        name=name,
        url=_address(found),
        timeout=found.timeout,
        ca_file=found.ca_file,
        warnings=found.fails_on == "warning",
    )


def _address(found: WebhookChannel | PingChannel) -> Callable[[], str]:
    return partial(_read, found.url_file) if found.url_file is not None else partial(str, found.url)


def mail_server(settings: Settings) -> MailServer:
    """Return the configured mail server. Raises ConfigError if there is none."""
    mail = settings.mail
    if mail.host is None:
        raise ConfigError(
            "There is somebody to tell, and no mail server: mail.host is missing.",
            hint="Name it in [mail] of strongroom.toml; docs/how-to/notify-people.md has an example.",
        )
    return MailServer(
        host=mail.host,
        port=mail.port or PORTS[mail.security],
        security=mail.security,
        sender=mail.sender or _sender(),
        username=mail.username,
        password=partial(_read, mail.password_file) if mail.password_file else None,
        ca_file=mail.ca_file,
        timeout=mail.timeout,
    )


def _read(path: Path) -> str:
    return private_file.read_private(path).strip("\r\n")


def _sender() -> str:
    """Return an address of this host, whatever its name is made of."""
    name = "".join(
        character
        for character in socket.gethostname()
        if character.isascii() and (character.isalnum() or character in "-.")
    )
    return f"strongroom@{name.strip('-.') or 'localhost'}"
