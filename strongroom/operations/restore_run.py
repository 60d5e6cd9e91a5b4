"""restore as a run: what the ``recover`` queue does, with identities and destination at hand."""

from __future__ import annotations

from typing import Any

import msgspec

from strongroom.errors import MissingPiece, StrongroomError
from strongroom.model import prepare
from strongroom.operations import quarantine, shred_record
from strongroom.operations.envelopes_newest import Elsewhere
from strongroom.operations.open import Backup, open_backup
from strongroom.operations.openers import openers
from strongroom.operations.pins import check_target
from strongroom.operations.restore import chosen, restore
from strongroom.operations.services import Services
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
    undo = undo_into(
        services.state_dir / "undo" / run.id,
        destination,
        services.identities(),
        services.signers("recover"),
        manifest=backup.manifest,
    )
    done = restore(
        lambda: chosen(backup, names=options.names, selection=run.spec.selection),
        destination,
        overwrite=options.overwrite,
        undo=undo,
    )
    losses = list(destination.losses())
    aside = [f"{one.name} ({one.code})" for one in backup.aside]
    return {
        "backup": backup.manifest.backup_id,
        **msgspec.to_builtins(done),
        "losses": losses,
        "aside": aside,
    }


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
