"""What a command returns: the one answer that a terminal prints as a sheet, and ``--json`` as a record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from strongroom.errors import StrongroomError
from strongroom.sheet import Sheet


class Answer(Struct, frozen=True, kw_only=True):
    """What a command has to say.

    Args:
        record: for machines, as JSON: a record, or a mapping where there is none.
        sheet: the same for people.
        warnings: what a person should act on, on stderr, before the sheet.
        notes: remarks on stderr, after the sheet; none with ``--quiet``.
        error: what the command ends with, once it has done all that it can.
    """

    record: Mapping[str, Any] | Struct
    sheet: Sheet
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: StrongroomError | None = None
