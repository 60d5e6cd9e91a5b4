"""Real messages on a real Redis: the signature covers body, headers, sender and queue."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection
from kombu.utils.json import dumps, loads
from msgspec.structs import replace

from strongroom.config import BrokerSettings, load_settings
from strongroom.config.live import LiveSettings
from strongroom.keys.keyring import Keyring
from strongroom.operations.engine.steps import pools
from strongroom.operations.errors import MessageRefused
from strongroom.state.records import RunStep, StepKind, Ticket
from tests.patience import PATIENCE
from tests.redis_server import RedisServer
from workers.app import Strongroom
from workers.messages import HIDDEN, check_task, register_envelope
from workers.send import send_tickets

UPLOAD = Ticket("20261125T024501Z-3f9a0c1d", RunStep(StepKind.UPLOAD, 3, "region-a"), 41)
RESTORE = Ticket("20261125T024501Z-3f9a0c1d", RunStep(StepKind.RESTORE), 42)


class Sender:
    """An app that signs in one role's name, and the broker it sends to."""

    def __init__(self, redis: RedisServer, folder: Path, keyring: Keyring, role: str) -> None:
        settings = replace(
            load_settings({"STRONGROOM_STATE_DIR": str(folder)}),
            broker=BrokerSettings(url=redis.broker_url),
        )
        register_envelope(role, keyring)
        self.app = Strongroom(LiveSettings.fixed(settings), role=role)
        self.connection: Connection = self.app.connection_for_read()

    def take(self, queue: str) -> Any:
        """Return the next message as a worker's consumer gets it."""
        with self.connection.SimpleQueue(queue) as simple:
            message = simple.get(timeout=PATIENCE)
            message.accept = {"application/x-strongroom-signed"}
            message.ack()
            message._decoded_cache = None  # this queue has opened it already; a worker's has not
            return message

    def raw(self, queue: str) -> Any:
        """Return the next message as it lies in Redis."""
        return json.loads(self.connection.default_channel.client.rpop(queue))


@pytest.fixture
def transfer(redis_server: RedisServer, tmp_path: Path, keyring: Keyring) -> Iterator[Sender]:
    """A transfer worker's app."""
    sender = Sender(redis_server, tmp_path, keyring, "transfer")
    sender.connection.default_channel.client.flushall()
    yield sender
    sender.connection.close()
    sender.app.close()


def sent(sender: Sender, ticket: Ticket = UPLOAD) -> Any:
    assert send_tickets(sender.app, [ticket]) == 1
    return sender.take(pools()[ticket.step.kind].value)


def test_a_message_is_passed_as_it_was_sent(transfer: Sender) -> None:
    order = check_task(sent(transfer), queue="transfer")

    assert (order.task, order.sender) == ("strongroom.step.upload", "transfer")


def test_it_carries_the_ticket_and_nothing_else(transfer: Sender) -> None:
    arguments = sent(transfer).payload[1]

    assert arguments == {
        "version": 1,
        "run": UPLOAD.run,
        "piece": 3,
        "target": "region-a",
        "dispatch": 41,
    }


def test_a_mark_of_redelivery_is_not_an_alteration(transfer: Sender) -> None:
    message = sent(transfer)
    message.headers["redelivered"] = True

    assert check_task(message, queue="transfer").task == "strongroom.step.upload"


def test_every_altered_header_is_refused(transfer: Sender) -> None:
    message = sent(transfer)
    before = dict(message.headers)
    assert {"task", "id", "eta", "expires", "retries", "timelimit", "shadow", "root_id"} <= set(before)
    for name, value in before.items():
        message.headers = {**before, name: "strongroom.step.restore" if value != "x" else "y"}
        with pytest.raises(MessageRefused, match="headers were altered"):
            check_task(message, queue="transfer")


def test_every_removed_header_is_refused(transfer: Sender) -> None:
    message = sent(transfer)
    before = dict(message.headers)
    for name in before:
        message.headers = {other: value for other, value in before.items() if other != name}
        with pytest.raises(MessageRefused, match="headers were altered"):
            check_task(message, queue="transfer")


@pytest.mark.parametrize("name", ["chain", "callbacks", "is_eager", "clock", "compression"])
def test_an_added_header_is_refused(transfer: Sender, name: str) -> None:
    message = sent(transfer)
    message.headers[name] = "anything"

    with pytest.raises(MessageRefused, match="headers were altered"):
        check_task(message, queue="transfer")


def test_the_body_of_another_message_is_refused(transfer: Sender) -> None:
    one = sent(transfer)
    other = sent(transfer, Ticket(UPLOAD.run, RunStep(StepKind.UPLOAD, 4, "region-b"), 43))
    one.body = other.body

    with pytest.raises(MessageRefused, match="headers were altered"):
        check_task(one, queue="transfer")


def test_an_altered_body_is_refused(transfer: Sender) -> None:
    message = sent(transfer)
    text = message.body if isinstance(message.body, str) else message.body.decode()
    message.body = text.replace("region-a", "region-b")

    with pytest.raises(MessageRefused, match="signature"):
        check_task(message, queue="transfer")


@pytest.mark.parametrize("kind", ["application/json", "application/data", "application/text", "", None])
def test_another_content_type_is_refused(transfer: Sender, kind: str | None) -> None:
    message = sent(transfer)
    message.content_type = kind

    with pytest.raises(MessageRefused, match="unsigned"):
        check_task(message, queue="transfer")


def test_a_task_that_the_role_may_not_send_is_refused(transfer: Sender) -> None:
    transfer.app.send_task("strongroom.step.restore", kwargs={}, queue="recover")

    with pytest.raises(MessageRefused, match="role 'transfer', which may not send it"):
        check_task(transfer.take("recover"), queue="recover")


def test_a_sender_does_not_even_try_what_its_role_may_not_send(transfer: Sender) -> None:
    assert send_tickets(transfer.app, [RESTORE, UPLOAD]) == 1


def test_a_task_on_a_queue_where_it_is_foreign_is_refused(transfer: Sender) -> None:
    with pytest.raises(MessageRefused, match="foreign"):
        check_task(sent(transfer), queue="seal")


def test_a_task_with_another_in_its_tow_is_refused(transfer: Sender) -> None:
    follower = transfer.app.signature("strongroom.step.commit")
    transfer.app.send_task("strongroom.step.upload", kwargs={}, queue="transfer", link=follower)

    with pytest.raises(MessageRefused, match="in its tow"):
        check_task(transfer.take("transfer"), queue="transfer")


def test_arguments_are_hidden_outside_the_body(transfer: Sender) -> None:
    send_tickets(transfer.app, [UPLOAD])
    raw = transfer.raw("transfer")
    outside = json.dumps({name: value for name, value in raw.items() if name != "body"})

    assert (raw["headers"]["argsrepr"], raw["headers"]["kwargsrepr"]) == (HIDDEN, HIDDEN)
    assert UPLOAD.run not in outside
    assert "region-a" not in outside
    assert UPLOAD.run in base64.b64decode(raw["body"]).decode()


def test_headers_survive_the_transports_json(transfer: Sender) -> None:
    transfer.app.send_task(
        "strongroom.step.upload",
        kwargs={},
        queue="transfer",
        headers={"float": 1.5, "nested": {"b": [1, None], "a": "ü"}, "big": 2**60},
        expires=3600,
    )
    raw = transfer.raw("transfer")
    assert loads(dumps(raw)) == raw
    transfer.connection.default_channel.client.lpush("transfer", json.dumps(raw))

    assert check_task(transfer.take("transfer"), queue="transfer").sender == "transfer"
