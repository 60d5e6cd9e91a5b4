"""Where the local cluster keeps its own files under the state directory, and the secrets that it makes."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from strongroom.errors import ConfigError
from strongroom.system.lazy import lazy

_temporary_folder = lazy("tempfile:gettempdir")

SOCKET_LIMIT: Final = 100
"""Bytes of a Unix socket's path; the kernel's limit is 108, or 104 on macOS."""


def role_keys(state_dir: Path) -> Path:
    """Return the folder of the roles' signing keys."""
    return state_dir / "keys" / "roles"


def broker_data(state_dir: Path) -> Path:
    """Return the folder of the embedded broker's append-only file and log."""
    return state_dir / "broker"


def run_folder(state_dir: Path) -> Path:
    """Return the folder of what lives as long as a cluster runs."""
    return state_dir / "run"


def work_folder(state_dir: Path) -> Path:
    """Return the empty folder that processes work in: nobody else puts a file there."""
    return run_folder(state_dir) / "work"


def status_file(state_dir: Path) -> Path:
    """Return the file in which a running cluster names its processes."""
    return run_folder(state_dir) / "cluster.json"


def pulse_folder(state_dir: Path) -> Path:
    """Return the folder in which each process tells that it works, by host."""
    return run_folder(state_dir) / "pulse"


def broker_file(state_dir: Path) -> Path:
    """Return the file in which an ephemeral broker leaves its address."""
    return run_folder(state_dir) / "broker.url"


def broker_socket(state_dir: Path) -> Path:
    """Return the embedded broker's socket: the same for the cluster and for any shell.

    A state directory with a long path gets a short one, named by its digest.
    """
    socket = run_folder(state_dir.absolute()) / "broker.sock"
    if len(os.fsencode(socket)) <= SOCKET_LIMIT:
        return socket
    digest = hashlib.sha256(os.fsencode(state_dir.absolute())).hexdigest()[:16]
    parent = os.environ.get("XDG_RUNTIME_DIR") or _temporary_folder()
    return Path(parent) / f"strongroom-{os.getuid()}-{digest}" / "broker.sock"


def private_folder(folder: Path) -> Path:
    """Make a folder that only this user may enter, or refuse one that others may.

    Raises:
        ConfigError: it belongs to somebody else (who could have put it there first).
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    info = folder.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        raise ConfigError(f"{folder} is not a directory of this user's own")
    if stat.S_IMODE(info.st_mode) != 0o700:
        folder.chmod(0o700)
    return folder


# -- A secret that a person gives in a file, or that is made on first use --


log = logging.getLogger(__name__)


def given_or_made(given: Path | None, state_dir: Path, *, name: str, setting: str) -> str:
    """Return what the given file holds; without one, what is in a file of that name and mode 0600 in the
    folder of what a cluster runs with.

    Raises:
        ConfigError: it cannot be read, or is empty.
    """
    return read_given(given or _made(state_dir, name), setting)


def read_given(path: Path, setting: str) -> str:
    """Return what the file of a setting holds. Raises as :func:`given_or_made`."""
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
