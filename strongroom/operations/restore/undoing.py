"""One undo of one restore, put on record: what the command and the cluster's step both do."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from strongroom.model import Selection
from strongroom.operations.restore.journal import (
    DONE,
    PARTIAL,
    STOPPED,
    Journal,
    RestoreAccount,
    Restored,
    continue_with,
    interrupted,
    note_undone,
)
from strongroom.operations.restore.plan import Note
from strongroom.operations.restore.record import Recorder, key_file, records, traces_of
from strongroom.operations.restore.restore import Progress
from strongroom.operations.restore.take_back import Decided, Open, TakeBack, Undoable, undone_before
from strongroom.operations.restore.undo import UndoSealer, seal_record_key, undo_into
from strongroom.sources import Destination
from strongroom.system.undo import on_failure
from strongroom.timestamps import rfc3339


class Undoing:
    """An undo that is planned, then done.

    Args:
        folder: where it is put on record, beside the restore.
        open_file: opens what the restore kept.
        sealer: seals what undoes the undo; made once the files are open.
        to: the name of the destination, as the record has it.
        goes_on: what to type after it was interrupted.
    """

    def __init__(
        self,
        what: Undoable,
        destination: Destination,
        folder: Path,
        *,
        open_file: Open,
        sealer: Callable[[], UndoSealer],
        to: str,
        goes_on: str,
        selection: Selection = Selection(),
    ) -> None:
        self.about, self.to, self.folder = about(what), to, folder
        self._what = what
        self._destination = destination
        self._open = open_file
        self._sealer = sealer
        self._journal = Journal(
            started_at=rfc3339(time.time()), backup=self.about, to=to, goes_on=goes_on, undoes=what.run
        )
        self._selection = selection
        self._earlier = list(interrupted(folder.parent, to=to, backup=self._journal.backup))
        self.account = RestoreAccount()
        self._require_keys()

    def _require_keys(self) -> None:
        """Open the keys of the record, so that what does not open is told before anything is begun."""
        for record in (record for folder in self._what.folders for record in records(folder)):
            if key_file(record).exists():
                self._open(key_file(record))

    def take_back(self, plan: Decided | None = None) -> TakeBack:
        """Return what does it, by a plan if there is one."""
        tried = self.account.tried.union(*(attempt.tried for attempt in self._earlier))
        return TakeBack(
            self._what, self._destination, self._open, tried=tried, plan=plan, selection=self._selection
        )

    def plan(self, note: Note) -> Restored:
        """Say what would be done; write nothing."""
        return self.take_back().plan(note)

    def perform(self, plan: Decided, *, progress: Progress | None = None) -> None:
        """Do what a plan says. Whatever ends it, :attr:`account` tells what was done by then."""
        sealer = self._sealer()
        recorder = Recorder(self.folder, partial(seal_record_key, sealer))
        self.account = RestoreAccount(self.folder, self._journal, earlier=self._earlier, recorder=recorder)
        self.account.begin()
        before = traces_of([self.folder])
        with on_failure(lambda: self.account.end(STOPPED)):
            undoing = self.take_back(plan)
            note_undone(self.folder.parent / self._what.run, self.folder.name)
            keep = undo_into(self.folder, self._destination, sealer)
            undoing.perform(self.account, keep, progress=progress)
            done = undone_before(before, traces_of([self.folder]), self.account)
            self.account.counts = self.account.counts.plus(done)
        self.account.end(PARTIAL if self.account.counts.not_done else DONE)
        if self.account.folder is not None:
            continue_with(
                [
                    earlier_restore
                    for earlier_restore in self._earlier
                    if earlier_restore.folder != self.folder
                ],
                self.folder,
            )


def about(what: Undoable) -> str:
    """Return what stands in the place of a backup where an undo is on record."""
    return f"undo of {what.run}"
