"""Kombu's Redis transport, made to survive what is not even a message.

As shipped, one entry of a queue that is not JSON, or not shaped like a message, ends the
worker's main process, and leaves no trace of what it was.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import msgspec
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.redis import Channel, Transport

from strongroom.errors import MessageRefused
from strongroom.model import prepare

Refuse = Callable[[MessageRefused], None]


class Properties(msgspec.Struct, frozen=True):
    """What the transport itself needs of a message's properties."""

    delivery_tag: str
    delivery_info: dict[str, Any]
    body_encoding: Literal["base64"]
    priority: int = 0


class Wire(msgspec.Struct, frozen=True, rename="kebab"):
    """The shape of a message as it lies in a queue."""

    body: str
    properties: Properties
    headers: dict[str, Any]
    content_type: str | None = None
    content_encoding: str | None = None


prepare(Wire)


class StrictChannel(Channel):  # type: ignore[misc, unused-ignore]
    """Takes what is not JSON off the queue, and goes on."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call, unused-ignore]
        except (json.JSONDecodeError, UnicodeDecodeError):
            StrictTransport.refuse(MessageRefused("a queue entry that is not JSON"))
            return True


class StrictTransport(Transport):  # type: ignore[misc, unused-ignore]
    """Delivers what has a message's shape."""

    Channel = StrictChannel
    refuse: ClassVar[Refuse] = staticmethod(lambda _error: None)

    def _deliver(self, message: Any, queue: Any) -> None:
        if not has_shape(message):
            StrictTransport.refuse(MessageRefused("a queue entry that is not a message"))
            return
        super()._deliver(message, queue)  # type: ignore[no-untyped-call, unused-ignore]


def has_shape(message: Any) -> bool:
    """Tell whether kombu can make a message of a queue's entry."""
    try:
        wire = msgspec.convert(message, Wire)
        binascii.a2b_base64(wire.body)
    except (msgspec.ValidationError, ValueError):
        return False
    return True


def install(refuse: Refuse) -> None:
    """Use this transport for Redis in this process; ``refuse`` is told of each bad entry."""
    StrictTransport.refuse = staticmethod(refuse)
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = "workers.transport:StrictTransport"
