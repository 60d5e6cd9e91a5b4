"""A file under a provisional name: invisible until published, recognisable if abandoned."""

from __future__ import annotations

import contextlib
import fcntl
import os

from strongroom.system import files

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Provisional:
    """A new file in an open directory, locked for as long as its writer lives.

    The kernel drops the lock when the writer dies, however it dies: that is how a sweep
    tells an abandoned file from one that is being written, with no guess by age.
    """

    def __init__(self, directory: int, leaf: str) -> None:
        self._directory = directory
        self._leaf = leaf
        self._name = files.provisional_name(leaf)
        self._fd = os.open(self._name, _CREATE, 0o600, dir_fd=directory)
        with contextlib.suppress(OSError):  # no locks on this file system: a sweep then may take it
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, chunk: memoryview) -> None:
        """Append bytes; a short write goes on where it stopped."""
        while chunk:
            chunk = chunk[os.write(self._fd, chunk) :]

    def publish(self) -> bool:
        """Give the durable file its real name, or say that the name is taken.

        A link fails if the name exists, where a rename would replace what is there.
        """
        os.fsync(self._fd)
        try:
            os.link(
                self._name,
                self._leaf,
                src_dir_fd=self._directory,
                dst_dir_fd=self._directory,
                follow_symlinks=False,
            )
        except FileExistsError:
            return False
        return True

    def discard(self) -> None:
        """Remove the provisional name; what was published stays."""
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=self._directory)
        finally:
            os.close(self._fd)


def remove_if_abandoned(directory: int, file_name: str) -> bool:
    """Remove a provisional file unless its writer lives; say whether it was removed."""
    try:
        fd = os.open(file_name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return False
    try:
        if files.is_locked(fd):
            return False
        os.unlink(file_name, dir_fd=directory)
    except FileNotFoundError:
        return False
    finally:
        os.close(fd)
    return True
