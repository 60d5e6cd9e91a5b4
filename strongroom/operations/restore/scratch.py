"""A place for a scratch store: a directory of one process, gone when that is done.

A process that is killed leaves its directory, and the next one removes it. Who lives is told by a
lock that the kernel drops with the process: not by age, and not by a process id, which is given
out again. From the making of a directory to its lock, and while what the dead left is removed,
the folder's own lock is held, so that no unlocked directory is one that is just being made.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Final

from strongroom.errors import SourceError, UsageError
from strongroom.state import filesystem
from strongroom.system import files
from strongroom.system.files import locked_folder
from strongroom.times import measured

FOLDER: Final = "rehearsals"
"""Where scratch stores lie, below the state directory, unless another folder is named."""
PREFIX: Final = "strongroom-rehearsal-"
_OWN: Final = re.compile(re.escape(PREFIX) + "[0-9a-f]{16}")
_KEYS, _STORE = "keys", "store"
_PARTS: Final = frozenset({_KEYS, _STORE})
"""All that a local store makes."""
_WHAT: Final = "folder for a scratch store"


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
    with locked_folder(folder, what=_WHAT):
        _check_folder(folder)
        _sweep(folder)
        path = folder / f"{PREFIX}{secrets.token_hex(8)}"
        path.mkdir(mode=0o700)
        descriptor = _claim(path)
        assert descriptor is not None  # nobody else claims one while the folder is locked
    try:
        yield path
    except BaseException as error:
        _remove_after(error, path)
        raise
    else:
        _remove(path)
    finally:
        os.close(descriptor)


def _check_folder(folder: Path) -> None:
    """Refuse a place where others could meddle with a scratch store, or could not see that it is in use."""
    status = folder.stat()
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
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


def dead(folder: Path) -> list[Path]:
    """Return what killed processes left in a folder, which the next one removes. Makes nothing."""
    if not folder.is_dir():
        return []
    with locked_folder(folder, what=_WHAT):
        return list(_claimed(folder))


def _sweep(folder: Path) -> None:
    for path in _claimed(folder):
        _remove(path)


def _claimed(folder: Path) -> Iterator[Path]:
    """Yield the scratch stores that nobody lives in, each locked until the next is asked for."""
    for path in sorted(folder.iterdir()):
        if not _OWN.fullmatch(path.name) or (descriptor := _claim(path)) is None:
            continue
        try:
            if _is_store(path):
                yield path
        finally:
            os.close(descriptor)


def _is_store(place: Path) -> bool:
    """Tell whether a directory holds only files of a store. Otherwise it is somebody's own."""
    try:
        return {path.name for path in place.iterdir()} <= _PARTS
    except FileNotFoundError:  # its owner has just taken it away
        return False


def _claim(path: Path) -> int | None:
    """Lock a directory for as long as this process lives; ``None`` if it is none, or another process's."""
    try:
        return files.open_locked(path, files.FOLDER | os.O_NOFOLLOW, wait=False)
    except (BlockingIOError, PermissionError):  # another process's
        return None
    except (FileNotFoundError, NotADirectoryError):  # a link or a file, or taken away by its owner just now
        return None


def _remove_after(error: BaseException, path: Path) -> None:
    """Remove a scratch store after a failure. What cannot be removed is noted on the failure."""
    try:
        _remove(path)
    except SourceError as left:
        error.add_note(f"{left.message}. {left.hint}")


def _remove(path: Path) -> None:
    try:
        _delete(path)
    except KeyboardInterrupt:  # asked to end while at it: what was to be taken back is taken back
        _delete(path)
        raise


def _delete(path: Path) -> None:
    try:
        for part in (_KEYS, _STORE):  # should this be all that gets done, the rest opens no more
            with suppress(FileNotFoundError):
                shutil.rmtree(path / part)
        with suppress(FileNotFoundError):
            path.rmdir()
    except OSError as error:
        raise SourceError(
            f"the scratch store '{path}' could not be removed: {error.strerror}",
            hint="It holds restored secrets, sealed, and may hold their key: remove it by hand.",
        ) from None


# -- Recovery time objectives (RTO), and whether a rehearsed recovery met its own ---------------


class DrillScope(StrEnum):
    """How much is brought back, and from where: without a region, or from the medium in the safe."""

    SINGLE = "single"
    CATEGORY = "category"
    FULL = "full"
    FAILOVER = "failover"
    EMERGENCY = "emergency"


OBJECTIVES: Final = {
    DrillScope.SINGLE: 15 * 60.0,
    DrillScope.CATEGORY: 30 * 60.0,
    DrillScope.FULL: 2 * 3600.0,
    DrillScope.FAILOVER: 2 * 3600.0,
    DrillScope.EMERGENCY: 4 * 3600.0,
}
"""Seconds, by the procedures."""


def objective_missed(took: float, *, least: float, objective: float) -> str | None:
    """Say why an objective was missed; nothing if it was met. All in seconds.

    Args:
        least: what the source itself takes at the least, however fast this machine is.
    """
    if max(took, least) <= objective:
        return None
    slow = f"took {measured(took)}" if took > objective else f"the source itself takes at least {least:.0f} s"
    return f"{slow}; the objective is {objective:g} s"
