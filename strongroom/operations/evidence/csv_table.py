"""A report as one table for spreadsheets: RFC 4180, UTF-8, a row for each thing, with what it rests on."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet compute a cell. Names and errors are others' words: none of them may do so."""


def table_of(head: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """Return the table's file."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(head)
    writer.writerows([_cell(cell) for cell in row] for row in rows)
    return out.getvalue().encode()


def _cell(cell: object) -> str:
    text = "" if cell is None else str(cell)
    return f"'{text}" if text.startswith(_FORMULA) else text
