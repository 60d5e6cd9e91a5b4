"""Files that hold a key: one line, readable by their owner alone, never overwritten.

The line names what it is and ends in a checksum, so that a typing error, a cut or a wrong
file is told from a wrong key.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from strongroom.errors import ConfigError, UsageError

LIMIT = 16 * 1024


def write_line(path: Path, *, kind: str, variety: str, content: bytes) -> None:
    """Write ``kind variety hex checksum``, durable, mode 0600.

    Raises:
        UsageError: something of that name exists, or it cannot be written.
    """
    body = f"{kind} {variety} {content.hex()}"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageError(
            f"'{path}' exists, and a key is never overwritten",
            hint="What was sealed for it could not be opened any more. Give another name.",
        ) from None
    except OSError as error:
        raise UsageError(f"'{path}' cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{body} {_checksum(body)}\n")
        file.flush()
        os.fsync(file.fileno())
    _sync(path.parent)


def read_line(path: Path, *, kind: str) -> tuple[str, bytes]:
    """Return variety and content of a file that :func:`write_line` wrote.

    Raises:
        ConfigError: it is missing, open to others, of another kind, or damaged.
    """
    words = read_private(path).split()
    if not words or words[0] != kind:
        raise ConfigError(f"'{path}' is not a {kind} file", hint="Check the path.")
    try:
        body, checksum = " ".join(words[:3]), words[3]
        content = bytes.fromhex(words[2])
    except (IndexError, ValueError):
        checksum, body, content = "", "", b""
    if len(words) != 4 or checksum != _checksum(body):
        raise ConfigError(f"'{path}' is damaged: its checksum is wrong", hint="Bring it back from its copy.")
    return words[1], content


def read_private(path: Path) -> str:
    """Return the text of a small file that nobody else may read."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(LIMIT + 1)
    except OSError as error:
        raise ConfigError(
            f"'{path}' cannot be read: {error.strerror}", hint="Check the path and its rights."
        ) from None
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(f"others may read the key in '{path}'", hint=f"chmod 600 '{path}'")
    try:
        return data[:LIMIT].decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"'{path}' is not a text file", hint="Check the path.") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, making the folder (mode 0700) if need be: two processes that
    start together must make one key, not two."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _checksum(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:8]


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
