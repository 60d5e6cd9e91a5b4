"""The steps of a restore, and what they work with."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from strongroom.errors import InstallationError, StrongroomError
from strongroom.operations.engine.approving import end_approval
from strongroom.operations.engine.services import Services
from strongroom.operations.restore.journal import (
    DONE,
    PARTIAL,
    STOPPED,
    Journal,
    RestoreAccount,
    Restored,
    continue_with,
    interrupted,
)
from strongroom.operations.restore.plan import (
    WRITES,
    PlanEntry,
    RestorePlan,
    manifest_digest,
    name_destination,
)
from strongroom.operations.restore.plan_file import make_plan
from strongroom.operations.restore.record import Recorder, Trace, traces_of
from strongroom.operations.restore.restore import count_equal, restore
from strongroom.operations.restore.staged import (
    LOSSES,
    Approved,
    FixedBackup,
    RestoreComparison,
    RunRestored,
    StagedPlan,
    objective_of,
    options_of,
)
from strongroom.operations.restore.undo import seal_record_key, undo_into
from strongroom.state.records import Run, RunStep
from strongroom.system.attempts import on_failure
from strongroom.times import rfc3339, stamp


def fix_backup(run: Run, step: RunStep, services: Services) -> FixedBackup:
    """Find the backup, and fix its manifest for every later step."""
    return FixedBackup(manifest=services.restoring(run, services).fixed())


def plan_step(run: Run, step: RunStep, services: Services) -> StagedPlan:
    """Compare the backup with the destination, and keep what is to be done with each secret."""
    work, options = services.restoring(run, services), options_of(run)
    backup = work.open()
    keeper = work.keeper(backup)
    if (head := work.made_before()) is not None:
        return keeper.finish(head)
    manifest = backup.manifest
    asked = RestorePlan(
        id=run.id,
        made_at=rfc3339(time.time()),
        by=options.requester,
        backup=backup.id,
        manifest=manifest_digest(manifest) if manifest is not None else "",
        destination=name_destination(work.destination, options.destination),
        selection=run.spec.selection,
        names=options.names,
        secret_version=options.secret_version,
        overwrite=options.overwrite,
        relocation=options.relocation,
        shortfall=work.shortfall(),
    )
    made = make_plan(
        asked,
        partial(work.secrets, backup),
        work.destination,
        note=keeper.add,
        first=options.first,
        origin=backup,
        missing=work.missing(),
    )
    return keeper.finish(made)


def approve_step(run: Run, step: RunStep, services: Services) -> Approved:
    """Wait until enough people approved the plan, if the configuration asks for that."""
    services.restoring(run, services).plan()
    return Approved()


def restore_step(run: Run, step: RunStep, services: Services) -> RunRestored:
    """Do one piece of the plan. What a killed attempt at it wrote is as planned by now, and stays."""
    work, options = services.restoring(run, services), options_of(run)
    entries = work.entries(work.plan(), step.piece)
    backup = work.open()
    undo, folder = services.state_dir / "undo", work.folder(step.piece)
    if (carried := work.carried(folder)) is not None:
        carried.bring()  # what another host did of this piece, which was killed at it
    sealer = work.sealer(backup)
    recorder = Recorder(folder, partial(seal_record_key, sealer))
    earlier = list(interrupted(undo, to=options.destination, backup=backup.id, run=run.id))
    journal = Journal(
        started_at=rfc3339(time.time()), backup=backup.id, to=options.destination, goes_on=work.goes_on
    )
    carry = carried.send if carried is not None else None
    account = RestoreAccount(folder, journal, earlier=earlier, recorder=recorder, carry=carry)
    account.begin()
    before = traces_of([folder])
    begun = bool(before or account.tried)
    with on_failure(lambda: account.end(STOPPED if begun else DONE)):
        if (why := _no_way_back(folder, account, recorder)) is not None:
            work.accept_no_way_back(why)
    work.began(account, earlier)
    with on_failure(lambda: account.end(STOPPED)), work.counting("restoring") as advance:
        restore(
            partial(work.planned, backup, entries),
            work.destination,
            overwrite=options.overwrite,
            relocation=options.relocation,
            plan=entries,
            first=options.first,
            undo=undo_into(folder, work.destination, sealer),
            progress=advance,
            account=account,
            tried=account.tried.union(*(attempt.tried for attempt in earlier)),
            newest_only=options.secret_version is not None,
            loss=backup.loss,
            by_container=work.by_container(backup),
        )
    if before:
        account.wrote_before(_written_before(entries or (), before, traces_of([folder]), account))
    account.end(PARTIAL if account.counts.not_done else DONE)
    if carried is not None:
        carried.send()
    ours = undo / run.id
    continue_with(
        [
            earlier_restore
            for earlier_restore in earlier
            if ours not in (earlier_restore.folder, earlier_restore.folder.parent)
        ],
        ours,
    )
    done = restored_by(account, backup.id, ours, aside=backup.aside, away=backup.away)
    return replace(done, carried=carried.head) if carried is not None else done


def _no_way_back(folder: Path, account: RestoreAccount, recorder: Recorder) -> StrongroomError | None:
    """Return why nobody could undo what is about to be done, if so."""
    if account.folder is None:
        return InstallationError(f"it cannot be put on record: {folder} cannot be made")
    return recorder.begin()


def _written_before(
    entries: Iterable[PlanEntry],
    before: Mapping[str, Trace],
    now: Mapping[str, Trace],
    account: RestoreAccount,
) -> Restored:
    """Count the secrets that an attempt wrote which was killed before it could say so."""
    told = {*account.left, *account.moved, *(undone.name for undone in account.not_done)}
    wrote = [
        before[entry.to].wrote
        for entry in entries
        if entry.action in WRITES
        and entry.to in before
        and entry.to not in told
        and now.get(entry.to) == before[entry.to]
    ]
    created = sum(written.expected is None for written in wrote)
    return Restored(
        created=created, changed=len(wrote) - created, versions=sum(written.versions for written in wrote)
    )


def restored_by(
    account: RestoreAccount,
    backup: str,
    folder: Path,
    *,
    aside: tuple[str, ...] = (),
    away: Mapping[str, str] | None = None,
) -> RunRestored:
    """Return what a step did as the run records it."""
    return RunRestored(
        **{field: getattr(account.counts, field) for field in Restored.__struct_fields__},
        backup=backup,
        losses=(*account.stayed, *account.losses)[:LOSSES],
        not_done_by=account.by_code,
        record=str(folder),
        aside=aside,
        away=away or {},
    )


def compare_step(run: Run, step: RunStep, services: Services) -> RestoreComparison:
    """Read back all that was asked for, and compare it with the backup."""
    work, options = services.restoring(run, services), options_of(run)
    backup = work.open()
    with work.counting("comparing") as advance:
        same, differ = count_equal(
            partial(work.secrets, backup), work.destination, relocation=options.relocation, progress=advance
        )
    end_approval(services, run.id)
    return RestoreComparison(
        same=same,
        differ=differ,
        seconds=max(0.0, services.store.clock() - run.created_at),
        objective=objective_of(options, run.spec.selection),
    )


def whole_plan(head: RestorePlan) -> StagedPlan:
    """Return what a run remembers of a plan that is in one piece, and that no stage keeps."""
    return StagedPlan(
        digest=head.digest,
        made_at=stamp(time.time()),
        backup=head.backup,
        destination=head.destination,
        counts=head.totals,
        head="",
        pieces=("",),
        waves=(1,),
    )
