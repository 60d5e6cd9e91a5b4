"""What Vault's client sends, takes for an answer, and refuses, against a bare socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

import pytest

from strongroom.vault.answers import ServerAnswer, Unavailable
from strongroom.vault.tokens import TokenFile
from strongroom.vault.transport import NeverSent, Transport, VaultConnection
from tests.patience import PATIENCE
from tests.process import free_port

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Bare:
    """Answers each request of each connection with the next of some bytes, and then hangs up."""

    def __init__(self, *connections: Sequence[bytes]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections = connections
        self.requests: list[bytes] = []
        self.hung_up = [threading.Event() for _ in connections]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def _serve(self) -> None:
        for answers, hung_up in zip(self._connections, self.hung_up, strict=True):
            with suppress(OSError), self._listener.accept()[0] as connection:  # the client may hang up first
                for answer in answers:
                    self.requests.append(_request(connection))
                    connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                hung_up.set()
                while connection.recv(4096):
                    pass

    def close(self) -> None:
        self._listener.close()


def _request(connection: socket.socket) -> bytes:
    got = b""
    while b"\r\n\r\n" not in got:
        got += connection.recv(4096) or _gone()
    head, _, body = got.partition(b"\r\n\r\n")
    lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while lengths and len(body) < int(lengths[0].partition(b":")[2]):
        body += connection.recv(4096) or _gone()
    return head + b"\r\n\r\n" + body


def _gone() -> NoReturn:
    raise ConnectionError


@contextmanager
def serving(*connections: Sequence[bytes]) -> Iterator[tuple[Bare, Callable[..., ServerAnswer]]]:
    server = Bare(*connections)
    transport = Transport(_connection(server.port))

    def ask(
        method: str = "GET", target: str = "/v1/x", body: bytes | None = None, **headers: str
    ) -> ServerAnswer:
        return transport.send(method, target, body, headers)

    try:
        yield server, ask
    finally:
        transport.close()
        server.close()


def _connection(port: int, **settings: float) -> VaultConnection:
    login = TokenFile(path="/nowhere")  # type: ignore[arg-type]  # nobody logs in here
    return VaultConnection(address=f"http://127.0.0.1:{port}", login=login, **settings)  # type: ignore[arg-type]


def test_a_request_is_what_was_asked_for_and_the_connection_is_used_again() -> None:
    with serving([OK, OK]) as (server, ask):
        assert ask("POST", "/v1/secret/data/a%20b", b'{"a":1}', **{"X-Vault-Token": "t"}).body == b"{}"
        assert ask().status == 200
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"POST /v1/secret/data/a%20b HTTP/1.1"
    assert b"X-Vault-Token: t" in head
    assert body == b'{"a":1}'


def test_a_connection_that_the_server_closed_meanwhile_is_not_used() -> None:
    with serving([OK], [OK]) as (server, ask):
        ask()
        server.hung_up[0].wait(PATIENCE)
        assert ask("POST", body=b"{}").status == 200


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\n{\r\n1\r\n}\r\n0\r\nA: t\r\n\r\n",
            b"{}",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"{}"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200\r\ncontent-length:2\r\n\r\n{}", b"{}"),
        (b"HTTP/1.0 200 OK\r\n\r\n{}", b"{}"),
    ],
    ids=["chunked", "after a 100", "no content", "no reason", "to the end"],
)
def test_an_answer_is_read_as_it_is_framed(answer: bytes, body: bytes) -> None:
    with serving([answer], []) as (_, ask):
        assert ask().body == body


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/2 200 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 1\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 101 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * (1 << 16) + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
    ],
)
def test_what_is_no_whole_answer_is_a_broken_connection(answer: bytes) -> None:
    with serving([answer]) as (_, ask), pytest.raises(Unavailable, match="the connection broke"):
        ask()


def test_a_server_that_drips_holds_nobody_for_longer_than_all_of_an_answer_may_take() -> None:
    server = Bare([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
    transport = Transport(_connection(server.port, total_seconds=-1.0))
    with pytest.raises(Unavailable, match="takes too long"):
        transport.send("GET", "/v1/x", None, {})
    server.close()


def test_where_nobody_listens_nothing_was_sent() -> None:
    with pytest.raises(NeverSent):
        Transport(_connection(free_port())).send("POST", "/v1/x", b"{}", {})
