"""restore as a run: what the ``recover`` queue does, with identities and destination at hand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from strongroom.errors import MissingPiece, StrongroomError
from strongroom.model import prepare
from strongroom.operations import quarantine, shred_record
from strongroom.operations.account import (
    DONE,
    PARTIAL,
    STOPPED,
    Account,
    Interrupted,
    Journal,
    continue_with,
    interrupted,
)
from strongroom.operations.envelopes_newest import Elsewhere
from strongroom.operations.open import Backup, open_backup
from strongroom.operations.openers import openers
from strongroom.operations.pins import check_target
from strongroom.operations.restore import chosen, restore
from strongroom.operations.services import Services
from strongroom.operations.times import rfc3339
from strongroom.operations.undo import undo_into
from strongroom.state.records import Run, Step
from strongroom.targets import Target


class RestoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore run is asked for, as its spec's options keep it."""

    destination: str
    names: tuple[str, ...] = ()
    overwrite: bool = False


prepare(RestoreOptions)


def restore_step(run: Run, step: Step, services: Services) -> dict[str, Any]:
    """Restore from the first target that has the backup whole and validly signed."""
    options = msgspec.convert(run.spec.options, RestoreOptions)
    destination = services.destination(options.destination)
    backup = open_anywhere(run, services)
    folder = services.state_dir / "undo" / run.id
    undo = undo_into(
        folder,
        destination,
        services.identities(),
        services.signers("recover"),
        manifest=backup.manifest,
    )
    earlier = list(interrupted(folder.parent, to=options.destination, backup=backup.manifest.backup_id))
    account = _account(folder, run, options, backup, earlier)
    try:
        done = restore(
            lambda: chosen(backup, names=options.names, selection=run.spec.selection),
            destination,
            overwrite=options.overwrite,
            undo=undo,
            account=account,
            tried=frozenset().union(*(one.tried for one in earlier)),
        )
    except BaseException:
        account.end(STOPPED)
        raise
    account.end(PARTIAL if done.not_done else DONE)
    continue_with([one for one in earlier if one.folder != folder], folder)
    return {
        "backup": backup.manifest.backup_id,
        **msgspec.to_builtins(done),
        "losses": list(account.losses),
        "not_done_by": account.by_code,
        "record": str(folder),
        "aside": [f"{one.name} ({one.code})" for one in backup.aside],
    }


def _account(
    folder: Path, run: Run, options: RestoreOptions, backup: Backup, earlier: Sequence[Interrupted]
) -> Account:
    """Open an account beside what the restore overwrites."""
    journal = Journal(
        started_at=rfc3339(time.time()),
        backup=backup.manifest.backup_id,
        to=options.destination,
        goes_on=f"strongroom retry {run.id}",
    )
    lost = tuple(dict.fromkeys(line for one in earlier for line in one.losses))
    account = Account(folder, journal, earlier=lost)
    account.begin()
    return account


def open_anywhere(run: Run, services: Services) -> Backup:
    """Open the run's backup (the newest, if it names none) from the first target that can."""
    openers(run.spec, services)  # one that opens nothing asks no target
    quarantine.check(services, run.spec.backup)
    shred_record.check(services.store, run.spec.backup, services.signer_fingerprints)
    reasons = []
    for pin in run.spec.targets:
        target = check_target(run, pin.name, services)
        try:
            return _opened(target, run, services)
        except StrongroomError as error:
            reasons.append(f"{pin.name}: {error}")
    raise MissingPiece("no target gave the backup back; " + "; ".join(reasons))


def _opened(target: Target, run: Run, services: Services) -> Backup:
    """Open a backup from one target, each wrapping key once: what does not open here may elsewhere."""
    others = [services.target(pin.name) for pin in run.spec.targets if pin.name != target.name]
    trusted = services.signer_fingerprints
    backup = open_backup(
        target,
        run.spec.backup or None,
        identities=services.identities(),
        trusted=trusted,
        known=Elsewhere(others, trusted=trusted),
    )
    backup.unlock()
    return backup
