"""A secret that a person gives in a file, or that is made on first use."""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path

from strongroom.errors import ConfigError
from workers.paths import private_folder, run_folder

log = logging.getLogger(__name__)


def given_or_made(given: Path | None, state_dir: Path, *, name: str, setting: str) -> str:
    """Return what the given file holds; without one, what is in a file of that name and mode 0600 in the
    folder of what a cluster runs with.

    Raises:
        ConfigError: it cannot be read, or is empty.
    """
    path = given or _made(state_dir, name)
    try:
        found = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not a text in UTF-8"
        raise ConfigError(f"{setting} {path}: {why}") from None
    if not found:
        raise ConfigError(f"{setting} {path}: is empty")
    return found


def secret_file(given: Path | None, state_dir: Path, *, name: str) -> Path:
    """Return the file that holds the secret, or will once it is made."""
    return given or run_folder(state_dir) / name


def _made(state_dir: Path, name: str) -> Path:
    path = private_folder(run_folder(state_dir)) / name
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(18) + "\n")
    log.info("secret-made", extra={"file": str(path)})
    return path
