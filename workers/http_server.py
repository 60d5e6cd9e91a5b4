"""HTTP for what only reads: each connection in a thread, a bounded number of them, and TLS if there is a
certificate."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from strongroom.config.model import ServedSettings
from strongroom.errors import ConfigError

log = logging.getLogger(__name__)

AT_ONCE: Final = 8
"""Connections that are served at once. More are closed: who opens many must not take all memory."""
PATIENCE: Final = 10.0
"""Seconds that a client may rest before its connection is closed."""

Answer = Iterable[bytes]
App = Callable[[dict[str, Any], Callable[..., Any]], Answer]


def address(settings: ServedSettings, path: str = "") -> str:
    """Return where something is served, as a person types it."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http{'s' if settings.certificate_file else ''}://{host}:{settings.port}{path}"


def server(settings: ServedSettings, app: App, *, section: str) -> WSGIServer:
    """Return a server that listens as a section of the configuration says.

    Raises:
        ConfigError: the certificate cannot be read, or the address cannot be listened on.
    """
    if settings.certificate_file:
        _context(settings, section)  # says now what is wrong with it
    try:
        made = _Server((settings.host, settings.port), settings, section)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "no such address"
        hint = f"Choose another {section}.host or {section}.port."
        raise ConfigError(f"cannot listen on {settings.host}:{settings.port}: {why}", hint=hint) from None
    made.set_app(app)
    return made


def _context(settings: ServedSettings, section: str) -> ssl.SSLContext:
    """Return what TLS is served with. The files are read for each connection: certificates are renewed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(str(settings.certificate_file), settings.key_file)
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or "no certificate with its key"
        raise ConfigError(f"{section}.certificate_file {settings.certificate_file}: {why}") from None
    return context


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE
    server_version, sys_version = "strongroom", ""

    def log_message(self, *_: object) -> None:
        """A line for each request would drown the others."""

    def handle(self) -> None:
        """Answer one request; what a client does to its own connection is no fault of ours."""
        try:
            super().handle()
        except OSError:
            self.close_connection = True


class _Server(WSGIServer):
    """Serves each connection in a thread, so that one that rests keeps nobody waiting."""

    request_queue_size = AT_ONCE

    def __init__(self, where: tuple[str, int], settings: ServedSettings, section: str) -> None:
        self._settings = settings
        self._section = section
        self._free = threading.BoundedSemaphore(AT_ONCE)
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
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        threading.Thread(target=self._serve, args=(request, client_address), daemon=True).start()

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        try:
            request.settimeout(PATIENCE)
            if self._settings.certificate_file:  # here: a handshake may rest, too
                request = _context(self._settings, self._section).wrap_socket(request, server_side=True)
            self.finish_request(request, client_address)
        except (OSError, ConfigError) as error:
            log.info("connection-ended", extra={"why": type(error).__name__})
        finally:
            self.shutdown_request(request)
            self._free.release()
