"""What the steps of a restore, and of the undoing of one, work with.

There are two makers of each. By the record of a run, for the workers of a cluster
(:mod:`~strongroom.operations.restore.by_record`). And as a person opened it, who is asked and told meanwhile
(the command line's). All else of a restore is the same for both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from strongroom.errors import StrongroomError
from strongroom.model import Secret
from strongroom.operations.archive.shortfall import MissingSecret, Shortfall
from strongroom.operations.restore.batch import Progress
from strongroom.operations.restore.carried import CarriedRecord
from strongroom.operations.restore.journal import Interrupted, RestoreAccount
from strongroom.operations.restore.plan import PlanEntry, RestorePlan
from strongroom.operations.restore.restorable import Restorable
from strongroom.operations.restore.restore import ChosenByContainer
from strongroom.operations.restore.staged import StagedPlan
from strongroom.operations.restore.undo import UndoSealer
from strongroom.operations.restore.undo_job import Undoing
from strongroom.sources import Destination


class PlanKeeper(Protocol):
    """Keeps a plan as it is made."""

    def add(self, entry: PlanEntry) -> None: ...
    def finish(self, head: RestorePlan) -> StagedPlan: ...


class PlannedWork(Protocol):
    """What a run that may follow a plan works with. ``goes_on`` is what to type after it was interrupted."""

    goes_on: str

    @property
    def destination(self) -> Destination: ...

    def fixed(self) -> str:
        """Return what every step goes by: the digest of the backup's manifest (empty for an old file), or
        the restore that is undone. Refuse what the run may not be about."""
        ...

    def plan(self) -> StagedPlan | None:
        """Return the plan of the run, as it was made for it and may be done; ``None`` if none was made.

        Raises:
            RecordRefused: it is not the one that was made.
            ApprovalNeeded, NotApproved, PlanMismatch: it may not be done.
        """
        ...

    def counting(self, doing: str) -> AbstractContextManager[Progress]:
        """Give what is told of each secret that is done."""
        ...


class RestoreWork(PlannedWork, Protocol):
    """What a restore works with."""

    def open(self) -> Restorable:
        """Open the backup."""
        ...

    def secrets(self, origin: Restorable) -> Iterator[Secret]:
        """Yield what is asked for."""
        ...

    def by_container(self, origin: Restorable) -> ChosenByContainer | None:
        """Return it container by container, if it is a backup's and no plan names what is to be done."""
        ...

    def planned(self, origin: Restorable, entries: Iterable[PlanEntry] | None) -> Iterator[Secret]:
        """Yield what these entries are about; all that is asked for where the plan keeps its own."""
        ...

    def shortfall(self) -> Shortfall | None:
        """Return what the backup lacks of those before it."""
        ...

    def missing(self) -> Iterable[MissingSecret]:
        """Return of that what nothing takes from elsewhere: the plan names it."""
        ...

    def made_before(self) -> RestorePlan | None:
        """Return the head of a plan that was made before, with what it comes to now; ``None``: make one."""
        ...

    def keeper(self, origin: Restorable) -> PlanKeeper: ...
    def entries(self, plan: StagedPlan | None, piece: int) -> Iterable[PlanEntry] | None:
        """Return the entries of a piece; ``None`` where what is found is done as it comes."""
        ...

    def folder(self, piece: int) -> Path:
        """Return where a piece is put on record."""
        ...

    def carried(self, folder: Path) -> CarriedRecord | None:
        """Return what brings that record to other hosts; ``None`` if there are no others."""
        ...

    def sealer(self, origin: Restorable) -> UndoSealer:
        """Return what seals the way back."""
        ...

    def began(self, account: RestoreAccount, earlier: Sequence[Interrupted]) -> None:
        """Take note of who tells what is done, and of the interrupted restores that this one goes on with."""
        ...

    def accept_no_way_back(self, why: StrongroomError) -> None:
        """Return if what nobody could undo is begun all the same. Raises ``why``, or that nobody agreed."""
        ...


class UndoWork(PlannedWork, Protocol):
    """What the undoing of a restore works with."""

    def undoing(self) -> AbstractContextManager[Undoing]:
        """Open what the restore kept, and give what undoes it."""
        ...

    def keeper(self, secrets: int) -> PlanKeeper: ...
    def entries(self, plan: StagedPlan | None) -> Iterable[PlanEntry]:
        """Yield what the plan has decided."""
        ...
