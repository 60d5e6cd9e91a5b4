"""One JSON encoding for each record: what is read must encode to the bytes it was read from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from strongroom.errors import Malformed

T = TypeVar("T")

_DIGITS = b"0123456789abcdef"
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
    return record


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
