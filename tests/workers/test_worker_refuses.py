"""Real workers on a real broker: what is not signed by someone who may is refused aloud."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from kombu.utils.json import dumps
from redis import Redis

from strongroom.keys.keyring import Keyring
from strongroom.state.records import Event
from strongroom.state.store import RunStore
from tests.patience import PATIENCE, until
from tests.workers.cluster import RunningCluster
from workers import names, paths
from workers.envelope import CONTENT_TYPE, seal
from workers.messages import header_digest
from workers.pools import POOLS as POOLS_OF_A_CLUSTER
from workers.rights import unacked_keys

ALWAYS = [pool.role for pool in POOLS_OF_A_CLUSTER.values() if pool.always]
POOLS = len(ALWAYS)


class Broker:
    """What an attacker with the broker in hand can do: put anything on any queue."""

    def __init__(self, cluster: RunningCluster) -> None:
        self.cluster = cluster
        self.client = Redis(unix_socket_path=str(paths.broker_socket(cluster.state_dir)))
        self.store = RunStore(f"sqlite:///{cluster.state_dir / 'state.db'}")
        self.keyring = Keyring(paths.role_keys(cluster.state_dir))

    def put(self, queue: str, message: Any) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        self.client.lpush(queue, text)

    def refusals(self) -> list[Event]:
        return self.store.events(kind="message-refused")

    def count(self) -> int:
        return sum(event.detail["count"] for event in self.refusals())

    def close(self) -> None:
        self.client.close()
        self.store.close()


@pytest.fixture
def broker(shared_cluster: RunningCluster) -> Iterator[Broker]:
    broker = Broker(shared_cluster)
    yield broker
    broker.close()


def message(body: str, *, content_type: str = CONTENT_TYPE, **headers: Any) -> dict[str, Any]:
    """Return a message as kombu's Redis transport writes one."""
    tag = str(uuid.uuid4())
    return {
        "body": base64.b64encode(body.encode()).decode(),
        "content-type": content_type,
        "content-encoding": "utf-8",
        "headers": {"lang": "py", "task": names.RECONCILE, "id": tag, "argsrepr": "", **headers},
        "properties": {
            "correlation_id": tag,
            "reply_to": "",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "control"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": tag,
        },
    }


def signed(keyring: Keyring, *, role: str, task: str = names.RECONCILE, **kwargs: Any) -> dict[str, Any]:
    """Return a message that is well-formed and signed by a role."""
    made = message("", task=task)
    body = [[], kwargs, {"bound": header_digest(made["headers"])}]
    text = seal(body, role=role, signer=keyring.signer(role), encode=dumps)
    made["body"] = base64.b64encode(text.encode()).decode()
    return made


PLAIN = json.dumps([[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])

BAD = {
    "unsigned": message(PLAIN, content_type="application/json"),
    "trusted by kombu": message(PLAIN, content_type="application/data"),
    "text": message("anything", content_type="text/plain"),
    "pickle": message("gASVBQAAAAAAAABLBC4=", content_type="application/x-python-serialize"),
    "signed type, unsigned body": message(PLAIN),
    "an empty body": message(""),
    "a task that is a list": message(PLAIN, task=["strongroom.tick"]),
    "no task": {**message(PLAIN), "headers": {}},
    "no headers": {**message(PLAIN), "headers": None},
    "a body that is not base64": {**message(PLAIN), "body": "%%%"},
    "another body encoding": {**message(PLAIN), "properties": {"body_encoding": "rot13"}},
    "unknown compression": message(PLAIN, compression="application/x-none"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_message_is_refused_recorded_and_does_not_stop_the_worker(broker: Broker, name: str) -> None:
    before, worker = broker.count(), broker.cluster.pid("control")

    broker.put("control", BAD[name])

    until(lambda: broker.count() == before + 1, what="the event")
    assert broker.refusals()[-1].detail["pool"] == "control"
    assert broker.cluster.pid("control") == worker
    assert_still_working(broker)


@pytest.mark.parametrize("raw", ["no json at all", '"a text"', "{}", "[]", "null", "{"])
def test_what_is_not_even_a_message_is_refused_recorded_and_does_not_stop_the_worker(
    broker: Broker, raw: str
) -> None:
    before, worker = broker.count(), broker.cluster.pid("control")

    broker.put("control", raw)

    until(lambda: broker.count() == before + 1, what="the event")
    assert broker.cluster.pid("control") == worker
    assert_still_working(broker)


DEEP, DIGITS = "[" * 200_000 + "]" * 200_000, "9" * 5_000
HEADERS = {
    "a lone surrogate": r'"\ud800"',
    "NaN": "NaN",
    "infinity": "1e999",
    "400 digits": "9" * 400,
    "5,000 digits": DIGITS,
    "900 lists": "[" * 900 + "]" * 900,
    "500 objects": '{"a":' * 500 + "1" + "}" * 500,
    "lists without end": DEEP,
    "a typed value": '{"__type__": "datetime", "__value__": "never"}',
    "a typed value of an unknown type": '{"__type__": ["x"], "__value__": 1}',
}
ENTRIES = {
    "lists without end": DEEP,
    "digits": DIGITS,
    "a typed value": '{"__type__": "uuid", "__value__": {"hex": 1}}',
    "bytes that are no text": b"\xff\xfe{}",
    "three megabytes": json.dumps(message("A" * 3_000_000)),
    "a bomb": json.dumps(message("x" * 100, compression="gzip")),
    "numbers where texts should be": json.dumps({**message(PLAIN), "body": 7}),
    "no exchange": json.dumps(
        {**message(PLAIN), "properties": {**message(PLAIN)["properties"], "delivery_info": {}}}
    ),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_genuine_message_with_a_poisoned_header_is_refused_once_and_stops_nobody(
    broker: Broker, name: str
) -> None:
    before, worker = broker.count(), broker.cluster.pid("control")
    genuine = json.dumps(signed(broker.keyring, role="beat"))

    broker.put("control", genuine.replace('"headers": {', f'"headers": {{"x": {HEADERS[name]}, '))

    until(lambda: broker.count() == before + 1, what="the event")
    assert broker.cluster.pid("control") == worker
    assert_still_working(broker)
    assert broker.count() == before + 1


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_that_nothing_can_read_is_refused_once_and_stops_nobody(broker: Broker, name: str) -> None:
    before, workers = broker.count(), [broker.cluster.pid(pool) for pool in ("control", "transfer")]

    broker.client.lpush("control", ENTRIES[name])
    broker.client.lpush("transfer", ENTRIES[name])

    until(lambda: broker.count() == before + 2, what="the events of both kinds of pool")
    assert [broker.cluster.pid(pool) for pool in ("control", "transfer")] == workers
    assert_still_working(broker)


@pytest.mark.parametrize("name", ENTRIES)
def test_a_broadcast_that_nothing_can_read_is_refused_by_each_pool_and_stops_none(
    broker: Broker, name: str
) -> None:
    before, workers = broker.count(), [broker.cluster.pid(pool) for pool in ALWAYS]

    broker.client.publish("/0.celery.pidbox", ENTRIES[name])

    until(lambda: broker.count() == before + POOLS, what="an event of each pool")
    assert [broker.cluster.pid(pool) for pool in ALWAYS] == workers
    assert_still_working(broker)


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize("name", ENTRIES)
def test_what_waits_to_be_handed_out_again_is_refused_if_nothing_can_read_it(
    broker: Broker, name: str
) -> None:
    before, workers = broker.count(), [broker.cluster.pid(pool) for pool in ALWAYS]

    kept = unacked_keys("control")
    broker.client.hset(kept["unacked_key"], "poison", ENTRIES[name])
    broker.client.zadd(kept["unacked_index_key"], {"poison": 1})

    until(lambda: broker.count() > before, what="the event")
    until(lambda: not broker.client.hexists(kept["unacked_key"], "poison"), what="it to be dropped")
    assert [broker.cluster.pid(pool) for pool in ALWAYS] == workers
    assert_still_working(broker)


@pytest.mark.parametrize("key", ["control", "transfer", *unacked_keys("control").values()])
def test_a_key_of_another_type_stops_nobody_and_work_goes_on_once_it_is_gone(
    broker: Broker, key: str
) -> None:
    workers = [broker.cluster.pid(pool) for pool in ALWAYS]
    broker.client.delete(key)
    broker.client.set(key, "CANARY-of-another-type", px=3_000)
    until(lambda: not broker.client.exists(key) or broker.client.type(key) != b"string", what="its end")

    broker.put("control", signed(broker.keyring, role="beat"))
    until(lambda: broker.client.llen("control") == 0, what="the queue to be emptied")
    assert [broker.cluster.pid(pool) for pool in ALWAYS] == workers


def test_a_message_from_a_role_that_may_not_send_it_is_refused(broker: Broker) -> None:
    before = len(broker.refusals())

    broker.put("control", signed(broker.keyring, role="transfer", task=names.BACKUP_FULL, policy="x"))

    event = until(lambda: broker.refusals()[before:], what="the event")[0]
    assert event.detail["reason"] == (
        "task 'strongroom.backup.full' from role 'transfer', which may not send it"
    )


def test_a_message_moved_to_another_pools_queue_is_refused(broker: Broker) -> None:
    before = len(broker.refusals())

    broker.put("transfer", signed(broker.keyring, role="beat"))

    event = until(lambda: broker.refusals()[before:], what="the event")[0]
    assert "foreign" in event.detail["reason"]
    assert event.detail["pool"] == "transfer"


def test_a_moved_header_is_refused(broker: Broker) -> None:
    before = len(broker.refusals())
    altered = signed(broker.keyring, role="beat", task=names.TICK)
    altered["headers"]["task"] = names.RECONCILE

    broker.put("control", altered)

    event = until(lambda: broker.refusals()[before:], what="the event")[0]
    assert event.detail["reason"] == "a message of role 'beat' whose headers were altered"


def test_an_unsigned_shutdown_stops_nobody(broker: Broker) -> None:
    before, worker = broker.count(), broker.cluster.pid("control")
    command = json.dumps({"method": "shutdown", "arguments": {}, "destination": None})

    broker.client.publish("/0.celery.pidbox", json.dumps(message(command, content_type="application/json")))

    until(lambda: broker.count() == before + POOLS, what="an event of each pool")
    assert broker.cluster.pid("control") == worker
    assert_still_working(broker)


def test_a_signed_shutdown_from_a_shell_stops_nobody(broker: Broker) -> None:
    before, worker = broker.count(), broker.cluster.pid("control")

    shell(broker.cluster, "from workers.app import app; app.control.broadcast('shutdown')")

    until(lambda: broker.count() == before + POOLS, what="an event of each pool")
    assert "control command 'shutdown' from role 'submit'" in broker.refusals()[-1].detail["reason"]
    assert broker.cluster.pid("control") == worker
    assert_still_working(broker)


def test_a_request_that_makes_no_run_leaves_an_event_with_its_id(broker: Broker) -> None:
    request = shell(
        broker.cluster,
        "from workers.app import app; print(app.send_task('strongroom.backup.full', "
        "kwargs={'policy': 'no-such-policy'}, queue='control').id)",
    ).strip()

    events = until(lambda: broker.store.events(kind="submission-refused"), what="the event")
    assert events[-1].detail["request"] == request
    assert "no full policy 'no-such-policy'" in events[-1].detail["why"]


def assert_still_working(broker: Broker) -> None:
    """A signed reconcile is taken from the queue and not refused."""
    before = broker.count()
    broker.put("control", signed(broker.keyring, role="beat"))
    until(lambda: broker.client.llen("control") == 0, what="the queue to be emptied")
    assert broker.count() == before


def shell(cluster: RunningCluster, program: str) -> str:
    """Run a program as a person does in a plain Python shell."""
    environment = {**os.environ, "STRONGROOM_STATE_DIR": str(cluster.state_dir)}
    told = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return told.stdout
