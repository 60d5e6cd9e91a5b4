"""Reading what the record here says of backups, which loads the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.operations.archive import holds, inventory, quarantine
from strongroom.operations.archive.on_record import BackupsOnRecord

if TYPE_CHECKING:
    from strongroom.state.store import RunStore

BEFORE_ALL = -(2**62)
"""The number before that of the first event, whatever somebody gave it."""


def read_record(store: RunStore, *, gone: frozenset[str]) -> BackupsOnRecord:
    """Return what a record says. ``gone`` are the backups that are shredded."""
    return BackupsOnRecord(
        quarantined=quarantine.quarantined_on_record(store),
        gone=gone,
        known=inventory.known_backups(store),
        held=holds.recorded_holds(store),
        ledger=next((link.chain for link in store.links(after=BEFORE_ALL, limit=1)), ""),
    )
