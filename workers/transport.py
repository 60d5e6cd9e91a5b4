"""Kombu's Redis transport, made to survive whatever lies in Redis.

As shipped, one entry of a queue that is not JSON, or not shaped like a message, ends the
worker's main process, and leaves no trace of what it was. Here all bytes go through
:func:`read_entry` first, which is strict, typed and bounded, and kombu sees only what it
returns: no typed values, no compression, nothing deep, nothing huge.
"""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.redis import Channel, QoS, Transport
from redis.exceptions import MasterDownError, ReadOnlyError, ResponseError

from strongroom.model import prepare
from strongroom.operations.errors import MessageRefused
from workers.messages import check_own
from workers.refusals import admit

log = logging.getLogger(__name__)

Refuse = Callable[[MessageRefused], None]

ENTRY_LIMIT: Final = 2 * 1024 * 1024
"""Bytes of the largest entry looked at: the largest envelope in base64, and its headers."""

FAILOVER: Final = (ReadOnlyError, MasterDownError)
"""What a Redis answers that became a replica: as good as away, until it or another is the primary again."""
UNBLOCKED: Final = "UNBLOCKED"
"""What it says to those who wait for a message while it becomes one."""
MISTYPED: Final = "a key of the broker that is of another type"
MISTYPED_PAUSE: Final = 0.5

Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Plain = str | Whole | float | bool | None
Leaf = Plain | list[Plain]
Header = Leaf | dict[str, Leaf | dict[str, Leaf | dict[str, Leaf]]]
"""As deep as what the libraries in use put there: Sentry keeps all headers once more in one called
``headers``, and in that the configuration of a monitor, whose schedule is a table."""


class DeliveryInfo(msgspec.Struct, frozen=True):
    """Where a message was sent; the transport restores it there."""

    exchange: str
    routing_key: str
    redelivered: bool = False


class Properties(msgspec.Struct, frozen=True):
    """What the transport and Celery use of a message's properties."""

    delivery_tag: str
    delivery_info: DeliveryInfo
    body_encoding: Literal["base64"]
    priority: Whole = 0
    delivery_mode: Whole = 2
    correlation_id: str | None = None
    reply_to: str | None = None


class Wire(msgspec.Struct, frozen=True, rename="kebab"):
    """The shape of a message as it lies in Redis. Of what else there is nothing is read."""

    body: str
    properties: Properties
    headers: dict[str, Header]
    content_type: str | None = None
    content_encoding: str | None = None


class OddWire(Wire, frozen=True, rename="kebab"):
    """A message whose headers have any shape at all: they count if they are what a sender signed."""

    headers: dict[str, Any]


prepare(Wire)
_WIRE: Final = msgspec.json.Decoder(Wire)
_ODD_WIRE: Final = msgspec.json.Decoder(OddWire)
_UNACKED: Final = msgspec.json.Decoder(tuple[Wire, str, str])
_ODD_UNACKED: Final = msgspec.json.Decoder(tuple[OddWire, str, str])


def read_entry(entry: bytes) -> dict[str, Any]:
    """Return a queue's entry, or a broadcast, as kombu takes it. Raises anything if it is not one."""
    entry = _bounded(entry)
    try:
        return _as_kombu(_WIRE.decode(entry))
    except msgspec.ValidationError:
        return _as_kombu(_if_own(_ODD_WIRE.decode(entry)))


def read_unacked(entry: bytes) -> tuple[dict[str, Any], str, str]:
    """Return a message that waits to be acknowledged, its exchange and its key; as :func:`read_entry`."""
    entry = _bounded(entry)
    try:
        wire, exchange, key = _UNACKED.decode(entry)
    except msgspec.ValidationError:
        odd, exchange, key = _ODD_UNACKED.decode(entry)
        wire = _if_own(odd)
    return _as_kombu(wire), exchange, key


def _if_own(odd: OddWire) -> OddWire:
    """Return a message whose headers are deeper than any known, if a process of ours signed them so.

    What a library puts there must not silence us: a refused look for alerts is one that tells nobody.
    """
    check_own(base64.b64decode(odd.body, validate=True), odd.headers)
    log.warning("message-of-odd-shape", extra={"task": str(odd.headers.get("task"))[:64]})
    return odd


def _bounded(entry: bytes) -> bytes:
    if len(entry) > ENTRY_LIMIT:
        raise MessageRefused("an entry that is too large to be a message")
    return entry


def _as_kombu(wire: Wire) -> dict[str, Any]:
    if "compression" in wire.headers:  # unpacked before anybody asks who signed it: a bomb
        raise MessageRefused("a compressed message")
    base64.b64decode(wire.body, validate=True)
    message: dict[str, Any] = msgspec.to_builtins(wire)
    return message


@contextmanager
def _mistyped(instead: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Refuse such a key, and do ``instead`` what this process has to note in any case."""
    try:
        yield
    except FAILOVER:
        raise
    except ResponseError:
        StrictTransport.refuse(MessageRefused(MISTYPED))
        instead()


class StrictQoS(QoS):  # type: ignore[misc, unused-ignore]
    """Hands out again only what is a message: an attacker who writes to Redis chose what waits there.

    They may also have put something of another type where acknowledgements are kept. Redis refuses each
    command then; work goes on without them, and the run record sends again what got lost.
    """

    def append(self, message: Any, delivery_tag: Any) -> None:
        """Note a message that is being worked on."""
        with _mistyped():
            super().append(message, delivery_tag)  # type: ignore[no-untyped-call, unused-ignore]

    def ack(self, delivery_tag: Any) -> None:
        """Forget a message that was worked on."""
        with _mistyped(instead=lambda: self._quick_ack(delivery_tag)):
            super().ack(delivery_tag)  # type: ignore[no-untyped-call, unused-ignore]

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's
        """Give a message back, or forget it."""
        with _mistyped(instead=lambda: self._quick_ack(delivery_tag)):
            super().reject(delivery_tag, requeue)  # type: ignore[no-untyped-call, unused-ignore]

    def restore_visible(self, *args: Any, **options: Any) -> None:
        """Hand out again what nobody acknowledged for long."""
        with _mistyped():
            super().restore_visible(*args, **options)  # type: ignore[no-untyped-call, unused-ignore]

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's
        """Put a message that was not acknowledged back on its queue."""

        def restore(pipe: Any) -> None:
            entry = pipe.hget(self.unacked_key, tag)
            pipe.multi()
            self._remove_from_indices(tag, pipe)  # type: ignore[no-untyped-call, unused-ignore]
            if entry and (kept := admit(lambda: read_unacked(entry), StrictTransport.refuse)):
                message, exchange, key = kept
                self.channel._do_restore_message(message, exchange, key, pipe, leftmost)  # noqa: SLF001

        with self.channel.conn_or_acquire(client) as connection:
            connection.transaction(restore, self.unacked_key)


class StrictChannel(Channel):  # type: ignore[misc, unused-ignore]
    """Hands the transport bytes where kombu's own would decode them first."""

    QoS = StrictQoS

    def _brpop_read(self, **options: Any) -> Any:
        try:
            match self._answer(**options):
                case [bytes() as key, bytes() as entry]:
                    queue = key.decode("utf-8", "replace").rsplit(self.sep, 1)[0]
                    self._queue_cycle.rotate(queue)
                    self.connection._deliver(entry, queue)  # noqa: SLF001
                case None | []:
                    raise Empty
                case _:  # a server that is no Redis
                    StrictTransport.refuse(MessageRefused("an answer that no broker gives"))
            return True
        finally:
            self._in_poll = False
            self._flush_brpop_reauth()  # type: ignore[no-untyped-call, unused-ignore]

    def _answer(self, **options: Any) -> Any:
        try:
            return self.client.parse_response(self.client.connection, "BRPOP", **options)
        except self.connection_errors:
            self.client.connection.disconnect()  # the next look connects anew
            raise
        except ResponseError as error:
            if str(error).startswith(UNBLOCKED):
                self.client.connection.disconnect()
                raise ReadOnlyError(str(error)) from None
            StrictTransport.refuse(MessageRefused(MISTYPED))
            time.sleep(MISTYPED_PAUSE)  # it would answer so at once, again and again
            return None

    def _receive_one(self, c: Any) -> Any:
        try:
            response = c.parse_response()
        except self.connection_errors:
            self._in_listen = False
            raise
        match response:
            case [b"message", bytes() as topic, bytes() as entry]:
                return self._broadcast(topic.decode("utf-8", "replace"), entry)
            case [b"pmessage", _, bytes() as topic, bytes() as entry]:
                return self._broadcast(topic.decode("utf-8", "replace"), entry)
            case [b"unsubscribe" | b"punsubscribe", *_]:
                c.handle_message(response)  # so that redis-py does not subscribe to it again
        return None

    def _broadcast(self, topic: str, entry: bytes) -> bool:
        exchange = topic.partition(".")[2] if topic.startswith("/") else topic
        queue = self._fanout_to_queue.get(exchange.split("/", 1)[0])
        if queue is not None:
            self.connection._deliver(entry, queue)  # noqa: SLF001
        return True


class StrictTransport(Transport):  # type: ignore[misc, unused-ignore]
    """Delivers what has a message's shape."""

    Channel = StrictChannel
    connection_errors = (*Transport.connection_errors, *FAILOVER)
    refuse: ClassVar[Refuse] = staticmethod(lambda _error: None)

    def _deliver(self, entry: bytes, queue: Any) -> None:
        message = admit(lambda: read_entry(entry), StrictTransport.refuse)
        if message is not None:
            deliver = super()._deliver
            # Whoever receives refuses by itself, and acknowledges. This is the net below.
            admit(lambda: deliver(message, queue), StrictTransport.refuse, passing=self._lost)  # type: ignore[no-untyped-call, unused-ignore]

    @property
    def _lost(self) -> tuple[type[Exception], ...]:
        """What says that Redis went away, and nothing about a message."""
        return tuple(self.connection_errors)


def install(refuse: Refuse) -> None:
    """Use this transport for Redis in this process; ``refuse`` is told of each bad entry."""
    StrictTransport.refuse = staticmethod(refuse)
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = "workers.transport:StrictTransport"
