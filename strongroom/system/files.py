"""Files that no crash tears, and locks that die with their process.

Everything here raises OSError: what that means for a backup, whoever calls knows.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PROVISIONAL = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.part")
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})


@contextlib.contextmanager
def atomic(
    path: Path, *, replace: bool, mode: int = 0o600, check: Callable[[Path], object] | None = None
) -> Iterator[BinaryIO]:
    """Yield a file to write that becomes ``path``, whole and durable, when the block ends well.

    Until then it lies beside it under a provisional name, and nothing reads it. A process that is killed
    leaves that name to the next who writes the same file.

    Args:
        replace: whether a file that is there may be replaced.
        check: reads the provisional file back, and raises if it is not right.

    Raises:
        FileExistsError: something is there, and ``replace`` was not given.
    """
    _remove_abandoned(path)
    provisional, descriptor = make_provisional(path, mode)
    with os.fdopen(descriptor, "wb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if check is not None:
                check(provisional)
            if replace:
                provisional.replace(path)
            else:
                link(provisional, path)
            sync(path.parent)
        finally:
            provisional.unlink(missing_ok=True)


def make_provisional(path: Path, mode: int = 0o600) -> tuple[Path, int]:
    """Make a locked file beside a path; anew, if somebody took it for abandoned before it was locked."""
    while True:
        provisional = path.with_name(provisional_name(path.name))
        descriptor = os.open(provisional, _NEW, mode)
        with contextlib.suppress(OSError):  # no locks on this file system: then nobody removes it
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return provisional, descriptor
        os.close(descriptor)


def provisional_name(name: str) -> str:
    """Return a name for what is to have another one when it is whole."""
    return f".{name}.{os.urandom(8).hex()}.part"


def name_of_provisional(name: str) -> str | None:
    """Return the name that a provisional file is to have, or None of any other file."""
    match = _PROVISIONAL.fullmatch(name)
    return match["name"] if match else None


def provisional_files(path: Path) -> list[Path]:
    """Return what writers of a file, alive or dead, have beside it."""
    try:
        names = os.listdir(path.parent)  # noqa: PTH208 - names alone are needed
    except OSError:
        return []
    return [path.with_name(name) for name in names if name_of_provisional(name) == path.name]


def is_being_written(provisional: Path) -> bool:
    """Tell whether the writer of a provisional file lives: the kernel drops its lock with it."""
    try:
        descriptor = os.open(provisional, _LOOK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return is_locked(descriptor)
    finally:
        os.close(descriptor)


def _remove_abandoned(path: Path) -> None:
    """Remove provisional files whose writers are gone: nobody holds their locks."""
    for left in provisional_files(path):
        with contextlib.suppress(OSError), locked(left, _LOOK, wait=False):
            left.unlink()


def link(provisional: Path, path: Path) -> None:
    """Give a file its name, unless it is taken: a link fails then, where a rename would replace.

    Raises:
        FileExistsError: the name is taken.
    """
    try:
        path.hardlink_to(provisional)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        provisional.rename(path)


def sync(directory: Path | int) -> None:
    """Make a directory's entries durable, where its file system can."""
    descriptor = directory if isinstance(directory, int) else os.open(directory, FOLDER)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems sync on their own
            raise
    finally:
        if not isinstance(directory, int):
            os.close(descriptor)


def open_locked(path: Path, flags: int, *, wait: bool = True) -> int:
    """Open a file or a folder, and lock it for as long as the descriptor is open.

    The kernel drops the lock when its last holder dies, however it dies: no guess by age is needed.

    Raises:
        BlockingIOError: another process holds it, and ``wait`` was not wanted.
    """
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def locked(path: Path, flags: int = os.O_RDWR | os.O_CREAT, *, wait: bool = True) -> Iterator[int]:
    """Hold a lock while the block runs; see :func:`open_locked`."""
    descriptor = open_locked(path, flags, wait=wait)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_locked(descriptor: int, *, without_locks: bool = False) -> bool:
    """Say whether another process holds an open file's lock.

    Tried shared: two that look at once must not take each other for the holder.

    Args:
        without_locks: what to say where the file system has no locks, so that nobody can know.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return without_locks
    return False


_PATIENCE = 10.0
_PAUSE = 0.02


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait until no other process or thread of this installation is in such a block.

    Eight workers that derive a passphrase's key at once would take eight times its memory. The lock is on
    this very file: it needs no folder that all may write, and a reader's right is enough. It spares memory
    and guards nothing, so where it cannot be had (a file system without locks, somebody who holds it for ten
    seconds) the work goes on without.
    """
    descriptor = _opened()
    try:
        yield
    finally:
        if descriptor is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # for a child that was forked meanwhile too
            os.close(descriptor)


def _opened() -> int | None:
    try:
        descriptor = os.open(__file__, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    until = time.monotonic() + _PATIENCE
    while not _locked(descriptor) and time.monotonic() < until:
        time.sleep(_PAUSE)
    return descriptor


def _locked(descriptor: int) -> bool:
    """Take the lock, unless another has it; say so too if there is none to have."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
