"""undo as a run: what the ``recover`` queue does where the record of the restore lies."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from strongroom.container.manifest import Manifest
from strongroom.errors import UsageError
from strongroom.model import prepare
from strongroom.operations.archive.open import Backup, open_backup
from strongroom.operations.identities import openers
from strongroom.operations.restore.approval import require_plan_approval
from strongroom.operations.restore.facts import RunRestored, StagedPlan, UndoOptions
from strongroom.operations.restore.journal import (
    DONE,
    PARTIAL,
    STOPPED,
    Account,
    Restored,
    continue_with,
    interrupted,
    note_undone,
)
from strongroom.operations.restore.plan import (
    WRITES,
    Action,
    PlanEntry,
    RestorePlan,
    encode_entry,
    name_destination,
)
from strongroom.operations.restore.record import Recorder, Trace, key_file, records, traces_of
from strongroom.operations.restore.staged import REST, Spill, entries_of, staged_plan_of
from strongroom.operations.restore.step import as_result, journal_of
from strongroom.operations.restore.take_back import TakeBack, Undoable, undoable
from strongroom.operations.restore.undo import seal_record_key, undo_into
from strongroom.operations.runs.job import read_result
from strongroom.operations.services import Services
from strongroom.state.errors import RecordRefused
from strongroom.state.records import RESTORES, Run, RunKind, Step, StepKind, StepRow, StepState
from strongroom.system.undo import on_failure
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
    with _undoing(run, what, services, {}) as undoing:
        spill = Spill(run, services, lambda name: REST, secrets=undoing.total)

        def note(entry: PlanEntry) -> None:
            entries.update(encode_entry(entry))
            spill.add(entry)

        totals = undoing.plan(note)
    head = RestorePlan(
        id=run.id,
        made_at=rfc3339(time.time()),
        by=options.requester,
        backup=_about(what),
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
    folder, signer = services.state_dir / "undo" / run.id, services.signers("recover")
    what, identities = undoable(folder.parent, options_of(run).undoes), services.identities()
    earlier = list(interrupted(folder.parent, to=plan.destination.name, backup=_about(what)))
    opened: dict[Path, Backup] = {}
    account = Account(
        folder,
        journal_of(run, plan, undoes=what.run),
        earlier=earlier,
        recorder=Recorder(
            folder,
            lambda path, key: seal_record_key(path, key, identities, signer, manifest=_manifest(opened)),
        ),
    )
    account.begin()
    with (
        on_failure(lambda: account.end(STOPPED)),
        _undoing(
            run, what, services, opened, tried=account.tried, only=_to_write(run, plan, services)
        ) as undoing,
    ):
        before = traces_of([folder])
        note_undone(folder.parent / what.run, folder.name)
        destination = services.destination(plan.destination.name)
        keep = undo_into(folder, destination, identities, signer, manifest=_manifest(opened))
        undoing.perform(account, keep)
        account.counts = account.counts.plus(_undone_before(before, traces_of([folder]), account))
    account.end(PARTIAL if account.counts.not_done else DONE)
    continue_with([attempt for attempt in earlier if attempt.folder != folder], folder)
    return as_result(account, plan.backup, folder)


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


def _to_write(run: Run, plan: StagedPlan, services: Services) -> frozenset[str]:
    """Return what the plan brings back or removes. Nothing else is touched: nobody approved it."""
    pieces = (entries_of(run, plan, piece, services) for piece in range(len(plan.pieces)))
    return frozenset(entry.to for piece in pieces for entry in piece if entry.action in _TOUCHES)


_TOUCHES: Final = WRITES | {Action.REMOVE}


def _undone_before(before: Mapping[str, Trace], now: Mapping[str, Trace], account: Account) -> Restored:
    """Count what an attempt did that was killed: what it brought to its end is not looked at again, and what
    it was cut off at is found in place."""
    told = {*account.left, *(one.name for one in account.not_done)}
    in_place = {name for name, trace in before.items() if trace.in_flight and now[name] == trace} - told
    did = [trace for name, trace in before.items() if name in in_place or not trace.in_flight]
    removed = sum(trace.wrote.removed for trace in did)
    created = sum(trace.created for trace in did)
    changed = len(did) - removed - created
    return Restored(created=created, changed=changed, removed=removed, unchanged=-len(in_place))


def _manifest(opened: Mapping[Path, Backup]) -> Manifest | None:
    return next((backup.manifest for backup in opened.values()), None)


@contextmanager
def _undoing(
    run: Run,
    what: Undoable,
    services: Services,
    opened: dict[Path, Backup],
    *,
    tried: frozenset[str] = frozenset(),
    only: frozenset[str] | None = None,
) -> Iterator[TakeBack]:
    """Open what the restore kept, and yield what takes it back."""
    options = options_of(run)
    openers(run.spec, services)
    earlier = interrupted(services.state_dir / "undo", to=options.destination, backup=_about(what))
    tried = tried.union(*(attempt.tried for attempt in earlier))
    with ExitStack() as files:
        open_file = partial(_open, services, files, opened)
        for sealed in [key_file(record) for folder in what.folders for record in records(folder)]:
            if sealed.exists():
                open_file(sealed)  # what does not open is told before anything is begun
        there = services.destination(options.destination)
        yield TakeBack(what, there, open_file, tried=tried, only=only)


def _open(services: Services, files: ExitStack, opened: dict[Path, Backup], file: Path) -> Backup:
    """Open an undo file: one that a trusted installation signed, as any other backup."""
    if file not in opened:
        bundle = files.enter_context(BundleReader(file))
        opened[file] = open_backup(
            bundle, identities=services.identities(), trusted=services.signer_fingerprints
        )
    return opened[file]


def _about(what: Undoable) -> str:
    return f"undo of {what.run}"
