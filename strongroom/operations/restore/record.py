"""What a restore wrote, name by name, so that it can be undone: beside its undo files, mode 0600.

A line is put on record before a secret is written, and another one after it was read back. What was
left there is known by digests under a key that lies sealed beside them: the record gives no weak value away.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.cobblestone import keyed_hash
from strongroom.errors import InstallationError, StrongroomError
from strongroom.model import Secret, prepare

KEY_NAME: Final = "digest-key"
"""The one secret of the sealed file that holds the key."""
_PREFIX = b"strongroom/v1/undo"

SealKey = Callable[[Path, bytes], None]
"""Seals the key of digests into a file, for those who could open the backup."""
Digest = Callable[[Secret], tuple[str, str]]
"""Returns the digests of a secret as it is, and of its current value alone."""


class Wrote(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a restore was about to do with a secret, or, with ``version``, what it left there.

    Args:
        expected: the version that it found, ``None`` if there was no such secret.
        version: what it left, as read back.
        digest: of all that was left; ``value``: of the current value alone. Empty without a key.
        versions: how many it was about to write.
        kept: the undo file that has what was there before.
        finishes: it went on with what an interrupted restore had begun.
        removed: it removed the secret.
    """

    name: str
    expected: int | None = None
    version: int | None = None
    digest: str = ""
    value: str = ""
    versions: int = 0
    kept: str = ""
    finishes: bool = False
    removed: bool = False


prepare(Wrote)
_ENCODER = msgspec.json.Encoder()
_SORTED = msgspec.json.Encoder(order="sorted")
_DECODER = msgspec.json.Decoder(Wrote)


class Recorder:
    """Writes the record of one restore; of each attempt in a folder there is one, with a key of its own."""

    def __init__(self, folder: Path, seal_key: SealKey) -> None:
        self.folder = folder
        self._seal_key = seal_key
        self._path: Path | None = None
        self._digest: Digest | None = None
        self._new: list[bytes] = []
        self.problem: StrongroomError | None = None

    def begin(self) -> StrongroomError | None:
        """Make the record and seal its key before anything is written; return why it could not be sealed.

        Without the key nobody can tell later what the restore left from what others wrote since.
        """
        self._begin()
        return self.problem

    def intend(self, intended: Iterable[bytes]) -> None:
        """Put on record, as :func:`line_of` spells it, what is about to be done."""
        self.save(intended)

    def left(self, lines: Iterable[bytes]) -> None:
        """Note what is there after the write, as :meth:`line_left` spells it; :meth:`save` puts it on
        record."""
        self._new += lines

    def line_left(self, secret: Secret, digests: tuple[str, str] | None = None) -> bytes:
        """Return the line of what was left of a secret; its digests may be known."""
        digest, value = digests or self.digest(secret)
        return line_of(Wrote(name=secret.name, version=secret.current.number, digest=digest, value=value))

    def removed(self, names: Iterable[str]) -> None:
        """Note what was removed."""
        self._new += (line_of(Wrote(name=name, version=0, removed=True)) for name in names)

    def digest(self, secret: Secret) -> tuple[str, str]:
        """Return a secret's digests; empty ones, where the key could not be sealed."""
        self._begin()
        return self._digest(secret) if self._digest is not None else ("", "")

    def save(self, more: Iterable[bytes] = ()) -> None:
        """Append all that was noted. A full disk costs the record, never the restore."""
        new, self._new = [*self._new, *more], []
        if not new:
            return
        with suppress(OSError):
            _append(self._begin(), b"".join(new))

    def _begin(self) -> Path:
        if self._path is None:
            number = len(list(self.folder.glob("written-*.jsonl"))) + 1
            self._path = self.folder / f"written-{number:04}.jsonl"
            key = os.urandom(32)
            try:
                self._seal_key(key_file(self._path), key)
                self._digest = digest_under(key)
            except StrongroomError as error:
                self.problem = error
            except OSError as error:
                self.problem = InstallationError(f"{self.folder} cannot be written to: {error.strerror}")
            with suppress(OSError):
                _append(self._path, b"")
        return self._path


def digest_under(key: bytes) -> Digest:
    """Return what computes digests of secrets under a key."""
    compute = keyed_hash(key, _PREFIX)

    def digest(secret: Secret) -> tuple[str, str]:
        current = secret.current
        value = b"" if current.value is None else current.value.reveal()
        state = (secret.name, current.value is None, current.media, current.state)
        about = (secret.type, secret.tags, secret.expires_at, secret.rotation, secret.metadata)
        try:
            named, described = _SORTED.encode(state), _SORTED.encode(about)
        except (ValueError, TypeError, OverflowError):
            return "", ""
        of_value = compute(named + b"\0" + value)[:16].hex()
        of_all = compute(named + described + b"\0" + value)[:16].hex()
        return of_all, of_value

    return digest


def key_file(record: Path) -> Path:
    """Return where the key of a record's digests lies sealed."""
    return record.with_suffix(".key")


def records(folder: Path) -> list[Path]:
    """Return the records in a folder, oldest first."""
    return sorted(folder.glob("written-*.jsonl"))


class Trace(Struct, frozen=True, kw_only=True):
    """What became of one secret, over all attempts of a restore.

    ``record`` is where the digests' key belongs to; the undo file lies in ``folder``.
    """

    wrote: Wrote
    folder: Path
    record: Path

    @property
    def created(self) -> bool:
        """Whether there was no such secret before."""
        return self.wrote.expected is None and not self.wrote.removed

    @property
    def in_flight(self) -> bool:
        """Whether nothing says how the write ended."""
        return self.wrote.version is None


def traces_of(folders: Sequence[Path]) -> dict[str, Trace]:
    """Return by name what the restores in these folders did, which went on with one another."""
    traces: dict[str, Trace] = {}
    for folder in folders:
        for record in records(folder):
            for line in _lines(record):
                _fold(traces, line, folder, record)
    return traces


def _fold(traces: dict[str, Trace], line: Wrote, folder: Path, record: Path) -> None:
    before = traces.get(line.name)
    if line.version is not None:
        if before is not None:
            merged = replace(before.wrote, version=line.version, digest=line.digest, value=line.value)
            traces[line.name] = replace(before, wrote=merged, record=record)
        return
    if before is not None and before.in_flight and _goes_on(before.wrote, line):
        merged = replace(before.wrote, digest=line.digest, value=line.value, version=None)
        traces[line.name] = replace(before, wrote=merged, record=record)
    else:
        traces[line.name] = Trace(wrote=line, folder=folder, record=record)


def _goes_on(before: Wrote, line: Wrote) -> bool:
    """Say whether a write is the rest of one that was interrupted: nobody else's versions lie between."""
    if line.finishes or before.expected is None or line.expected is None:
        return line.finishes
    return before.expected <= line.expected <= before.expected + before.versions


def done_in(folders: Sequence[Path]) -> Mapping[str, Trace]:
    """Return what the undo runs in these folders brought to its end."""
    return {name: trace for name, trace in traces_of(folders).items() if not trace.in_flight}


def _lines(record: Path) -> Iterator[Wrote]:
    with suppress(OSError), record.open("rb") as lines:
        for line in lines:
            with suppress(msgspec.MsgspecError, UnicodeDecodeError):  # the last one, if it was cut off
                yield _DECODER.decode(line)


def line_of(wrote: Wrote) -> bytes:
    """Return the line that a record has of something."""
    name = spelled(wrote.name)
    return _ENCODER.encode(wrote if name == wrote.name else replace(wrote, name=name)) + b"\n"


def spelled(name: str) -> str:
    """Spell out a name that is no Unicode text, so that it can be written down."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def _append(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(content)
