"""What the record here says of backups, for the choice of one. A choice needs no record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from strongroom.container.marks import HoldMark
from strongroom.operations.archive.coverage import BackupPlace, KnownBackup
from strongroom.operations.archive.quarantine import RecordedQuarantine
from strongroom.operations.archive.select_backup import Chooser
from strongroom.targets.reading import Objects


class BackupsOnRecord(NamedTuple):
    """What the record here says of backups: in quarantine, shredded, known, and held.

    ``ledger`` is the digest of its first event, by which heads of it are found on targets.
    """

    quarantined: Mapping[str, RecordedQuarantine] = {}
    gone: frozenset[str] = frozenset()
    known: Sequence[KnownBackup] = ()
    held: Mapping[str, HoldMark] = {}
    ledger: str = ""

    def of_one_place(self, objects: Objects, *, trusted: frozenset[str]) -> Chooser:
        """Return what judges the backups on one place by the rule that chooses among several."""
        name = str(getattr(objects, "name", "")) or "what was named"
        return self.chooser([BackupPlace(name, lambda: objects)], trusted=trusted, strict=False)

    def chooser(
        self,
        holders: Sequence[BackupPlace],
        *,
        trusted: frozenset[str],
        folder: Path | None = None,
        strict: bool = True,
        strangers: bool = False,
        known: Sequence[KnownBackup] | None = None,
    ) -> Chooser:
        """Return what chooses on some places, with all that is known here."""
        return Chooser(
            holders,
            trusted=trusted,
            folder=folder,
            strict=strict,
            strangers=strangers,
            quarantined=self.quarantined,
            gone=self.gone,
            known=self.known if known is None else known,
            ledger=self.ledger,
        )
