"""Free-form metadata: any JSON object, and its numbers come back as they were written.

A number that a Python number does not give back as it was written (``1e-07``, ``1.50``, more digits than a
double holds) stays as its text, in a :class:`msgspec.Raw`. So the text of a number never depends on the
version of a library.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import msgspec
from msgspec import Raw

DEPTH = 64
"""How deep objects and arrays may lie in each other, the outermost object counted."""
DIGITS = 4300
"""More digits than this Python converts to no integer."""

_encode = msgspec.json.Encoder().encode
_PLAIN = frozenset({str, int, bool, type(None), Raw})


def number(text: str) -> float | Raw:
    """Return a number with a point or an exponent: a float if that is written alike, else the text."""
    parsed, written = float(text), text.encode()
    return parsed if _encode(parsed) == written else Raw(written)


_quick = msgspec.json.Decoder(float_hook=number).decode
_MINUS_ZERO = re.compile(rb"-0(?![.eE0-9])")


def may_lose_a_sign(data: bytes | Raw) -> bool:
    """Tell whether JSON may have a whole number ``-0``, which a decoder of msgspec gives back as 0."""
    return _MINUS_ZERO.search(bytes(data)) is not None


def decode(data: bytes | Raw) -> Any:
    """Return any JSON value. Raises as msgspec's decoder does."""
    found = _quick(data)
    if not may_lose_a_sign(data):
        return found
    return json.loads(bytes(data), parse_float=number, parse_int=_integer)


def parse(data: bytes) -> dict[str, Any]:
    """Parse one JSON object strictly (RFC 8259): no name twice in an object, at any depth.

    Raises:
        ValueError: it is something else, or nested deeper than :data:`DEPTH`.
    """
    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=_members,
            parse_float=number,
            parse_int=_integer,
            parse_constant=_refuse,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict) or not fits(value):
        raise ValueError("not an object, or nested too deeply")
    return value


def fits(metadata: dict[str, Any]) -> bool:
    """Tell whether metadata is nested no deeper than :data:`DEPTH`, and JSON can write its numbers."""
    if _PLAIN.issuperset(map(type, metadata.values())):  # nearly always, and this is asked of every row
        return True
    layer: list[Any] = [metadata]
    for _ in range(DEPTH):
        inner = [value for outer in layer for value in _values(outer)]
        if any(type(value) is float and not math.isfinite(value) for value in inner):
            return False
        layer = [value for value in inner if isinstance(value, dict | list | tuple)]
        if not layer:
            return True
    return False


def _values(outer: dict[str, Any] | Sequence[Any]) -> Sequence[Any]:
    return list(outer.values()) if isinstance(outer, dict) else outer


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name is there twice")
    for text in (text for pair in pairs for text in _texts(pair)):
        text.encode()  # refuses half of a surrogate pair, which no UTF-8 can write
    return members


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        yield from (text for inner in value for text in _texts(inner))


def _integer(text: str) -> int | Raw:
    return Raw(text.encode()) if text == "-0" or len(text) > DIGITS else int(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")
