"""Telling a cut file from an altered one, with nothing but the file.

Everything we write ends in two things that say "the end": a fixed marker, and the total
length. A single changed byte can spoil one of them; cutting anything off spoils both.
"""

from __future__ import annotations

import struct

from strongroom.container.errors import Malformed, Tampered, Truncated

_LAST = struct.Struct(">Q8s")
SEARCH = 4096
"""How many bytes before the file's end are searched for an end that others follow."""


def check_ending(*, marker: bool, length: bool, what: str) -> None:
    """Judge an ending by whether its marker is there and its length is the file's.

    Raises:
        Truncated: neither holds.
        Tampered: one holds, so the end is there and was altered.
    """
    if marker and length:
        return
    if marker or length:
        raise Tampered(f"The end of the {what} was altered.")
    raise Truncated(f"The {what} ends too early.")


def binary_ending(tail: bytes, size: int, marker: bytes) -> tuple[bool, bool]:
    """Return whether marker and total length, the last 16 bytes, are those of this file."""
    if len(tail) < _LAST.size:
        return False, False
    total, end = _LAST.unpack(tail[-_LAST.size :])
    return end == marker, total == size


def check_binary_ending(tail: bytes, size: int, marker: bytes, *, what: str) -> None:
    """Judge a binary file by its last bytes.

    Raises what :func:`check_ending` does, and Malformed if bytes were added after the end.
    """
    right = binary_ending(tail, size, marker)
    if right == (False, False) and _ends_earlier(tail[-SEARCH:], size, marker):
        raise Malformed(f"Something follows the end of the {what}.")
    check_ending(marker=right[0], length=right[1], what=what)


def _ends_earlier(tail: bytes, size: int, marker: bytes) -> bool:
    at = tail.find(marker)
    while at >= 0:
        end = size - len(tail) + at + len(marker)
        if at >= 8 and int.from_bytes(tail[at - 8 : at], "big") == end:
            return True
        at = tail.find(marker, at + 1)
    return False
