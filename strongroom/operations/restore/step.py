"""restore as a run: what the ``recover`` queue does, with identities and destination at hand."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from strongroom.container.errors import Tampered
from strongroom.container.manifest import Manifest
from strongroom.errors import StrongroomError
from strongroom.keys import Recipient
from strongroom.model import Secret, Selection
from strongroom.operations.approval.require import end_approval
from strongroom.operations.archive.coverage import Asked
from strongroom.operations.archive.failover import Replicated
from strongroom.operations.archive.holds import recorded_holds
from strongroom.operations.archive.inventory import put_damaged_on_record
from strongroom.operations.archive.read_record import read_record
from strongroom.operations.archive.salvage import Salvaged
from strongroom.operations.archive.select_backup import Choice, Chooser, Holder
from strongroom.operations.archive.shortfall import Earlier, Shortfall
from strongroom.operations.errors import BackupQuarantined
from strongroom.operations.identities import openers
from strongroom.operations.restore.approval import require_plan_approval
from strongroom.operations.restore.facts import (
    LOSSES,
    Compared,
    FixedBackup,
    RunRestored,
    StagedPlan,
    facts_of,
    objective_of,
    options_of,
)
from strongroom.operations.restore.journal import (
    DONE,
    PARTIAL,
    STOPPED,
    Account,
    Journal,
    Restored,
    begin_run,
    continue_with,
    interrupted,
)
from strongroom.operations.restore.make_plan import make_plan
from strongroom.operations.restore.plan import (
    TELLS,
    WRITES,
    PlanEntry,
    RestorePlan,
    manifest_digest,
    name_destination,
)
from strongroom.operations.restore.record import Recorder, Trace, traces_of
from strongroom.operations.restore.restore import chosen, count_equal, restore
from strongroom.operations.restore.staged import Spill, entries_of, staged_plan_of, wave_of_names
from strongroom.operations.restore.undo import UndoSealer, seal_record_key, undo_into
from strongroom.operations.run_integrity import check_target
from strongroom.operations.services import Services
from strongroom.operations.shredding import record
from strongroom.state.records import Run, Step
from strongroom.state.store import RunStore
from strongroom.system.undo import on_failure
from strongroom.targets import Target
from strongroom.timestamps import rfc3339


def fix_backup(run: Run, step: Step, services: Services) -> FixedBackup:
    """Find the backup on its targets, and fix its manifest for every later step."""
    choice = _choose(_chooser(run, services), run, run.spec.backup, or_newest=False)
    return FixedBackup(manifest=manifest_digest(choice.manifest))


# -- plan --------------------------------------------------------------------------


def plan_step(run: Run, step: Step, services: Services) -> StagedPlan:
    """Compare the backup with the destination, and stage what is to be done with each secret."""
    options = options_of(run)
    destination = services.destination(options.destination)
    backup = open_fixed(run, services)
    most = len(options.names) or backup.manifest.counts.secrets
    spill = Spill(run, services, wave_of_names(backup, destination, options.first), secrets=most)
    asked = RestorePlan(
        id=run.id,
        made_at=rfc3339(time.time()),
        by=options.requester,
        backup=backup.manifest.backup_id,
        manifest=manifest_digest(backup.manifest),
        destination=name_destination(destination, options.destination),
        selection=run.spec.selection,
        names=options.names,
        overwrite=options.overwrite,
        relocation=options.relocation,
        shortfall=_shortfall(run, services),
    )
    return spill.finish(
        make_plan(
            asked,
            partial(asked_of, run, backup),
            destination,
            note=spill.add,
            backup_of=backup.backup_of,
            earlier=backup.earlier,
            lost=lambda: backup.lost,
            stands_in=backup.stands_in,
        )
    )


def _shortfall(run: Run, services: Services) -> Shortfall | None:
    """Return what the backup of a restore run lacks of those before it."""
    names = options_of(run).names
    selection = Selection(include=names) if names else run.spec.selection
    return shortfall_of(run, services, Asked(backup=run.spec.backup, selection=selection, partial=True))


def shortfall_of(run: Run, services: Services, asked: Asked) -> Shortfall | None:
    """Return what a backup lacks of those before it on the run's targets. Where nothing tells, it goes on."""
    trusted, identities = services.signer_fingerprints, services.identities()
    try:
        chooser = _chooser(run, services)
        earlier = Earlier(
            chooser.choose(asked),
            asked,
            chooser,
            identities=identities,
            trusted=trusted,
            opened=partial(_opened, services=services),
            held=recorded_holds(services.store),
        )
        return earlier.shortfall()
    except StrongroomError:
        return None


def asked_of(run: Run, backup: Salvaged) -> Iterator[Secret]:
    """Yield the secrets of the backup that a run is to restore."""
    return chosen(backup, names=options_of(run).names, selection=run.spec.selection)


# -- restore -----------------------------------------------------------------------


def restore_step(run: Run, step: Step, services: Services) -> RunRestored:
    """Do one piece of the plan. What a killed attempt at it wrote is as planned by now, and stays."""
    plan = staged_plan_of(run, services)
    require_plan_approval(run, plan, services)
    entries = entries_of(run, plan, step.piece, services)
    options = options_of(run)
    destination = services.destination(options.destination)
    backup = open_fixed(run, services)
    folder = begin_run(services.state_dir / "undo" / run.id, journal_of(run, plan)) / _piece(plan, step)
    sealer = sealer_of(run, services, backup.readers())
    recorder = Recorder(folder, partial(seal_record_key, sealer))
    earlier = list(interrupted(folder.parent.parent, to=options.destination, backup=plan.backup, run=run.id))
    account = Account(
        folder,
        journal_of(run, plan),
        earlier=earlier,
        recorder=recorder,
    )
    account.begin()
    before = traces_of([folder])
    with on_failure(lambda: account.end(STOPPED)):
        _require_undoable(recorder)
        restore(
            partial(backup.planned, [(one.name, one.backup) for one in entries if one.action not in TELLS]),
            destination,
            plan=entries,
            relocation=options.relocation,
            undo=undo_into(folder, destination, sealer),
            account=account,
            tried=account.tried.union(*(attempt.tried for attempt in earlier)),
            loss=backup.error,
        )
    account.wrote_before(_written_before(entries, before, traces_of([folder]), account))
    account.end(PARTIAL if account.counts.not_done else DONE)
    continue_with([other for other in earlier if other.folder.parent != folder.parent], folder.parent)
    done = as_result(account, plan.backup, folder.parent)
    aside = tuple(f"{copy.name} ({copy.code})" for copy in backup.aside)
    return replace(done, aside=aside, away=backup.failed)


def sealer_of(run: Run, services: Services, manifest: Manifest | None) -> UndoSealer:
    """Return what seals the way back of a run, for whoever could open a backup."""

    def others() -> Sequence[Recipient]:
        with suppress(StrongroomError):  # of a policy that is no more, or that this host cannot make out
            return services.pinned(run.spec.policy).recipients
        return ()

    return UndoSealer(services.identities(), services.signers("recover"), manifest=manifest, others=others)


def _require_undoable(recorder: Recorder) -> None:
    """Begin nothing that nobody could undo: the command line asks a person, and here there is none."""
    if (why := recorder.begin()) is not None:
        raise type(why)(
            f"This restore could not be undone: {why.message}",
            hint="Nothing was written. Give this host a key that seals and opens, then 'strongroom retry "
            "RUN'. 'strongroom restore --force' restores all the same.",
        )


def _piece(plan: StagedPlan, step: Step) -> str:
    """Name the folder of a piece: by its plan, so that those of a run that was planned anew come later."""
    return f"{plan.made_at}-{step.piece:05}"


def journal_of(run: Run, plan: StagedPlan) -> Journal:
    """Return what a step puts on record from the start."""
    return Journal(
        started_at=rfc3339(time.time()),
        backup=plan.backup,
        to=plan.destination.name,
        goes_on=f"strongroom retry {run.id}",
    )


def _written_before(
    entries: Sequence[PlanEntry], before: Mapping[str, Trace], now: Mapping[str, Trace], account: Account
) -> Restored:
    """Count the secrets that an attempt wrote which was killed before it could say so."""
    told = {*account.left, *account.moved, *(one.name for one in account.not_done)}
    wrote = [
        before[entry.to].wrote
        for entry in entries
        if entry.action in WRITES
        and entry.to in before
        and entry.to not in told
        and now.get(entry.to) == before[entry.to]
    ]
    created = sum(one.expected is None for one in wrote)
    return Restored(
        created=created, changed=len(wrote) - created, versions=sum(one.versions for one in wrote)
    )


def as_result(account: Account, backup: str, folder: Path) -> RunRestored:
    """Return what a step did as the run records it."""
    return RunRestored(
        **{field: getattr(account.counts, field) for field in Restored.__struct_fields__},
        backup=backup,
        losses=(*account.stayed, *account.losses)[:LOSSES],
        not_done_by=account.by_code,
        record=str(folder),
    )


# -- compare -----------------------------------------------------------------------


def compare_step(run: Run, step: Step, services: Services) -> Compared:
    """Read back all that was asked for, and compare it with the backup."""
    options = options_of(run)
    backup = open_fixed(run, services)
    destination = services.destination(options.destination)
    same, differ = count_equal(partial(asked_of, run, backup), destination, relocation=options.relocation)
    end_approval(services, run.id)
    return Compared(
        same=same,
        differ=differ,
        seconds=max(0.0, services.store.clock() - run.created_at),
        objective=objective_of(options, run.spec.selection),
    )


# -- the backup --------------------------------------------------------------------


def open_fixed(run: Run, services: Services) -> Salvaged:
    """Open the backup of a restore run: the one that its first step found, and no other of that name.

    What of it no target gives is taken from the backups before it.
    """
    opened = open_anywhere(run, services, whole=False)
    asked = Asked(backup=run.spec.backup, selection=run.spec.selection, partial=True)
    before = (_opened(choice, services) for choice in _chooser(run, services).before(opened.manifest, asked))
    backup = Salvaged(opened, before)
    backup.unlock()
    if manifest_digest(backup.manifest) != facts_of(run).manifest:
        raise Tampered(
            f"Backup {run.spec.backup} has another manifest now than when this restore was planned.",
            hint="Nothing more was written. Find out who signed it: 'strongroom verify-backup'.",
        )
    return backup


def open_anywhere(
    run: Run, services: Services, *, backup: str = "", or_newest: bool = False, whole: bool = True
) -> Replicated:
    """Open the run's backup, or the newest that covers what it is to restore, from all targets that have it.

    Each wrapping key is opened once: what does not open from one target may from another.

    Args:
        backup: the backup to open, if it is not the one that the run is about.
        or_newest: take the newest of the policy instead if the backup is quarantined.
        whole: a container of each wrapping key has to open.
    """
    openers(run.spec, services)  # one that opens nothing asks no target
    chooser = _chooser(run, services)
    choice = _choose(chooser, run, backup or run.spec.backup, or_newest=or_newest)
    put_damaged_on_record(services.store, chooser.damaged)
    opened = _opened(choice, services)
    opened.failed |= {name: f"{error.code}: {error.message}" for name, error in chooser.away.items()}
    opened.failed |= chooser.odd_marks
    if whole:
        opened.unlock()
    return opened


def _opened(choice: Choice, services: Services) -> Replicated:
    return Replicated(
        choice,
        services.identities(),
        trusted=services.signer_fingerprints,
        told=partial(_put_on_record, services.store),
    )


def _chooser(run: Run, services: Services) -> Chooser:
    record.check(services.store, run.spec.backup, services.signer_fingerprints)
    targets = [check_target(run, pin.name, services) for pin in run.spec.targets]
    trusted = services.signer_fingerprints
    gone = frozenset(record.shredded_backups(services.store, trusted))
    return read_record(services.store, gone=gone).chooser(
        [Holder(target.name, partial(_give_target, target)) for target in targets], trusted=trusted
    )


def _choose(chooser: Chooser, run: Run, backup: str, *, or_newest: bool) -> Choice:
    try:
        return chooser.choose(Asked(backup=backup, selection=run.spec.selection, partial=True))
    except BackupQuarantined:
        if not or_newest:
            raise
    return chooser.choose(Asked(policy=run.spec.policy, partial=True))


def _put_on_record(store: RunStore, name: str, why: str, backup: str) -> None:
    """Have a replica repaired that could not be read: the restore itself goes on with another one."""
    if backup:
        put_damaged_on_record(store, {(name, backup): why})


def _give_target(target: Target) -> Target:
    return target
