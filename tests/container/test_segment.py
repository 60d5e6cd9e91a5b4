"""A segment's two plaintexts."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace

import pytest
import zstandard

from strongroom.container import segment
from strongroom.container.cobblestone import padded, zeros
from strongroom.container.errors import Malformed, VerificationFailed
from strongroom.container.segment import Packed, SecretRow, VersionRow, check_values, pack_values, unpack_rows


@pytest.mark.parametrize(
    ("length", "expected"),
    [(0, 4096), (1, 4096), (4096, 4096), (4097, 4352), (1_000_000, 1_015_808)],
)
def test_values_are_padded_to_the_lengths_that_the_format_states(length: int, expected: int) -> None:
    assert padded(length) == expected


def test_padding_never_shortens_costs_at_most_an_eighth_and_is_stable() -> None:
    for length in range(4096, 300_000, 37):
        assert length <= padded(length) <= length * 1.125
        assert padded(padded(length)) == padded(length)


def test_padding_is_checked_to_the_last_byte() -> None:
    rows = [SecretRow("a", "t", (VersionRow(1, 3),))]
    plain = pack_values([b"abc"], 3)
    assert check_values(plain, rows) == b"abc"
    for altered in (plain[:-1] + b"\x01", plain[:3] + b"\x01" + plain[4:], plain + b"\x00", plain[:-1]):
        with pytest.raises(Malformed):
            check_values(altered, rows)


@pytest.mark.parametrize("stated", [0, 1, 64 * 1024 * 1024])
def test_a_frame_that_would_unpack_to_more_than_the_limit_is_never_unpacked(stated: int) -> None:
    frame = zstandard.ZstdCompressor(level=1).compress(bytes(64 * 1024 * 1024))
    plain = b"".join(number.to_bytes(4, "big") for number in (1, 0, stated, len(frame))) + frame
    plain += zeros(len(plain))
    tracemalloc.start()
    with pytest.raises(Malformed):
        unpack_rows(plain)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1024 * 1024


class Forgetful:
    """A compressor with a fault: the last byte of what it is given is another one."""

    def __init__(self, *, compression_params: zstandard.ZstdCompressionParameters) -> None:
        self._parameters = compression_params

    def compressobj(self, *, size: int) -> Forgetful:
        self._sound = zstandard.ZstdCompressor(compression_params=self._parameters).compressobj(size=size)
        return self

    def compress(self, data: bytes) -> bytes:
        return self._sound.compress(data[:-1] + b"!")

    def flush(self, mode: int = zstandard.COMPRESSOBJ_FLUSH_FINISH) -> bytes:
        return self._sound.flush(mode)


def test_rows_that_a_compressor_spoiled_are_not_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    faulty = SimpleNamespace(
        ZstdCompressor=Forgetful,
        ZstdDecompressor=zstandard.ZstdDecompressor,
        ZstdError=zstandard.ZstdError,
        COMPRESSOBJ_FLUSH_BLOCK=zstandard.COMPRESSOBJ_FLUSH_BLOCK,
        get_frame_parameters=zstandard.get_frame_parameters,
    )
    Packed.of([b"{}\n"], 1, [])
    monkeypatch.setattr(segment, "zstandard", faulty)
    with pytest.raises(VerificationFailed, match="does not come back"):
        Packed.of([b"{}\n"], 1, [])
