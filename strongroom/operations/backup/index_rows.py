"""What an index of names says of the secrets of one piece, spilled to the stage by whoever read them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from strongroom.container.digests import value_digester
from strongroom.container.name_index import IndexRow, blocks, encode_row, unpack_block
from strongroom.container.writer import Pair
from strongroom.model import Secret
from strongroom.operations.find.facts import facts_of
from strongroom.operations.layout import index_rows_chunk
from strongroom.operations.runs.stage import get_sealed, put_sealed
from strongroom.operations.services import Services
from strongroom.state.records import Run


class IndexRows:
    """Notes what passes on its way into a container: names, versions, tags, dates, digests, and no value."""

    def __init__(self, run: Run, services: Services) -> None:
        self._run = run
        self._services = services
        self._lines: list[bytes] = []
        self._row = _row_maker(run, services)

    def noting(self, pairs: Iterable[Pair]) -> Iterator[Pair]:
        for name_hash, secret in pairs:
            if secret.versions:  # the container refuses one without
                self._lines.append(encode_row(self._row(secret)))
            yield name_hash, secret

    def spill(self, piece: int) -> tuple[str, ...]:
        """Put what was noted on the stage, sealed under the work key, sorted by name; return the digests."""
        return tuple(
            put_sealed(
                self._services.stage,
                block.frame,
                place=partial(index_rows_chunk, self._run.id, piece),
                work_key=self._services.work_key,
                context=_context(self._run.id, piece),
            )
            for block in blocks(sorted(self._lines))
        )


def read_lines(run: str, piece: int, chunks: Sequence[str], services: Services) -> Iterator[bytes]:
    """Yield the lines that were spilled of a piece; memory is bounded by one chunk."""
    for sha256 in chunks:
        frame = get_sealed(
            services.stage,
            index_rows_chunk(run, piece, sha256),
            sha256=sha256,
            work_key=services.work_key,
            context=_context(run, piece),
        )
        yield from unpack_block(frame).splitlines(keepends=True)


def _row_maker(run: Run, services: Services) -> Callable[[Secret], IndexRow]:
    digest = value_digester(services.digest_key, run.spec.source)

    def row(secret: Secret) -> IndexRow:
        newest = secret.versions[-1]
        held = newest.value if run.spec.values else None
        digests = {} if held is None else {newest.number: digest(secret.name, newest.number, held.reveal())}
        facts = facts_of(secret, digests)
        return IndexRow(
            facts.name,
            facts.version,
            facts.state,
            facts.written_at,
            dict(facts.tags),
            facts.expires_at,
            facts.digest.hex(),
        )

    return row


def _context(run: str, piece: int) -> bytes:
    return b"strongroom/v1/index-rows/" + f"{run}/{piece}".encode()
