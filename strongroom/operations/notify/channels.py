"""What carries messages to people: mail, webhooks, whatever Apprise knows."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
from msgspec import Struct

from strongroom.alert_kinds import Severity
from strongroom.errors import ConfigError, StrongroomError
from strongroom.operations.errors import ChannelRefused, ChannelUnavailable
from strongroom.system.attempts import run_all
from strongroom.system.errors import NotTaken
from strongroom.system.lazy import lazy
from strongroom.system.program import post
from strongroom.times import rfc3339

# -- What carries a message to people, and what the message is: the same for every kind of channel ---


class AlertMessage(Struct, frozen=True, kw_only=True):
    """All news of one check on one route.

    Args:
        id: the same if the same news is sent again because nobody knows whether it came.
        severity: that of the worst alert in it; ``None`` if it only says what is over.
        document: the same for machines, as JSON can say it.
    """

    id: str
    at: float
    subject: str
    text: str
    severity: Severity | None
    document: Mapping[str, Any]


class Channel(Protocol):
    """A way to people."""

    @property
    def name(self) -> str:
        """What the configuration calls it."""

    @property
    def where(self) -> str:
        """Where it leads, for people; nothing secret."""

    def send(self, message: AlertMessage) -> None:
        """Hand a message over, within the channel's own time limit.

        Raises:
            ChannelUnavailable: it was not taken, and may be later. If ``partly``, some people were told.
            ChannelRefused: it was refused.
            ConfigError: a file that the channel needs cannot be used.
        """


# -- Mail ---------------------------------------------------------------------------------------


_send_mail = lazy("strongroom.operations.notify.mail:mail_to")
"""Late, for all of a mail's libraries are needed by none but who has something to say."""


class MailServer(Struct, frozen=True, kw_only=True):
    """A server that takes mail. ``password`` reads the password, when it is needed and not before.

    ``security`` is ``starttls``, ``tls`` or ``none``. ``timeout`` is how many seconds all of it may take.
    """

    host: str
    port: int
    security: str
    sender: str
    username: str | None = None
    password: Callable[[], str] | None = None
    ca_file: Path | None = None
    timeout: float = 30.0


class Mail(Struct, frozen=True, kw_only=True):
    """The channel: who gets the mail, by which server."""

    name: str
    server: MailServer
    recipients: tuple[str, ...]

    @property
    def where(self) -> str:
        return ", ".join(self.recipients)

    def send(self, message: AlertMessage) -> None:
        """Mail the message to all. See :class:`~strongroom.operations.notify.channels.Channel`."""
        _send_mail(message, self.server, self.recipients)


# -- A webhook: JSON, signed so that the receiver knows whose it is, when it was sent and that it is whole
#
# Headers and signature are those of Standard Webhooks (standardwebhooks.com): HMAC-SHA256 over the id, the
# time and the body. A receiver refuses what is old and what it has seen, so that a recorded message is of
# no use.


TYPE: Final = "strongroom.alerts"
PREFIX: Final = "whsec_"
LEAST: Final = 24
"""Bytes that a secret has at least, by the standard."""


class Webhook(Struct, frozen=True, kw_only=True):
    """A receiver. ``url`` and ``secret`` are read when they are needed, and not before."""

    name: str
    url: Callable[[], str]
    secret: Callable[[], str]
    ca_file: Path | None = None
    timeout: float = 10.0

    @property
    def where(self) -> str:
        return f"webhook '{self.name}'"

    def send(self, message: AlertMessage) -> None:
        """Post the message. See :class:`~strongroom.operations.notify.channels.Channel`."""
        content = {"type": TYPE, "timestamp": rfc3339(message.at), "data": message.document}
        body = msgspec.json.encode(content)
        headers = signed_headers(message.id, body, key=self._key(), now=time.time())
        try:
            post(self.url().strip(), body, timeout=self.timeout, headers=headers, ca_file=self.ca_file)
        except NotTaken as error:
            kind = ChannelRefused if error.lasting else ChannelUnavailable
            raise kind(f"Channel '{self.name}' {error.message}.", missed=(self.where,)) from None

    def _key(self) -> bytes:
        text = self.secret().strip()
        try:
            key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not text.startswith(PREFIX) or len(key) < LEAST:
            raise ConfigError(
                f"The file that channels.{self.name}.secret_file names holds no secret of a webhook.",
                hint="Make one: (printf whsec_; head -c 32 /dev/urandom | base64) > FILE. Give the receiver "
                "the same.",
            )
        return key


def signed_headers(name: str, body: bytes, *, key: bytes, now: float) -> dict[str, str]:
    """Return the headers that prove a body."""
    moment = str(int(now))
    digest = hmac.digest(key, b".".join((name.encode(), moment.encode(), body)), hashlib.sha256)
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": name, "webhook-timestamp": moment, "webhook-signature": signature}


# -- Everything that Apprise knows, from Slack to PagerDuty, by one URL. The library is an extra ---
#
# Its URL is a secret, and the library logs parts of it when something goes wrong. So its log is off, and
# why a service refused is not known here.


COLOURS: Final = {Severity.CRITICAL: "failure", Severity.WARNING: "warning", None: "success"}
"""What Apprise calls a message's kind."""


class Apprise(Struct, frozen=True, kw_only=True):
    """A service. ``url`` reads its address when it is needed, and not before."""

    name: str
    url: Callable[[], str]
    timeout: float = 10.0

    @property
    def where(self) -> str:
        return f"'{self.name}' (Apprise)"

    def send(self, message: AlertMessage) -> None:
        """Hand the message to the service. See :class:`~strongroom.operations.notify.channels.Channel`."""
        service = self._service()
        kind = COLOURS[message.severity]

        def notify() -> bool:
            try:
                return bool(
                    service.notify(
                        body=message.text, title=message.subject, notify_type=kind, body_format="text"
                    )
                )
            except Exception:  # noqa: BLE001 - each of its many services raises what it likes
                return False

        [taken] = run_all(self.timeout, {self.name: notify}, late=lambda _name: ChannelUnavailable).values()
        if isinstance(taken, StrongroomError):
            raise ChannelUnavailable(f"Channel '{self.name}': {taken.message}.", missed=(self.where,))
        if not taken:
            raise ChannelUnavailable(
                f"Channel '{self.name}': the service did not take the message.",
                missed=(self.where,),
                hint="Apprise does not say why. Try it by hand where only you see it: apprise -b test URL",
            )

    def _service(self) -> Any:
        try:
            apprise = import_module("apprise")
        except ImportError:
            raise ConfigError(
                f"Channel '{self.name}' needs Apprise, which is not installed here.",
                hint="Install strongroom[apprise] on every host that notifies: docs/how-to/notify-people.md.",
            ) from None
        logging.getLogger("apprise").disabled = True
        service = apprise.Apprise(asset=apprise.AppriseAsset(async_mode=False, plugin_paths=[]))
        if not service.add(self.url().strip()):
            raise ConfigError(
                f"The file that channels.{self.name}.url_file names holds no URL that Apprise knows.",
                hint="One URL, such as slack://…; https://appriseit.com lists the forms.",
            )
        return service
