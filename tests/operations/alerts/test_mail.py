"""Mail, handed to a real server on loopback."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import cast

import pytest

from strongroom.errors import ConfigError
from strongroom.operations.errors import MailRefused, MailUnavailable
from strongroom.operations.notify.channels import MailServer as Server
from strongroom.operations.notify.mail import _Limited, send
from tests.live.certificates import server_context
from tests.operations.alerts.mail_server import MailServer
from tests.patience import PATIENCE

PASSWORD = "CANARY-mail-password"
PEOPLE = ("one@example.org", "two@example.org")


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    return server_context(tmp_path)


@pytest.fixture
def plain() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


def to(server: MailServer, **options: object) -> Server:
    values = {"host": "127.0.0.1", "port": server.port, "security": server.tls or "none", "timeout": PATIENCE}
    return Server(**{**values, "sender": "strongroom@example.org", **options})  # type: ignore[arg-type]


def mail() -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "a test", "strongroom@example.org", ", ".join(PEOPLE)
    message.set_content("hello\n.\nworld\n")
    return message


def test_a_mail_reaches_everybody_as_it_was_written(plain: MailServer) -> None:
    send(mail(), to(plain), PEOPLE)
    [came] = plain.mails
    assert (came.recipients, came.sender, came.subject) == (PEOPLE, "strongroom@example.org", "a test")
    assert came.message.get_content() == "hello\n.\nworld\n"


@pytest.mark.parametrize("way", ["starttls", "tls"])
def test_a_login_and_a_mail_go_through_tls_alone(way: str, tls: tuple[ssl.SSLContext, Path]) -> None:
    context, ca_file = tls
    with MailServer(tls=way, context=context, logins={"me": PASSWORD}) as server:
        send(mail(), to(server, ca_file=ca_file, username="me", password=lambda: PASSWORD), PEOPLE)
        [came] = server.mails
    assert (came.sealed, came.user) == (True, "me")


@pytest.mark.parametrize("way", ["starttls", "tls"])
def test_a_certificate_that_nobody_signed_gets_no_login_and_no_mail(
    way: str, tls: tuple[ssl.SSLContext, Path]
) -> None:
    def never() -> str:
        raise AssertionError("the password was read")

    with MailServer(tls=way, context=tls[0]) as server:
        with pytest.raises(MailRefused, match="certificate") as caught:
            send(mail(), to(server, username="me", password=never), PEOPLE)
        assert server.mails == []
    assert caught.value.missed == PEOPLE


def test_a_certificate_of_another_name_is_refused(tls: tuple[ssl.SSLContext, Path]) -> None:
    context, ca_file = tls
    with MailServer(tls="tls", context=context) as server, pytest.raises(MailRefused, match="certificate"):
        send(mail(), to(server, host="localhost", ca_file=ca_file), PEOPLE)


def test_a_server_without_starttls_gets_no_mail_in_the_open(plain: MailServer) -> None:
    with pytest.raises(MailRefused, match="STARTTLS"):
        send(mail(), to(plain, security="starttls"), PEOPLE)
    assert plain.mails == []


def test_a_refused_login_repeats_no_password(tls: tuple[ssl.SSLContext, Path]) -> None:
    context, ca_file = tls
    with (
        MailServer(tls="tls", context=context, logins={"me": "another"}) as server,
        pytest.raises(MailRefused, match="login") as caught,
    ):
        send(mail(), to(server, ca_file=ca_file, username="me", password=lambda: PASSWORD), PEOPLE)
    assert "CANARY" not in str(caught.value)
    assert "Q0FOQVJZ" not in str(caught.value), "nor in Base64"


def test_one_that_is_refused_of_several_is_named_and_the_others_get_it(plain: MailServer) -> None:
    plain.refused["two@example.org"] = 550
    with pytest.raises(MailRefused, match=r"refused two@example.org \(550.*Told: one@example.org") as caught:
        send(mail(), to(plain), PEOPLE)
    assert caught.value.missed == ("two@example.org",)
    assert [came.recipients for came in plain.mails] == [("one@example.org",)]


@pytest.mark.parametrize(("code", "kind"), [(450, MailUnavailable), (550, MailRefused)])
def test_all_refused_is_transient_if_the_server_says_so(
    code: int, kind: type[MailUnavailable], plain: MailServer
) -> None:
    plain.refused.update(dict.fromkeys(PEOPLE, code))
    with pytest.raises(MailUnavailable) as caught:
        send(mail(), to(plain), PEOPLE)
    assert (type(caught.value), caught.value.missed) == (kind, PEOPLE)


def test_a_mail_that_the_server_does_not_take_was_told_to_nobody(plain: MailServer) -> None:
    plain.answer_data = "554 \x1b[31mlooks like spam"
    with pytest.raises(MailRefused, match=r"554 \\x1b") as caught:
        send(mail(), to(plain), PEOPLE)
    assert caught.value.missed == PEOPLE


def test_a_server_that_is_away_is_said_to_be(plain: MailServer) -> None:
    there = to(plain)
    plain.__exit__(None, None, None)
    try:
        with pytest.raises(MailUnavailable, match="cannot be reached") as caught:
            send(mail(), there, PEOPLE)
    finally:
        plain.__enter__()
    assert type(caught.value) is MailUnavailable
    assert caught.value.missed == PEOPLE


def test_a_server_that_says_nothing_is_not_waited_for_for_ever() -> None:
    with MailServer(silent=True) as server, pytest.raises(MailUnavailable, match=r"0\.2 s"):
        send(mail(), to(server, timeout=0.2), PEOPLE)


def test_a_server_that_says_a_little_now_and_then_is_not_listened_to_for_ever() -> None:
    with MailServer(slow=True) as server, pytest.raises(MailUnavailable, match="Not told") as caught:
        send(mail(), to(server, timeout=0.3), PEOPLE)
    assert type(caught.value) is MailUnavailable


def test_a_server_that_says_a_little_after_the_time_was_over_is_cut_off_too(
    tls: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    cut = _Limited._cut

    def noted(connection: _Limited) -> None:
        cut(connection)
        over.set()

    monkeypatch.setattr(_Limited, "_cut", noted)
    # The time is over in the middle of the handshake, which has a limit of its own.
    with (
        MailServer(tls="starttls", context=tls[0], late=over.wait) as server,
        socket_waits(60.0),
        pytest.raises(MailUnavailable, match="took longer"),
    ):
        send(mail(), to(server, ca_file=tls[1], timeout=0.2), PEOPLE)


@contextmanager
def socket_waits(seconds: float) -> Iterator[None]:
    """Give each read of a client its own, longer limit: what is asked is whether the whole has one."""
    own = _Limited._get_socket

    def patient(connection: _Limited, host: str, port: int, _: float) -> socket.socket:
        return cast("socket.socket", own(connection, host, port, seconds))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Limited, "_get_socket", patient)
        yield


def test_a_server_that_answers_without_end_fills_no_memory() -> None:
    with MailServer(endless=True) as server, pytest.raises(MailUnavailable, match="broke off"):
        send(mail(), to(server, timeout=600.0), PEOPLE)


def test_a_server_that_breaks_off_at_a_recipient_has_told_none_of_the_others(plain: MailServer) -> None:
    plain.refused["one@example.org"] = 421
    with pytest.raises(MailUnavailable, match="Nobody was notified") as caught:
        send(mail(), to(plain), PEOPLE)
    assert (plain.mails, caught.value.missed) == ([], PEOPLE)


def test_a_file_of_certificates_that_is_none_is_a_wrong_setting(plain: MailServer, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(ConfigError, match=r"mail\.ca_file"):
        send(mail(), to(plain, security="tls", ca_file=tmp_path / "ca.pem"), PEOPLE)


@pytest.mark.parametrize("host", ["smtp..example.org", "a" * 70 + ".org"])
def test_a_server_of_a_name_that_none_has_is_away_in_words(plain: MailServer, host: str) -> None:
    with pytest.raises(MailUnavailable, match="no server has such a name") as caught:
        send(mail(), to(plain, host=host), PEOPLE)
    assert caught.value.missed == PEOPLE
