"""One file, put in place whole or not at all: provisional name, fsync, then its own name."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from strongroom.errors import TargetError
from strongroom.system import files
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
    with translated(path):
        try:
            with files.atomic(path, replace=replace, check=check) as file:
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
