"""A backup file as a target: one reader serves a file and a target, and so does one writer.

What a file's bytes mean, :mod:`strongroom.container.bundle` knows.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

from strongroom.container import bundle
from strongroom.container.bundle import Object
from strongroom.container.errors import MissingPiece, VerificationFailed
from strongroom.container.ranges import RangePart, RangeReader, read_exactly
from strongroom.errors import TargetError
from strongroom.model import ObjectInfo
from strongroom.system import files
from strongroom.system.attempts import on_failure
from strongroom.system.errors import Conflict, TargetFull, TargetReadOnly, WouldOverwrite
from strongroom.system.files import LocalFileReader, translated
from strongroom.targets import Target, TargetIdentity

_BLOCK = 1024 * 1024


class _BackupFile(Target):
    """What the two sides have in common: how a file presents itself as a target."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        address = str(self.path.absolute())
        super().__init__(TargetIdentity(name=self.path.name, region="file", provider="file", address=address))
        self._objects: dict[str, Object] = {}

    def stat(self, name: str) -> ObjectInfo | None:
        entry = self._objects.get(name)
        return None if entry is None else ObjectInfo(name=entry.name, size=entry.size)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for name in sorted(self._objects):
            if name.startswith(prefix):
                yield ObjectInfo(name=name, size=self._objects[name].size)

    def abort_incomplete(self, prefix: str) -> int:  # noqa: ARG002  # the base class names it
        """Do nothing: an interrupted put is rolled back where it happens."""
        return 0

    def delete(self, name: str) -> None:
        """Refuse: a file of this kind only grows."""
        if name in self._objects:
            raise TargetReadOnly(f"'{self.path}' keeps what was put into it.")

    def _find(self, name: str) -> Object:
        entry = self._objects.get(name)
        if entry is None:
            raise MissingPiece(f"'{self.path}' does not hold {name!r}.")
        return entry


class BundleWriter(_BackupFile):
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
        self._lock = threading.Lock()
        self._end = 0
        with translated(self.path):
            self._provisional, self._fd = files.make_provisional(self.path)
        self._open = True
        # On a full disk this is the first write, and nobody has a writer to close yet.
        with on_failure(lambda: self.close(commit=False)):
            self._append(bundle.BEGINNING)

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        """Append an object, only if there is none of that name; see :class:`targets.Target`."""
        if not bundle.is_name(name):
            raise TargetError(f"{name!r} is not an object's name.")
        with self._lock:
            if name in self._objects:
                return False
            new = Object(name=name, offset=self._end, size=size, sha256=sha256.hex())
            digest = hashlib.sha256()
            with on_failure(lambda: self._cut_to(new.offset)):
                for chunk in chunks:
                    digest.update(chunk)
                    self._append(chunk)
                if (self._end - new.offset, digest.hexdigest()) != (new.size, new.sha256):
                    raise VerificationFailed(f"What came for {new.name!r} is not what was announced.")
            self._objects[new.name] = new
            return True

    def _cut_to(self, end: int) -> None:
        os.ftruncate(self._fd, end)
        self._end = end

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream a range of an object, read back from the provisional file."""
        entry = self._find(name)
        stop = entry.size if length is None else min(entry.size, offset + length)
        for at in range(offset, stop, _BLOCK):
            yield os.pread(self._fd, min(_BLOCK, stop - at), entry.offset + at)

    def close(self, *, commit: bool) -> None:
        """Complete the file, make it durable and give it its name; or remove it."""
        if not self._open:
            return
        try:
            if commit:
                ending = bundle.ending(self._objects.values(), self._end)
                if len(ending) > bundle.MAX_INDEX + bundle.TRAILER.size:
                    raise TargetFull("A backup file cannot hold this many objects.")
                self._append(ending)
                self._publish()
        finally:
            self._open = False
            self._provisional.unlink(missing_ok=True)  # first: it stays, should this be interrupted
            os.close(self._fd)

    def _publish(self) -> None:
        with translated(self.path):
            os.fsync(self._fd)
            if self._replace:
                self.require_unchanged()
                self._provisional.replace(self.path)
            else:
                try:
                    files.link(self._provisional, self.path)
                except FileExistsError:
                    self._refuse_existing()
                    raise
            files.sync(self.path.parent)

    def require_unchanged(self) -> None:
        """Raise Conflict if the file that is to be replaced is another one by now, or was written to."""
        if self._over is None:
            return
        with suppress(FileNotFoundError):
            if _identity(self.path.stat()) == self._over:
                return
        raise Conflict(
            f"'{self.path}' changed while it was being rewritten.",
            hint="Somebody else wrote or removed it; that was left as it is. Look at it, then repeat.",
        )

    def _append(self, data: bytes | memoryview) -> None:
        with translated(self.path):
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


class BundleReader(_BackupFile):
    """The read side. A context manager.

    Raises, in this order: NotABackup, UnsupportedVersion, Truncated, Tampered, Malformed.
    An object's bytes are checked when it is read whole, and by :meth:`check`.
    """

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        try:
            self._reader = LocalFileReader(path)
        except OSError as error:
            raise MissingPiece(f"'{path}' cannot be read: {os.strerror(error.errno or 0)}.") from None
        with on_failure(self._reader.close):
            self._objects = {entry.name: entry for entry in bundle.read_index(self._reader)}

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream a range of an object. Read whole, without a length, it is compared with its SHA-256.

        What is read by ranges has digests of its own, and a small container may be one range.
        """
        entry = self._find(name)
        if length is None and not offset:
            yield from bundle.read_object(self._reader, entry)
            return
        stop = entry.size if length is None else min(entry.size, offset + length)
        for at in range(offset, stop, _BLOCK):
            yield read_exactly(self._reader, entry.offset + at, min(_BLOCK, stop - at))

    @property
    def identity(self) -> tuple[int, ...]:
        """What tells this file from one that takes its name, and from itself once it is written to."""
        return _identity(self._reader.stat)

    def open(self, name: str) -> RangeReader:
        """Return one object for reading by range."""
        entry = self._find(name)
        return RangePart(self._reader, entry.offset, entry.size)

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:  # noqa: ARG002
        """Refuse: a complete file does not change."""
        raise TargetReadOnly(f"'{self.path}' is complete and does not change; {name!r} was not added.")

    def check(self) -> None:
        """Read every object whole and compare; needs no key."""
        bundle.check_objects(self._reader, self._objects.values())

    def close(self) -> None:
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _identity(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
