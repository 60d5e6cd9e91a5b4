"""Columns: rows written member by member, each member a line a row. So neighbours are alike, and compress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import msgspec
import zstandard
from msgspec import Raw

from strongroom.container.errors import Malformed, VerificationFailed

T = TypeVar("T")

ABSENT = Raw(b"")
"""What stands for a member that has its default: an empty line."""

_EFFORT = zstandard.ZstdCompressionParameters(
    strategy=zstandard.STRATEGY_LAZY2,
    window_log=22,
    hash_log=17,
    chain_log=17,
    search_log=2,
    min_match=6,
)
"""Between levels 1 and 6: 4 bytes a secret less than the former, in less than the latter's time."""
_ENCODER = msgspec.json.Encoder()


def encode_column(values: Sequence[object]) -> bytes:
    """Return a line for each value: canonical JSON, or nothing for :data:`ABSENT`, and a line feed."""
    return _ENCODER.encode_lines(values)


class Column(Generic[T]):
    """How one member is read, line by line.

    Args:
        default: makes the value that an empty line stands for, which is never written out. Without it no
            line may be empty.
    """

    def __init__(self, type_: Any, *, default: Callable[[], T] | None = None, **options: Any) -> None:
        self._decoder = msgspec.json.Decoder(list[type_], **options)
        self._default = default

    def read(self, lines: Sequence[bytes], data: bytes, at: int) -> tuple[list[T], int]:
        """Parse the lines that begin at an offset of ``data``, of each value only its one encoding.

        Return the values, and where the next column begins. Raise Malformed.
        """
        if b"" not in lines:
            values = self._decode(lines)
            written = encode_column(values)
            if self._default is dict and not all(values):
                raise Malformed("A column has an empty object, for which an empty line stands.")
        else:
            values, written = self._read_some(lines)
        if not data.startswith(written, at):
            raise Malformed("A column is not in its one canonical encoding.")
        return values, at + len(written)

    def _read_some(self, lines: Sequence[bytes]) -> tuple[list[T], bytes]:
        """Parse lines some of which are empty."""
        if (default := self._default) is None:
            raise Malformed("A column lacks a value.")
        found = iter(self._decode([line for line in lines if line]))
        values = [next(found, default()) if line else default() for line in lines]
        nothing = default()
        return values, encode_column([ABSENT if value == nothing else value for value in values])

    def _decode(self, lines: Sequence[bytes]) -> list[T]:
        try:
            values: list[T] = self._decoder.decode(b"[%b]" % b",".join(lines))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # No cause: a validation message can quote what it read.
            raise Malformed("A column is not what the format asks for.") from None
        return values


def decode_columns(data: bytes, rows: int, columns: Sequence[Column[Any]]) -> list[list[Any]]:
    """Parse columns, each of as many lines as there are rows; raise Malformed."""
    lines = data.split(b"\n")
    if len(lines) != rows * len(columns) + 1 or lines[-1]:
        raise Malformed("Columns have more or fewer lines than there are rows.")
    found, at = [], 0
    for number, column in enumerate(columns):
        values, at = column.read(lines[number * rows : (number + 1) * rows], data, at)
        found.append(values)
    return found


MOST_WINDOW = 32 * 1024 * 1024
"""What a decoder has to hold at once besides what comes out."""


def compress(columns: Iterable[bytes | bytearray]) -> tuple[int, bytes]:
    """Return the length of the columns together and one frame of them.

    Each column has blocks of its own. What is usual in dates is rare in names, and a block has one table of
    what is usual.

    Raises:
        VerificationFailed: they do not come back from that as they were.
    """
    joined = b"".join(kept := list(columns))
    compressor = zstandard.ZstdCompressor(compression_params=_EFFORT).compressobj(size=len(joined))
    parts = []
    for column in kept:
        parts += [compressor.compress(column), compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)]
    frame = b"".join([*parts, compressor.flush()])
    if decompress(frame, len(joined)) != joined:
        raise VerificationFailed("What was compressed does not come back as it was.")
    return len(joined), frame


def decompress(frame: bytes, length: int) -> bytes:
    """Return what one frame holds, which has to be ``length`` bytes."""
    # The frame's own size field is compared first, so that no frame makes us allocate
    # more than the limit already checked.
    try:
        stated = zstandard.get_frame_parameters(frame)
        if stated.content_size != length or stated.window_size > MOST_WINDOW:
            raise Malformed("A compressed frame has not the length it should have, or too large a window.")
        return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError:
        raise Malformed("A compressed frame is damaged.") from None
