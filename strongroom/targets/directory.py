"""A directory as a target: a local disk, a mounted share, a disk that lies in a safe.

An object is written under a provisional name, made durable, and only then linked to its
real one, so that it is visible whole or not at all whatever kills the writer.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from shlex import quote
from types import TracebackType
from typing import Self

from msgspec import Struct

from strongroom.container.errors import MissingPiece, VerificationFailed
from strongroom.errors import TargetError
from strongroom.model import ObjectInfo
from strongroom.system import files
from strongroom.system.errors import TargetFull, TargetReadOnly
from strongroom.targets import (
    ProbeCheck,
    Target,
    TargetIdentity,
    check_name,
    check_prefix,
    is_segment,
)
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.probing import of_mode
from strongroom.words import plural, spelled_out

# -- Walking a target's directories by file descriptor ------------------------------------------
#
# Every directory is opened relative to the one above and never through a symbolic link:
# whoever can write into the tree still cannot lead a read or a write out of it, not even by
# swapping a directory for a link between a check and a use.


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


# -- A file under a provisional name: invisible until published, recognisable if abandoned ------


_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Provisional:
    """A new file in an open directory, locked for as long as its writer lives.

    The kernel drops the lock when the writer dies, however it dies: that is how a sweep
    tells an abandoned file from one that is being written, with no guess by age.
    """

    def __init__(self, directory: int, leaf: str) -> None:
        self._directory = directory
        self._leaf = leaf
        self._name = files.provisional_name(leaf)
        self._fd = os.open(self._name, _CREATE_FLAGS, 0o600, dir_fd=directory)
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


# -- A directory as a target: a local disk, a mounted share, a disk that lies in a safe ---------
#
# An object is written under a provisional name, made durable, and only then linked to its
# real one, so that it is visible whole or not at all whatever kills the writer.


_log = logging.getLogger(__name__)

MARKER = ".strongroom-target"
READ_BYTES = 1024 * 1024
RESERVE_BYTES = 4 * 1024 * 1024

MARKER_TEXT = b"Strongroom keeps backups in this directory. Do not change it by hand.\n"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED = frozenset({errno.EACCES, errno.EPERM})
_LASTING = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EOPNOTSUPP, errno.EMLINK})
_NO_OBJECT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})
_DESCENTS = 100
_LINKS_TOLD = 3
# Non-blocking: a pipe put in an object's place must not hang its reader.
_OBJECT = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class DirectoryTarget(Target):
    """A :class:`~strongroom.targets.Target` in a directory of a POSIX file system.

    The directory must carry a marker, which :meth:`prepare` writes once. Without it every
    call raises :class:`~strongroom.targets.errors.TargetUnavailable`: where a disk is not mounted,
    its mount point is an empty directory, and backups written there would be lost to sight
    the moment the disk came back.

    Args:
        path: the directory. ``address`` is its real path at this moment, so that a link
            turned elsewhere later counts as another address.
        name: what the configuration calls this target.
        region: where it lies; a policy may ask for copies in several regions.
        provider: who runs it.
        reserve: bytes to leave free on the file system.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        name: str,
        region: str,
        provider: str = "directory",
        reserve: int = RESERVE_BYTES,
    ) -> None:
        super().__init__(
            TargetIdentity(name=name, region=region, provider=provider, address=os.path.realpath(path))
        )
        self._reserve = reserve
        self._links: set[str] = set()

    def prepare(self) -> None:
        """Create the directory (mode 0700) if need be, and mark it as this target's.

        For a person or a default that knows that the place is the right one; never called
        because a directory was found missing. Repeating it is harmless.
        """
        with self._errors("prepare it", writing=True):
            _make_directories(Path(self.address))
            fd = os.open(self.address, DIRECTORY)
            try:
                _write_marker(fd)
            finally:
                os.close(fd)

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        *above, leaf = check_name(name).split("/")
        branch, provisional = self._begin(name, above, leaf, size)
        with branch:
            created = False
            try:
                created = provisional is not None and self._write(name, provisional, chunks, size, sha256)
            finally:
                with self._errors(f"finish {name}", writing=True):
                    if provisional is not None:
                        provisional.discard()
                    branch.prune()
            with self._errors(f"finish {name}", writing=True):
                # Also when it was there already: whoever linked it may not have synced yet.
                branch.sync()
        return created

    def stat(self, name: str) -> ObjectInfo | None:
        """Return what is there, or ``None``; a link or a directory is no object."""
        *above, leaf = check_name(name).split("/")
        with self._errors(f"look at {name}"), self._root() as branch:
            try:
                branch.enter(above, create=False)
                info = _info(name, branch.leaf, leaf)
            except (FileNotFoundError, NotADirectoryError):
                info = None
            if info is None:
                self._link_to(name)
            return info

    def delete(self, name: str) -> None:
        """Remove an object, and directories that this leaves empty."""
        *above, leaf = check_name(name).split("/")
        with (
            self._errors(f"delete {name}", writing=True),
            self._root() as branch,
            contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError),
        ):
            branch.enter(above, create=False)
            os.unlink(leaf, dir_fd=branch.leaf)
            files.sync(branch.leaf)
            branch.prune()

    def require_room(self, size: int) -> None:
        with self._errors("look for room"), self._root() as branch:
            self._check_room(branch.leaf, size)

    def excess(self, name: str) -> Iterator[ProbeCheck]:  # noqa: ARG002
        """Look who else may use the directory."""
        return iter((of_mode(self.address),))

    def abort_incomplete(self, prefix: str) -> int:
        """Remove provisional files whose writers are gone; return how many there were."""
        check_prefix(prefix)
        removed = 0
        with self._errors(f"sweep {prefix}", writing=True):
            for entry in self._walk(prefix, files.name_of_provisional):
                removed += remove_if_abandoned(entry.directory, entry.leaf)
        return removed

    # -- writing -------------------------------------------------------------

    def _begin(
        self, name: str, above: Sequence[str], leaf: str, size: int
    ) -> tuple[Branch, Provisional | None]:
        """Open the object's directory and a provisional file, or none if the object exists.

        A concurrent delete removes directories that stand empty, ours too until the
        provisional file is in it: then go down again.
        """
        with self._errors(f"write {name}", writing=True):
            for _ in range(_DESCENTS):
                with contextlib.suppress(FileNotFoundError):
                    return self._descend(above, leaf, size)
        raise TargetUnavailable(f"{self.place}: its directories vanish while {name} is written")

    def _descend(self, above: Sequence[str], leaf: str, size: int) -> tuple[Branch, Provisional | None]:
        with contextlib.ExitStack() as undo:
            branch = undo.enter_context(self._root())
            undo.callback(branch.prune)
            branch.enter(above, create=True)
            provisional = None
            if not _exists(branch.leaf, leaf):
                self._check_room(branch.leaf, size)
                provisional = Provisional(branch.leaf, leaf)
            undo.pop_all()
        return branch, provisional

    def _write(
        self,
        name: str,
        provisional: Provisional,
        chunks: Iterable[bytes | memoryview],
        size: int,
        sha256: bytes,
    ) -> bool:
        digest = hashlib.sha256()
        written = 0
        for chunk in chunks:  # outside of _errors: what the chunks raise is not this target's trouble
            view = memoryview(chunk).cast("B")
            written += view.nbytes
            if written > size:
                announced = plural(size, "byte")
                raise VerificationFailed(f"{name} is longer than the {announced} announced; nothing was kept")
            digest.update(view)
            with self._errors(f"write {name}", writing=True):
                provisional.write(view)
        if written != size or digest.digest() != sha256:
            raise VerificationFailed(f"{name} is not the content that was announced; nothing was kept")
        with self._errors(f"publish {name}", writing=True):
            return provisional.publish()

    def _check_room(self, fd: int, size: int) -> None:
        room = os.fstatvfs(fd)
        free = room.f_bavail * room.f_frsize
        if room.f_blocks and free < size + self._reserve:
            needs = f"{plural(free, 'byte')} free and needs {size + self._reserve:,}"
            raise TargetFull(f"{self.place} has {needs}")
        if room.f_files and not room.f_favail:
            raise TargetFull(f"{self.place} has no inode free")

    # -- reading -------------------------------------------------------------

    def _read(self, name: str, offset: int, length: int | None) -> Iterator[bytes]:
        """Stream a range in chunks of at most 1 MiB."""
        with self._errors(f"read {name}"), self._root() as branch:
            fd = self._open_object(branch, name)
            try:
                status = os.fstat(fd)  # of what is open: the name may mean something else by now
                if not stat.S_ISREG(status.st_mode):
                    raise self._missing(name)
                size = status.st_size
                end = size if length is None else min(size, offset + length)
                while offset < end and (chunk := os.pread(fd, min(READ_BYTES, end - offset), offset)):
                    offset += len(chunk)
                    yield chunk
            finally:
                os.close(fd)

    def _open_object(self, branch: Branch, name: str) -> int:
        *above, leaf = name.split("/")
        try:
            branch.enter(above, create=False)
            return os.open(leaf, _OBJECT, dir_fd=branch.leaf)
        except OSError as error:
            if error.errno in _NO_OBJECT:
                raise self._missing(name) from None
            raise

    def _missing(self, name: str) -> MissingPiece:
        link = self._link_to(name)
        because = f": '{link}' in it is a link, and no link there is followed" if link else ""
        return MissingPiece(f"{self.place} does not hold {name}{because}")

    def _link_to(self, name: str) -> str:
        """Return the link that a name leads over; empty if it leads over none. Nothing is there by it."""
        parts = name.rstrip("/").split("/")
        ways = ("/".join(parts[:many]) for many in range(1, len(parts) + 1))
        link = next((way for way in ways if Path(self.address, way).is_symlink()), "")
        if link:
            self._tell_of_link(link)
        return link

    def _tell_of_link(self, name: str) -> None:
        """Say it once: who moved a folder to a larger disk and left a link has to learn what that means."""
        if name not in self._links and len(self._links) < _LINKS_TOLD:
            self._links.add(name)
            _log.warning("%s: '%s' in it is a link and is not followed", self.place, spelled_out(name))

    def _list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield objects ascending by name; provisional and foreign files are passed over."""
        with self._errors(f"list {prefix or 'everything'}"):
            for entry in self._walk(prefix, lambda leaf: leaf if is_segment(leaf) else None):
                with contextlib.suppress(FileNotFoundError):  # deleted since its directory was read
                    info = _info(entry.name, entry.directory, entry.leaf)
                    if info is not None:
                        yield info

    def _walk(self, prefix: str, object_leaf: Callable[[str], str | None]) -> Iterator[TreeFile]:
        above, slash, _ = prefix.rpartition("/")
        with self._root() as branch:
            try:
                branch.enter(above.split("/") if slash else (), create=False)
            except (FileNotFoundError, NotADirectoryError):
                self._link_to(above)
                return
            yield from walk(branch.leaf, above + slash, TreeWalk(prefix, object_leaf, self._tell_of_link))

    # -- the root and its errors ---------------------------------------------

    def _root(self) -> Branch:
        """Open the root, which must be there and marked."""
        try:
            fd = os.open(self.address, DIRECTORY)
        except FileNotFoundError:
            raise TargetUnavailable(f"{self.place} is not there", hint=_MOUNT + _CREATE) from None
        if not _exists(fd, MARKER):
            os.close(fd)
            mark = _MARK.format(quote(str(Path(self.address, MARKER))))
            raise TargetUnavailable(f"{self.place} has no {MARKER} in it", hint=_MOUNT + mark + _CREATE)
        return Branch(fd)

    @contextlib.contextmanager
    def _errors(self, doing: str, *, writing: bool = False) -> Iterator[None]:
        """Turn the system's errors into ours; wrap only what this target itself does."""
        try:
            yield
        except OSError as error:
            kind = _kind(error.errno, writing=writing)
            raise kind(f"{self.place} could not {doing}: {error.strerror}") from error


_MOUNT = "Mount it. If it is mounted elsewhere, mount it here, or correct the target's path. "
_MARK = "Once it is mounted: a new medium, or one that lost its mark, gets it with: touch {} "
_CREATE = "'create = true' is for a directory of this machine that is always there; it makes and marks it."


def _kind(number: int | None, *, writing: bool) -> type[TargetError]:
    """Class an errno. What is not known to last may pass, so it is transient."""
    if number in _FULL:
        return TargetFull
    if number == errno.EROFS or (writing and number in _DENIED):
        return TargetReadOnly
    return TargetError if number in _DENIED | _LASTING else TargetUnavailable


def _info(name: str, directory: int, leaf: str) -> ObjectInfo | None:
    status = os.stat(leaf, dir_fd=directory, follow_symlinks=False)
    return ObjectInfo(name=name, size=status.st_size) if stat.S_ISREG(status.st_mode) else None


def _exists(directory: int, leaf: str) -> bool:
    try:
        os.stat(leaf, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _make_directories(path: Path) -> None:
    """Create a directory and those above it, each durable in the one above."""
    if path.is_dir():
        return
    _make_directories(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    files.sync(path.parent)


def _write_marker(directory: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(MARKER, flags, 0o600, dir_fd=directory)
    except FileExistsError:
        return
    try:
        os.write(fd, MARKER_TEXT)
        os.fsync(fd)
    finally:
        os.close(fd)
    files.sync(directory)
