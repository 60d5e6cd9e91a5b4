"""A whole backup in one file: its objects one after another, an index, a trailer.

::

    magic 8, version 2 | objects | index (JSON) | trailer 52:
    length of the index 4, SHA-256 of the index 32, length of the file 8, end 8

Reading and writing look like a target's, so that one reader serves a file and a target.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from msgspec import Struct

from strongroom.container import canonical
from strongroom.container.canonical import unhex
from strongroom.container.ending import SEARCH, binary_ending, check_binary_ending
from strongroom.container.errors import (
    Malformed,
    MissingPiece,
    NotABackup,
    Tampered,
    Truncated,
    UnsupportedVersion,
    VerificationFailed,
)
from strongroom.container.ranges import FileReader, Part, RangeReader, read_exactly
from strongroom.errors import TargetError
from strongroom.model import ObjectInfo, prepare
from strongroom.system.errors import Conflict, TargetFull, TargetReadOnly, WouldOverwrite

MAGIC = b"SRBF\r\n\x1a\n"
END = b"\nSRBFEND"
VERSION = 1
HEAD = struct.Struct(">8sH")
TRAILER = struct.Struct(">I32sQ8s")
MAX_INDEX = 64 * 1024 * 1024

_BLOCK = 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


class Object(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One object in a bundle. ``offset`` and ``size`` in bytes, ``sha256`` in hex."""

    name: str
    offset: int
    size: int
    sha256: str


class _Index(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    objects: tuple[Object, ...]


prepare(_Index)


class _File:
    """What the two sides have in common: how a file presents itself as a target."""

    provider = "file"
    region = "file"

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.name = self.path.name
        self._objects: dict[str, Object] = {}

    @property
    def address(self) -> str:
        return str(self.path.absolute())

    def stat(self, name: str) -> ObjectInfo | None:
        """Return what is there, or ``None``."""
        found = self._objects.get(name)
        return None if found is None else ObjectInfo(name=found.name, size=found.size)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose name starts with ``prefix``, ascending by name."""
        for name in sorted(self._objects):
            if name.startswith(prefix):
                yield ObjectInfo(name=name, size=self._objects[name].size)

    def abort_incomplete(self, prefix: str) -> int:  # noqa: ARG002  # the Protocol's name
        """Do nothing: an interrupted put is rolled back where it happens."""
        return 0

    def delete(self, name: str) -> None:
        """Refuse: a file of this kind only grows."""
        if name in self._objects:
            raise TargetReadOnly(f"'{self.path}' keeps what was put into it.")

    def _find(self, name: str) -> Object:
        found = self._objects.get(name)
        if found is None:
            raise MissingPiece(f"'{self.path}' does not hold {name!r}.")
        return found


class BundleWriter(_File):
    """The write side: a provisional file that gets its name when it is complete.

    A context manager; leaving it without :meth:`close` having committed removes the
    provisional file. Puts from several threads take turns.

    Args:
        replace: whether a file at ``path`` may be replaced.
        over: the one file that may be replaced: what was read, and nothing that came in its place since.

    Raises:
        WouldOverwrite: the path exists, and neither ``replace`` nor ``over`` was given.
        TargetFull, TargetError: the file system refused.
    """

    def __init__(self, path: Path | str, *, replace: bool = False, over: BundleReader | None = None) -> None:
        super().__init__(path)
        self._replace = replace or over is not None
        self._over = None if over is None else over.identity
        self._refuse_existing()
        self._provisional = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.part")
        self._lock = threading.Lock()
        self._end = 0
        with _translated(self.path):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._fd = os.open(self._provisional, flags, 0o600)
        with suppress(OSError):  # no locks on this file system: a sweep may then take it
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._open = True
        try:
            self._append(HEAD.pack(MAGIC, VERSION))
        except BaseException:  # on a full disk this is the first write, and nobody has a writer to close yet
            self.close(commit=False)
            raise

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        """Append an object, only if there is none of that name; see :class:`targets.Target`."""
        if not _NAME.fullmatch(name):
            raise TargetError(f"{name!r} is not an object's name.")
        with self._lock:
            if name in self._objects:
                return False
            self._put(Object(name=name, offset=self._end, size=size, sha256=sha256.hex()), chunks)
            return True

    def _put(self, new: Object, chunks: Iterable[bytes | memoryview]) -> None:
        digest = hashlib.sha256()
        try:
            for chunk in chunks:
                digest.update(chunk)
                self._append(chunk)
            if (self._end - new.offset, digest.hexdigest()) != (new.size, new.sha256):
                raise VerificationFailed(f"What came for {new.name!r} is not what was announced.")
        except BaseException:
            os.ftruncate(self._fd, new.offset)
            self._end = new.offset
            raise
        self._objects[new.name] = new

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream a range of an object, read back from the provisional file."""
        found = self._find(name)
        stop = found.size if length is None else min(found.size, offset + length)
        for at in range(offset, stop, _BLOCK):
            yield os.pread(self._fd, min(_BLOCK, stop - at), found.offset + at)

    def close(self, *, commit: bool) -> None:
        """Complete the file, make it durable and give it its name; or remove it."""
        if not self._open:
            return
        try:
            if commit:
                self._finish()
                self._publish()
        finally:
            self._open = False
            os.close(self._fd)
            self._provisional.unlink(missing_ok=True)

    def _finish(self) -> None:
        index = canonical.encode(_Index(objects=tuple(self._objects.values())))
        if len(index) > MAX_INDEX:
            raise TargetFull("A backup file cannot hold this many objects.")
        total = self._end + len(index) + TRAILER.size
        digest = hashlib.sha256(index).digest()
        self._append(index + TRAILER.pack(len(index), digest, total, END))

    def _publish(self) -> None:
        with _translated(self.path):
            os.fsync(self._fd)
            if self._replace:
                self.require_unchanged()
                self._provisional.replace(self.path)
            else:
                self._link()
            _sync_directory(self.path.parent)

    def require_unchanged(self) -> None:
        """Raise Conflict if the file that is to be replaced is another one by now, or was written to."""
        if self._over is None:
            return
        with suppress(FileNotFoundError):
            if _identity(self.path.stat()) == self._over:
                return
        raise Conflict(
            f"'{self.path}' changed while it was being written anew.",
            hint="Somebody else wrote or removed it; that was left as it is. Look at it, then repeat.",
        )

    def _link(self) -> None:
        # A link, unlike a rename, never replaces what somebody else put there meanwhile.
        try:
            os.link(self._provisional, self.path)
        except FileExistsError:
            self._refuse_existing()
            raise
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS):
                raise
            self._refuse_existing()
            self._provisional.rename(self.path)

    def _append(self, data: bytes | memoryview) -> None:
        with _translated(self.path):
            view = memoryview(data)
            while view:
                written = os.pwrite(self._fd, view, self._end)
                self._end += written
                view = view[written:]

    def _refuse_existing(self) -> None:
        if not self._replace and os.path.lexists(self.path):
            raise WouldOverwrite(f"'{self.path}' exists.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close(commit=False)


class BundleReader(_File):
    """The read side. A context manager.

    Raises, in this order: NotABackup, UnsupportedVersion, Truncated, Tampered, Malformed.
    An object's bytes are checked when it is read whole, and by :meth:`check`.
    """

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        try:
            self._reader = FileReader(path)
        except OSError as error:
            raise MissingPiece(f"'{path}' cannot be read: {os.strerror(error.errno or 0)}.") from None
        try:
            self._objects = {found.name: found for found in read_index(self._reader)}
        except BaseException:
            self._reader.close()
            raise

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream a range of an object. Read whole, it is compared with its SHA-256."""
        found = self._find(name)
        stop = found.size if length is None else min(found.size, offset + length)
        if (offset, stop) == (0, found.size):
            yield from _read_whole(self._reader, found)
            return
        for at in range(offset, stop, _BLOCK):
            yield read_exactly(self._reader, found.offset + at, min(_BLOCK, stop - at))

    @property
    def identity(self) -> tuple[int, ...]:
        """What tells this file from one that takes its name, and from itself once it is written to."""
        return _identity(self._reader.stat)

    def open(self, name: str) -> RangeReader:
        """Return one object for reading by range."""
        found = self._find(name)
        return Part(self._reader, found.offset, found.size)

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:  # noqa: ARG002
        """Refuse: a complete file does not change."""
        raise TargetReadOnly(f"'{self.path}' is complete and does not change; {name!r} was not added.")

    def check(self) -> None:
        """Read every object whole and compare; needs no key."""
        check_objects(self._reader, self._objects.values())

    def close(self) -> None:
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _identity(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def check_objects(reader: RangeReader, objects: Iterable[Object]) -> None:
    """Read objects whole and compare each with its SHA-256; raise Tampered."""
    for found in objects:
        for _ in _read_whole(reader, found):
            pass


def _read_whole(reader: RangeReader, found: Object) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for at in range(0, found.size, _BLOCK):
        block = read_exactly(reader, found.offset + at, min(_BLOCK, found.size - at))
        digest.update(block)
        yield block
    if digest.hexdigest() != found.sha256:
        raise Tampered(f"{found.name!r} is not the object that was put into the file.")


def provisional_files(path: Path) -> list[Path]:
    """Return what writers of ``path``, alive or dead, have beside it."""
    pattern = re.compile(re.escape(f".{path.name}.") + r"[0-9a-f]{8}\.part")
    try:
        return [other for other in path.parent.iterdir() if pattern.fullmatch(other.name)]
    except OSError:
        return []


def is_being_written(provisional: Path) -> bool:
    """Tell whether the writer of a provisional file lives: the kernel drops its lock with it."""
    try:
        with provisional.open("rb") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def read_index(reader: RangeReader) -> tuple[Object, ...]:
    """Read and check a bundle's frame and index; the objects must tile the file."""
    head = reader.read(0, HEAD.size)
    tail = reader.read(max(0, reader.size - SEARCH), min(SEARCH, reader.size))
    _check_head(head, tail, reader.size)
    check_binary_ending(tail, reader.size, END, what="backup file")
    length, digest, _, _ = TRAILER.unpack(tail[-TRAILER.size :])
    start = reader.size - TRAILER.size - length
    if start < HEAD.size or length > MAX_INDEX:
        raise Malformed("The length in the trailer does not fit the file.")
    data = read_exactly(reader, start, length)
    if hashlib.sha256(data).digest() != digest:
        raise Tampered("The backup file's index was altered.")
    objects = canonical.decode(data, _Index, "The backup file's index").objects
    _check_tiling(objects, start)
    return objects


def _check_head(head: bytes, tail: bytes, size: int) -> None:
    if not head.startswith(MAGIC):
        if MAGIC.startswith(head):
            raise Truncated("The backup file ends too early.")
        if binary_ending(tail, size, END) == (True, True):
            raise Tampered("The beginning of the backup file was altered.")
        raise NotABackup("This is not a Strongroom backup file.")
    if size < HEAD.size + TRAILER.size:
        raise Truncated("The backup file ends too early.")
    version = HEAD.unpack(head)[1]
    if version != VERSION:
        raise UnsupportedVersion(
            f"This backup file has version {version}; this Strongroom knows version {VERSION}."
        )


def _check_tiling(objects: tuple[Object, ...], end: int) -> None:
    offset = HEAD.size
    names = set()
    for found in objects:
        unhex(found.sha256, 32, "An object's digest")
        if not _NAME.fullmatch(found.name) or found.name in names:
            raise Malformed("An object's name is impossible or there twice.")
        if found.offset != offset or found.size < 0:
            raise Malformed("The objects do not lie one after another.")
        names.add(found.name)
        offset += found.size
    if offset != end:
        raise Malformed("The objects do not fill the file up to the index.")


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        words = f"'{path}' could not be written: {os.strerror(error.errno or 0)}."
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise TargetFull(words) from None
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise TargetReadOnly(words) from None
        raise TargetError(words, hint="Nothing was written. Check that the directory is there.") from None


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
