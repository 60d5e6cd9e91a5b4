"""Chunked encryption: what Wycheproof's files do not ask."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.container import cobblestone
from strongroom.container.errors import FormatError, Malformed, Tampered, Truncated

KEY = bytes(range(32))
EDGES = (0, 1, 16383, 16384, 16385, 32768, 40000)


@pytest.mark.parametrize("length", EDGES)
def test_what_was_sealed_opens_and_its_length_is_predicted(length: int) -> None:
    plain = bytes(range(256)) * (length // 256 + 1)
    message = cobblestone.seal(KEY, plain[:length], context=b"here")
    assert cobblestone.plain_length(len(message)) == length
    assert cobblestone.open_(KEY, message, context=b"here") == plain[:length]


@given(st.binary(max_size=100), st.binary(max_size=40))
def test_another_context_or_key_opens_nothing(plain: bytes, context: bytes) -> None:
    message = cobblestone.seal(KEY, plain, context=context)
    with pytest.raises(Tampered):
        cobblestone.open_(KEY, message, context=context + b"x")
    with pytest.raises(Tampered):
        cobblestone.open_(bytes(32), message, context=context)


def test_every_sealing_draws_a_salt_of_its_own() -> None:
    messages = {cobblestone.seal(KEY, b"same", context=b"") for _ in range(50)}
    assert len({message[:24] for message in messages}) == 50


def test_every_cut_is_refused_at_chunk_borders_too() -> None:
    message = cobblestone.seal(KEY, bytes(16384 + 5), context=b"")
    for length in [*range(90), *range(16384 + 56, len(message))]:
        with pytest.raises(FormatError):
            cobblestone.open_(KEY, message[:length], context=b"")
    with pytest.raises(Truncated):
        cobblestone.open_(KEY, message[: 56 + 16384 + 16], context=b"")
    with pytest.raises(Malformed):
        cobblestone.open_(KEY, message[: 56 + 16384 + 16 + 3], context=b"")


def test_chunks_that_changed_places_are_refused() -> None:
    message = cobblestone.seal(KEY, bytes(3 * 16384), context=b"")
    step = 16384 + 16
    first, second = message[56 : 56 + step], message[56 + step : 56 + 2 * step]
    with pytest.raises(Tampered):
        cobblestone.open_(KEY, message[:56] + second + first + message[56 + 2 * step :], context=b"")


def test_every_changed_byte_is_refused_the_commitment_too() -> None:
    message = cobblestone.seal(KEY, b"CANARY", context=b"")
    for offset in range(len(message)):
        altered = bytearray(message)
        altered[offset] ^= 1
        with pytest.raises(Tampered):
            cobblestone.open_(KEY, altered, context=b"")


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="32-byte key"):
        cobblestone.seal(bytes(size), b"", context=b"")
