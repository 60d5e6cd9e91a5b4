"""A JSON parser that knows where everything stood: for a reader that compares bytes and not values.

It shares nothing with the parsers of the product and of recover.py, so that a quirk of theirs shows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_NOT_PLAIN = re.compile(r'["\\\x00-\x1f]')
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}


class BadJsonError(ValueError):
    """It is no JSON, or not the JSON that FORMAT.md allows."""


@dataclass(frozen=True)
class Number:
    """A number: nothing but its text."""

    text: str

    def __int__(self) -> int:
        if not re.fullmatch("0|-?[1-9][0-9]*", self.text) or len(self.text) > 4000:
            raise BadJsonError("no integer")
        return int(self.text)


@dataclass(frozen=True)
class Object:
    """An object: its members in their order."""

    members: dict[str, Json]


Json: TypeAlias = "bool | str | Number | list[Json] | Object | None"


def parse(data: bytes) -> tuple[Json, int]:
    """Return a value, and how deep objects and lists lie in each other in it."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise BadJsonError("not UTF-8") from None
    parser = _Parser(text)
    value = parser.value(1)
    if parser.at != len(text):
        raise BadJsonError("something follows")
    return value, parser.deepest


class _Parser:
    MOST = 200

    def __init__(self, text: str) -> None:
        self.text, self.at, self.deepest = text, 0, 0

    def value(self, depth: int) -> Json:
        char = self.text[self.at : self.at + 1]
        if char in ("{", "["):
            if depth > self.MOST:
                raise BadJsonError("too deep")
            self.deepest = max(self.deepest, depth)
            return self._object(depth) if char == "{" else self._list(depth)
        if char == '"':
            return self._string()
        for word, meant in _WORDS.items():
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return meant
        found = _NUMBER.match(self.text, self.at)
        if not found:
            raise BadJsonError("no value")
        self.at = found.end()
        return Number(found[0])

    def _object(self, depth: int) -> Object:
        members: dict[str, Json] = {}
        while self._another("}", first=not members):
            name = self._string()
            self._space()
            self._take(":")
            self._space()
            value = self.value(depth + 1)
            if name in members:
                raise BadJsonError("a name twice")
            members[name] = value
            self._space()
        return Object(members)

    def _list(self, depth: int) -> list[Json]:
        found: list[Json] = []
        while self._another("]", first=not found):
            found.append(self.value(depth + 1))
            self._space()
        return found

    def _another(self, end: str, *, first: bool) -> bool:
        """Step over what opens, parts or ends; tell whether another element follows."""
        if not first and self.text[self.at : self.at + 1] == end:
            self.at += 1
            return False
        self._take("{[" if first else ",")
        self._space()
        if first and self.text[self.at : self.at + 1] == end:
            self.at += 1
            return False
        return True

    def _string(self) -> str:
        self._take('"')
        parts: list[str] = []
        while True:
            plain = _PLAIN.match(self.text, self.at)
            assert plain
            parts.append(plain[0])
            self.at = plain.end()
            if self.text[self.at : self.at + 1] == '"':
                self.at += 1
                return "".join(parts)
            self._take("\\")
            parts.append(self._escape())

    def _escape(self) -> str:
        char = self.text[self.at : self.at + 1]
        self.at += 1
        if char in _ESCAPES:
            return _ESCAPES[char]
        if char != "u":
            raise BadJsonError("no escape")
        unit = self._unit()
        if 0xDC00 <= unit < 0xE000:
            raise BadJsonError("half of a pair")
        if 0xD800 <= unit < 0xDC00:
            self._take("\\")
            self._take("u")
            low = self._unit()
            if not 0xDC00 <= low < 0xE000:
                raise BadJsonError("half of a pair")
            unit = 0x10000 + (unit - 0xD800 << 10) + (low - 0xDC00)
        return chr(unit)

    def _unit(self) -> int:
        digits = self.text[self.at : self.at + 4]
        if not re.fullmatch("[0-9a-fA-F]{4}", digits):
            raise BadJsonError("no escape")
        self.at += 4
        return int(digits, 16)

    def _space(self) -> None:
        found = _SPACE.match(self.text, self.at)
        assert found
        self.at = found.end()

    def _take(self, one_of: str) -> None:
        char = self.text[self.at : self.at + 1]
        if not char or char not in one_of:
            raise BadJsonError("another character")
        self.at += 1


def canonical(value: Json) -> str:
    """Write a value as FORMAT.md's conventions have it."""
    if isinstance(value, Object):
        inner = (f"{_quoted(name)}:{canonical(each)}" for name, each in value.members.items())
        return "{" + ",".join(inner) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, Number):
        return str(int(value))
    if isinstance(value, str):
        return _quoted(value)
    return next(word for word, meant in _WORDS.items() if meant is value)


_SHORT = {meant: "\\" + char for char, meant in _ESCAPES.items() if char != "/"}


def _quoted(text: str) -> str:
    return '"' + _NOT_PLAIN.sub(lambda found: _SHORT.get(found[0]) or f"\\u{ord(found[0]):04x}", text) + '"'
