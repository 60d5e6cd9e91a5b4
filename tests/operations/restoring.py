"""A restore that is put on record, and its undo, on any destination: as commands and runs do them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.model import Secret
from strongroom.operations.archive.open import Backup, open_backup
from strongroom.operations.restore.journal import (
    DONE,
    PARTIAL,
    Journal,
    RestoreAccount,
    continue_with,
    interrupted,
)
from strongroom.operations.restore.plan import PlanEntry
from strongroom.operations.restore.record import Recorder
from strongroom.operations.restore.restore import restore
from strongroom.operations.restore.take_back import TakeBack, decided, undoable
from strongroom.operations.restore.undo import UndoSealer, seal_record_key, undo_into
from strongroom.operations.restore.undo_job import Undoing
from strongroom.sources import Destination
from strongroom.targets.single_file import BundleReader
from strongroom.times import rfc3339
from tests.certified import certified


@dataclass
class Restoring:
    """Where restores are put on record, and who opens what they keep."""

    root: Path
    identity: KeyFileIdentity
    number: int = 0

    def restore(
        self,
        wanted: Sequence[Secret],
        destination: Destination,
        *,
        plan: Sequence[PlanEntry] | None = None,
    ) -> RestoreAccount:
        """Restore over what is there, or by a plan; go on with what was interrupted."""
        account, earlier = self._begin("backup")
        restore(
            lambda: iter(wanted),
            destination,
            overwrite=True,
            plan=plan,
            undo=self._keep(account, destination),
            account=account,
            tried=frozenset().union(*(one.tried for one in earlier)),
        )
        return self._end(account, earlier)

    def undo(self, run: str, destination: Destination) -> RestoreAccount:
        """Undo a restore; go on with an undo that was interrupted."""
        what, entries = undoable(self.root, run), list[PlanEntry]()
        self.number += 1
        with ExitStack() as opened:
            undoing = Undoing(
                what,
                destination,
                self.root / f"{self.number:03}-{os.getpid()}",
                open_file=partial(self._open, opened),
                sealer=self._sealer,
                to="there",
                goes_on="",
            )
            undoing.plan(entries.append)
            undoing.perform(decided(entries))
        return undoing.account

    def plan_undo(self, run: str, destination: Destination) -> list[PlanEntry]:
        """Say what undoing a restore would do."""
        entries: list[PlanEntry] = []
        with ExitStack() as opened:
            TakeBack(undoable(self.root, run), destination, partial(self._open, opened)).plan(entries.append)
        return entries

    def _open(self, opened: ExitStack, file: Path) -> Backup:
        bundle = opened.enter_context(BundleReader(file))
        return open_backup(bundle, identities=[self.identity], trusted=None)

    def _begin(self, about: str) -> tuple[RestoreAccount, list]:  # type: ignore[type-arg]
        earlier = list(interrupted(self.root, to="there", backup=about))
        self.number += 1
        folder = self.root / f"{self.number:03}-{os.getpid()}"
        journal = Journal(started_at=rfc3339(time.time()), backup=about, to="there", goes_on="")
        seal_key = partial(seal_record_key, self._sealer())
        account = RestoreAccount(folder, journal, recorder=Recorder(folder, seal_key))
        account.begin()
        return account, earlier

    def _keep(self, account: RestoreAccount, destination: Destination):  # type: ignore[no-untyped-def]
        return undo_into(self._folder(account), destination, self._sealer())

    def _sealer(self) -> UndoSealer:
        return UndoSealer([self.identity], certified("recover"))

    def _end(self, account: RestoreAccount, earlier: list) -> RestoreAccount:  # type: ignore[type-arg]
        folder = self._folder(account)
        account.end(PARTIAL if account.counts.not_done else DONE)
        continue_with(earlier, folder)
        return account

    def _folder(self, account: RestoreAccount) -> Path:
        assert account.folder is not None
        return account.folder
