"""Damage done to small files on purpose: every changed byte, every cut."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from strongroom.errors import StrongroomError

BITS = tuple(1 << bit for bit in range(8))
ALL = tuple(range(1, 256))
MASKS = ALL if os.environ.get("CI") == "true" else BITS
"""What each byte is changed by: every other value where there is time, else every bit."""

Outcome = str
Verdict = Callable[[int, bytes], str]


def outcome(read: Callable[[bytes], object], data: bytes) -> Outcome:
    """Return the class of the error that reading raises, or ``"accepted"``."""
    try:
        read(data)
    except StrongroomError as error:
        return error.code
    return "accepted"


def changed(data: bytes, offsets: range, masks: tuple[int, ...]) -> Iterator[tuple[int, bytes]]:
    """Yield the offset and the whole file for every change of one byte."""
    copy = bytearray(data)
    for offset in offsets:
        for mask in masks:
            copy[offset] ^= mask
            yield offset, bytes(copy)
            copy[offset] ^= mask


def surprises_of_changes(
    read: Callable[[bytes], object],
    data: bytes,
    offsets: range,
    expected: Verdict,
    masks: tuple[int, ...] = BITS,
) -> list[tuple[int, str, str]]:
    """Return offset, outcome and expectation wherever they differ."""
    found = []
    for offset, altered in changed(data, offsets, masks):
        got, want = outcome(read, altered), expected(offset, altered)
        if got != want:
            found.append((offset, got, want))
    return found


def surprises_of_cuts(read: Callable[[bytes], object], data: bytes) -> list[tuple[int, str]]:
    """Return length and outcome of every truncation that is not called Truncated."""
    outcomes = ((length, outcome(read, data[:length])) for length in range(len(data)))
    return [(length, got) for length, got in outcomes if got != "Truncated"]
