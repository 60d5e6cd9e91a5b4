"""A JSON document: an object of names and values or records, or a list of records.

However large the document, no more than a window of it is in memory. The standard
library's scanner finds where each member ends; it works on text, so the window is read as
Latin-1, which maps bytes to characters one to one: a character's position is a byte's, and
JSON's own syntax is ASCII. What the members say is decoded from their bytes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator

import msgspec
from msgspec import Raw

from strongroom.model import ListedSecret, Media, Secret
from strongroom.sources import records
from strongroom.sources.records import BadRecordError, Records, attempt, parse_value
from strongroom.sources.slices import BLOCK, LARGEST, MARK, BadSliceError

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
            yield self._member(keyed=opening == "{")
            self._separator(closing)
        self._at += 1
        if self._peek():
            raise self._bad("something follows the end of the document")

    def _member(self, *, keyed: bool) -> tuple[int, bytes]:
        self._start = self._at
        if keyed:
            self._key()
        self._value()
        piece = self._text[self._start : self._at].encode("latin-1")
        if not keyed and piece[:1] != b"{":
            raise BadSliceError(_NO_RECORD, offset=self._base + self._start)
        return self._base + self._start, piece

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
