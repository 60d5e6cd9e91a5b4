"""What a restore run is asked for, and what its steps find out: no secret's name is in any result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from glob import escape

import msgspec

from strongroom.model import Selection, prepare
from strongroom.operations.archive.salvage import LostParts
from strongroom.operations.archive.shortfall import Shortfall
from strongroom.operations.recovery_objective import OBJECTIVES, DrillScope
from strongroom.operations.restore.journal import Restored
from strongroom.operations.restore.plan import FIRST, IN_PLACE, NamedDestination, Relocation
from strongroom.operations.runs.job import read_facts
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run

LOSSES = 100
"""Losses that a run's facts name; the record on the host has all of them."""


class RestoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore run is asked for, as its spec's options keep it.

    ``first`` are tags: the secrets that have one of them come back before the others. ``requester`` is who
    asked. ``relocation`` is what they are called there. ``objective_seconds`` is how long it may take (0:
    that of its scope). ``secret_version`` is which version of the one secret comes back (its newest).

    A person at a command line may do without what a cluster always does: ``planned`` says whether a plan is
    made before, ``compare`` whether everything is read once more at the end. With ``only_plan`` the run ends
    with its plan.
    """

    destination: str
    names: tuple[str, ...] = ()
    overwrite: bool = False
    requester: str = ""
    first: tuple[str, ...] = FIRST
    objective_seconds: float = 0.0
    relocation: Relocation = IN_PLACE
    secret_version: int | None = None
    planned: bool = True
    compare: bool = True
    only_plan: bool = False


class UndoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What an undo run is asked for: which restore, and who asked. ``destination`` is that of the restore.
    ``selection`` is which of its secrets are meant. With ``only_plan`` the run ends with its plan."""

    undoes: str
    destination: str = ""
    requester: str = ""
    selection: Selection = Selection()
    only_plan: bool = False


class FixedBackup(msgspec.Struct, frozen=True, kw_only=True):
    """The backup that every step of the run reads, by the digest of its manifest."""

    manifest: str


class StagedPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A restore plan that lies sealed on the stage, as the recover role signed it.

    ``digest`` is the plan's own: what people approve. ``head`` and ``pieces`` are the digests of the objects
    on the stage, the pieces in the order in which they are done. ``waves`` says how many pieces are done at
    the same time: what others rest on, then what is critical, then the rest. ``made_at`` is when it was made,
    to the microsecond: the folders of its pieces are named by it, and those of a later plan come after them.
    ``shortfall`` is what the backup lacks of those before it, and ``lost`` what of it could not be read. Both
    are without a name.
    """

    digest: str
    made_at: str
    backup: str
    destination: NamedDestination
    counts: Restored
    head: str
    pieces: tuple[str, ...]
    waves: tuple[int, ...]
    shortfall: Shortfall | None = None
    lost: LostParts | None = None
    signature: str = ""

    @property
    def less(self) -> str:
        """Why the backup is not all that is known; empty if it is, but for what was deleted."""
        error = self.shortfall.error() if self.shortfall is not None else None
        return error.message if error is not None else ""


class Approved(msgspec.Struct, frozen=True, kw_only=True):
    """A run may go on: nothing asks for approvals, or enough were there. Each piece asks again."""


class RunRestored(Restored, frozen=True, kw_only=True):
    """What a piece of a restore run did, or all of them. ``losses`` could not be restored in full,
    ``not_done_by`` counts what was not restored by the code of the error. ``record`` is the folder that
    names each. ``aside`` names objects next to the backup that do not count. ``away`` says what was wrong
    with each target that did not give the backup whole: another one did."""

    backup: str
    losses: tuple[str, ...] = ()
    not_done_by: Mapping[str, int] = {}
    record: str = ""
    aside: tuple[str, ...] = ()
    away: Mapping[str, str] = {}

    def with_piece(self, piece: RunRestored) -> RunRestored:
        """Add what another piece did."""
        codes = {**self.not_done_by, **piece.not_done_by}
        by_code = {code: self.not_done_by.get(code, 0) + piece.not_done_by.get(code, 0) for code in codes}
        return RunRestored(
            **msgspec.structs.asdict(self.plus(piece)),
            backup=self.backup,
            losses=tuple(dict.fromkeys((*self.losses, *piece.losses)))[:LOSSES],
            not_done_by=by_code,
            record=piece.record or self.record,
            aside=tuple(dict.fromkeys((*self.aside, *piece.aside))),
            away={**self.away, **piece.away},
        )


class RestoreComparison(msgspec.Struct, frozen=True, kw_only=True):
    """How the destination compares with the backup once everything is done: all that was asked for is read
    once more. ``seconds`` is how long the run had taken by then, ``objective`` how long it may take."""

    same: int
    differ: int
    seconds: float
    objective: float


class RestoreFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a restore, or of an undo, which is about no manifest."""

    manifest: str = ""
    restore_plan: StagedPlan | None = None
    restore: RunRestored | None = None
    restore_compare: RestoreComparison | None = None


prepare(
    RestoreOptions,
    UndoOptions,
    FixedBackup,
    StagedPlan,
    Approved,
    RunRestored,
    RestoreComparison,
    RestoreFacts,
)


def options_of(run: Run) -> RestoreOptions:
    """Return what a restore run is asked for."""
    try:
        return msgspec.convert(run.spec.options, RestoreOptions)
    except msgspec.ValidationError:
        raise RecordRefused(f"the options of run {run.id} are not those of a restore") from None


def named_or_tagged(names: Sequence[str], tags: Mapping[str, str] | None) -> Selection:
    """Return what an undo of these secrets means; without any, all. A name is no pattern."""
    return Selection(include=tuple(map(escape, names)), tags=dict(tags or {}))


def objective_of(options: RestoreOptions, selection: Selection) -> float:
    """Return within how many seconds a restore of so much is to be done."""
    return options.objective_seconds or OBJECTIVES[scope_of(options, selection)]


def scope_of(options: RestoreOptions, selection: Selection) -> DrillScope:
    """Return how much is brought back."""
    if len(options.names) == 1:
        return DrillScope.SINGLE
    return DrillScope.CATEGORY if options.names or selection != Selection() else DrillScope.FULL


def facts_of(run: Run) -> RestoreFacts:
    """Return what is known of a restore run."""
    return read_facts(run, RestoreFacts)
