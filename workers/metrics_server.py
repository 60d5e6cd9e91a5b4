"""Metrics over HTTP: with a token, and with TLS if there is a certificate."""

from __future__ import annotations

import hmac
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app

from strongroom.config import Settings
from strongroom.config.live import LiveSettings
from strongroom.config.model import MetricsSettings
from strongroom.errors import ConfigError
from strongroom.operations.metrics.exposition import registry_of
from workers.beat_fallback import SETTLES
from workers.exporter import Exporter
from workers.made_secret import given_or_made
from workers.paths import run_folder

log = logging.getLogger(__name__)

GENERATED: Final = "metrics-token"
AT_ONCE: Final = 8
"""Connections that are served at once. More are closed: who opens many must not take all memory."""
PATIENCE: Final = 10.0
"""Seconds that a client may rest before its connection is closed."""

Answer = Iterable[bytes]
App = Callable[[dict[str, Any], Callable[..., Any]], Answer]


def serve(live: LiveSettings, on_ready: Callable[[], object] = lambda: None) -> None:
    """Serve metrics until the process ends.

    Raises:
        ConfigError: the token or the certificate cannot be read, or the address cannot be listened on.
    """
    settings, exporter = live.current, Exporter(live)
    secret = token(settings)
    app = make_wsgi_app(registry_of(exporter.observe))
    with _server(settings.metrics, partial(_answer, app=app, token=secret.encode())) as server:
        threading.Thread(target=_keep_looking, args=(exporter,), name="look", daemon=True).start()
        on_ready()
        server.serve_forever()


def token(settings: Settings) -> str:
    """Return the configured token, or one made on first use in a file of mode 0600."""
    given = settings.metrics.token_file
    found = given_or_made(given, settings.state_dir, name=GENERATED, setting="metrics.token_file")
    if not found:
        raise ConfigError(f"metrics.token_file {token_file(settings)}: is empty")
    return found


def token_file(settings: Settings) -> Path:
    """Return the file that holds the token, or will once metrics are served."""
    return settings.metrics.token_file or run_folder(settings.state_dir) / GENERATED


def address(settings: MetricsSettings) -> str:
    """Return where metrics are served, as a person types it."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http{'s' if settings.certificate_file else ''}://{host}:{settings.port}/metrics"


def _keep_looking(exporter: Exporter) -> None:
    """Look again and again; for the first time when a cluster that is just starting has had its time."""
    pause = threading.Event()
    pause.wait(min(SETTLES, exporter.settings().metrics.check_targets))
    while True:
        try:
            exporter.look()
        except Exception as error:  # noqa: BLE001  # the metrics of before stand, with the time of their look
            log.error("look-failed", extra={"why": type(error).__name__})
        pause.wait(exporter.settings().metrics.check_targets)


def _answer(environ: dict[str, Any], start: Callable[..., Any], *, app: App, token: bytes) -> Answer:
    """Answer one request. Only whoever has the token learns anything but that something listens here."""
    path = environ.get("PATH_INFO")
    if path == "/healthcheck":
        return _say(start, "200 OK", b"OK\n")
    given = str(environ.get("HTTP_AUTHORIZATION", "")).encode(errors="replace")
    if not hmac.compare_digest(given, b"Bearer " + token):
        return _say(start, "401 Unauthorized", b"A token is needed.\n", ("WWW-Authenticate", "Bearer"))
    if path != "/metrics" or environ.get("REQUEST_METHOD") != "GET":
        return _say(start, "404 Not Found", b"Metrics are at /metrics.\n")
    try:
        return app(environ, start)
    except Exception as error:  # noqa: BLE001  # a message may quote what a row holds
        log.error("metrics-not-gathered", extra={"why": type(error).__name__})
        return _say(start, "500 Internal Server Error", b"The metrics could not be gathered; see the log.\n")


def _say(start: Callable[..., Any], status: str, words: bytes, *headers: tuple[str, str]) -> Answer:
    start(status, [("Content-Type", "text/plain; charset=utf-8"), *headers])
    return [words]


# -- the server ------------------------------------------------------------------------


def _server(settings: MetricsSettings, app: App) -> WSGIServer:
    if settings.certificate_file:
        _context(settings)  # says now what is wrong with it
    try:
        server = _Server((settings.host, settings.port), settings)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "no such address"
        hint = "Choose another metrics.host or metrics.port."
        raise ConfigError(f"cannot listen on {settings.host}:{settings.port}: {why}", hint=hint) from None
    server.set_app(app)
    return server


def _context(settings: MetricsSettings) -> ssl.SSLContext:
    """Return what TLS is served with. The files are read for each connection: certificates are renewed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(str(settings.certificate_file), settings.key_file)
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or "no certificate with its key"
        raise ConfigError(f"metrics.certificate_file {settings.certificate_file}: {why}") from None
    return context


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE
    server_version, sys_version = "strongroom", ""

    def log_message(self, *_: object) -> None:
        """A line for each scrape would drown the others."""

    def handle(self) -> None:
        """Answer one request; what a client does to its own connection is no fault of ours."""
        try:
            super().handle()
        except OSError:
            self.close_connection = True


class _Server(WSGIServer):
    """Serves each connection in a thread, so that one that rests keeps nobody waiting."""

    request_queue_size = AT_ONCE

    def __init__(self, where: tuple[str, int], settings: MetricsSettings) -> None:
        self._settings = settings
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
                request = _context(self._settings).wrap_socket(request, server_side=True)
            self.finish_request(request, client_address)
        except (OSError, ConfigError) as error:
            log.info("connection-ended", extra={"why": type(error).__name__})
        finally:
            self.shutdown_request(request)
            self._free.release()
