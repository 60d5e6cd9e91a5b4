"""What a command returns: the one answer that a terminal prints as a sheet, and ``--json`` as a record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, to_builtins
from msgspec.structs import replace

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

    def joined(self, other: Answer) -> Answer:
        """Return this answer and another one as one; an error of this one goes before."""
        return Answer(
            record={**to_builtins(self.record, enc_hook=str), **to_builtins(other.record, enc_hook=str)},
            sheet=replace(self.sheet, parts=(*self.sheet.parts, *other.sheet.parts)),
            warnings=self.warnings + other.warnings,
            notes=self.notes + other.notes,
            error=self.error or other.error,
        )
