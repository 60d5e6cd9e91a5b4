"""``.env`` files: ``NAME=value`` statements.

What the common readers agree on is accepted: comments, ``export``, single quotes (taken as
they stand), double quotes (with ``\\n``, ``\\r``, ``\\t``, ``\\"``, ``\\\\`` and ``\\$``), both
over several lines. ``$NAME`` is not expanded: what is written is what is backed up.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from strongroom.model import Entry, Secret
from strongroom.sources.history import only
from strongroom.sources.records import BadRecordError
from strongroom.sources.slices import LARGEST, BadSliceError

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

    def entries(self, fd: int, *, with_tags: bool) -> Iterator[Entry]:
        """Yield every statement; a name that is given twice, twice."""
        text = os.pread(fd, LARGEST + 1, 0)
        if len(text) > LARGEST:
            raise BadSliceError(f"the file is larger than {LARGEST >> 20} MiB", offset=0)
        at = _skip(text, len(_BOM) if text.startswith(_BOM) else 0)
        while at < len(text):
            found = _statement(text, at)
            length = found.end() - at
            yield Entry(found["name"].decode(), length, (at, length), {} if with_tags else None)
            at = _skip(text, _end(text, found))

    def starts(self, text: bytes) -> bool:
        """Say whether a file that starts so looks like this layout."""
        return _STATEMENT.match(text, _skip(text, 0)) is not None

    def parse(self, piece: bytes) -> Secret:
        """Decode a statement."""
        found = _STATEMENT.fullmatch(piece)
        if found is None:
            raise BadRecordError("it is no NAME=value")
        return only(found["name"].decode(), _value(found))

    def name_of(self, piece: bytes) -> str | None:
        """Return the name that a statement sets."""
        found = _STATEMENT.fullmatch(piece)
        return found["name"].decode() if found else None


def _statement(text: bytes, at: int) -> re.Match[bytes]:
    found = _STATEMENT.match(text, at)
    if found is None:
        raise BadSliceError(_problem(text, at), offset=at)
    return found


def _end(text: bytes, found: re.Match[bytes]) -> int:
    tail = _TAIL.match(text, found.end())
    if tail is None:
        raise BadSliceError("something follows the closing quote", offset=found.end())
    return tail.end()


def _skip(text: bytes, at: int) -> int:
    found = _EMPTY.match(text, at)
    return found.end() if found else at


def _problem(text: bytes, at: int) -> str:
    line = text[at:].split(b"\n", 1)[0]
    if re.match(rb"""(?:export[ \t]+)?[A-Za-z_][\w.-]*[ \t]*=[ \t]*["']""", line):
        return "a quote is opened and never closed"
    return "it is no NAME=value" if b"=" not in line else "what stands before '=' is no name"


def _value(found: re.Match[bytes]) -> bytes:
    if found["double"] is not None:
        return _ESCAPE.sub(_unescape, found["double"])
    if found["single"] is not None:
        return found["single"]
    return _COMMENT.sub(b"", found["bare"]).strip()


def _unescape(found: re.Match[bytes]) -> bytes:
    return _ESCAPES.get(found[1], found[0])
