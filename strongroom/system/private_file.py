"""Files that hold a key: one line, readable by their owner alone, never overwritten.

The line names what it is and ends in a checksum, so that a typing error, a cut or a wrong
file is told from a wrong key. The checksum is an unkeyed hash of the key: it stands only
where the key itself stands.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from strongroom.errors import ConfigError, UsageError
from strongroom.system import files
from strongroom.system.errors import KeyFileExposed, KeyFileUnreadable

LIMIT = 16 * 1024
BEGINNING = 64
"""As many bytes tell a private key's file from anything else."""
SEALED = "strongroom-sealed-"
"""How the file of a key begins that a passphrase seals."""
_KEY = re.compile(rb"\s*(strongroom-([a-z]+-)*key-[0-9]+ |-----BEGIN ([A-Z]+ )*PRIVATE KEY-----)")
CHECKSUM = 8
_AGAIN = "Type it again, or bring it back from its copy. No backup is affected."


def write_line(path: Path, *, kind: str, variety: str, content: bytes) -> None:
    """Write ``kind variety hex checksum``, durable, mode 0600, whole or not at all.

    Raises:
        UsageError: something of that name exists (a link counts), or it cannot be written.
            Nothing is left behind.
    """
    try:
        with files.atomic(path, replace=False) as file:
            file.write(f"{line(kind, variety, content)}\n".encode("ascii"))
    except FileExistsError:
        raise UsageError(
            f"'{path}' exists, and a key is never overwritten",
            hint="What was sealed to it could not be opened any more. Give another name.",
        ) from None
    except OSError as error:
        raise UsageError(f"'{path}' cannot be written: {error.strerror}", hint="Check the path.") from None


def line(kind: str, variety: str, content: bytes) -> str:
    """Return ``kind variety hex checksum``."""
    body = f"{kind} {variety} {content.hex()}"
    return f"{body} {_checksum(body)}"


def read_line(path: Path, *, kind: str) -> tuple[str, bytes]:
    """Return variety and content of a file that :func:`write_line` wrote.

    Raises:
        KeyFileUnreadable: it is missing, of another kind, cut short, or damaged.
        KeyFileExposed: it is open to others.
    """
    words = read_private(path).split()
    if not words or words[0] != kind:
        raise KeyFileUnreadable(f"'{path}' is not a {kind} file", hint="Check the path.")
    if len(words) < 4 or len(words[3]) < CHECKSUM:
        raise KeyFileUnreadable(f"'{path}' is cut short", hint=_AGAIN)
    if len(words) > 4 or words[3] != _checksum(" ".join(words[:3])):
        raise KeyFileUnreadable(f"'{path}' is damaged or mistyped: its checksum is wrong", hint=_AGAIN)
    try:
        return words[1], bytes.fromhex(words[2])
    except ValueError:  # its message has the position, its cause the digits
        problem = KeyFileUnreadable(f"'{path}' holds a key that is not written in hex", hint=_AGAIN)
    raise problem


def read_private(path: Path) -> str:
    """Return the text of a small file that nobody else may read or change.

    Raises:
        KeyFileUnreadable: it cannot be read, or is no regular text file.
        KeyFileExposed: it is open to others.
    """
    try:
        # Without O_NONBLOCK, a pipe that nobody writes to would hang here.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            data = file.read(LIMIT + 1) if stat.S_ISREG(mode) else b""
    except OSError as error:
        raise KeyFileUnreadable(
            f"'{path}' cannot be read: {error.strerror}", hint="Check the path and its rights."
        ) from None
    if stat.S_ISREG(mode) and stat.S_IMODE(mode) & 0o077:
        raise KeyFileExposed(
            f"others may use the key in '{path}'",
            hint=f"Run: chmod 600 '{path}'. If somebody may have read it, make a new key.",
        )
    return _text(path, data, regular=stat.S_ISREG(mode))


def kind_of(path: Path) -> str:
    """Return the first word of a key's file. Raises as :func:`read_private`."""
    words = read_private(path).split(maxsplit=1)
    return words[0] if words else ""


def is_sealed(path: Path) -> bool:
    """Tell whether a file holds a key that a passphrase seals; no, if it cannot be read."""
    try:
        return kind_of(path).startswith(SEALED)
    except ConfigError:
        return False


def begins_a_key(data: bytes) -> bool:
    """Whether a file that begins so holds a private key: one of Strongroom's, or PEM."""
    return _KEY.match(data) is not None


@contextmanager
def locked(folder: Path, *, what: str = "folder of keys") -> Iterator[None]:
    """Hold a folder's lock, making the folder (mode 0700) if need be: two processes that
    start together must make one key, not two.

    Args:
        what: what the folder is, for the error.

    Raises:
        ConfigError: the folder cannot be made or used.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The folder itself: keys that are there already can be read where nothing may be written.
        descriptor = files.open_locked(folder, files.FOLDER)
    except OSError as error:
        raise ConfigError(f"the {what} '{folder}' cannot be used: {error.strerror}") from None
    try:
        yield
    finally:
        os.close(descriptor)


def _text(path: Path, data: bytes, *, regular: bool) -> str:
    # Replaced, not raised: a decoding error carries the bytes it failed on.
    text = data.decode("utf-8", "replace")
    if not regular or len(data) > LIMIT or "\ufffd" in text:
        raise KeyFileUnreadable(f"'{path}' is not a small text file", hint="Check the path.")
    return text


def _checksum(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:CHECKSUM]
