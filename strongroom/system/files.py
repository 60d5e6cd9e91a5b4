"""Files that no crash tears, and locks that die with their process.

Everything here raises OSError: what that means for a backup, whoever calls knows.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import hashlib
import os
import re
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, Self
from weakref import WeakSet

from strongroom.errors import ConfigError, TargetError, UsageError
from strongroom.system.errors import (
    KeyFileExposed,
    KeyFileUnreadable,
    TargetFull,
    TargetReadOnly,
    WouldOverwrite,
)

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
    """Make a locked file beside a path; anew, if somebody took it for abandoned before it was locked.

    Provisional files whose writers are gone are removed: nobody holds their locks.
    """
    for left in provisional_files(path):
        with contextlib.suppress(OSError), locked(left, _LOOK, wait=False):
            left.unlink()
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


# -- One file, put in place whole or not at all: provisional name, fsync, then its own name -----


Check = Callable[[Path], object]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


@contextmanager
def placed(path: Path, *, replace: bool = False, check: Check | None = None) -> Iterator[BinaryIO]:
    """Yield a file to write, mode 0600, that becomes ``path`` when the block ends well.

    Args:
        replace: whether a file that is there may be replaced, atomically.
        check: reads the provisional file back and raises if it is not right.

    Raises:
        WouldOverwrite: something is there, and ``replace`` was not given.
        TargetFull, TargetReadOnly, TargetError: the file system refused. Nothing is left.
    """
    refuse_existing(path, replace=replace)
    with translated(path):
        try:
            with atomic(path, replace=replace, check=check) as file:
                yield file
        except FileExistsError:
            refuse_existing(path, replace=False)
            raise


def write_whole(path: Path, content: bytes, *, replace: bool = False) -> None:
    """Write a small file in the same way."""
    with placed(path, replace=replace) as file:
        file.write(content)


def refuse_existing(path: Path, *, replace: bool) -> None:
    """Refuse to write where something is, unless that is a file and may be replaced."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise WouldOverwrite(
            f"'{path}' is not a plain file, and only such a one is ever replaced.",
            hint="Nothing was changed. Choose another name.",
        )
    if os.path.lexists(path) and not replace:
        raise WouldOverwrite(
            f"'{path}' exists.",
            hint="Nothing was changed. Choose another name, or give --force to replace it.",
        )


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise what the file system refuses as an error of a target, with a hint."""
    try:
        yield
    except OSError as error:
        words = f"'{path}' could not be written: {os.strerror(error.errno or 0)}."
        kind = (
            TargetFull if error.errno in _FULL else TargetReadOnly if error.errno in _DENIED else TargetError
        )
        raise kind(words, hint=_HINTS[kind]) from None


_HINTS = {
    TargetFull: "Nothing half-written was left. Free space, then repeat.",
    TargetReadOnly: "Nothing was written. Check the owner and mode of the directory, and how it is mounted.",
    TargetError: "Nothing was written. Check that the directory is there.",
}


# -- A local file, read by range ----------------------------------------------------------------


class LocalFileReader:
    """A local file that can be read at any offset; a context manager that closes it.

    ``stat`` is of the file that was opened, whatever has its name by now.
    """

    def __init__(self, path: Path | str) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.stat = os.fstat(self._file)
        self.size = self.stat.st_size

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._file, length, offset)

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# -- Files that hold a key: one line, readable by their owner alone, never overwritten ----------
#
# The line names what it is and ends in a checksum, so that a typing error, a cut or a wrong
# file is told from a wrong key. The checksum is an unkeyed hash of the key: it stands only
# where the key itself stands.


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
        TargetFull: the disk has no room. By either, nothing is left behind.
    """
    try:
        with atomic(path, replace=False) as file:
            file.write(f"{line(kind, variety, content)}\n".encode("ascii"))
    except FileExistsError:
        raise UsageError(
            f"'{path}' exists, and a key is never overwritten",
            hint="What was sealed to it could not be opened any more. Give another name.",
        ) from None
    except OSError as error:
        words = f"'{path}' cannot be written: {error.strerror}"
        if error.errno in _FULL:
            raise TargetFull(words, hint=_HINTS[TargetFull]) from None
        raise UsageError(words, hint="Check the path.") from None


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


def is_exposed(status: os.stat_result) -> bool:
    """Tell whether others than those whom its owner chose may use a secret's file.

    A file of root's that a group may read, and nobody may write, was given to this process so: systemd's
    credentials (by an access list, which shows as the group's right) and the secrets of Kubernetes are.
    To root itself such a file says that a group may read it, and nothing else.
    """
    others = stat.S_IMODE(status.st_mode) & 0o077
    given = others == stat.S_IRGRP and status.st_uid == 0 and os.geteuid() != 0
    return stat.S_ISREG(status.st_mode) and others != 0 and not given


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
            status = os.fstat(descriptor)
            regular = stat.S_ISREG(status.st_mode)
            data = file.read(LIMIT + 1) if regular else b""
    except OSError as error:
        raise KeyFileUnreadable(
            f"'{path}' cannot be read: {error.strerror}", hint="Check the path and its rights."
        ) from None
    if is_exposed(status):
        raise KeyFileExposed(
            f"others may use the key in '{path}'",
            hint=f"Run: chmod 600 '{path}'. If somebody may have read it, make a new key.",
        )
    # Replaced, not raised: a decoding error carries the bytes it failed on.
    text = data.decode("utf-8", "replace")
    if not regular or len(data) > LIMIT or "\ufffd" in text:
        raise KeyFileUnreadable(f"'{path}' is not a small text file", hint="Check the path.")
    return text


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
def locked_folder(folder: Path, *, what: str = "folder of keys") -> Iterator[None]:
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
        descriptor = open_locked(folder, FOLDER)
    except OSError as error:
        raise ConfigError(f"the {what} '{folder}' cannot be used: {error.strerror}") from None
    try:
        yield
    finally:
        os.close(descriptor)


def _checksum(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:CHECKSUM]


# -- SQLite's files: nothing but SQLite opens them, and no open one crosses a fork --------------
#
# POSIX drops all of a process's locks on a file as soon as the process closes any descriptor of that
# file (sqlite.org/howtocorrupt.html, 2.2). SQLite goes on believing that it holds them. A forked child
# believes so too: it inherits SQLite's list of locks, and the kernel gave it none. In both cases the
# next process that closes the database last deletes the write-ahead log under the one without a lock,
# and what that one committed is gone.
#
# So a file is created only where there is none, and never opened again but through :func:`connect`. A fork
# waits until nobody uses a connection, and closes all that are open first.


FORK_WAITS: Final = 30.0
"""Seconds that a fork waits for transactions of other threads. None of them should take that long."""

EXIT_WAITS: Final = 2.0
"""Seconds that the end of a process waits for them."""


class CrossedFork(sqlite3.OperationalError):
    """The database was in use when this process was forked, so its locks here would be no locks."""


class SqliteConnection(sqlite3.Connection):
    """A connection that is closed as its process ends: the last one to close empties the log."""

    path: Path

    def close(self) -> None:
        """Close it. A connection that was closed does not count at a fork."""
        super().close()
        _open.discard(self)

    def __del__(self) -> None:
        """Close what nobody needs any more. From Python 3.13 on SQLite's own way warns of each."""
        with suppress(Exception):
            self.close()


_open: WeakSet[SqliteConnection] = WeakSet()
_inherited: list[SqliteConnection] = []
_crossed: frozenset[Path] = frozenset()
_idle: WeakSet[Any] = WeakSet()


def create(path: Path) -> None:
    """Make an empty file of mode 0600 unless there is a file. Raises OSError.

    A link is followed, so that what it leads to is made private as well.
    """
    resolved = path.resolve()
    try:
        # The new file is closed before anybody can have a lock on it.
        os.close(os.open(resolved, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if not stat.S_ISREG(resolved.stat().st_mode):
            raise


def connect(path: Path, *, timeout: float) -> SqliteConnection:
    """Open a connection to a file that exists, in autocommit mode. Raises sqlite3.Error."""
    resolved = path.resolve()
    if resolved in _crossed:
        raise CrossedFork("the database was in use when this process was forked")
    # Without "c" in its mode SQLite creates nothing: it would do so with the mode of the umask.
    connection = sqlite3.connect(
        f"{resolved.as_uri()}?mode=rw",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
        factory=SqliteConnection,
    )
    connection.path = resolved
    _open.add(connection)
    return connection


class _Gate:
    """Lets many threads use databases at once, or one thread fork."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._users = 0
        self._mine = threading.local()

    @property
    def _own(self) -> int:
        return getattr(self._mine, "depth", 0)

    @contextmanager
    def passing(self) -> Iterator[None]:
        with self._changed:
            self._users += 1
        self._mine.depth = self._own + 1
        try:
            yield
        finally:
            self._mine.depth -= 1
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    def shut(self, seconds: float = FORK_WAITS) -> bool:
        self._changed.acquire()
        return self._changed.wait_for(lambda: self._users == self._own, seconds)

    def open(self) -> None:
        self._changed.release()


_gate = _Gate()


@contextmanager
def in_use() -> Iterator[None]:
    """Hold off every fork of this process while the block uses connections."""
    with _gate.passing():
        yield


def close_before_fork(holder: Any) -> None:
    """Have ``holder.close_idle()`` called before each fork, as long as the holder lives."""
    _idle.add(holder)


def _before_fork() -> None:
    _gate.shut()
    for holder in list(_idle):
        holder.close_idle()


def _after_fork_in_parent() -> None:
    _gate.open()


def _after_fork_in_child() -> None:
    global _gate, _crossed  # noqa: PLW0603 - this process begins with its own
    _gate = _Gate()
    _inherited.extend(_open)  # collecting one would tidy up its parent's log
    _crossed = _crossed | {connection.path for connection in _open}
    _open.clear()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)


@atexit.register
def _close_all() -> None:
    """Close what is open, and let no thread begin with a database any more.

    A daemon thread may be in the middle of a statement as Python ends, and closing its connection under it
    crashes the process. It keeps its connection then: the system drops the locks, and SQLite finds the log.
    """
    if not _gate.shut(EXIT_WAITS):
        return
    for connection in list(_open):
        connection.close()
