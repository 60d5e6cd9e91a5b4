"""restore as a run: what the ``recover`` queue does, with identities and destination at hand."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from strongroom.model import prepare
from strongroom.operations.archive import quarantine
from strongroom.operations.archive.coverage import Asked
from strongroom.operations.archive.failover import Replicated
from strongroom.operations.archive.inventory import put_damaged_on_record
from strongroom.operations.archive.select_backup import Choice, Chooser, Holder
from strongroom.operations.errors import BackupQuarantined
from strongroom.operations.identities import openers
from strongroom.operations.restore.journal import (
    DONE,
    PARTIAL,
    STOPPED,
    Account,
    Interrupted,
    Journal,
    Restored,
    continue_with,
    interrupted,
)
from strongroom.operations.restore.record import Recorder
from strongroom.operations.restore.restore import chosen, restore
from strongroom.operations.restore.undo import seal_record_key, undo_into
from strongroom.operations.run_integrity import check_target
from strongroom.operations.services import Services
from strongroom.operations.shredding import record
from strongroom.state.records import Run, Step
from strongroom.state.store import RunStore
from strongroom.system.undo import on_failure
from strongroom.targets import Target
from strongroom.timestamps import rfc3339


class RestoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore run is asked for, as its spec's options keep it."""

    destination: str
    names: tuple[str, ...] = ()
    overwrite: bool = False


prepare(RestoreOptions)


class RunRestored(Restored, frozen=True, kw_only=True):
    """What a restore run did. ``losses`` could not be restored in full, ``not_done_by`` counts what was not
    restored by the code of the error. ``record`` is the folder that names each. ``aside`` names
    objects next to the backup that do not count."""

    backup: str
    losses: tuple[str, ...]
    not_done_by: Mapping[str, int]
    record: str
    aside: tuple[str, ...]


prepare(RunRestored)


def restore_step(run: Run, step: Step, services: Services) -> RunRestored:
    """Restore from the first target that has the backup whole and validly signed."""
    options = msgspec.convert(run.spec.options, RestoreOptions)
    destination = services.destination(options.destination)
    backup = open_anywhere(run, services)
    folder = services.state_dir / "undo" / run.id
    signer = services.signers("recover")
    undo = undo_into(folder, destination, services.identities(), signer, manifest=backup.manifest)
    earlier = list(interrupted(folder.parent, to=options.destination, backup=backup.manifest.backup_id))
    seal_key = partial(
        seal_record_key, identities=services.identities(), signer=signer, manifest=backup.manifest
    )
    recorder = Recorder(folder, seal_key)
    account = _open_account(run, options, backup, earlier=earlier, recorder=recorder)
    with on_failure(lambda: account.end(STOPPED)):
        done = restore(
            lambda: chosen(backup, names=options.names, selection=run.spec.selection),
            destination,
            overwrite=options.overwrite,
            undo=undo,
            account=account,
            tried=frozenset().union(*(attempt.tried for attempt in earlier)),
        )
    account.end(PARTIAL if done.not_done else DONE)
    continue_with([attempt for attempt in earlier if attempt.folder != folder], folder)
    return _as_result(done, account, backup)


def _as_result(done: Restored, account: Account, backup: Replicated) -> RunRestored:
    """Return a restore as the run records it."""
    return RunRestored(
        **msgspec.structs.asdict(done),
        backup=backup.manifest.backup_id,
        losses=tuple(account.losses),
        not_done_by=account.by_code,
        record=str(account.folder),
        aside=tuple(f"{copy.name} ({copy.code})" for copy in backup.aside),
    )


def _open_account(
    run: Run,
    options: RestoreOptions,
    backup: Replicated,
    *,
    earlier: Sequence[Interrupted],
    recorder: Recorder,
) -> Account:
    """Open an account beside what the restore overwrites."""
    journal = Journal(
        started_at=rfc3339(time.time()),
        backup=backup.manifest.backup_id,
        to=options.destination,
        goes_on=f"strongroom retry {run.id}",
    )
    lost = tuple(dict.fromkeys(line for attempt in earlier for line in attempt.losses))
    account = Account(recorder.folder, journal, earlier=lost, recorder=recorder)
    account.begin()
    return account


def open_anywhere(run: Run, services: Services, *, backup: str = "", or_newest: bool = False) -> Replicated:
    """Open the run's backup, or the newest that covers what it is to restore, from all targets that have it.

    Each wrapping key is opened once: what does not open from one target may from another.

    Args:
        backup: the backup to open, if it is not the one that the run is about.
        or_newest: take the newest of the policy instead if the backup is quarantined.
    """
    openers(run.spec, services)  # one that opens nothing asks no target
    record.check(services.store, run.spec.backup, services.signer_fingerprints)
    targets = [check_target(run, pin.name, services) for pin in run.spec.targets]
    trusted = services.signer_fingerprints
    chooser = Chooser(
        [Holder(target.name, partial(_give_target, target)) for target in targets],
        trusted=trusted,
        quarantined=quarantine.quarantined_on_record(services.store),
        gone=frozenset(record.shredded_backups(services.store, trusted)),
    )
    choice = _choose(chooser, run, backup or run.spec.backup, or_newest=or_newest)
    put_damaged_on_record(services.store, chooser.damaged)
    opened = Replicated(
        choice, services.identities(), trusted=trusted, told=partial(_put_on_record, services.store)
    )
    opened.unlock()
    return opened


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
