"""What a signature covers beyond the body: headers, sender's rights, and the right queue.

A broker's message is a body and headers, and Celery signs neither; its own ``auth``
serializer signs the body alone, so changing the ``task`` header runs another task. Here
the body carries a digest of all headers, made when they are final.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, cast

import msgspec
from celery.app.amqp import AMQP
from kombu.serialization import loads, register
from kombu.utils.json import dumps as _kombu_dumps
from kombu.utils.objects import cached_property

from strongroom.keys.keyring import Keyring
from strongroom.operations.errors import MessageRefused
from workers.envelope import CONTENT_TYPE, SERIALIZER, Opened, SignedDict, SignedList, open_, seal
from workers.refusals import reason_of
from workers.rights import MAY_COMMAND, may_send, queue_of

dumps: Final = cast("Callable[[Any], str]", _kombu_dumps)

HIDDEN: Final = "(hidden)"
BOUND: Final = "bound"

# The Redis transport marks a message that it hands out again; nothing depends on the mark.
TRANSPORT_HEADERS: Final = frozenset({"redelivered"})
CANVAS: Final = ("callbacks", "errbacks", "chain", "chord")


class Order(NamedTuple):
    """A task message that was checked."""

    task: str
    id: str
    sender: str


class SignedAMQP(AMQP):  # type: ignore[misc]
    """Celery's message maker: hides arguments and binds the headers to the signed body."""

    def as_task_v2(self, *args: Any, **kwargs: Any) -> Any:
        """Make a message whose headers and events do not show its arguments."""
        return super().as_task_v2(*args, **{**kwargs, "argsrepr": HIDDEN, "kwargsrepr": HIDDEN})

    @cached_property
    def send_task_message(self) -> Any:
        """Return the sender, which binds all headers as the last thing before publishing."""
        send = self._create_task_sender()

        def send_bound(producer: Any, name: str, message: Any, headers: Any = None, **options: Any) -> Any:
            message.headers.update(headers or {})
            message.body[2][BOUND] = header_digest(message.headers)
            return send(producer, name, message, **options)

        return send_bound


def header_digest(headers: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the headers, in hex, as any JSON encoding carries them."""
    kept = {name: value for name, value in headers.items() if name not in TRANSPORT_HEADERS}
    plain = msgspec.json.decode(dumps(kept).encode())
    return hashlib.sha256(msgspec.json.encode(plain, order="deterministic")).hexdigest()


def register_envelope(role: str, keyring: Keyring) -> None:
    """Make Celery sign what it sends as ``role`` and open only what is signed."""

    def encode(data: Any) -> str:
        return seal(data, role=role, signer=keyring.signer(role), encode=dumps)

    def decode(raw: str | bytes) -> Opened:
        return open_(raw, trusted=keyring.accepted, removed=keyring.removed)

    register(  # type: ignore[no-untyped-call]
        SERIALIZER, encode, decode, content_type=CONTENT_TYPE, content_encoding="utf-8"
    )


def check_task(message: Any, *, queue: str) -> Order:
    """Return what a message orders, or raise :class:`MessageRefused`.

    Args:
        message: a kombu message as the consumer received it.
        queue: the only queue whose tasks this worker performs. Where the message was
            found says nothing: whoever writes to the broker chooses that.
    """
    payload, headers = _payload(message), message.headers
    embedded = _embedded(payload, headers)
    return _checked(Order(headers["task"], headers["id"], payload.sender), embedded, queue)


def check_own(body: bytes, headers: Mapping[str, Any]) -> None:
    """Raise :class:`MessageRefused` unless a process of this installation signed this body, these headers
    and all."""
    _embedded(loads(body, CONTENT_TYPE, "utf-8", accept={CONTENT_TYPE}), headers)  # type: ignore[no-untyped-call]


def _embedded(payload: Any, headers: Any) -> Mapping[str, Any]:
    if not isinstance(payload, SignedList) or len(payload) != 3 or not isinstance(payload[2], dict):
        raise MessageRefused("a message that is not a signed task")
    if not isinstance(headers, dict) or payload[2].get(BOUND) != header_digest(headers):
        raise MessageRefused(f"a message of role '{payload.sender}' whose headers were altered")
    return payload[2]


def _checked(order: Order, embedded: Mapping[str, Any], queue: str) -> Order:
    if order.task not in may_send(order.sender):
        raise MessageRefused(f"task '{order.task}' from role '{order.sender}', which may not send it")
    if queue_of(order.task) != queue:
        raise MessageRefused(f"task '{order.task}' on queue '{queue}', where it is foreign")
    if any(embedded.get(part) for part in CANVAS):
        # A worker signs what follows a task with its own key: a sender could borrow rights.
        raise MessageRefused(f"task '{order.task}' from role '{order.sender}' with another in its tow")
    return order


def check_command(body: Any) -> SignedDict:
    """Return a remote-control message that may be obeyed, or raise :class:`MessageRefused`."""
    if not isinstance(body, SignedDict):
        raise MessageRefused("a control message that is not signed")
    if body.get("method") not in MAY_COMMAND.get(body.sender, ()):
        what = str(body.get("method"))[:64]
        raise MessageRefused(f"control command '{what}' from role '{body.sender}', which may not give it")
    return body


def _payload(message: Any) -> Any:
    # Kombu opens 'application/data' and 'application/text' whatever it was told to accept.
    if message.content_type != CONTENT_TYPE:
        raise MessageRefused("an unsigned message")
    try:
        return message.payload
    except Exception as error:
        raise reason_of(error) from error
