"""Kombu's Redis transport, made to survive whatever lies in Redis.

As shipped, one entry of a queue that is not JSON, or not shaped like a message, ends the
worker's main process, and leaves no trace of what it was. Here kombu has a client of Redis that
passes all bytes through :func:`checked_entry`, which is strict, typed and bounded. Kombu sees only
what that returns: no typed values, no compression, nothing deep, nothing huge. What is refused is
to kombu an answer that brought nothing.

Nothing here is a private name of kombu. That kombu asks its client so, and takes ``None`` so, was
read in its source: ``tests/workers/test_kombu.py`` says in which version, and of which functions.
"""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from queue import Empty
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.transport.redis import Channel, QoS, Transport
from kombu.utils.json import loads
from redis import Redis
from redis.client import Pipeline, PubSub
from redis.exceptions import ConnectionError as RedisConnectionError
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

TYPED: Final = b'"__type__"'
"""With this key kombu's JSON names a type, and makes one of a value as it reads it."""

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


def checked_entry(entry: bytes) -> bytes:
    """Return a queue's entry, or a broadcast, as kombu is to read it. Raises anything if it is not one."""
    try:
        wire = _WIRE.decode(_bounded(entry))
    except msgspec.ValidationError:
        wire = _if_own(_ODD_WIRE.decode(entry))
    return _for_kombu(wire, wire)


def checked_unacked(entry: bytes) -> bytes:
    """Return a message that waits to be acknowledged, its exchange and its key; as :func:`checked_entry`."""
    try:
        wire, exchange, key = _UNACKED.decode(_bounded(entry))
    except msgspec.ValidationError:
        odd, exchange, key = _ODD_UNACKED.decode(entry)
        wire = _if_own(odd)
    return _for_kombu(wire, (wire, exchange, key))


def _if_own(wire: Wire) -> Wire:
    """Return a message whose headers are deeper than any known, if a process of ours signed them so.

    What a library puts there must not silence us: a refused look for alerts is one that tells nobody.
    """
    check_own(base64.b64decode(wire.body, validate=True), wire.headers)
    log.warning("message-of-odd-shape", extra={"task": str(wire.headers.get("task"))[:64]})
    return wire


def _bounded(entry: bytes) -> bytes:
    if len(entry) > ENTRY_LIMIT:
        raise MessageRefused("an entry that is too large to be a message")
    return entry


def _for_kombu(wire: Wire, whole: object) -> bytes:
    if "compression" in wire.headers:  # unpacked before anybody asks who signed it: a bomb
        raise MessageRefused("a compressed message")
    base64.b64decode(wire.body, validate=True)
    text = msgspec.json.encode(whole)
    if TYPED in text:
        _if_own(wire)
    # That kombu can read it is found out here, and not there.
    loads(text)  # type: ignore[no-untyped-call, unused-ignore]
    return text


def _refuse(why: str) -> None:
    StrictTransport.refuse(MessageRefused(why))


class StrictPipeline(Pipeline):
    """Redis' transactions: what waits to be acknowledged is read in one, to be handed out again.

    An attacker who writes to Redis chose what waits there.
    """

    def hget(self, name: Any, key: Any) -> Any:
        """Return what is a message, and of anything else that nothing is there."""
        entry: Any = super().hget(name, key)
        return (
            admit(lambda: checked_unacked(entry), StrictTransport.refuse)
            if isinstance(entry, bytes)
            else entry
        )


class StrictPubSub(PubSub):
    """Redis' broadcasts: remote control comes this way."""

    def parse_response(self, *args: Any, **options: Any) -> Any:
        """Return what has a message's shape, and all that is no message."""
        match super().parse_response(*args, **options):  # type: ignore[no-untyped-call, unused-ignore]
            case [b"message" | b"pmessage", *topic, bytes() as entry] as answer:
                checked = admit(lambda: checked_entry(entry), StrictTransport.refuse)
                return None if checked is None else [answer[0], *topic, checked]
            case answer:
                return answer


class StrictRedis(Redis):
    """Kombu's way to Redis, for all that is read."""

    def parse_response(self, connection: Any, command_name: str, **options: Any) -> Any:
        """Return a server's answer; where a message was waited for, one that has a message's shape."""
        if command_name != "BRPOP":
            return super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]
        match self._brought(connection, **options):
            case [bytes() as key, bytes() as entry]:
                checked = admit(lambda: checked_entry(entry), StrictTransport.refuse)
                return None if checked is None else (key, checked)
            case None | []:
                return None
            case _:  # a server that is no Redis
                return _refuse("an answer that no broker gives")

    def _brought(self, connection: Any, **options: Any) -> Any:
        try:
            return super().parse_response(connection, "BRPOP", **options)  # type: ignore[no-untyped-call]
        except FAILOVER:
            raise
        except ResponseError as error:
            if str(error).startswith(UNBLOCKED):
                raise ReadOnlyError(str(error)) from None
            _refuse(MISTYPED)
            time.sleep(MISTYPED_PAUSE)  # it would answer so at once, again and again
            return None

    def pubsub(self, **options: Any) -> StrictPubSub:
        """Return what receives broadcasts."""
        return StrictPubSub(self.connection_pool, **options)

    def pipeline(self, transaction: Any = True, shard_hint: Any = None) -> StrictPipeline:  # noqa: FBT002 - redis'
        """Return what sends commands together."""
        return StrictPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


@contextmanager
def _mistyped(instead: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Refuse such a key, and do ``instead`` what this process has to note in any case."""
    try:
        yield
    except FAILOVER:
        raise
    except ResponseError:
        _refuse(MISTYPED)
        instead()


class StrictQoS(QoS):  # type: ignore[misc, unused-ignore]
    """Goes on without acknowledgements, if something of another type is where they are kept.

    Redis refuses each command then; the run record sends again what got lost.
    """

    acknowledges: ClassVar[bool] = True
    """Whether this process takes from a queue. Who only gets answers has nothing to hand out again, nor the
    right to look for it."""

    def append(self, message: Any, delivery_tag: Any) -> None:
        """Note a message that is being worked on."""
        with _mistyped():
            super().append(message, delivery_tag)  # type: ignore[no-untyped-call, unused-ignore]

    def ack(self, delivery_tag: Any) -> None:
        """Forget a message that was worked on."""
        with _mistyped(instead=partial(virtual.QoS.ack, self, delivery_tag)):
            super().ack(delivery_tag)  # type: ignore[no-untyped-call, unused-ignore]

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's
        """Give a message back, or forget it."""
        with _mistyped(instead=partial(virtual.QoS.ack, self, delivery_tag)):
            super().reject(delivery_tag, requeue)  # type: ignore[no-untyped-call, unused-ignore]

    def restore_visible(self, *args: Any, **options: Any) -> None:
        """Hand out again what nobody acknowledged for long."""
        if not self.acknowledges:
            return
        with _mistyped():
            super().restore_visible(*args, **options)  # type: ignore[no-untyped-call, unused-ignore]


class StrictChannel(Channel):  # type: ignore[misc, unused-ignore]
    """Reads with :class:`StrictRedis`."""

    QoS = StrictQoS

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)  # type: ignore[no-untyped-call, unused-ignore]
        # Whoever receives refuses by itself, and acknowledges. This is the net below. That Redis went away
        # says nothing about a message.
        passing = (Empty, *self.connection_errors)
        self.handlers = {
            kind: partial(admit, read, StrictTransport.refuse, passing=passing)
            for kind, read in self.handlers.items()
        }

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """Give a client to ask with.

        Once the connection was given up, kombu's own meets None in its place, and that ends the worker.
        From an error of the connection kombu and Celery go on: they close, or leave a message unacknowledged.
        """
        if client is None and getattr(self.connection, "client", None) is None:
            raise RedisConnectionError("the connection of this channel was given up")
        with super().conn_or_acquire(client) as made:  # type: ignore[no-untyped-call, unused-ignore]
            yield made

    @property
    def Client(self) -> type[StrictRedis]:  # noqa: N802 - kombu's
        """What kombu makes its clients with. It sets its own, as it begins, which is not kept."""
        return StrictRedis

    @Client.setter
    def Client(self, _its_own: object) -> None:  # noqa: N802 - kombu's
        pass


class StrictTransport(Transport):  # type: ignore[misc, unused-ignore]
    """Delivers what has a message's shape."""

    Channel = StrictChannel
    connection_errors = (*Transport.connection_errors, *FAILOVER)
    refuse: ClassVar[Refuse] = staticmethod(lambda _error: None)


def install(refuse: Refuse, *, takes: bool) -> None:
    """Use this transport for Redis in this process.

    Args:
        refuse: is told of each bad entry.
        takes: whether the process takes from a queue, and acknowledges what it took.
    """
    StrictTransport.refuse = staticmethod(refuse)
    StrictQoS.acknowledges = takes
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = "workers.transport:StrictTransport"
