"""Webhook, Apprise and ping, each sent to a real receiver on loopback."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from strongroom.alert_kinds import Severity
from strongroom.errors import ConfigError
from strongroom.operations.engine.calendar_entries import Ping, Signal
from strongroom.operations.errors import ChannelRefused, ChannelUnavailable
from strongroom.operations.notify.channels import AlertMessage, Apprise, Channel, Webhook
from tests.live.certificates import server_context
from tests.operations.alerts.receiver import Receiver
from tests.patience import PATIENCE

KEY = b"CANARY-webhook-secret-of-32-byte"
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
MESSAGE = AlertMessage(
    id="alerts_1",
    at=0.0,
    subject="[strongroom] 1 critical on h",
    text="CRITICAL: backup.overdue:p\n",
    severity=Severity.CRITICAL,
    document={"host": "h", "notes": [], "alerts": [{"key": "backup.overdue:p"}], "resolved": []},
)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def webhook(receiver: Receiver, **options: object) -> Webhook:
    values = {
        "name": "chat",
        "url": lambda: receiver.url,
        "secret": lambda: f"{SECRET}\n",
        "timeout": PATIENCE,
    }
    return Webhook(**{**values, **options})  # type: ignore[arg-type]


def apprise(receiver: Receiver, **options: object) -> Apprise:
    pytest.importorskip("apprise")
    url = f"json://user:CANARY-password@127.0.0.1:{receiver.port}/CANARY-path"
    return Apprise(**{"name": "chat", "url": lambda: url, "timeout": PATIENCE, **options})  # type: ignore[arg-type]


# -- the webhook ---------------------------------------------------------------


def test_a_webhook_is_signed_as_standard_webhooks_says(receiver: Receiver) -> None:
    webhook(receiver).send(MESSAGE)
    [post] = receiver.posts
    assert post.document == {
        "type": "strongroom.alerts",
        "timestamp": "1970-01-01T00:00:00Z",
        "data": dict(MESSAGE.document),
    }
    name, moment = post.headers["webhook-id"], post.headers["webhook-timestamp"]
    proof = hmac.new(KEY, f"{name}.{moment}.".encode() + post.body, hashlib.sha256).digest()
    assert post.headers["webhook-signature"] == f"v1,{base64.b64encode(proof).decode()}"
    assert (name, post.headers["content-type"]) == ("alerts_1", "application/json")


def test_a_webhook_goes_through_tls_to_a_certificate_that_holds_and_to_no_other(tmp_path: Path) -> None:
    context, ca_file = server_context(tmp_path)
    with Receiver(context=context) as receiver:
        webhook(receiver, ca_file=ca_file).send(MESSAGE)
        with pytest.raises(ChannelUnavailable, match="certificate does not hold"):
            webhook(receiver).send(MESSAGE)
        assert len(receiver.posts) == 1


@pytest.mark.parametrize("secret", ["", "CANARY", "whsec_", "whsec_Q0FOQVJZ", "whsec_!CANARY!"])
def test_a_secret_that_is_none_signs_nothing(secret: str, receiver: Receiver) -> None:
    with pytest.raises(ConfigError) as caught:
        webhook(receiver, secret=lambda: secret).send(MESSAGE)
    assert "CANARY" not in str(caught.value)
    assert receiver.posts == []


# -- what all have in common ---------------------------------------------------

KINDS = pytest.mark.parametrize("make", [webhook, apprise])


@KINDS
@pytest.mark.parametrize("status", [403, 500])
def test_a_channel_that_does_not_take_a_message_says_so_and_no_secret(
    make: Callable[..., Channel], status: int, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="apprise")
    receiver.status = status
    with pytest.raises(ChannelUnavailable) as caught:
        make(receiver).send(MESSAGE)
    assert isinstance(caught.value, ChannelRefused) == (make is webhook and status == 403)
    assert caught.value.missed
    assert not [record for record in caplog.records if "CANARY" in str(record) + record.getMessage()]
    assert "CANARY" not in f"{caught.value} {caught.value.hint} {caught.value.missed}"


@KINDS
def test_a_channel_that_does_not_answer_is_waited_for_so_long_and_no_longer(
    make: Callable[..., Channel], receiver: Receiver
) -> None:
    receiver.status = 0
    with pytest.raises(ChannelUnavailable, match=r"no answer within 0\.3 s"):
        make(receiver, timeout=0.3).send(MESSAGE)


@KINDS
def test_a_channel_that_is_gone_says_so_and_no_secret(make: Callable[..., Channel]) -> None:
    with Receiver() as receiver:
        channel = make(receiver)
    with pytest.raises(ChannelUnavailable) as caught:
        channel.send(MESSAGE)
    assert "CANARY" not in f"{caught.value} {caught.value.hint} {caught.value.missed}"


def test_nothing_is_sent_to_another_host_without_tls_whatever_a_file_says(receiver: Receiver) -> None:
    url = f"http://localhost.example.org:{receiver.port}/CANARY-path"
    with pytest.raises(ChannelRefused, match="without TLS") as caught:
        webhook(receiver, url=lambda: url).send(MESSAGE)
    assert "CANARY" not in str(caught.value)


# -- apprise -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("severity", "kind"), [(Severity.CRITICAL, "failure"), (Severity.WARNING, "warning"), (None, "success")]
)
def test_apprise_brings_a_message_with_its_colour(
    severity: Severity | None, kind: str, receiver: Receiver
) -> None:
    apprise(receiver).send(
        AlertMessage(id="1", at=0.0, subject="a <b>", text="c & d\n", severity=severity, document={})
    )
    [post] = receiver.posts
    document = post.document
    assert (document["title"], document["message"].strip(), document["type"]) == ("a <b>", "c & d", kind)


@pytest.mark.parametrize("url", ["", "CANARY", "nothing://CANARY"])
def test_a_url_that_apprise_does_not_know_is_a_wrong_setting(url: str, receiver: Receiver) -> None:
    with pytest.raises(ConfigError) as caught:
        apprise(receiver, url=lambda: url).send(MESSAGE)
    assert "CANARY" not in str(caught.value)


def test_without_the_library_it_says_what_to_install(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = Apprise(name="chat", url=lambda: receiver.url)
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    with pytest.raises(ConfigError) as caught:
        channel.send(MESSAGE)
    assert "strongroom[apprise]" in str(caught.value.hint)


# -- ping ----------------------------------------------------------------------


def ping(receiver: Receiver, **options: object) -> Ping:
    return Ping(**{"name": "check", "url": lambda: receiver.url, **options})  # type: ignore[arg-type]


def test_a_ping_goes_to_the_address_of_its_signal(receiver: Receiver) -> None:
    for signal in (Signal.START, Signal.SUCCESS, Signal.FAILURE):
        ping(receiver).send(signal, "run 1")
    ping(receiver, url=lambda: f"{receiver.url}/?a=b\n").send(Signal.FAILURE)
    assert receiver.paths == ["/start", "", "/fail", "/fail?a=b"]
    assert receiver.posts[0].body == b"run 1"


def test_a_ping_that_nobody_takes_says_so_and_no_secret(receiver: Receiver) -> None:
    receiver.status = 404
    with pytest.raises(ChannelRefused) as caught:
        ping(receiver).send(Signal.START)
    assert "CANARY" not in str(caught.value)
    assert "Channel 'check' was answered with status 404." in str(caught.value)


def test_a_ping_does_not_go_to_a_certificate_that_has_ended(tmp_path: Path) -> None:
    context, ca_file = server_context(tmp_path, expired=True)
    with Receiver(context=context) as receiver:
        with pytest.raises(ChannelUnavailable, match="expired"):
            ping(receiver, ca_file=ca_file).send(Signal.SUCCESS)
        assert receiver.posts == []


@pytest.mark.parametrize(
    "url", ["https://[CANARY/x", "https://ex\u2100mple-CANARY/", "https://h:99999/CANARY"]
)
@pytest.mark.parametrize("signal", Signal)
def test_a_malformed_address_is_refused_and_not_quoted(url: str, signal: Signal, receiver: Receiver) -> None:
    with pytest.raises(ChannelRefused, match="malformed address") as refused:
        Ping(name="switch", url=lambda: url).send(signal)
    with pytest.raises(ChannelRefused, match="malformed address"):
        webhook(receiver, url=lambda: url).send(MESSAGE)
    assert "CANARY" not in str(refused.value)
