""".env files, and what all files have in common that are parsed as a whole."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence

from strongroom.container.errors import DuplicateSecret
from strongroom.model import ListedSecret, Secret
from strongroom.sources import Source
from strongroom.sources.batches import only
from strongroom.sources.errors import EmptySource
from strongroom.sources.json_files import LARGEST, BadSliceError
from strongroom.sources.records import BadRecordError

# -- ``.env`` files: ``NAME=value`` statements --------------------------------------------------
#
# What the common readers agree on is accepted: comments, ``export``, single quotes (taken as
# they stand), double quotes (with ``\n``, ``\r``, ``\t``, ``\"``, ``\\`` and ``\$``), both
# over several lines. ``$NAME`` is not expanded: what is written is what is backed up.


_STATEMENT = re.compile(
    rb"""
    (?:export[ \t]+)? (?P<name>[A-Za-z_][A-Za-z0-9_.-]*) [ \t]*=[ \t]*
    (?:
        "(?P<double>[^"\\]*(?:\\.[^"\\]*)*)"
      | '(?P<single>[^']*)'
      | (?P<bare>(?!["'])[^\r\n]*)
    )
    """,
    re.VERBOSE | re.DOTALL,
)
_EMPTY = re.compile(rb"\s*(?:#[^\n]*\s*)*")
_TAIL = re.compile(rb"[ \t]*(?:[ \t]#[^\n]*)?\r?(?:\n|\Z)")
_COMMENT = re.compile(rb"(?:^|[ \t])#.*", re.DOTALL)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b'"': b'"', b"\\": b"\\", b"$": b"$"}
_BOM = b"\xef\xbb\xbf"


class Dotenv:
    """The layout of a ``.env`` file; small by nature, so it is read as a whole."""

    def entries(self, fd: int, *, with_tags: bool) -> Iterator[ListedSecret]:
        """Yield every statement; a name that is given twice, twice."""
        text = os.pread(fd, LARGEST + 1, 0)
        if len(text) > LARGEST:
            raise BadSliceError(f"the file is larger than {LARGEST >> 20} MiB", offset=0)
        at = _skip(text, len(_BOM) if text.startswith(_BOM) else 0)
        while at < len(text):
            match = _STATEMENT.match(text, at)
            if match is None:
                raise BadSliceError(_problem(text, at), offset=at)
            length = match.end() - at
            yield ListedSecret(match["name"].decode(), length, (at, length), {} if with_tags else None)
            tail = _TAIL.match(text, match.end())
            if tail is None:
                raise BadSliceError("something follows the closing quote", offset=match.end())
            at = _skip(text, tail.end())

    def starts(self, text: bytes) -> bool:
        """Say whether a file that starts so looks like this layout."""
        return _STATEMENT.match(text, _skip(text, 0)) is not None

    def parse(self, piece: bytes) -> Secret:
        """Decode a statement."""
        match = _STATEMENT.fullmatch(piece)
        if match is None:
            raise BadRecordError("it is no NAME=value")
        return only(match["name"].decode(), _value(match))

    def name_of(self, piece: bytes) -> str | None:
        """Return the name that a statement sets."""
        match = _STATEMENT.fullmatch(piece)
        return match["name"].decode() if match else None


def _skip(text: bytes, at: int) -> int:
    match = _EMPTY.match(text, at)
    return match.end() if match else at


def _problem(text: bytes, at: int) -> str:
    line = text[at:].split(b"\n", 1)[0]
    if re.match(rb"""(?:export[ \t]+)?[A-Za-z_][\w.-]*[ \t]*=[ \t]*["']""", line):
        return "a quote is opened and never closed"
    return "it is no NAME=value" if b"=" not in line else "what stands before '=' is no name"


def _value(match: re.Match[bytes]) -> bytes:
    if match["double"] is not None:
        return _ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[0]), match["double"])
    if match["single"] is not None:
        return match["single"]
    return _COMMENT.sub(b"", match["bare"]).strip()


# -- Files that are parsed as a whole, each of bounded size: a listing and a read both walk over them
#
# What a read holds in memory is one file and the secrets that were asked for.


Parse = Callable[[], Iterator[Secret]]


class ParsedFiles(Source):
    """The source over whatever ``parse`` yields.

    Args:
        parse: yields every secret; raises SourceError that names file and line.
        nothing: what to say if there is no secret.
    """

    def __init__(self, parse: Parse, *, name: str, nothing: str) -> None:
        self._parse = parse
        self.name = name
        self._nothing = nothing

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        """Yield an entry for every secret; a name that is there twice, twice.

        Raises:
            EmptySource: there is none, which is nearly always a mistake.
            SourceError: a file is missing, unreadable or broken; names file and line.
        """
        empty = True
        for secret in self._parse():
            empty = False
            value = secret.current.value
            yield ListedSecret(
                secret.name,
                len(secret.name) + (0 if value is None else len(value)),
                (),
                secret.tags if with_tags else None,
            )
        if empty:
            raise EmptySource(self._nothing)

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        """Yield each secret, or ``None`` if it is not there (any more).

        Raises:
            DuplicateSecret: there are two of one name.
        """
        if not entries:
            return
        found: dict[str, Secret | None] = {entry.name: None for entry in entries}
        for secret in self._parse():
            if secret.name not in found:
                continue
            if found[secret.name] is not None:
                raise DuplicateSecret(f"source '{self.name}' has two secrets of the name {secret.name!r}")
            found[secret.name] = secret
        yield from (found[entry.name] for entry in entries)
