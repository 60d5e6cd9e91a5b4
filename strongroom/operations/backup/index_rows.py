"""What an index of names says of the secrets of one piece, spilled to the stage by whoever read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate

import zstandard

from strongroom.container.name_index import IndexRow, encode_rows, older_versions, portions
from strongroom.container.writer import Pair
from strongroom.model import Secret
from strongroom.operations.layout import index_rows_chunk
from strongroom.operations.runs.stage import get_sealed, put_sealed
from strongroom.operations.services import Services
from strongroom.state.records import Run

FULL = 256 * 1024
"""Bytes of lines in a chunk: as many of them as there are pieces are in memory at once to make one list."""


class IndexRows:
    """Notes what passes on its way into a container: names, versions, tags, dates, digests, and no value."""

    def __init__(self, run: Run, services: Services) -> None:
        self._run = run
        self._services = services
        self._lines: list[bytes] = []

    def note(self, pairs: Sequence[Pair], stored: Sequence[int], digests: Sequence[bytes]) -> None:
        """Note a few secrets, as the writer of a container tells of them."""
        ends = accumulate(stored)
        rows = [_row(secret, digests, end) for (_, secret), end in zip(pairs, ends, strict=True)]
        self._lines += encode_rows(rows)

    def spill(self, piece: int) -> tuple[str, ...]:
        """Put what was noted on the stage, sealed under the work key, sorted by name; return the digests."""
        return tuple(
            put_sealed(
                self._services.stage,
                zstandard.compress(b"\n".join(lines), level=1),
                place=partial(index_rows_chunk, self._run.id, piece),
                work_key=self._services.work_key,
                context=_context(self._run.id, piece),
            )
            for lines in portions(sorted(self._lines), FULL)
        )


def _row(secret: Secret, digests: Sequence[bytes], end: int) -> IndexRow:
    """Return what an index says of a secret, whose digests are those up to ``end``."""
    newest = secret.versions[-1]
    stored = {version.number for version in secret.versions if version.value is not None}
    return IndexRow(
        secret.name,
        newest.number,
        newest.state,
        newest.created_at or secret.updated_at,
        dict(secret.tags),
        secret.expires_at,
        "" if newest.value is None else digests[end - 1].hex(),
        older_versions(secret.versions, stored.__contains__) if len(secret.versions) > 1 else (),
    )


def read_lines(run: str, piece: int, chunks: Sequence[str], services: Services) -> Iterator[bytes]:
    """Yield the lines that were spilled of a piece; memory is bounded by one chunk."""
    for sha256 in chunks:
        content = get_sealed(
            services.stage,
            index_rows_chunk(run, piece, sha256),
            sha256=sha256,
            work_key=services.work_key,
            context=_context(run, piece),
        )
        yield from zstandard.ZstdDecompressor().decompress(content).split(b"\n")


def _context(run: str, piece: int) -> bytes:
    return b"strongroom/v1/index-rows/" + f"{run}/{piece}".encode()
