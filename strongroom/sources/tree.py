"""A directory of secret files, as Docker and Kubernetes mount them.

A secret's name is the file's path below the directory, its value the file's bytes.

Kubernetes shows each file as a link into ``..data``, itself a link to a directory named by
time, and swaps that link to change all files at once. Names that start with two dots are
its machinery and never listed, so no secret is seen twice; links are followed as long as
they stay within the tree. A link that leads out of it is left out: whoever may write into
the tree must not choose which other files of this host end up in a backup.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import stat
from collections.abc import Iterator, Sequence
from itertools import chain, islice

from strongroom.errors import SourceError
from strongroom.model import ListedSecret, Secret
from strongroom.sources import Listable, Source
from strongroom.sources.batches import is_text, only
from strongroom.sources.errors import EmptySource, SourceChanged
from strongroom.sources.json_files import BLOCK, LARGEST, refusal, refusals
from strongroom.words import plural

_log = logging.getLogger(__name__)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a pipe that took a file's place must not hang.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class FilesBelow(Source):
    """A source over the files below a directory, each with one secret."""

    def __init__(self, path: str, *, name: str) -> None:
        self._path = path
        self.name = name

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        """Yield each file's secret, or ``None`` if there is no such file (any more)."""
        directories = Directories(self._path)
        try:
            for entry in entries:
                value = self._value(directories, entry.name)
                yield None if value is None else only(entry.name, value)
        finally:
            directories.close()

    def _value(self, directories: Directories, name: str) -> bytes | None:
        raise NotImplementedError


class SecretTree(FilesBelow):
    """The source over a directory of secret files."""

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        """Yield an entry for every file; sockets, pipes and devices are no secrets.

        Raises:
            EmptySource: there is none, which is nearly always a mistake.
            SourceError: a directory is missing or unreadable, or a name is not UTF-8.
        """
        tags: dict[str, str] | None = {} if with_tags else None
        entry = None
        for name, size in SecretTreeWalk(self._path).files():
            entry = ListedSecret(name, size, (), tags)
            yield entry
        if entry is None:
            raise EmptySource(f"'{self._path}' holds no secret")

    def parts(self, most: int) -> Sequence[Listable]:
        """Cut the tree between its topmost directories, if there are many and nothing but plain files beside.

        The bar that needs it: a backup of a tree in 0.4 of the time of restic, which lists on every core.
        """
        with refusals(self._path), os.scandir(self._path) as listing:
            items = list(islice(listing, MOST_CUT + 1))
        directories = [item.name for item in items if item.is_dir(follow_symlinks=False)]
        files = [item for item in items if item.is_file(follow_symlinks=False)]
        plain = len(directories) + len(files) == len(items) <= MOST_CUT
        count = min(most, len(directories))
        if count < 2 or len(directories) < FEWEST_CUT or not plain or any(map(_hides, directories)):
            return (self,)
        cut = [SecretTreePart(self._path, directories[number::count]) for number in range(count)]
        cut[0].files += [
            (_checked(item.name, self._path), _size(item)) for item in files if not _hides(item.name)
        ]
        return cut

    def _value(self, directories: Directories, name: str) -> bytes | None:
        try:
            descriptor = directories.open_file(name)
        except OSError as error:
            if error.errno in GONE:
                return None
            raise refusal(os.path.join(self._path, name), error) from None
        if descriptor is None:
            return None
        try:
            return contents(descriptor, name)
        except OSError as error:
            raise refusal(os.path.join(self._path, name), error) from None
        finally:
            os.close(descriptor)


FEWEST_CUT, MOST_CUT = 16, 4096
"""Topmost directories of a tree that is worth several processes to list, and entries that are looked at to
tell."""


class SecretTreePart:
    """Some of a tree's topmost directories, with all that is below them; and maybe topmost ``files``."""

    def __init__(self, path: str, directories: Sequence[str]) -> None:
        self._path = path
        self._directories = directories
        self.files: list[tuple[str, int]] = []

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        """Yield what the tree's own listing yields of it.

        Raises:
            SourceChanged: a link leads to what machinery hides in another part, and only one of both may
                follow it.
        """
        tags: dict[str, str] | None = {} if with_tags else None
        walk = SecretTreeWalk(self._path, self._directories)
        for name, size in chain(self.files, walk.files()):
            yield ListedSecret(name, size, (), tags)


GONE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ENXIO, errno.ENAMETOOLONG))
"""What opening a path says when there is no such file (any more)."""


def contents(descriptor: int, name: str) -> bytes | None:
    """Read an open file to its end; ``None`` if it is not a regular one."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        return None
    value = os.read(descriptor, min(found.st_size, LARGEST) + 1)
    while len(value) != found.st_size and len(value) <= LARGEST:  # it changes while it is read
        if not (more := os.read(descriptor, BLOCK)):
            break
        value += more
    if len(value) > LARGEST:
        raise SourceError(
            f"file {name!r} is larger than a secret may be ({LARGEST >> 20} MiB)",
            hint="Exclude it by a pattern, or move it out of the directory.",
        )
    return value


class SecretTreeWalk:
    """Lists a tree's files, or those below some of its topmost directories; holds one directory's listing at
    a time."""

    def __init__(self, path: str, topmost: Sequence[str] = ()) -> None:
        self._path = path
        self._topmost = frozenset(topmost)
        self._pending = [*topmost] or [""]
        self._followed: set[str] = set()
        self._left_out = 0

    def files(self) -> Iterator[tuple[str, int]]:
        """Yield each file's name and size."""
        while self._pending:
            yield from self._directory(self._pending.pop())
        if self._left_out:
            links = plural(self._left_out, "link")
            _log.warning("left out of '%s': %s to nowhere or out of it", self._path, links)

    def _directory(self, below: str) -> Iterator[tuple[str, int]]:
        path = os.path.join(self._path, below) if below else self._path
        prefix = f"{below}/" if below else ""
        with refusals(path):
            try:
                listing = os.scandir(path)
            except FileNotFoundError:
                if below:
                    return  # it vanished, and its secrets with it
                raise
        with refusals(path), listing:
            for item in listing:
                if _hides(item.name):
                    continue
                if item.is_symlink():
                    yield from self._link(prefix + item.name)
                elif item.is_dir(follow_symlinks=False):
                    self._pending.append(prefix + item.name)
                elif item.is_file(follow_symlinks=False):
                    yield _checked(prefix + item.name, path), _size(item)

    def _link(self, name: str) -> Iterator[tuple[str, int]]:
        real = _resolved(self._path, name)
        mode, size = _mode_and_size(real) if real else (0, 0)
        if real is None or not mode:
            self._left_out += 1
        elif stat.S_ISREG(mode):
            yield _checked(name, self._path), size
        elif stat.S_ISDIR(mode) and _hidden(self._path, real) and real not in self._followed:
            topmost = os.path.relpath(real, os.path.realpath(self._path)).partition("/")[0]
            if self._topmost and topmost not in self._topmost:
                raise SourceChanged(f"'{self._path}' has to be listed as a whole: {name!r} leads across it")
            # What any other link to a directory shows is listed there under its own name.
            self._followed.add(real)
            self._pending.append(name)


def room() -> int:
    """Return how many directories may be held open: a quarter of what the process may."""
    return max(16, min(1024, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4))


class Directories:
    """Opens files below a root; keeps the directories it went through open."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._held: dict[str, int] = {}
        self._room = room()

    def open_file(self, name: str) -> int | None:
        """Return a descriptor, or ``None`` if the name leads out of the tree.

        The name may come from a backup or an edited row, so it is not trusted.
        """
        directory, _, base = name.rpartition("/")
        held = self._held.get(directory)
        if held is None:
            held = self._open_directory(directory)
        if held is None or _unlisted(base):
            return None
        try:
            return os.open(base, _FILE, dir_fd=held)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
        real = _resolved(self._root, name)
        return os.open(real, _FILE) if real else None

    def close(self) -> None:
        """Close every directory."""
        while self._held:
            os.close(self._held.popitem()[1])

    def _open_directory(self, directory: str) -> int | None:
        if directory and any(map(_unlisted, directory.split("/"))):
            return None
        real = _resolved(self._root, directory)
        if real is None:
            return None
        if len(self._held) >= self._room:
            os.close(self._held.pop(next(iter(self._held))))
        held = self._held[directory] = os.open(real, _DIRECTORY)
        return held


def _hides(part: str) -> bool:
    """Say whether a file or directory of this name is machinery."""
    return part.startswith("..")


def _unlisted(part: str) -> bool:
    """Say whether a path's part is one that a listing never shows."""
    return part in ("", ".") or _hides(part) or "\x00" in part


def _resolved(root: str, name: str) -> str | None:
    """Follow all links of a path below ``root``; ``None`` if that leads out of it."""
    top = os.path.realpath(root)
    real = os.path.realpath(os.path.join(top, name))
    return real if real == top or real.startswith(os.path.join(top, "")) else None


def _hidden(root: str, real: str) -> bool:
    """Say whether a resolved path lies where a listing does not go by itself."""
    below = os.path.relpath(real, os.path.realpath(root))
    return any(map(_hides, below.split("/")))


def _size(item: os.DirEntry[str]) -> int:
    try:
        return item.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0  # it vanished; reading will tell


def _mode_and_size(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_mode, found.st_size


def _checked(name: str, path: str) -> str:
    if not is_text(name):
        raise SourceError(f"'{path}' holds a file whose name is not UTF-8: {name!a}", hint="Rename it.")
    return name
