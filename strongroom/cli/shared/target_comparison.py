"""Holding a configured target against what else is known: the catalog, and the other targets.

A target that was rolled back, or emptied, looks as sound as any: only who knows what was there can tell.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from strongroom.cli.shared import admission, backup_selection
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.container.errors import DAMAGE, MissingPiece, NotABackup, Stale
from strongroom.container.manifest import Manifest, parse_manifest
from strongroom.errors import StrongroomError
from strongroom.model import Depth
from strongroom.operations.archive.coverage import Asked, BackupPlace, describe_skipped
from strongroom.operations.archive.inventory import look_over, put_on_record, still_lost
from strongroom.operations.backup.order import checks_of_replica
from strongroom.operations.engine.layout import manifest_name
from strongroom.targets import Target
from strongroom.targets.reading import MOST_BYTES, whole_copy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.cli.shared.inspection import InspectOptions
    from strongroom.operations.archive.inventory import LostReplica
    from strongroom.state.records import Replica
    from strongroom.state.store import RunStore


SOME = 3


@contextmanager
def compared_with_record(
    target: Target, means: InspectOptions, known: frozenset[str], *, newest: bool
) -> Iterator[None]:
    """Look at a target as a whole, beside the one backup that is read back.

    Args:
        newest: that one was taken as the newest, not named.

    What it no longer shows is put on record where that is asked for, and told at the end.

    Raises:
        Stale: it shows an older backup as its newest than it was given.
        MissingPiece: it shows none of those on record there.
    """
    lost = _missing_replicas(target, means, known)
    try:
        yield
    except (NotABackup, MissingPiece) as error:
        if not lost:
            raise
        raise MissingPiece(f"{error.message}. {_missing_words(target, lost)}.", hint=_hint(target)) from None
    if lost:
        raise Stale(f"{_missing_words(target, lost)}.", hint=_hint(target))
    if newest and (newer := _newer_elsewhere(target, means, known)):
        raise Stale(newer, hint=_hint(target))


def _missing_replicas(target: Target, means: InspectOptions, known: frozenset[str]) -> list[LostReplica]:
    """Return what the catalog has on this target, and it does not show; a look needs no catalog."""
    with suppress(StrongroomError):
        store = admission.find_run_store(means.place)
        if store is not None:
            gone = admission.read_record(means.place).gone
            lost = look_over(store, target, trusted=known, gone=gone, deep=False)
            known_before = still_lost(store, target, gone=gone)
            _put_on_record(store, lost, means.output, entering=means.entering)
            return [*lost, *known_before]
    return []


def _put_on_record(store: RunStore, lost: Sequence[LostReplica], output: Output, *, entering: bool) -> None:
    if not entering:
        return
    try:
        put_on_record(store, lost)
    except StrongroomError as error:
        output.note(f"note: the catalog was not told: {error.message}")


def _newer_elsewhere(target: Target, means: InspectOptions, known: frozenset[str]) -> str:
    """Say which newer backup another configured target shows that this one was to hold too."""
    asked = Asked(values=False)
    record = admission.read_record(means.place)
    holders = [
        holder for holder in backup_selection.configured_holders(means.place) if holder.name != target.name
    ]
    others = record.chooser(holders, trusted=known)
    here = record.chooser([BackupPlace(target.name, lambda: target)], trusted=known)
    newest = next((signed for signed, believed in here.listed(asked) if believed), None)
    if newest is not None:
        for line in describe_skipped(here.passed):
            means.output.note(f"no backup: {line}")
    if (lost := here.lost(asked, newest.manifest if newest else None)) is not None:
        return f"A newer backup is known: {lost.words}."  # the record may know for long that it is gone
    for signed, believed in others.listed(asked):
        manifest = signed.manifest
        if not believed or target.name not in {manifest_target.name for manifest_target in manifest.targets}:
            continue
        if newest is not None and newest.manifest.backup_id >= manifest.backup_id:
            return ""
        where = ", ".join(f"'{name}'" for name in others.showing(manifest.backup_id))
        return (
            f"Target '{target.name}' does not show backup {manifest.backup_id} as it was signed, of policy "
            f"'{manifest.policy}' and made {manifest.created_at}, which it was to hold and {where} has."
        )
    return ""


def _missing_words(target: Target, lost: Sequence[LostReplica]) -> str:
    names = ", ".join(lost_replica.replica.backup for lost_replica in lost[:SOME])
    more = f" and {len(lost) - SOME:,} more" if len(lost) > SOME else ""
    return f"Target '{target.name}' does not show what the catalog has as good there: {names}{more}"


def _hint(target: Target) -> str:
    return (
        "Suspect a rollback, or an emptied target: check who could write there. 'strongroom backups repair "
        "--target "
        f"{target.name}' copies the missing replicas."
    )


# -- A look at a backup goes on record as a verification --------------------------------------------


@contextmanager
def recorded(
    target: Target, manifest: Manifest, depth: Depth, installation: InstallationPlace, output: Output
) -> Iterator[None]:
    """Have the catalog know what comes of reading a replica back.

    Where there is no usable catalog the answer is all the same, and a note says so.
    """
    began = time.time()  # nothing of it was read before, and reading it all may take a day
    try:
        yield
    except DAMAGE:
        _record_result(target, manifest, None, installation, output, at=began)
        raise
    _record_result(target, manifest, depth, installation, output, at=began)


def _record_result(
    target: Target,
    manifest: Manifest,
    depth: Depth | None,
    installation: InstallationPlace,
    output: Output,
    *,
    at: float,
) -> None:
    try:
        store = admission.find_run_store(installation)
        known = admission.trusted_signers(installation)
        replica = _replica_on_record(store, target, manifest.backup_id, known) if store else None
        if store is None or replica is None:
            return
        if depth is not None and not replica.good:
            output.note(
                "note: the catalog holds this replica as bad; 'strongroom backups repair "
                f"{manifest.backup_id}' "
                "looks at what is not looked at here, too, and clears that."
            )
        elif depth is None or _is_as_deep(replica, depth):
            _update_replica(store, replica, depth, at=at)
        if depth is not None:
            found = (manifest.backup_id, target.name, len(manifest.containers))
            store.put_checks(checks_of_replica(*found, depth, at=at))
    except StrongroomError as error:
        output.note(f"note: the catalog was not told: {error.message}")


def _replica_on_record(store: RunStore, target: Target, backup: str, known: frozenset[str]) -> Replica | None:
    """Return the catalog's replica, if the target holds the very manifest that is on record.

    Raises:
        UntrustedSigner: the key that signed it counts no more: no depth may say that it can be relied on.
    """
    entry = store.backup(backup)
    found = next((replica for replica in store.replicas(backup) if replica.target == target.name), None)
    if entry is None or found is None:
        return None
    recorded = whole_copy(target, manifest_name(backup), sha256=bytes.fromhex(entry.manifest_sha256))
    if recorded is None:
        return None
    parse_manifest(b"".join(target.read(recorded, length=MOST_BYTES)), trusted=known, receipts=False)
    return found


def _is_as_deep(replica: Replica, depth: Depth) -> bool:
    """Tell whether a look is at least as deep as the one that the catalog has."""
    order = list(Depth)
    return replica.verified is None or order.index(depth) >= order.index(replica.verified)


def _update_replica(store: RunStore, replica: Replica, depth: Depth | None, *, at: float) -> None:
    good = depth is not None
    store.set_replica(replace(replica, good=good, verified=depth, verified_at=at if good else None))
    store.event("replica.checked", backup=replica.backup, target=replica.target, good=good, depth=depth)
