"""One JSON encoding for each record: what is read must encode to the bytes it was read from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from strongroom.container.errors import Malformed

T = TypeVar("T")

_DIGITS = b"0123456789abcdef"
# A rule of the format's own: what Python calls printable grows with Unicode, so that a label which is good
# today would be Malformed for an older reader. Left out is what drives a terminal, or reorders or hides text.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff"
    "\U000e0000-\U000e0fff]"
)
MOST = 2**64 - 1
"""The largest number of the format, which knows no negative ones. All readers have the same bounds then."""
_MAYBE_OUT_OF_BOUNDS = re.compile(rb"[\[:,](?:-|[0-9]{20})")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NUMBER = re.compile(rb"[\[:,](-?[0-9]+)")
_ENCODER = msgspec.json.Encoder(order="deterministic")


def encode(record: object) -> bytes:
    """Encode compactly, fields in their declared order, mapping keys sorted."""
    return _ENCODER.encode(record)


def decode(data: bytes, type_: type[T], what: str) -> T:
    """Decode strictly: no unknown field, no other spelling of the same content."""
    try:
        record = msgspec.json.decode(data, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # No cause: a validation message can quote what it read.
        raise Malformed(f"{what} is not the JSON that the format asks for.") from None
    if encode(record) != data:
        raise Malformed(f"{what} is not in its one canonical encoding.")
    if _MAYBE_OUT_OF_BOUNDS.search(data) and not all(map(in_bounds, _numbers(data))):
        raise Malformed(f"{what} has a number that the format does not know.")
    return record


def in_bounds(number: int) -> bool:
    """Tell whether a number of a record has the format's bounds."""
    return 0 <= number <= MOST


def _numbers(data: bytes) -> Iterator[int]:
    """Yield the integers of JSON; one of more digits than any has stands for all that are too large."""
    for match in _NUMBER.finditer(_STRING.sub(b"", data)):
        yield int(match[1][:40])


def printable(text: str, most: int) -> bool:
    """Tell whether a text that people are shown has ``most`` characters at most, all of them printable."""
    return len(text) <= most and not _UNPRINTABLE.search(text)


def check_hex(texts: Sequence[str], size: int, what: str) -> None:
    """Hold many texts at once to being lower-case hex of ``size`` bytes each; raise Malformed."""
    # All containers of one process have one signer and one wrapping key: one text says it of all then.
    distinct = texts[:1] if texts and texts.count(texts[0]) == len(texts) else texts
    if not set(map(len, distinct)) <= {2 * size} or not _is_hex("".join(distinct)):
        raise Malformed(f"{what} is not {size} bytes in lower-case hex.")


def unhex(text: str, size: int, what: str) -> bytes:
    """Return the ``size`` bytes that lower-case hex ``text`` stands for."""
    if len(text) != 2 * size or not _is_hex(text):
        raise Malformed(f"{what} is not {size} bytes in lower-case hex.")
    return bytes.fromhex(text)


def _is_hex(text: str) -> bool:
    """Tell whether there are lower-case hex digits alone; ten times as fast as a pattern."""
    return not text.encode("utf-8", "surrogatepass").translate(None, _DIGITS)
