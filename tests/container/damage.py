"""Damage done to small files on purpose: every changed byte, every cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from strongroom.errors import StrongroomError
from tests.seed import drawn

BITS = tuple(1 << bit for bit in range(8))
EIGHTHS = 8

Changes = Callable[[bytes], Iterator[tuple[int, bytes]]]
"""Gives the offset and the whole of each changed file."""

Outcome = str
Verdict = Callable[[int, bytes], str]


def outcome(read: Callable[[bytes], object], data: bytes) -> Outcome:
    """Return the class of the error that reading raises, or ``"accepted"``."""
    try:
        read(data)
    except StrongroomError as error:
        return error.code
    return "accepted"


def one_bit_drawn(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Change each byte in one bit, which the run's seed chooses."""
    chance = drawn("damage")
    return _changed(data, ((offset, chance.choice(BITS)) for offset in range(len(data))))


def every_value(eighth: int) -> Changes:
    """Change each byte of an eighth to every other value."""

    def changes(data: bytes) -> Iterator[tuple[int, bytes]]:
        offsets = range(eighth, len(data), EIGHTHS)
        return _changed(data, ((offset, mask) for offset in offsets for mask in range(1, 256)))

    return changes


every_byte = pytest.mark.parametrize(
    "changes",
    [
        pytest.param(one_bit_drawn, id="one-bit-drawn"),
        *(
            pytest.param(every_value(eighth), id=f"every-value-{eighth}", marks=pytest.mark.long)
            for eighth in range(EIGHTHS)
        ),
    ],
)
"""Every byte: in one bit in ``make test``, to every other value in ``make test-long``."""


def _changed(data: bytes, masks: Iterator[tuple[int, int]]) -> Iterator[tuple[int, bytes]]:
    copy = bytearray(data)
    for offset, mask in masks:
        copy[offset] ^= mask
        yield offset, bytes(copy)
        copy[offset] ^= mask


def surprises_of_changes(
    read: Callable[[bytes], object], changed: Iterator[tuple[int, bytes]], expected: Verdict
) -> list[tuple[int, str, str]]:
    """Return offset, outcome and expectation wherever they differ."""
    found = []
    for offset, altered in changed:
        got, want = outcome(read, altered), expected(offset, altered)
        if got != want:
            found.append((offset, got, want))
    return found


def surprises_of_cuts(read: Callable[[bytes], object], data: bytes) -> list[tuple[int, str]]:
    """Return length and outcome of every truncation that is not called Truncated."""
    outcomes = ((length, outcome(read, data[:length])) for length in range(len(data)))
    return [(length, got) for length, got in outcomes if got != "Truncated"]
