"""A webhook: JSON, signed so that the receiver knows whose it is, when it was sent and that it is whole.

Headers and signature are those of Standard Webhooks (standardwebhooks.com): HMAC-SHA256 over the id, the time
and the body. A receiver refuses what is old and what it has seen, so that a recorded message is of no use.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from strongroom.errors import ConfigError
from strongroom.operations.alerts.channel import AlertMessage
from strongroom.operations.errors import ChannelRefused, ChannelUnavailable
from strongroom.system.errors import NotTaken
from strongroom.system.http_post import post
from strongroom.timestamps import rfc3339

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
        """Post the message. See :class:`~strongroom.operations.alerts.channel.Channel`."""
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
