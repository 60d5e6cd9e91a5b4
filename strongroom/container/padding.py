"""Lengths that tell nothing: zeros behind a plaintext, up to one of few lengths."""

from __future__ import annotations

from strongroom.container.errors import Malformed

LEAST = 4096


def padded(length: int) -> int:
    """Return the length that ``length`` bytes are padded to.

    Padme (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and
    Communication with PURBs", PETS 2019): at most 12 % more, and a file's size tells
    O(log log n) bits of its content's. At least 4 KiB: below that the steps are so short that
    a text of ten bytes, which a compressed neighbour repeats, often shows.
    """
    if length <= LEAST:
        return LEAST
    exponent = length.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (length + mask) & ~mask


def zeros(length: int) -> bytes:
    """Return what is put behind ``length`` bytes."""
    return bytes(padded(length) - length)


def unpad(plain: bytes, length: int, what: str) -> bytes:
    """Return the ``length`` bytes before the padding; raise Malformed if that is not exact."""
    if len(plain) != padded(length) or plain.count(0, length) != len(plain) - length:
        raise Malformed(f"{what} is not padded as the format asks for.")
    return plain[:length]
