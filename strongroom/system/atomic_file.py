"""One file, put in place whole or not at all: provisional name, fsync, then its own name."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from strongroom.errors import TargetError
from strongroom.system.errors import TargetFull, TargetReadOnly, WouldOverwrite

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
    provisional = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    with _translated(path):
        descriptor = os.open(provisional, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with _translated(path), os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if check is not None:
            check(provisional)
        with _translated(path):
            _publish(provisional, path, replace=replace)
    finally:
        provisional.unlink(missing_ok=True)


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


def _publish(provisional: Path, path: Path, *, replace: bool) -> None:
    if replace:
        provisional.replace(path)
    else:
        _link(provisional, path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link(provisional: Path, path: Path) -> None:
    try:
        path.hardlink_to(provisional)  # unlike a rename it never replaces what came meanwhile
    except FileExistsError:
        refuse_existing(path, replace=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS):
            raise
        refuse_existing(path, replace=False)
        provisional.rename(path)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
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
