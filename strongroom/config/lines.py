"""The line on which each key of a TOML text stands, which the reader of the standard library does not tell.

It reads a text that :mod:`tomllib` has read without an error. So it looks for nothing that is wrong, and a
value is only stepped over. It is read only to say where a problem is.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect
from collections.abc import Mapping
from itertools import accumulate
from typing import Final

from strongroom.config.schema import KeyPath

_BETWEEN: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_DOT: Final = re.compile(r"[ \t]*\.[ \t]*")
_PART: Final = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'""")
_TEXT: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})' r"|'''.*?'''(?:'{0,2})" r'|"(?:[^"\\]|\\.)*"' r"|'[^']*'", re.DOTALL
)
_PLAIN: Final = re.compile(r"[^,\]}#\r\n]*")


def line_of(path: KeyPath, lines: Mapping[KeyPath, int]) -> int | None:
    """Return the line of a key, or of the innermost table around it that is written; ``None`` if none is."""
    around = (path[:length] for length in range(len(path), 0, -1))
    return next((lines[key] for key in around if key in lines), None)


def lines_of(text: str) -> dict[KeyPath, int]:
    """Return the line, from 1 on, of each key, table and item of a list. ``text`` is valid TOML."""
    return _Document(text).read()


class _Document:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._starts = [0, *accumulate(len(line) + 1 for line in text.split("\n"))]
        self._lines: dict[KeyPath, int] = {}

    def read(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        tables: dict[KeyPath, int] = {}  # how many each list of tables has so far
        while self._next():
            if not self._takes("["):
                self._pair(table)
                continue
            listed = self._takes("[")
            start, table = self._at, ()
            *outer, last = self._key()
            for part in outer:
                table = (*table, part)
                self._note(table, start)
                table = self._in_list(table, tables)
            table = (*table, last)
            self._note(table, start)
            if listed:
                tables[table] = tables.get(table, 0) + 1
                table = self._in_list(table, tables)
                self._note(table, start)
            self._at = self._text.index("]", self._at) + (2 if listed else 1)
        return self._lines

    @staticmethod
    def _in_list(table: KeyPath, tables: Mapping[KeyPath, int]) -> KeyPath:
        """Return what a header's name means: of a list of tables, the newest."""
        return (*table, tables[table] - 1) if table in tables else table

    def _pair(self, table: KeyPath) -> None:
        start = self._at
        for part in self._key():
            table = (*table, part)
            self._note(table, start)
        self._at = self._text.index("=", self._at) + 1
        self._value(table)

    def _key(self) -> list[str]:
        """Step over a key, and return its parts."""
        parts: list[str] = []
        while not parts or _DOT.match(self._text, self._at):
            self._skip(_DOT if parts else _BETWEEN)
            written = self._skip(_PART)
            quoted = written[:1] in ("'", '"')
            parts.append(tomllib.loads(f"key = {written}")["key"] if quoted else written)
        return parts

    def _value(self, path: KeyPath) -> None:
        self._next()
        if self._takes("["):
            index = 0
            while self._next() and not self._takes("]"):
                if not self._takes(","):
                    self._note((*path, index), self._at)
                    self._value((*path, index))
                    index += 1
        elif self._takes("{"):
            while self._next() and not self._takes("}"):
                if not self._takes(","):
                    self._pair(path)
        elif not self._skip(_TEXT):
            self._skip(_PLAIN)

    def _note(self, path: KeyPath, start: int) -> None:
        self._lines.setdefault(path, bisect(self._starts, start))

    def _next(self) -> bool:
        """Step over what means nothing; say whether something is left."""
        self._skip(_BETWEEN)
        return self._at < len(self._text)

    def _takes(self, mark: str) -> bool:
        found = self._text.startswith(mark, self._at)
        self._at += len(mark) if found else 0
        return found

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return match[0] if match else ""
