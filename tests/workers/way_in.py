"""The whole way in, without a server: bytes as they lie in Redis, kombu, the check, a task or a refusal.

All is the product's own and kombu's, but for the socket: entries are handed to the transport as it would
have read them, and acknowledgements are kept in memory.
"""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any, Final

from kombu import Connection, Consumer, Exchange, Queue
from kombu.transport.virtual import Transport
from kombu.utils.json import dumps, loads

from strongroom.keys.keyring import Keyring
from workers import names
from workers.consumer import SignedMailbox, StrictConsumer
from workers.envelope import SERIALIZER, seal
from workers.messages import header_digest, register_envelope
from workers.refusals import Refusals, admit
from workers.rights import may_send, queue_of
from workers.transport import StrictTransport, checked_entry, checked_unacked

QUEUE, BROADCAST, UNACKED = "queue", "broadcast", "unacked"
DOORS: Final = (QUEUE, BROADCAST, UNACKED)


class WayIn:
    """A control worker that takes bytes. ``taken`` are the tasks that came through, and
    ``obeyed`` the commands."""

    def __init__(self, keyring: Keyring) -> None:
        register_envelope(names.CONTROL, keyring)
        self.keyring = keyring
        self.taken: list[str] = []
        self.obeyed: list[str] = []
        self.told: list[tuple[str, str]] = []
        self.fails: Exception | None = None
        """What a worker does with a message that passed."""
        self.refusals = Refusals(self._note, pool=names.CONTROL)
        StrictTransport.refuse = staticmethod(lambda error: self.refusals.refuse(error, where=names.CONTROL))
        self._connection = Connection("memory://")
        self._channel = self._connection.channel()
        self._consumers = [self._tasks(), self._commands()]
        self._transport: Transport = self._channel.connection

    def put(self, door: str, entry: bytes) -> None:
        """Hand over an entry. Raises nothing, whatever it is: that is what is tested."""
        if door == UNACKED:
            admit(lambda: checked_unacked(entry), StrictTransport.refuse)
        elif checked := admit(lambda: checked_entry(entry), StrictTransport.refuse):
            message, queue = loads(checked), names.CONTROL if door == QUEUE else "pidbox"
            admit(lambda: self._transport._deliver(message, queue), StrictTransport.refuse)

    @property
    def outcomes(self) -> int:
        """How many entries were refused, taken or obeyed so far."""
        return self.refusals.count + len(self.taken) + len(self.obeyed)

    @property
    def unacknowledged(self) -> int:
        """How many messages would be handed out again."""
        return len(set(self._channel.qos._delivered) - set(self._channel.qos._dirty))

    def close(self) -> None:
        self._connection.close()

    # -- what a worker is made of ----------------------------------------------

    def _tasks(self) -> Consumer:
        worker = StrictConsumer.__new__(StrictConsumer)
        worker.app = SimpleNamespace(role=names.CONTROL, refusals=self.refusals)
        worker.connection_errors = ()
        worker.strategies = defaultdict(lambda: self._take)
        worker.on_task_message = set()
        worker.call_soon_ack = lambda acknowledge: acknowledge()
        worker._maximum_prefetch_restored = True
        return self._consume(names.CONTROL, worker, on_message=worker.create_task_handler())

    def _commands(self) -> Consumer:
        app = SimpleNamespace(refusals=self.refusals)
        mailbox = SignedMailbox("celery", type="fanout", connection=self._connection, serializer=SERIALIZER)
        node = mailbox.Node(
            "control@here",
            state=SimpleNamespace(app=app),
            channel=self._channel,
            handlers=defaultdict(lambda: self._obey),
        )
        worker = StrictConsumer.__new__(StrictConsumer)
        worker.app, worker.connection_errors = SimpleNamespace(role="control", refusals=self.refusals), ()
        return self._consume("pidbox", worker, callbacks=[node.handle_message], no_ack=True)

    def _consume(self, name: str, worker: Any, **options: Any) -> Consumer:
        queue = Queue(name, Exchange(name), routing_key=name)
        consumer = Consumer(self._channel, [queue], accept=[SERIALIZER], **options)
        consumer.on_decode_error = worker.on_decode_error
        consumer.consume()
        return consumer

    def _take(self, message: Any, _body: Any, *_: Any) -> None:
        if self.fails is not None:
            raise self.fails
        self.taken.append(message.headers["task"])
        message.ack()

    def _note(self, event: str, *, reason: str, **_: Any) -> None:
        self.told.append((event, reason))

    def _obey(self, _state: Any, **_: Any) -> None:
        self.obeyed.append("command")


def genuine(
    keyring: Keyring,
    *,
    role: str = names.BEAT,
    task: str = names.RECONCILE,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return a message that a worker takes, as it lies in Redis. ``more``: other headers."""
    headers = {"lang": "py", "task": task, "id": "request-1", "argsrepr": "", "timelimit": [None, None]}
    headers |= more
    text = sealed(keyring, dumps([[], {}, {"bound": header_digest(headers)}]), role=role)
    return wrapped(text, headers)


def wrapped(body: bytes, headers: Any) -> dict[str, Any]:
    """Return a body as kombu's Redis transport puts it into a queue."""
    return {
        "body": base64.b64encode(body).decode(),
        "content-type": "application/x-strongroom-signed",
        "content-encoding": "utf-8",
        "headers": headers,
        "properties": {
            "correlation_id": "request-1",
            "delivery_info": {"exchange": "", "routing_key": names.CONTROL},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": "tag-1",
        },
    }


def sealed(keyring: Keyring, text: str, *, role: str) -> bytes:
    """Return any text at all, signed in a role's name: what a stolen key can send."""
    return seal(None, role=role, signer=keyring.signer(role), encode=lambda _: text).encode(
        "utf-8", "surrogatepass"
    )


def may_be_taken(task: str) -> bool:
    """Tell whether anybody may send a task to the control pool."""
    return any(task in may_send(role) and queue_of(task) == names.CONTROL for role in names.ROLES)


def as_entry(message: Any) -> bytes:
    """Return a message as bytes."""
    return json.dumps(message).encode()
