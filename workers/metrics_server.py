"""Metrics over HTTP: with a token, and with TLS if there is a certificate."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import ClassVar, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from strongroom.config import Settings
from strongroom.config.live import LiveSettings
from strongroom.operations.judge.metrics import registry_of
from workers import http_server
from workers.exporter import Exporter
from workers.http_server import Handler, Healthcheck, Site, in_thread
from workers.paths import given_or_made, secret_file

GENERATED: Final = "metrics-token"


def serve(
    live: LiveSettings, *, on_ready: Callable[[], object], on_round: Callable[[], None] = lambda: None
) -> None:
    """Serve metrics until the process ends.

    Raises:
        ConfigError: the token or the certificate cannot be read, or the address cannot be listened on.
    """
    settings, exporter = live.current, Exporter(live)

    def begin() -> None:
        exporter.keep_looking(lambda settings: settings.metrics.check_targets)
        on_ready()

    shown = site(registry_of(exporter.observe), token(settings))
    served = settings.served(settings.metrics)
    http_server.serve(served, shown, section="metrics", on_ready=begin, on_round=on_round)


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


def site(registry: CollectorRegistry, token: str) -> Site:
    """Return what is served."""
    rules = [("/healthcheck", Healthcheck), ("/metrics", _Metrics, {"registry": registry})]
    return Site(rules, default_handler_class=_WithToken, token=token.encode(), compress_response=True)


class _WithToken(Handler):
    """Only whoever has the token learns anything but that something listens here."""

    WORDS: ClassVar = {
        **Handler.WORDS,
        HTTPStatus.UNAUTHORIZED: "A token is needed.",
        HTTPStatus.NOT_FOUND: "Metrics are at /metrics.",
        HTTPStatus.INTERNAL_SERVER_ERROR: "The metrics could not be gathered; see the log.",
    }

    def prepare(self) -> None:
        super().prepare()
        given = self.request.headers.get("Authorization", "").encode(errors="replace")
        if not hmac.compare_digest(given, b"Bearer " + self.settings["token"]):
            self.refuse(HTTPStatus.UNAUTHORIZED, WWW_Authenticate="Bearer")

    def get(self) -> None:
        """There is nothing else."""
        self.refuse(HTTPStatus.NOT_FOUND)


class _Metrics(_WithToken):
    def initialize(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    async def get(self) -> None:  # type: ignore[override]
        """Show the metrics in the form, and of the names, that are asked for."""
        names, (encode, kind) = (
            self.get_arguments("name[]"),
            choose_encoder(self.request.headers.get("Accept", "")),
        )
        registry = self._registry.restricted_registry(names) if names else self._registry
        content = await in_thread(lambda: encode(registry))
        self.set_header("Content-Type", kind)
        self.finish(content)
