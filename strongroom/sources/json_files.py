"""JSON and JSONL: files of many secrets, each of which lies in one slice of the bytes."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import msgspec
from msgspec import Raw

from strongroom.container.errors import DuplicateSecret
from strongroom.errors import SourceError
from strongroom.model import ListedSecret, Media, Secret
from strongroom.sources import Listable, Source, records
from strongroom.sources.errors import EmptySource, SourceChanged, SourceUnavailable
from strongroom.sources.records import BadRecordError, Records, attempt, parse_value

# -- A file of many secrets, each of which lies in one slice of its bytes -----------------------
#
# Listing streams over the file and remembers of each secret only where it lies; reading goes
# straight there. Nothing is mapped into memory: mapped pages count as the process's own, and
# its memory is bounded by one secret, not by the file.


BLOCK = 1 << 20
MARK = b"\xef\xbb\xbf"
"""The byte order mark with which editors of Windows begin a file in UTF-8. It says nothing."""
LARGEST = 64 << 20


class Layout(Protocol):
    """How a kind of file holds its secrets: pure bytes, no paths."""

    def entries(self, fd: int, *, with_tags: bool) -> Iterator[ListedSecret]:
        """Yield every secret, its slice as locator; raise :class:`BadSliceError`."""
        ...

    def parse(self, piece: bytes) -> Secret:
        """Decode one slice, or raise :class:`BadRecordError`."""
        ...

    def name_of(self, piece: bytes) -> str | None:
        """Return the name of the secret in a slice, ``None`` if there is none."""
        ...


@runtime_checkable
class DivisibleLayout(Layout, Protocol):
    """A layout in which the middle can be made sense of without what is before it."""

    def parts(self, fd: int, most: int) -> Sequence[Layout]:
        """Return the layouts of at most so many parts, whose entries together are the file's."""
        ...


class BadSliceError(ValueError):
    """What is wrong in a file, and the byte where it is."""

    def __init__(self, problem: str, *, offset: int) -> None:
        super().__init__(problem)
        self.offset = offset


class SlicedFile(Source):
    """The source over one file of a known layout."""

    def __init__(self, path: str, layout: Layout, *, name: str) -> None:
        self._path = path
        self._layout = layout
        self.name = name

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        """Yield an entry for every secret in the file, in its order.

        Raises:
            EmptySource: there is none, which is nearly always a mistake.
            SourceError: the file is missing, unreadable or broken; names file and line.
        """
        entry = None
        with opened(self._path) as fd:
            for entry in _entries(self._path, fd, self._layout, with_tags=with_tags):
                yield entry
        if entry is None:
            raise EmptySource(f"'{self._path}' holds no secret")

    def parts(self, most: int) -> Sequence[Listable]:
        if not isinstance(self._layout, DivisibleLayout):
            return (self,)
        with opened(self._path) as fd:
            cut = _state(fd)
            layouts = self._layout.parts(fd, most)
        return [SlicedFilePart(self._path, layout, cut) for layout in layouts]

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        """Yield each secret from its slice.

        An entry without a locator is looked for by name, which costs one listing.
        """
        located = entries if all(entry.locator for entry in entries) else self._located(entries)
        parse = self._layout.parse
        with opened(self._path) as fd:
            for entry in located:
                if not entry.locator:
                    yield None
                    continue
                offset, length = entry.locator
                piece = os.pread(fd, length, offset)
                problem = None
                try:
                    secret = parse(piece)
                    if secret.name == entry.name and len(piece) == length:
                        yield secret
                        continue
                except BadRecordError as error:
                    problem = str(error)
                raise self._changed(fd, entry, piece, problem)

    def _changed(self, fd: int, entry: ListedSecret, piece: bytes, problem: str | None) -> SourceError:
        """Return what is wrong where an entry's secret should be."""
        if problem is None or self._layout.name_of(piece) != entry.name:
            return SourceChanged(f"'{self._path}' changed meanwhile: {entry.name!r} is not where it was")
        return _bad(self._path, fd, problem, entry.locator[0])

    def _located(self, entries: Sequence[ListedSecret]) -> Iterator[ListedSecret]:
        found: dict[str, ListedSecret | None] = {entry.name: None for entry in entries}
        for entry in self.list():
            if entry.name in found:
                if found[entry.name] is not None:
                    raise DuplicateSecret(f"'{self._path}' has two secrets of the name {entry.name!r}")
                found[entry.name] = entry
        return (found[entry.name] or ListedSecret(entry.name, 0) for entry in entries)


_State = tuple[int, int, int, int]


class SlicedFilePart:
    """One part of a file, which has to be the very file that was cut.

    Processes open it one after the other: were it replaced between them, a secret could be in no part.
    """

    def __init__(self, path: str, layout: Layout, cut: _State) -> None:
        self._path = path
        self._layout = layout
        self._cut = cut

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        """Yield the secrets of this part; raises what :meth:`SlicedFile.list` raises, but for emptiness."""
        with opened(self._path) as fd:
            if _state(fd) != self._cut:
                raise SourceChanged(f"'{self._path}' changed while it was listed")
            yield from _entries(self._path, fd, self._layout, with_tags=with_tags)


def _state(fd: int) -> _State:
    """Return what tells that a file was replaced or written to."""
    found = os.fstat(fd)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _entries(path: str, fd: int, layout: Layout, *, with_tags: bool) -> Iterator[ListedSecret]:
    try:
        yield from layout.entries(fd, with_tags=with_tags)
        return
    except BadSliceError as error:
        bad = (str(error), error.offset)
    raise _bad(path, fd, *bad)  # outside of the handler: what was caught may hold a value


def _bad(path: str, fd: int, problem: str, offset: int) -> SourceError:
    return SourceError(f"'{path}', line {line_at(fd, offset)}: {problem}")


@contextmanager
def opened(path: str) -> Iterator[int]:
    """Open a regular file for reading; every refusal is a typed error that names it."""
    with refusals(path):  # O_NONBLOCK: opening a pipe that nobody writes to must not hang
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise SourceError(f"'{path}' is not a regular file", hint="Check the path.")
        with refusals(path):
            yield fd
    finally:
        os.close(fd)


@contextmanager
def refusals(path: str) -> Iterator[None]:
    """Turn what the operating system refuses into a typed error that names ``path``."""
    try:
        yield
    except OSError as error:
        raise refusal(path, error) from None


def refusal(path: str, error: OSError) -> SourceError:
    """Return the typed error for what the operating system refused."""
    if isinstance(error, FileNotFoundError):
        return SourceError(f"'{path}' does not exist", hint="Check the path.")
    if isinstance(error, PermissionError):
        return SourceError(f"'{path}' may not be read", hint="Check the file's owner and mode.")
    kind = SourceError if error.errno in _PERMANENT else SourceUnavailable
    return kind(f"'{path}' could not be read: {os.strerror(error.errno or 0)}")


def blocks(fd: int, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Read a file block by block, from one byte up to another, or to where it ends by then."""
    offset = start
    while block := os.pread(fd, BLOCK if end is None else min(BLOCK, end - offset), offset):
        yield block
        offset += len(block)


def line_at(fd: int, offset: int) -> int:
    """Return the line number, from 1, of a byte; counted only when something is wrong."""
    line, start = 1, 0
    for block in blocks(fd):
        line += block.count(b"\n", 0, max(0, offset - start))
        start += len(block)
        if start >= offset:
            break
    return line


_PERMANENT = frozenset(
    (errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO, errno.EINVAL)
)


# -- A JSON document: an object of names and values or records, or a list of records ------------
#
# However large the document, no more than a window of it is in memory. The standard
# library's scanner finds where each member ends; it works on text, so the window is read as
# Latin-1, which maps bytes to characters one to one: a character's position is a byte's, and
# JSON's own syntax is ASCII. What the members say is decoded from their bytes.


_members = msgspec.json.Decoder(dict[str, Raw]).decode
_space = re.compile(r"[ \t\r\n]*").match
# Only ends are wanted, so numbers are left as they are: some are too long to convert.
_scan = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode


class JsonLayout:
    """The layout of a JSON file. The slice of an object's member includes its name."""

    def __init__(self) -> None:
        self._records = Records()

    def entries(self, fd: int, *, with_tags: bool) -> Iterator[ListedSecret]:
        """Yield every member."""
        names: set[str] = set()
        for offset, piece in _JsonMembers(fd).walk():
            secret, problem = self._attempt(piece)
            if secret is None:
                raise BadSliceError(problem, offset=offset)
            if len(names) <= len(_ANSWER):
                names.add(_nested(secret))
            yield ListedSecret(
                secret.name, len(piece), (offset, len(piece)), secret.tags if with_tags else None
            )
        if _NESTED in names and names <= _ANSWER:
            raise BadSliceError(_NO_SECRETS, offset=0)

    def parse(self, piece: bytes) -> Secret:
        """Decode a member: a record of a list, or a name and its value."""
        if piece[:1] != b'"':
            return self._records.parse(piece)
        [(name, value)] = attempt(_members, b"{" + piece + b"}").items()
        return self._named(name, value)

    def name_of(self, piece: bytes) -> str | None:
        """Return the name in a member."""
        try:
            if piece[:1] == b'"':
                return str(next(iter(attempt(_members, b"{" + piece + b"}"))))
            return str(attempt(records.listed, piece).name)
        except BadRecordError:
            return None

    def _named(self, name: str, value: Raw) -> Secret:
        """An object with a ``value`` is a record that goes by its key; all else is a value."""
        if not name:
            raise BadRecordError("a secret has no name")
        written = bytes(value)
        fields = attempt(_members, written) if written[:1] == b"{" else {}
        if "value" not in fields:
            return parse_value(name, value)
        if "name" not in fields:
            written = b'{"name":' + msgspec.json.encode(name) + b"," + written[1:]
        secret = self._records.parse(written)
        if secret.name != name:
            raise BadRecordError("a record's own name is not the name it is filed under")
        return secret

    def _attempt(self, piece: bytes) -> tuple[Secret | None, str]:
        try:
            return self.parse(piece), ""
        except BadRecordError as error:
            return None, str(error)


_NESTED = "data.data"
_ANSWER = frozenset(
    {
        *(_NESTED, "auth", "lease_duration", "lease_id", "mount_type", "renewable", "request_id"),
        *("warnings", "wrap_info"),
    }
)
"""The members of an answer of Vault's, in which a secret's fields lie under ``data.data``."""
_NO_SECRETS = (
    "it is an answer of a Vault server, not secrets with their names: take its data.data ('vault kv get "
    "-format=json NAME | jq .data.data'), or configure the server as a source"
)
_NO_RECORD = "each member of a list must be an object with a 'name' and a 'value', and this one is not"


def _nested(secret: Secret) -> str:
    """Return a member's name; of one called ``data`` that holds another ``data``, both."""
    value = secret.current.value
    if secret.name != "data" or secret.current.media is not Media.JSON or value is None:
        return secret.name
    try:
        inner = attempt(_members, value.reveal()).get("data")
    except BadRecordError:
        return secret.name
    return _NESTED if inner is not None and bytes(inner)[:1] == b"{" else secret.name


class _JsonMembers:
    """Walks over the members of a document's outermost object or list."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._text = ""
        self._base = 0  # where in the file the window starts
        self._at = 0  # where in the window the walk is
        self._start = 0  # where in the window the member being walked over starts

    def walk(self) -> Iterator[tuple[int, bytes]]:
        """Yield each member's offset and bytes."""
        self._fill()
        self._at = len(MARK) if self._text.startswith(MARK.decode("latin-1")) else 0
        opening = self._peek()
        if opening not in ("{", "["):
            raise self._bad("it is neither a JSON object nor a list" if opening else "it is empty")
        closing = "}" if opening == "{" else "]"
        self._at += 1
        while self._peek() != closing:
            keyed = opening == "{"
            self._start = self._at
            if keyed:
                self._key()
            self._value()
            piece = self._text[self._start : self._at].encode("latin-1")
            if not keyed and piece[:1] != b"{":
                raise BadSliceError(_NO_RECORD, offset=self._base + self._start)
            yield self._base + self._start, piece
            self._separator(closing)
        self._at += 1
        if self._peek():
            raise self._bad("something follows the end of the document")

    def _key(self) -> None:
        if self._peek() != '"':
            raise self._bad("a name in quotes should stand here")
        self._value()
        if self._peek() != ":":
            raise self._bad("a colon should follow the name")
        self._at += 1

    def _value(self) -> None:
        self._peek()
        end = _end(self._text, self._at)
        while end is None or end == len(self._text):  # at the edge, a number may go on
            if not self._fill():
                break
            end = _end(self._text, self._at)
        if end is None:
            raise self._bad(f"broken JSON, or a member larger than {LARGEST >> 20} MiB")
        self._at = end

    def _separator(self, closing: str) -> None:
        if self._peek() == ",":
            self._at += 1
            if self._peek() != closing:
                return
            raise self._bad("nothing follows the last comma")
        if self._peek() != closing:
            raise self._bad("a comma or the end should stand here")

    def _peek(self) -> str:
        """Skip white space; return the next character, or nothing at the end of the file."""
        while True:
            self._at = _space(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._fill():
                return ""

    def _fill(self) -> bool:
        """Widen the window, twofold each time so that a broken member costs little to find."""
        held = len(self._text) - self._start
        if held > LARGEST:
            return False
        more = os.pread(self._fd, max(BLOCK, held), self._base + len(self._text))
        if more:
            self._text = self._text[self._start :] + more.decode("latin-1")
            self._base, self._at, self._start = self._base + self._start, self._at - self._start, 0
        return bool(more)

    def _bad(self, problem: str) -> BadSliceError:
        return BadSliceError(problem, offset=self._base + self._at)


def _end(text: str, start: int) -> int | None:
    try:
        return _scan(text, start)[1]
    except (ValueError, RecursionError):
        return None


# -- JSONL: one record a line -------------------------------------------------------------------


PART = 8 << 20
"""What is worth a process to list: it takes some 50 ms."""


class Jsonl:
    """The layout of a file with a record on each line; blank lines are skipped.

    Lists what lies from the byte ``start`` up to ``end`` (up to the file's end if ``None``).
    """

    def __init__(self, start: int = 0, end: int | None = None) -> None:
        self._records = Records()
        self._start, self._end = start, end

    def parts(self, fd: int, most: int) -> list[Jsonl]:
        """Cut the file between lines; leave it whole if these are too long to be looked for."""
        size = os.fstat(fd).st_size
        count = max(1, min(most, size // PART))
        starts = [0]
        for part in range(1, count):
            found = _line_start(fd, size * part // count)
            if found is None:
                return [self]
            if found > starts[-1]:
                starts.append(found)
        return [Jsonl(start, end) for start, end in zip(starts, [*starts[1:], None], strict=True)]

    def entries(self, fd: int, *, with_tags: bool) -> Iterator[ListedSecret]:
        """Yield a line's record each."""
        # Where the first line begins: after a byte order mark, if there is one.
        offset = start = self._start or (len(MARK) if os.pread(fd, len(MARK), 0) == MARK else 0)
        for lines in _lines(fd, start, self._end):
            yield from _tagged(lines, offset) if with_tags else _listed(lines, offset)
            offset += sum(map(len, lines)) + len(lines)

    def parse(self, piece: bytes) -> Secret:
        """Decode a line."""
        return self._records.parse(piece)

    def name_of(self, piece: bytes) -> str | None:
        """Return the name in a line."""
        try:
            return str(attempt(records.listed, piece).name)
        except BadRecordError:
            return None


def holds_records(start: bytes) -> bool:
    """Say whether a file that starts so has a record of its own on its first line."""
    first, end, _ = start.lstrip().partition(b"\n")
    try:
        attempt(records.listed, first)
    except BadRecordError:
        return False
    return bool(end)


def _listed(lines: list[bytes], offset: int) -> Iterator[ListedSecret]:
    decode = records.listed
    for line in lines:
        size = len(line)
        try:
            yield ListedSecret(decode(line).name, size, (offset, size))
        except (ValueError, RecursionError):
            _refuse(line, offset)
        offset += size + 1


def _tagged(lines: list[bytes], offset: int) -> Iterator[ListedSecret]:
    decode = records.tagged
    for line in lines:
        size = len(line)
        try:
            record = decode(line)
            yield ListedSecret(record.name, size, (offset, size), record.tags or {})
        except (ValueError, RecursionError):
            _refuse(line, offset)
        offset += size + 1


def _refuse(line: bytes, offset: int) -> None:
    """Say what is wrong with a line, if it is not merely blank."""
    if not line.strip():
        return
    try:
        attempt(records.tagged, line)
        problem = "it is no record"
    except BadRecordError as error:
        problem = str(error)
    raise BadSliceError(problem, offset=offset)


def _line_start(fd: int, offset: int) -> int | None:
    """Return where the next line begins at or after ``offset``, if a line's greatest length tells."""
    at = offset - 1
    for block in blocks(fd, at, at + LARGEST):
        end = block.find(b"\n")
        if end >= 0:
            return at + end + 1
        at += len(block)
    return None


def _lines(fd: int, start: int, end: int | None) -> Iterator[list[bytes]]:
    """Yield whole lines, without their ends, a block's worth at a time."""
    rest = b""
    done = start
    for block in blocks(fd, start, end):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        done += sum(map(len, lines)) + len(lines)
        if len(rest) > LARGEST:
            raise BadSliceError(f"the line is longer than {LARGEST >> 20} MiB", offset=done)
        yield lines
    if rest:
        yield [rest]
