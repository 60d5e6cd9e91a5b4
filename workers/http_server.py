"""HTTP for what only reads: each connection in a thread, a bounded number of them, and TLS if there is a
certificate.

A connection that rests keeps nobody out: one that comes while all places are taken takes the place of the one
that has rested the longest, of the address that has the most. So those who hold many connections open, also
from many addresses, or from behind the proxy that everybody comes through, only close their own.
"""

from __future__ import annotations

import logging
import re
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus
from io import BytesIO, StringIO
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from strongroom.config.model import Served
from strongroom.errors import ConfigError

log = logging.getLogger(__name__)

AT_ONCE: Final = 64
"""Connections that are held at once: who opens many must not take all memory."""
PATIENCE: Final = 10.0
"""Seconds in which a client has to send its whole request, and for which it may then rest."""
ALTOGETHER: Final = 60.0
"""Seconds that a connection may last: a client that takes a byte now and then never rests."""
LONGEST: Final = 4096
"""Bytes of the largest body that is read."""
METHODS: Final = ("GET", "HEAD", "POST")

Answer = Iterable[bytes]
App = Callable[[dict[str, Any], Callable[..., Any]], Answer]


def address(settings: Served, path: str = "") -> str:
    """Return where something is served, as a person types it."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http{'s' if settings.certificate_file else ''}://{host}:{settings.port}{path}"


def server(settings: Served, app: App, *, section: str) -> WSGIServer:
    """Return a server that listens as a section of the configuration says.

    Raises:
        ConfigError: the certificate cannot be read, or the address cannot be listened on.
    """
    check_certificate(settings)
    try:
        made = _Server((settings.host, settings.port), settings)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "no such address"
        hint = f"Choose another {section}.host or {section}.port."
        raise ConfigError(f"cannot listen on {settings.host}:{settings.port}: {why}", hint=hint) from None
    made.set_app(_whole(made.at_work(app)))
    return made


def check_certificate(settings: Served) -> None:
    """Say at the start what is wrong with the certificate, if there is one.

    Raises:
        ConfigError: it cannot be read, or its key is another.
    """
    if settings.certificate_file:
        _context(settings)


def _context(settings: Served) -> ssl.SSLContext:
    """Return what TLS is served with. The files are read for each connection: certificates are renewed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(str(settings.certificate_file), settings.key_file)
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or "no certificate with its key"
        raise ConfigError(f"listen.certificate_file {settings.certificate_file}: {why}") from None
    return context


def _whole(app: App) -> App:
    """Have a whole answer made before any of it is sent: for a HEAD its headers alone, and for a fault of
    ours words instead of a traceback, which may quote what a row holds."""

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Answer:
        method, said = environ.get("REQUEST_METHOD"), _Said()
        try:
            if method not in METHODS:
                content = said.words(HTTPStatus.NOT_IMPLEMENTED)
            else:
                asked = {**environ, "REQUEST_METHOD": "GET"} if method == "HEAD" else environ
                content = b"".join(app(asked, said.start))
        except Exception as error:  # noqa: BLE001  # whatever a client sends, the log gets no traceback
            log.error("not-answered", extra={"why": type(error).__name__})
            content = said.words(HTTPStatus.INTERNAL_SERVER_ERROR)
        sent = [(name, value) for name, value in said.headers if name.lower() != "content-length"]
        start(said.status, [*sent, ("Content-Length", str(len(content))), ("Server", "strongroom")])
        return [] if method == "HEAD" else [content]

    return answer


class _Said:
    """Status and headers that an application has chosen."""

    def __init__(self) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []

    def start(self, status: str, headers: list[tuple[str, str]], _error: object = None) -> None:
        self.status, self.headers = status, headers

    def words(self, code: HTTPStatus) -> bytes:
        """Say what a code says, and no more."""
        self.start(f"{code.value} {code.phrase}", [("Content-Type", "text/plain; charset=utf-8")])
        return f"{code.phrase}.\n".encode()


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE
    server_version, sys_version = "strongroom", ""

    def parse_request(self) -> bool:
        """Read the whole request, its body too: until then the client may be one that rests."""
        if not super().parse_request():
            return False
        length = str(self.headers.get("Content-Length") or "")
        # No number of many digits is read, nor one behind zeros: memory is taken for as much as it says.
        wanted = int(length) if re.fullmatch("[1-9][0-9]{0,3}", length, re.ASCII) else 0
        with self.rfile as unread:
            self.rfile = BytesIO(unread.read(wanted) if wanted <= LONGEST else b"")
        return True

    def log_message(self, *_: object) -> None:
        """A line for each request would drown the others."""

    def get_stderr(self) -> StringIO:
        """Return what wsgiref writes a traceback to: of a client that went away, since all else is caught."""
        return StringIO()

    def handle(self) -> None:
        """Answer one request; what a client does to its own connection is no fault of ours."""
        try:
            super().handle()
        except OSError:
            self.close_connection = True


class _Held:
    """A connection: whose it is, since when, whether its request is being worked on, or was answered."""

    def __init__(self, connection: socket.socket, address: str) -> None:
        self.connection, self.address = connection, address
        self.began = time.monotonic()
        self.at_work = self.answered = False

    def close(self) -> None:
        """End it. Its thread then finds it closed."""
        with suppress(OSError):  # it ended by itself
            self.connection.shutdown(socket.SHUT_RDWR)

    def has_expired(self, now: float) -> bool:
        """Tell whether its client has had its time."""
        lasts = ALTOGETHER if self.at_work or self.answered else PATIENCE
        return now - self.began > lasts


class _Server(WSGIServer):
    """Serves each connection in a thread, so that one that rests keeps nobody waiting."""

    request_queue_size = AT_ONCE

    def __init__(self, where: tuple[str, int], settings: Served) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._held: list[_Held] = []
        self._mine = threading.local()
        self.address_family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        super().__init__(where, _Handler)

    def server_bind(self) -> None:
        """Bind, without asking the name service what the host may be called."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self._settings.host, self.server_address[1]
        self.setup_environ()

    def at_work(self, app: App) -> App:
        """Have it known while a request is being worked on: then it is not its client that takes the time."""

        def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Answer:
            held: _Held = self._mine.held
            held.at_work = True
            try:
                return [b"".join(app(environ, start))]
            finally:
                held.at_work, held.answered = False, True

        return answer

    def process_request(self, request: Any, client_address: Any) -> None:
        held = _Held(request, str(client_address[0]))
        if not self._let_in(held):
            self.shutdown_request(request)
            return
        threading.Thread(target=self._serve, args=(held, client_address), daemon=True).start()

    def service_actions(self) -> None:
        """End the connections that have lasted too long."""
        now = time.monotonic()
        with self._lock:
            old = [held for held in self._held if held.has_expired(now)]
        for held in old:
            held.close()

    def _let_in(self, held: _Held) -> bool:
        """Take a connection in, in the place of one that rests if there is no other."""
        with self._lock:
            if len(self._held) >= AT_ONCE:
                count = Counter(connection.address for connection in self._held)
                resting = [connection for connection in self._held if not connection.at_work]
                if not resting:
                    return False
                # Of those with as many the first, which began first: this is a list in that order.
                given_up = max(resting, key=lambda connection: count[connection.address])
                self._held.remove(given_up)
                given_up.close()
            self._held.append(held)
            return True

    def _serve(self, held: _Held, client_address: Any) -> None:
        self._mine.held = held
        try:
            held.connection.settimeout(PATIENCE)
            if self._settings.certificate_file:
                self._encrypt(held)
            self.finish_request(held.connection, client_address)
        except (OSError, ConfigError) as error:
            log.info("connection-ended", extra={"why": type(error).__name__})
        finally:
            self.shutdown_request(held.connection)
            with self._lock, suppress(ValueError):  # another may have its place
                self._held.remove(held)

    def _encrypt(self, held: _Held) -> None:
        """Put what is encrypted in the place of a connection, which is none of its own any more."""
        context = _context(self._settings)
        with self._lock:  # who closes it in between would close what is no connection any more
            held.connection = context.wrap_socket(
                held.connection, server_side=True, do_handshake_on_connect=False
            )
        held.connection.do_handshake()  # here: a handshake may rest, too
