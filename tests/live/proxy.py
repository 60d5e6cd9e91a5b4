"""A reverse proxy that fails on purpose, in front of any HTTP server on this host.

    with FaultyProxy(server.port) as proxy:
        proxy.fail(Answer(503, {"Retry-After": "7"}), when=method("PUT"), times=2)
        ...

A request meets the first rule that fits it and is not used up; without one it passes
unharmed. Nothing here waits for a time: :class:`Hold` waits for the test.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.patience import PATIENCE
from tests.process import free_port

HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "proxy-connection"})


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as the proxy got it. ``target`` is the path with its query."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> str:
        return urlsplit(self.target).query


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The server's reply."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes


When = Callable[[Request], bool]


def always(request: Request) -> bool:
    return True


def method(*methods: str, path: str = "", query: str = "") -> When:
    """Fit requests of these methods whose path and query hold these texts."""
    return lambda request: request.method in methods and path in request.path and query in request.query


class Fault:
    """What happens to a request. Each method changes one moment of its way."""

    def before(self, request: Request) -> Request | Reply | None:
        """Return what goes on to the server, or a reply in its place, or ``None`` to reset."""
        return request

    def after(self, reply: Reply) -> Reply | None:
        """Return what goes back to the client, or ``None`` to reset."""
        return reply

    def sent(self, reply: Reply) -> bytes:
        """Return what of the body is really sent; the announced length stays."""
        return reply.body


@dataclass(frozen=True)
class Answer(Fault):
    """Answer in the server's place; it never sees the request."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def before(self, request: Request) -> Reply:  # noqa: ARG002
        return Reply(status=self.status, reason="", headers=list(self.headers.items()), body=self.body)


@dataclass(frozen=True)
class OtherClock(Answer):
    """Answer by a clock that is so far ahead of this host's."""

    ahead: timedelta = timedelta()

    def before(self, request: Request) -> Reply:
        reply = super().before(request)
        date = format_datetime(datetime.now(UTC) + self.ahead, usegmt=True)
        return replace(reply, headers=[*reply.headers, ("Date", date)])


@dataclass(frozen=True)
class Reset(Fault):
    """Reset the connection; the server never sees the request."""

    def before(self, request: Request) -> None:  # noqa: ARG002
        return None


@dataclass(frozen=True)
class LoseReply(Fault):
    """Let the server do what was asked, and reset the connection instead of saying so."""

    def after(self, reply: Reply) -> None:  # noqa: ARG002
        return None


@dataclass(frozen=True)
class Truncate(Fault):
    """Send so many bytes of the reply's body, then end the connection."""

    keep: int

    def sent(self, reply: Reply) -> bytes:
        return reply.body[: self.keep]


@dataclass(frozen=True)
class FlipReply(Fault):
    """Flip a bit of the reply's body."""

    offset: int = 0

    def after(self, reply: Reply) -> Reply:
        changed = flipped(reply.body, self.offset)
        return Reply(status=reply.status, reason=reply.reason, headers=reply.headers, body=changed)


@dataclass(frozen=True)
class FlipRequest(Fault):
    """Flip a bit of the request's body."""

    offset: int = 0

    def before(self, request: Request) -> Request:
        return Request(
            method=request.method,
            target=request.target,
            headers=request.headers,
            body=flipped(request.body, self.offset),
        )


class Hold(Fault):
    """Hold a request back until the test lets it go: a server that answers slowly."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.released = threading.Event()

    def before(self, request: Request) -> Request:
        self.reached.set()
        self.released.wait(PATIENCE)
        return request

    def release(self) -> None:
        self.released.set()


class Call(Fault):
    """Call the test when a request comes, then let it pass: to kill a server just then, say."""

    def __init__(self, work: Callable[[Request], object]) -> None:
        self._work = work

    def before(self, request: Request) -> Request:
        self._work(request)
        return request


def flipped(body: bytes, offset: int) -> bytes:
    changed = bytearray(body)
    if changed:
        changed[offset % len(changed)] ^= 1
    return bytes(changed)


@dataclass
class Rule:
    """A fault, whom it meets, and how often still (``None``: for ever)."""

    fault: Fault
    when: When
    left: int | None
    met: int = 0


class FaultyProxy:
    """A proxy on a loopback port of its own.

    Args:
        upstream: the server's port.
        tls: makes the proxy's side HTTPS.
        port: where an earlier proxy was, for a server that comes back changed.
    """

    def __init__(self, upstream: int, *, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self._upstream = upstream
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        self._tls = tls
        self.requests: list[Request] = []
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = _Server(("127.0.0.1", port or free_port()), handler)
        if tls is not None:
            # The handshake is each connection's own thread's: here it would hold up accept().
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}"

    def fail(self, fault: Fault, *, when: When = always, times: int | None = 1) -> Rule:
        """Let a fault meet the next ``times`` requests that fit (``None``: all)."""
        rule = Rule(fault, when, times)
        with self._lock:
            self._rules.append(rule)
        return rule

    def heal(self) -> None:
        """Forget every rule."""
        with self._lock:
            self._rules.clear()

    def seen(self, when: When = always) -> list[Request]:
        """Return the requests that came and fit, in order."""
        with self._lock:
            return [request for request in self.requests if when(request)]

    def take(self, request: Request) -> Fault:
        """Note a request, and return what is to happen to it."""
        with self._lock:
            self.requests.append(request)
            for rule in self._rules:
                if rule.left != 0 and rule.when(request):
                    rule.left = None if rule.left is None else rule.left - 1
                    rule.met += 1
                    return rule.fault
        return Fault()

    def forward(self, request: Request) -> Reply:
        """Ask the server."""
        connection = http.client.HTTPConnection("127.0.0.1", self._upstream, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
            for name, value in _passed_on(request):
                connection.putheader(name, value)
            connection.endheaders(request.body or None)
            reply = connection.getresponse()
            body = reply.read()
            return Reply(status=reply.status, reason=reply.reason, headers=reply.getheaders(), body=body)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)

    def _release(self) -> None:
        for rule in self._rules:
            if isinstance(rule.fault, Hold):
                rule.fault.release()


def _passed_on(request: Request) -> Iterator[tuple[str, str]]:
    for name, value in request.headers.items():
        if name.lower() not in HOP_BY_HOP | {"expect", "content-length"}:
            yield name, value
    if request.body or request.method in {"PUT", "POST"}:
        yield "Content-Length", str(len(request.body))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up, or did not like a certificate, is what these tests are about."""

    def shutdown_request(self, request: Any) -> None:
        with contextlib.suppress(OSError):
            super().shutdown_request(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultyProxy

    def _serve(self) -> None:
        request = self._request()
        fault = self.proxy.take(request)
        reply = self._pass(request, fault)
        if reply is None:
            self._reset()
        else:
            self._send(reply, fault.sent(reply))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):  # the base class looks a method up by its verb: all alike here
            return self._serve
        raise AttributeError(name)

    def _request(self) -> Request:
        headers = dict(self.headers.items())
        return Request(method=self.command, target=self.path, headers=headers, body=self._body())

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return b"".join(self._chunks())
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _pass(self, request: Request, fault: Fault) -> Reply | None:
        going = fault.before(request)
        if not isinstance(going, Request):
            return going
        try:
            reply = self.proxy.forward(going)
        except (OSError, http.client.HTTPException):
            return None  # the server is gone: so is the connection
        return fault.after(reply)

    def _send(self, reply: Reply, body: bytes) -> None:
        self.send_response_only(reply.status, reply.reason or None)
        bodiless = self.command == "HEAD" or reply.status in {204, 304}
        for name, value in reply.headers:
            if name.lower() not in HOP_BY_HOP and (bodiless or name.lower() != "content-length"):
                self.send_header(name, value)
        if not bodiless:
            self.send_header("Content-Length", str(len(reply.body)))
        if len(body) < len(reply.body):
            self.close_connection = True
        self.end_headers()
        if not bodiless:
            self.wfile.write(body)

    def _reset(self) -> None:
        """End the connection with RST, so that the client sees a reset and no clean end."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, *args: Any) -> None:
        """Keep quiet."""
