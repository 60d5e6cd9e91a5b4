"""What the record of this installation says of backups, if there is one."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from strongroom.cli.shared import shred_guard, trust
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.errors import StrongroomError
from strongroom.operations.archive.quarantine import QUARANTINED, RecordedQuarantine
from strongroom.state.probe import may_have_event

if TYPE_CHECKING:
    from strongroom.operations.archive.on_record import BackupsOnRecord


def quarantined(installation: InstallationPlace, backup: str) -> RecordedQuarantine | None:
    """Return why a backup is in quarantine by the record here; where nothing ever was, none is loaded."""
    file = shred_guard.own_file(installation)
    if file is not None and not (file.is_file() and may_have_event(file, QUARANTINED)):
        return None
    return read_record(installation).quarantined.get(backup)


def read_record(installation: InstallationPlace) -> BackupsOnRecord:
    """Return what the record here says of backups; a recovery needs no record."""
    from strongroom.operations.archive.on_record import BackupsOnRecord

    with suppress(StrongroomError):
        if (store := shred_guard.find_run_store(installation)) is not None:
            from strongroom.operations.archive.read_record import read_record as read
            from strongroom.operations.shredding.record import shredded_backups

            gone = frozenset(shredded_backups(store, trust.trusted_signers(installation)))
            return read(store, gone=gone)
    return BackupsOnRecord()
