"""Metrics over HTTP: with a token, and with TLS if there is a certificate."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from prometheus_client import make_wsgi_app

from strongroom.config import Settings
from strongroom.config.live import LiveSettings
from strongroom.operations.judge.metrics import registry_of
from workers import http_server
from workers.exporter import Exporter
from workers.http_server import Answer, App
from workers.made_secret import given_or_made, secret_file

log = logging.getLogger(__name__)

GENERATED: Final = "metrics-token"


def serve(live: LiveSettings, on_ready: Callable[[], object] = lambda: None) -> None:
    """Serve metrics until the process ends.

    Raises:
        ConfigError: the token or the certificate cannot be read, or the address cannot be listened on.
    """
    settings, exporter = live.current, Exporter(live)
    secret = token(settings)
    app = make_wsgi_app(registry_of(exporter.observe))
    answer = partial(_answer, app=app, token=secret.encode())
    with http_server.server(settings.served(settings.metrics), answer, section="metrics") as server:
        exporter.keep_looking(lambda settings: settings.metrics.check_targets)
        on_ready()
        server.serve_forever()


def token(settings: Settings) -> str:
    """Return the configured token, or one made on first use in a file of mode 0600."""
    given = settings.metrics.token_file
    return given_or_made(given, settings.state_dir, name=GENERATED, setting="metrics.token_file")


def token_file(settings: Settings) -> Path:
    """Return the file that holds the token, or will once metrics are served."""
    return secret_file(settings.metrics.token_file, settings.state_dir, name=GENERATED)


def address(settings: Settings) -> str:
    """Return where metrics are served, as a person types it."""
    return http_server.address(settings.served(settings.metrics), "/metrics")


def _answer(environ: dict[str, Any], start: Callable[..., Any], *, app: App, token: bytes) -> Answer:
    """Answer one request. Only whoever has the token learns anything but that something listens here."""
    path = environ.get("PATH_INFO")
    if path == "/healthcheck":
        return _say(start, "200 OK", b"OK\n")
    given = str(environ.get("HTTP_AUTHORIZATION", "")).encode(errors="replace")
    if not hmac.compare_digest(given, b"Bearer " + token):
        return _say(start, "401 Unauthorized", b"A token is needed.\n", ("WWW-Authenticate", "Bearer"))
    if path != "/metrics":
        return _say(start, "404 Not Found", b"Metrics are at /metrics.\n")
    if environ.get("REQUEST_METHOD") != "GET":
        return _say(start, "405 Method Not Allowed", b"Metrics are read alone.\n", ("Allow", "GET, HEAD"))
    try:
        return app(environ, start)
    except Exception as error:  # noqa: BLE001  # a message may quote what a row holds
        log.error("metrics-not-gathered", extra={"why": type(error).__name__})
        return _say(start, "500 Internal Server Error", b"The metrics could not be gathered; see the log.\n")


def _say(start: Callable[..., Any], status: str, words: bytes, *headers: tuple[str, str]) -> Answer:
    start(status, [("Content-Type", "text/plain; charset=utf-8"), *headers])
    return [words]
