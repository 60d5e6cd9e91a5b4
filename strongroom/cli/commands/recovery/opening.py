"""Which recovery is gone on with, and where its record lies."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Mapping
from typing import cast

from strongroom.cli.shared import backup_selection, trust
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.container.errors import MissingPiece
from strongroom.keys.roles import load_or_create_role
from strongroom.operations.archive.recoveries import Recovery, RecoveryEntry, RecoveryEntryKind
from strongroom.operations.recovery.places import RecordPlaces
from strongroom.system.person import who
from strongroom.targets import Target
from strongroom.timestamps import readable, rfc3339, unique


def open_places(arguments: Namespace, here: InstallationPlace) -> RecordPlaces:
    """Return the places of the record: this machine, and every target that answers.

    Raises:
        UsageError: no target is configured, and none is named.
    """
    signer = load_or_create_role(here.role_keys, "recover")
    trusted = trust.trusted_signers(here, arguments.signer)
    chooser = backup_selection.make_chooser(arguments, here, trusted)
    targets = {name: cast("Target", listing.objects) for name, listing in chooser.listings.items()}
    return RecordPlaces(here.state_dir, targets, trusted=chooser.trusted, signer=signer)


def opened(arguments: Namespace, places: RecordPlaces, output: Output) -> Recovery:
    """Return the recovery to go on with: the named one, else one that is open, else a new one.

    Raises:
        MissingPiece: no place has the one that is named.
    """
    known = places.recoveries()
    if arguments.resume is not None:
        return _named(arguments.resume, known)
    still_open = [recovery for recovery in known.values() if not recovery.closed_at]
    if still_open and not arguments.new:
        found = still_open[-1]
        output.note(
            f"A recovery is open since {readable(found.opened_at)}: going on with it. (Another: --new)"
        )
        return found
    now = time.time()
    return places.add(
        RecoveryEntry(
            case=unique(now),
            number=1,
            at=rfc3339(now),
            by=who(),
            about=RecoveryEntryKind.OPENED,
            reason=(arguments.reason or "").strip()[:1000],
        )
    )


def _named(name: str, known: Mapping[str, Recovery]) -> Recovery:
    if name not in known:
        raise MissingPiece(
            f"No recovery '{name}' is on record here, or on a target that answers.",
            hint="See them with 'strongroom recover --status'. One that began on a machine with a signer of "
            "its own needs that signer: --signer sr1:…",
        )
    return known[name]
