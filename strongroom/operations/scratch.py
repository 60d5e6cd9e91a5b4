"""A place for a scratch store: a directory of one process, gone when that is done.

A process that is killed leaves its directory, and the next one removes it. Who lives is told by a
lock that the kernel drops with the process: not by age, and not by a process id, which is given
out again. From the making of a directory to its lock, and while what the dead left is removed,
the folder's own lock is held, so that no unlocked directory is one that is just being made.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from strongroom.errors import SourceError, UsageError
from strongroom.keys.privatefile import locked
from strongroom.state import filesystem

PREFIX: Final = "strongroom-rehearsal-"
_OWN: Final = re.compile(re.escape(PREFIX) + "[0-9a-f]{16}")
_PARTS: Final = ("keys", "store")
"""All that a local store makes. The key goes first: the rest of an unfinished removal then opens no more."""


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Give a new directory (mode 0700) below ``folder``, and remove it in the end, however that comes.

    What killed processes left there is removed first; what belongs to a living one stays, and so
    does whatever is not provably a scratch store.

    Raises:
        ConfigError: the folder cannot be made or used.
        UsageError: others may write into it, or it lies on a network's file system.
        SourceError: something cannot be removed.
    """
    with locked(folder, what="folder for a scratch store"):
        _check_folder(folder)
        _sweep(folder)
        place = folder / f"{PREFIX}{secrets.token_hex(8)}"
        place.mkdir(mode=0o700)
        descriptor = _claim(place)
    try:
        yield place
    except BaseException as error:
        _remove_after(error, place)
        raise
    else:
        _remove(place)
    finally:
        os.close(descriptor)


def _check_folder(folder: Path) -> None:
    """Refuse a place where others could meddle with a scratch store, or could not see that it is in use."""
    found = folder.stat()
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise UsageError(
            f"Others may write into '{folder}', and secrets would be restored there.",
            hint=f"Nothing was restored. Name a folder of your own, which nobody else may write into: "
            f"mkdir -m 700 '{folder / 'rehearsals'}'",
        )
    if (kind := filesystem.kind_of(folder)) in filesystem.NETWORK:
        raise UsageError(
            f"'{folder}' lies on a network's file system ({kind}), whose locks other hosts may not see.",
            hint="Nothing was restored. Name a folder on a local disk.",
        )


def _sweep(folder: Path) -> None:
    for place in folder.iterdir():
        if _OWN.fullmatch(place.name) and not place.is_symlink() and place.is_dir():
            _remove_dead(place)


def _remove_dead(place: Path) -> None:
    try:
        descriptor = _claim(place)
    except BlockingIOError:
        return  # its process lives
    try:
        if {path.name for path in place.iterdir()}.issubset(_PARTS):
            _remove(place)
    finally:
        os.close(descriptor)


def _claim(place: Path) -> int:
    """Lock a directory for as long as this process lives. Raises BlockingIOError if another one does."""
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_after(error: BaseException, place: Path) -> None:
    """Remove it after a failure, which counts for more than what cannot be removed: that is noted on it."""
    try:
        _remove(place)
    except SourceError as left:
        error.add_note(f"{left.message}. {left.hint}")


def _remove(place: Path) -> None:
    try:
        _delete(place)
    except KeyboardInterrupt:  # asked to end while at it: what was to be taken back is taken back
        _delete(place)
        raise


def _delete(place: Path) -> None:
    try:
        for part in _PARTS:
            with suppress(FileNotFoundError):
                shutil.rmtree(place / part)
        with suppress(FileNotFoundError):
            place.rmdir()
    except OSError as error:
        raise SourceError(
            f"the scratch store '{place}' could not be removed: {error.strerror}",
            hint="It holds restored secrets, sealed, and may hold their key: remove it by hand.",
        ) from None
