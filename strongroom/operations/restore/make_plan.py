"""make_plan: look at a backup and a destination, and write down what a restore will do. Reads only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from msgspec.structs import replace

from strongroom.operations.restore.plan import FIRST, Note, PlanEntry, RestorePlan, encode_entry
from strongroom.operations.restore.restore import Choose, plan_restore
from strongroom.sources import Destination


def make_plan(
    asked: RestorePlan,
    choose: Choose,
    destination: Destination,
    *,
    note: Note,
    first: Sequence[str] = FIRST,
    tried: frozenset[str] = frozenset(),
) -> RestorePlan:
    """Give ``note`` each entry in the order in which it will be done, and return the plan's head.

    Args:
        asked: the head as far as it is known before: its ``totals`` and ``entries`` are filled in.
        choose: gives what is asked for, under the backup's own names.
        first: tags of the secrets that come before the others.
        tried: what interrupted restores were writing.
    """
    entries = hashlib.sha256()

    def keep(entry: PlanEntry) -> None:
        entries.update(encode_entry(entry))
        note(entry)

    totals = plan_restore(
        choose,
        destination,
        overwrite=asked.overwrite,
        relocation=asked.relocation,
        first=first,
        note=keep,
        tried=tried,
    )
    return replace(asked, totals=totals, entries=entries.hexdigest())
