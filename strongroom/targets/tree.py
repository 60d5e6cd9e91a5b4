"""Walking a target's directories by file descriptor.

Every directory is opened relative to the one above and never through a symbolic link:
whoever can write into the tree still cannot lead a read or a write out of it, not even by
swapping a directory for a link between a check and a use.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from msgspec import Struct

from strongroom.system import files
from strongroom.targets.names import is_segment

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Branch:
    """The open directories from a root down to one directory; closes them on exit."""

    def __init__(self, root: int) -> None:
        self._fds = [root]
        self._segments: list[str] = []

    @property
    def leaf(self) -> int:
        """The deepest directory's descriptor."""
        return self._fds[-1]

    def enter(self, segments: Sequence[str], *, create: bool) -> None:
        """Go down, making what is missing (mode 0700) if ``create``."""
        for segment in segments:
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(segment, 0o700, dir_fd=self.leaf)
            self._fds.append(os.open(segment, DIRECTORY, dir_fd=self.leaf))
            self._segments.append(segment)

    def sync(self) -> None:
        """Make the entries of every directory durable, the deepest first.

        All of them, not only those made here: a directory that another process made a
        moment ago may not be durable yet, and our object would vanish with it.
        """
        for fd in reversed(self._fds):
            files.sync(fd)

    def prune(self) -> None:
        """Remove directories that stand empty, the deepest first; never the root."""
        for parent, segment in zip(reversed(self._fds[:-1]), reversed(self._segments), strict=True):
            try:
                os.rmdir(segment, dir_fd=parent)
            except OSError:
                return  # not empty, or somebody else was faster

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for fd in self._fds:
            os.close(fd)


class TreeFile(Struct, frozen=True):
    """A regular file: its open directory, its own name there, and its object's name."""

    directory: int
    leaf: str
    name: str


class TreeWalk(Struct, frozen=True):
    """What is looked for in a tree.

    ``object_leaf`` tells from a file's own name its object's last segment, or ``None`` to
    pass it over. ``link`` is told the names that are links.
    """

    prefix: str
    object_leaf: Callable[[str], str | None]
    link: Callable[[str], None]


def walk(directory: int, above: str, wanted: TreeWalk) -> Iterator[TreeFile]:
    """Yield regular files whose object's name starts with ``prefix``, ascending by it.

    Holds one directory's names at a time, and those on the way to it.
    """
    for name, leaf in sorted(_entries(directory, above, wanted)):
        if not name.endswith("/"):
            yield TreeFile(directory, leaf, name)
            continue
        with open_below(directory, leaf) as below:
            if below is not None:
                yield from walk(below, name, wanted)


def _entries(directory: int, above: str, wanted: TreeWalk) -> Iterator[tuple[str, str]]:
    # A directory's name carries its slash, so that "a-b" < "a/b" < "a0" as in a plain sort.
    with os.scandir(directory) as entries:
        for entry in entries:
            name = None
            if entry.is_dir(follow_symlinks=False):
                name = f"{above}{entry.name}/" if is_segment(entry.name) else None
            elif entry.is_file(follow_symlinks=False):
                leaf = wanted.object_leaf(entry.name)
                name = leaf and above + leaf
            elif entry.is_symlink() and is_segment(entry.name):
                wanted.link(above + entry.name)
            if name and name.startswith(wanted.prefix):
                yield name, entry.name


@contextlib.contextmanager
def open_below(directory: int, segment: str) -> Iterator[int | None]:
    """Open a directory, giving ``None`` if it is gone or no directory any more."""
    try:
        fd = os.open(segment, DIRECTORY, dir_fd=directory)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)
