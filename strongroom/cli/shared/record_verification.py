"""What a look at a backup adds: it goes on record as a verification, and a target is held against what
else is known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msgspec.structs import replace

from strongroom.cli.shared import admission
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.container.errors import DAMAGE
from strongroom.container.manifest import Manifest, parse_manifest
from strongroom.errors import StrongroomError
from strongroom.model import Depth
from strongroom.operations.backup.order import checks_of_replica
from strongroom.operations.engine.layout import manifest_name
from strongroom.targets import Target
from strongroom.targets.reading import MOST_BYTES, whole_copy

if TYPE_CHECKING:
    from strongroom.state.records import Replica
    from strongroom.state.store import RunStore


@contextmanager
def recorded(
    target: Target, manifest: Manifest, depth: Depth, installation: InstallationPlace, output: Output
) -> Iterator[None]:
    """Have the catalog know what comes of reading a replica back.

    Where there is no usable catalog the answer is all the same, and a note says so.
    """
    try:
        yield
    except DAMAGE:
        _record_result(target, manifest, None, installation, output)
        raise
    _record_result(target, manifest, depth, installation, output)


def _record_result(
    target: Target, manifest: Manifest, depth: Depth | None, installation: InstallationPlace, output: Output
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
            _update_replica(store, replica, depth)
        if depth is not None:
            found = (manifest.backup_id, target.name, len(manifest.containers))
            store.put_checks(checks_of_replica(*found, depth, at=time.time()))
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


def _update_replica(store: RunStore, replica: Replica, depth: Depth | None) -> None:
    good = depth is not None
    store.set_replica(replace(replica, good=good, verified=depth, verified_at=time.time() if good else None))
    store.event("replica.checked", backup=replica.backup, target=replica.target, good=good, depth=depth)
