"""Flower, for looking only: a login is required, arguments and results are not shown."""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path
from typing import Final

from strongroom.config import Settings
from strongroom.errors import ConfigError
from workers.paths import private_folder, run_folder

log = logging.getLogger(__name__)

GENERATED: Final = "flower-password"


def environment(settings: Settings) -> dict[str, str]:
    """Return Flower's options as environment variables: a command line is public."""
    return {
        "FLOWER_ADDRESS": settings.flower.host,
        "FLOWER_PORT": str(settings.flower.port),
        "FLOWER_BASIC_AUTH": f"{settings.flower.user}:{password(settings)}",
        "FLOWER_READ_ONLY": "true",
        "FLOWER_PERSISTENT": "false",
        "FLOWER_TASKS_COLUMNS": "name,uuid,state,received,runtime,worker",
        "FLOWER_UNAUTHENTICATED_API": "false",
    }


def ask_login_for_metrics() -> None:
    """Have Flower ask for its login at ``/metrics`` too: names of tasks and workers, and how each fares."""
    from flower.views.monitor import Metrics
    from tornado.web import authenticated

    Metrics.get = authenticated(Metrics.get)


def password(settings: Settings) -> str:
    """Return the configured password, or one made on first use in a file of mode 0600.

    Raises:
        ConfigError: the password file cannot be read, or holds a comma (Flower would read
            two logins).
    """
    path = settings.flower.password_file or _generated(settings.state_dir)
    try:
        found = path.read_text().strip()
    except OSError as error:
        raise ConfigError(f"flower.password_file {path}: {error.strerror}") from None
    if not found or "," in found:
        raise ConfigError(f"flower.password_file {path}: must hold a password without a comma")
    return found


def password_file(settings: Settings) -> Path:
    """Return the file that holds the password, or will once Flower has started."""
    return settings.flower.password_file or run_folder(settings.state_dir) / GENERATED


def _generated(state_dir: Path) -> Path:
    path = private_folder(run_folder(state_dir)) / GENERATED
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(18) + "\n")
    log.info("flower-password-made", extra={"file": str(path)})
    return path
