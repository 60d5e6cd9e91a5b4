"""What is another in each run, and is given a name instead: ids, digests, keys, lengths of time, folders."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Final, Self

HOME: Final = "/home/golden/machine"
"""What the home is called, as long as its path: tables stay as wide as they were."""
MEASURED: Final = (
    (re.compile(r"\b\d[\d,]*(\.\d+ ?m?s| ms)\b"), "0.0 s"),
    (re.compile(r"\b(0\.0 s|TOOK|WRAP|UNWRAP) {2,}"), r"\1  "),
    (
        re.compile(
            r'("[a-z_]*(?:seconds|_ms)"|"took"|"least"|"open"|"restore"|"compare"|"teardown"|"total"): [\d.]+'
        ),
        r"\1: 0.0",
    ),
    (re.compile(r"(Of the objective +)(less than 1|\d+) %"), r"\1less than 1 %"),
    (re.compile(r'("ended_at": "[^"]*:)\d\dZ'), r"\1--Z"),
    (re.compile(r"\b(Python|SQLAlchemy|alembic|cryptography|msgspec|zstandard) \d+(\.\d+)+"), r"\1 N"),
    (re.compile(r"\bhost:\d+:"), "host:1:"),
    (re.compile(r"\b[A-Z2-7]{5}(?: ?[A-Z2-7]{5}){3}\b"), "CODE"),
)
DRAWN: Final = re.compile(
    r"(?P<uuid>\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b)"
    r"|(?P<hex>(?<=Z-)[0-9a-f]{8}\b|(?<![0-9A-Za-z_.])(?=[a-f]*[0-9])[0-9a-f]{8,}(?![0-9A-Za-z_+]))"
    r"|(?P<text>(?<![A-Za-z0-9+/_-])(?=[A-Za-z+/_-]*[0-9])(?=[A-Z0-9+/_-]*[a-z])(?=[a-z0-9+/_-]*[A-Z])"
    r"[A-Za-z0-9+/_-]{40,}={0,2})"
)
SHORT: Final = 16
IDS: Final = ("Z-", "--end ", '"id": "')
"""What stands before an id, of which one in fifty has digits alone."""


class Names:
    """The names given so far, in the order in which what they stand for was printed."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._given: dict[str, str] = {}

    def copied(self) -> Self:
        """Return the same names, for a copy of the house."""
        other = copy.copy(self)
        other._given = dict(self._given)
        return other

    def named(self, text: str) -> str:
        """Return a text with names for what is drawn anew in each run."""
        text = text.replace(self._home, HOME)
        for pattern, instead in MEASURED:
            text = pattern.sub(instead, text)
        return DRAWN.sub(self._name, text)

    def _name(self, found: re.Match[str]) -> str:
        drawn = found[0]
        if drawn not in self._given and drawn.isdecimal() and not found.string[: found.start()].endswith(IDS):
            return drawn  # a number, or a date
        if drawn not in self._given:
            number = len(self._given) + 1
            kind: Callable[[], str] = (
                (lambda: f"id{number:0{len(drawn) - 2}}")
                if found["hex"] and len(drawn) <= SHORT
                else (lambda: f"{found.lastgroup}-{number}")
            )
            self._given[drawn] = kind()
        return self._given[drawn]

    def real(self, text: str) -> str:
        """Return what is typed, with what the names in it stand for."""
        for drawn, name in reversed(self._given.items()):
            text = text.replace(name, drawn)
        return text.replace(HOME, self._home)
