"""Flower, for looking only: a login is required, arguments and results are not shown."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any, Final

from strongroom.config import Settings
from strongroom.config.served import Served
from strongroom.errors import ConfigError
from workers import http_server, names, status
from workers.paths import given_or_made, secret_file

GENERATED: Final = "flower-password"


def environment(settings: Settings) -> dict[str, str]:
    """Return Flower's options as environment variables: a command line is public.

    Raises:
        ConfigError: the password or the certificate cannot be used.
    """
    served = settings.served(settings.flower)
    http_server.check_certificate(served)
    return {
        "FLOWER_ADDRESS": served.host,
        "FLOWER_PORT": str(served.port),
        "FLOWER_BASIC_AUTH": f"{settings.flower.user}:{password(settings)}",
        "FLOWER_READ_ONLY": "true",
        "FLOWER_PERSISTENT": "false",
        "FLOWER_TASKS_COLUMNS": "name,uuid,state,received,runtime,worker",
        "FLOWER_UNAUTHENTICATED_API": "false",
        **_tls(served),
    }


def _tls(found: Served) -> dict[str, str]:
    if found.certificate_file is None:
        return {}
    key = found.key_file or found.certificate_file
    return {"FLOWER_CERTFILE": str(found.certificate_file), "FLOWER_KEYFILE": str(key)}


def ask_login_for_metrics() -> None:
    """Have Flower ask for its login at ``/metrics`` too: names of tasks and workers, and how each fares."""
    from flower.views.monitor import Metrics
    from tornado.web import authenticated

    Metrics.get = authenticated(Metrics.get)


def call_each_round(on_round: Callable[[], None]) -> None:
    """Have Flower's loop call this each second."""
    from flower.app import Flower
    from tornado.ioloop import PeriodicCallback

    start = Flower.start

    def calling(flower: Any) -> None:
        PeriodicCallback(on_round, 1000).start()
        start(flower)

    Flower.start = calling


def link_to_page(settings: Settings) -> None:
    """Have Flower's menu lead to the page, where there is one."""
    from flower.views import BaseHandler

    render = BaseHandler.render_string

    def with_link(handler: Any, name: str, **values: Any) -> bytes:
        made: bytes = render(handler, name, **values)
        address = page_address(settings)
        item = f'<li class="nav-item"><a class="nav-link" href="{escape(address)}">Strongroom</a></li>'
        return made.replace(b"</ul>", item.encode() + b"</ul>", 1) if address else made

    BaseHandler.render_string = with_link


def page_address(settings: Settings) -> str:
    """Return where people reach the page, as far as that is known."""
    if settings.page.url:
        return settings.page.url
    found = status.read(settings.state_dir)
    return (
        http_server.address(settings.served(settings.page), "/")
        if found and names.PAGE in found.processes
        else ""
    )


def password(settings: Settings) -> str:
    """Return the configured password, or one made on first use in a file of mode 0600.

    Raises:
        ConfigError: the password file cannot be read, is empty, or holds a comma (Flower would
            read two logins).
    """
    given = settings.flower.password_file
    found = given_or_made(given, settings.state_dir, name=GENERATED, setting="flower.password_file")
    if "," in found:
        file = password_file(settings)
        raise ConfigError(f"flower.password_file {file}: must hold a password without a comma")
    return found


def password_file(settings: Settings) -> Path:
    """Return the file that holds the password, or will once Flower has started."""
    return secret_file(settings.flower.password_file, settings.state_dir, name=GENERATED)
