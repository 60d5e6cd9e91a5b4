"""HTTP for what only reads: each connection in a thread, a bounded number of them, and TLS if there is a
certificate."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus
from io import StringIO
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from strongroom.config.model import ListenSettings
from strongroom.errors import ConfigError

log = logging.getLogger(__name__)

AT_ONCE: Final = 32
"""Connections that are served at once. More are closed: who opens many must not take all memory."""
OF_ONE: Final = 8
"""Connections of one address at once: whoever holds them open keeps nobody else out."""
PATIENCE: Final = 10.0
"""Seconds that a client may rest before its connection is closed."""
ALTOGETHER: Final = 60.0
"""Seconds that a connection may last: a client that sends a byte now and then never rests."""
METHODS: Final = ("GET", "HEAD", "POST")

Answer = Iterable[bytes]
App = Callable[[dict[str, Any], Callable[..., Any]], Answer]


def address(settings: ListenSettings, path: str = "") -> str:
    """Return where something is served, as a person types it."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http{'s' if settings.certificate_file else ''}://{host}:{settings.port}{path}"


def server(settings: ListenSettings, app: App, *, section: str) -> WSGIServer:
    """Return a server that listens as a section of the configuration says.

    Raises:
        ConfigError: the certificate cannot be read, or the address cannot be listened on.
    """
    check_certificate(settings, section)
    try:
        made = _Server((settings.host, settings.port), settings, section)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "no such address"
        hint = f"Choose another {section}.host or {section}.port."
        raise ConfigError(f"cannot listen on {settings.host}:{settings.port}: {why}", hint=hint) from None
    made.set_app(_whole(app))
    return made


def check_certificate(settings: ListenSettings, section: str) -> None:
    """Say at the start what is wrong with the certificate, if there is one.

    Raises:
        ConfigError: it cannot be read, or its key is another.
    """
    if settings.certificate_file:
        _context(settings, section)


def _context(settings: ListenSettings, section: str) -> ssl.SSLContext:
    """Return what TLS is served with. The files are read for each connection: certificates are renewed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(str(settings.certificate_file), settings.key_file)
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or "no certificate with its key"
        raise ConfigError(f"{section}.certificate_file {settings.certificate_file}: {why}") from None
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


class _Server(WSGIServer):
    """Serves each connection in a thread, so that one that rests keeps nobody waiting."""

    request_queue_size = AT_ONCE

    def __init__(self, where: tuple[str, int], settings: ListenSettings, section: str) -> None:
        self._settings = settings
        self._section = section
        self._lock = threading.Lock()
        self._served: dict[socket.socket, tuple[str, float]] = {}
        self.address_family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        super().__init__(where, _Handler)

    def server_bind(self) -> None:
        """Bind, without asking the name service what the host may be called."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self._settings.host, self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._let_in(request, str(client_address[0])):
            self.shutdown_request(request)
            return
        threading.Thread(target=self._serve, args=(request, client_address), daemon=True).start()

    def service_actions(self) -> None:
        """End the connections that have lasted too long. The thread of each then finds it closed."""
        since = time.monotonic() - ALTOGETHER
        with self._lock:
            old = [request for request, (_, began) in self._served.items() if began < since]
        for request in old:
            with suppress(OSError):  # it ended by itself
                request.shutdown(socket.SHUT_RDWR)

    def _let_in(self, request: socket.socket, address: str) -> bool:
        with self._lock:
            by_address = Counter(one for one, _ in self._served.values())
            if len(self._served) >= AT_ONCE or by_address[address] >= OF_ONE:
                return False
            self._served[request] = (address, time.monotonic())
            return True

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        try:
            request.settimeout(PATIENCE)
            if self._settings.certificate_file:
                request = self._encrypted(request)
                request.do_handshake()  # here: a handshake may rest, too
            self.finish_request(request, client_address)
        except (OSError, ConfigError) as error:
            log.info("connection-ended", extra={"why": type(error).__name__})
        finally:
            self.shutdown_request(request)
            with self._lock:
                self._served.pop(request, None)

    def _encrypted(self, plain: socket.socket) -> ssl.SSLSocket:
        """Return what takes the place of a connection, which is none of its own any more."""
        context = _context(self._settings, self._section)
        made = context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._served[made] = self._served.pop(plain)
        return made
