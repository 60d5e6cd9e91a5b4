"""What the record here says of backups, for the choice of one. A choice needs no record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from strongroom.container.marks import HoldMark
from strongroom.operations.archive import holds, inventory, quarantine
from strongroom.operations.archive.quarantine_marks import Recorded
from strongroom.operations.archive.select_backup import Chooser, Holder, Known

if TYPE_CHECKING:
    from strongroom.state.store import RunStore


class Record(NamedTuple):
    """What the record here says of backups: in quarantine, shredded, known, damaged everywhere, and held."""

    quarantined: Mapping[str, Recorded] = {}
    gone: frozenset[str] = frozenset()
    known: Sequence[Known] = ()
    doubted: frozenset[str] = frozenset()
    held: Mapping[str, HoldMark] = {}

    def chooser(
        self,
        holders: Sequence[Holder],
        *,
        trusted: frozenset[str],
        strangers: bool = False,
        known: Sequence[Known] | None = None,
    ) -> Chooser:
        """Return what chooses on some places, with all that is known here."""
        return Chooser(
            holders,
            trusted=trusted,
            strangers=strangers,
            quarantined=self.quarantined,
            gone=self.gone,
            known=self.known if known is None else known,
            doubted=self.doubted,
        )


def read_record(store: RunStore, *, gone: frozenset[str]) -> Record:
    """Return what a record says. ``gone`` are the backups that are shredded."""
    known, doubted = inventory.known_backups(store)
    return Record(
        quarantined=quarantine.quarantined_on_record(store),
        gone=gone,
        known=known,
        doubted=doubted,
        held=holds.recorded_holds(store),
    )
