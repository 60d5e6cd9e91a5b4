"""The local store's master key: 32 random bytes in a file of its own, made on first use."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from strongroom.container.errors import WrongKey
from strongroom.errors import SourceError
from strongroom.system import files

SIZE = 32


def load_or_create(path: Path) -> bytes:
    """Return the master key, making it if there is none.

    If another first user is faster, that one's key counts.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        _create(path)
    return load(path)


def load(path: Path) -> bytes:
    """Return the master key.

    Raises:
        WrongKey: there is none, or it is not a key.
        SourceError: others may read it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            key = file.read(SIZE + 1)
    except FileNotFoundError:
        raise WrongKey(f"the store's master key '{path}' is gone", hint=ESCROW) from None
    except OSError as error:
        raise SourceError(f"the store's master key '{path}' could not be read: {error.strerror}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise SourceError(f"others may read the store's master key '{path}'", hint=f"chmod 600 '{path}'")
    if len(key) != SIZE:
        raise WrongKey(f"'{path}' is not a master key: it is not {SIZE} bytes long", hint=ESCROW)
    return key


ESCROW = (
    "Bring the master key back from its escrow ('strongroom emergency escrow FILE --open'). Without an "
    "escrow, move "
    "the store's database away, and restore the secrets into a new one from a backup."
)


def _create(path: Path) -> None:
    try:
        with suppress(FileExistsError), files.atomic(path, replace=False) as file:
            file.write(secrets.token_bytes(SIZE))
    except OSError as error:
        raise SourceError(f"the master key '{path}' could not be made: {error.strerror}") from None
