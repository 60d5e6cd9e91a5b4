"""undo as a run: what the ``recover`` queue does where the record of the restore lies."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Struct

from strongroom.errors import UsageError
from strongroom.model import prepare
from strongroom.operations.archive.open import Backup, open_backup
from strongroom.operations.identities import openers
from strongroom.operations.restore.approval import require_plan_approval
from strongroom.operations.restore.facts import RunRestored, StagedPlan, UndoOptions
from strongroom.operations.restore.plan import PlanEntry, RestorePlan, encode_entry, name_destination
from strongroom.operations.restore.staged import REST, Spill, entries_of, staged_plan_of
from strongroom.operations.restore.step import as_result, sealer_of
from strongroom.operations.restore.take_back import Undoable, decided, undoable
from strongroom.operations.restore.undoing import Undoing, about
from strongroom.operations.runs.job import read_result
from strongroom.operations.services import Services
from strongroom.state.errors import RecordRefused
from strongroom.state.records import RESTORES, Run, RunKind, Step, StepKind, StepRow, StepState
from strongroom.targets.single_file import BundleReader
from strongroom.timestamps import rfc3339
from strongroom.words import plural


class FixedRestore(Struct, frozen=True, kw_only=True):
    """The restore that the run undoes."""

    undoes: str


prepare(FixedRestore)


def fix_restore(run: Run, step: Step, services: Services) -> FixedRestore:
    """Hold an undo to a restore that is on record and at its end, into the same destination."""
    options = options_of(run)
    undone = services.store.load(options.undoes)
    if undone.spec.kind not in RESTORES:
        raise RecordRefused(f"run {undone.id} is no restore")
    if undone.spec.options.get("destination") != options.destination:
        raise RecordRefused(f"run {undone.id} restored into another destination than run {run.id} names")
    if not undone.state.final:
        raise UsageError(
            f"Run {undone.id} is still at work.", hint=f"Wait, then 'strongroom retry {run.id}'."
        )
    return FixedRestore(undoes=undone.id)


def options_of(run: Run) -> UndoOptions:
    """Return what an undo run is asked for."""
    try:
        return msgspec.convert(run.spec.options, UndoOptions)
    except msgspec.ValidationError:
        raise RecordRefused(f"the options of run {run.id} are not those of an undo") from None


def plan_undo(run: Run, step: Step, services: Services) -> StagedPlan:
    """Look at what the restore left, and say what would be done with each secret; write nothing."""
    options = options_of(run)
    entries = hashlib.sha256()
    _require_whole_record(run, services)
    what = undoable(services.state_dir / "undo", options.undoes)
    with _undoing(run, what, services) as undoing:
        spill = Spill(run, services, lambda name: REST, secrets=undoing.take_back().total)

        def note(entry: PlanEntry) -> None:
            entries.update(encode_entry(entry))
            spill.add(entry)

        totals = undoing.plan(note)
    head = RestorePlan(
        id=run.id,
        made_at=rfc3339(time.time()),
        by=options.requester,
        backup=about(what),
        manifest="",
        destination=name_destination(services.destination(options.destination), options.destination),
        overwrite=True,
        totals=totals,
        entries=entries.hexdigest(),
    )
    return spill.finish(head)


def undo_step(run: Run, step: Step, services: Services) -> RunRestored:
    """Bring back what was there, and remove what was not; what an attempt that died did is not done again."""
    plan = staged_plan_of(run, services)
    require_plan_approval(run, plan, services)
    _require_whole_record(run, services)
    folder = services.state_dir / "undo" / run.id
    pieces = (entries_of(run, plan, piece, services) for piece in range(len(plan.pieces)))
    # Nothing that is not in the plan is touched: nobody approved it.
    only = decided(entry for piece in pieces for entry in piece)
    with _undoing(run, undoable(folder.parent, options_of(run).undoes), services) as undoing:
        undoing.perform(only)
    return as_result(undoing.account, plan.backup, folder)


def _require_whole_record(run: Run, services: Services) -> None:
    """Refuse to undo a part: what another host's worker restored is on record there alone."""
    undone = services.store.load(options_of(run).undoes)
    if undone.spec.kind is RunKind.UNDO:  # one piece, which is there or not
        return
    folder = services.state_dir / "undo" / undone.id
    wrote = [
        row.step.piece for row in services.store.rows(undone.id, StepKind.RESTORE) if _wrote(undone, row)
    ]
    if elsewhere := sum(not any(folder.glob(f"*-{piece:05}")) for piece in wrote):
        raise UsageError(
            f"{elsewhere:,} of the {plural(len(wrote), 'piece')} of run {undone.id} are not on record "
            "on this host.",
            hint="Nothing was changed. On each host whose workers restored it, type "
            f"'strongroom restore undo {undone.id}': that undoes what this host restored.",
        )


def _wrote(run: Run, row: StepRow) -> bool:
    """Tell whether a piece wrote anything: one that did not leaves no record."""
    return row.state is StepState.DONE and read_result(run, row.step, row.result, RunRestored).written > 0


@contextmanager
def _undoing(run: Run, what: Undoable, services: Services) -> Iterator[Undoing]:
    """Open what the restore kept, and yield what undoes it."""
    options = options_of(run)
    openers(run.spec, services)
    opened: dict[Path, Backup] = {}
    with ExitStack() as files:
        yield Undoing(
            what,
            services.destination(options.destination),
            services.state_dir / "undo" / run.id,
            open_file=partial(_open, services, files, opened),
            sealer=lambda: sealer_of(run, services, next((b.manifest for b in opened.values()), None)),
            to=options.destination,
            goes_on=f"strongroom retry {run.id}",
            selection=options.selection,
        )


def _open(services: Services, files: ExitStack, opened: dict[Path, Backup], file: Path) -> Backup:
    """Open an undo file: one that a trusted installation signed, as any other backup."""
    if file not in opened:
        bundle = files.enter_context(BundleReader(file))
        opened[file] = open_backup(
            bundle, identities=services.identities(), trusted=services.signer_fingerprints
        )
    return opened[file]
