"""What of kombu's source the strict transport relies on, and in which version somebody read it."""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Callable
from typing import Any

import kombu
import pytest
import redis
from kombu.transport.redis import Channel, QoS, Transport

from tests.patience import PATIENCE
from tests.redis_server import RedisServer
from workers import transport
from workers.transport import StrictChannel, StrictQoS, StrictTransport

READ_IN = "5.7.0"
RELIED_ON = {
    Channel.__init__: ("sets 'Client' and 'handlers'", "f189bdebe2436ccd"),
    Channel._create_client: ("makes every client with 'Client'", "dae92bc4075dafb9"),
    Channel._brpop_read: ("takes an answer of None to BRPOP for a queue that is empty", "c42518699709f2df"),
    Channel._receive_one: ("takes an answer of None for a broadcast that is none", "d59b8751d89757dc"),
    QoS.restore_by_tag: (
        "reads with 'hget', in a transaction, and drops what it says is not there",
        "58e161d81b6fe18d",
    ),
}
"""What each does that ``workers/transport.py`` needs, and the digest of the source it was read in."""


def digest(function: Callable[..., Any]) -> str:
    return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:16]


@pytest.mark.parametrize("function", RELIED_ON, ids=lambda function: function.__qualname__)
def test_kombu_is_as_it_was_when_somebody_read_it(function: Callable[..., Any]) -> None:
    does, read = RELIED_ON[function]

    assert digest(function) == read, (
        f"kombu {kombu.__version__} has another {function.__qualname__} than {READ_IN}. Read it: "
        f"does it still do what workers/transport.py needs ({does})? Then note {digest(function)!r}."
    )


@pytest.mark.parametrize(
    ("ours", "kombus"), [(StrictChannel, Channel), (StrictQoS, QoS), (StrictTransport, Transport)]
)
def test_nothing_private_of_kombus_is_replaced(ours: type, kombus: type) -> None:
    private = {name for name in vars(ours) if name.startswith("_") and not name.endswith("__")}

    assert not private & set(dir(kombus))


def test_what_a_channel_holds_stays_with_the_broker_once_its_connection_was_given_up(
    redis_server: RedisServer,
) -> None:
    """kombu gives a connection up in the midst of closing it, where Redis went away while it waited there.

    Its channel is closed, and what a worker has done by then is acknowledged, afterwards.
    """
    transport.install(lambda _error: None, takes=True)
    redis.Redis.from_url(redis_server.url).flushall()
    with kombu.Connection(redis_server.broker_url) as connection:
        queue = connection.SimpleQueue("held")
        queue.put({"a": 1})
        message = queue.get(timeout=PATIENCE)
        channel = queue.channel
        channel.connection.client = None

        connection.maybe_close_channel(channel)
        message.ack_log_error(logging.getLogger("tests"), connection.connection_errors)
        channel.connection = None
        message.ack_log_error(logging.getLogger("tests"), connection.connection_errors)

        assert channel.closed
    assert redis.Redis.from_url(redis_server.url).hlen("unacked") == 1
