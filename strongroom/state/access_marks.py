"""How far each access log was read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import delete, select

from strongroom.model import prepare
from strongroom.state import codec, sql, tables
from strongroom.state.engine import Transactions
from strongroom.state.records import AccessMark
from strongroom.system.batches import batched

prepare(AccessMark)
_marks = tables.access_marks.c
_AT_ONCE = 500


class AccessMarks(Transactions):
    """The marks of access logs, by the digest of a file's beginning."""

    def access_marks(self, log: str) -> list[AccessMark]:
        """Return how far each file of a log was read."""
        with self._database.reading() as conn:
            rows = conn.execute(select(tables.access_marks).where(_marks.log == log))
            return [codec.record_of(row, AccessMark, "mark in an access log") for row in rows]

    def put_access_marks(self, marks: Iterable[AccessMark]) -> None:
        """Record how far files were read."""
        with self._database.writing() as conn:
            sql.put(conn, tables.access_marks, [codec.row_of(mark) for mark in marks])

    def forget_access_marks(self, log: str, heads: Sequence[str]) -> None:
        """Forget files that are gone."""
        with self._database.writing() as conn:
            for some in batched(heads, _AT_ONCE):
                conn.execute(delete(tables.access_marks).where(_marks.log == log, _marks.head.in_(some)))
