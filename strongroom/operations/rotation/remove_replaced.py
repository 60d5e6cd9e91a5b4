"""Removing what a re-encryption replaced: only once the new backup is good, only where nothing locks.

Deletion takes back nothing that was copied; it ends what a key that leaked opens here, once the
store has let go of the versions that it may hide.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from strongroom.container.errors import MissingPiece
from strongroom.container.manifest import Manifest
from strongroom.errors import StrongroomError, UsageError
from strongroom.operations.archive.envelopes import wrapping_keys
from strongroom.operations.archive.holds import Holds, HoldSubject, read_holds
from strongroom.operations.archive.old_versions import OldVersions, hidden_of, locked_until
from strongroom.operations.archive.open import read_manifest
from strongroom.operations.archive.quarantine import all_quarantined
from strongroom.operations.archive.remove_backup import keys_by_containers, remove_backup
from strongroom.operations.archive.successor import Successors, why_set_aside
from strongroom.operations.backup.quorum import missing_from_quorum
from strongroom.operations.errors import QuorumNotMet
from strongroom.operations.layout import manifest_name, successor_of
from strongroom.operations.services import Services
from strongroom.targets import Target
from strongroom.targets.repaired import copies


class ReplacedRemoval(Struct, frozen=True, kw_only=True):
    """What became of a replaced backup: the targets it is gone from, and why it stays on others.

    ``hidden`` is what of it some of those that it is gone from still hide.
    """

    backup: str
    gone: tuple[str, ...]
    kept: dict[str, str]
    hidden: dict[str, OldVersions]


def remove_replaced(services: Services, old: str) -> ReplacedRemoval:
    """Remove a backup from each target that has its successor good, as last read back.

    It may be repeated, and die at any point: the manifest goes first, so that no half of a backup
    is ever visible, and what is left of its objects goes the next time.

    Raises:
        MissingPiece: the catalog does not know it.
        UsageError: it was never sealed anew.
        QuorumNotMet: its successor is not good on enough targets to be a backup.
    """
    new, good = _safe_successor(services, old)
    held = read_holds(services, now=time.time())
    aside = why_set_aside(services, new, quarantined=all_quarantined(services))
    kept: dict[str, str] = {}
    hidden: dict[str, OldVersions] = {}
    for replica in services.store.replicas(old):
        if replica.target not in good:
            kept[replica.target] = "its successor is not good there"
            continue
        if aside:
            kept[replica.target] = aside
            continue
        left = _remove_from_target(services, old, new, replica.target, held)
        if isinstance(left, str):
            kept[replica.target] = left
        else:
            services.store.drop_replica(old, replica.target)
            hidden[replica.target] = left
    gone = tuple(hidden)
    hidden = {name: left for name, left in hidden.items() if left.count}
    noted = {"gone": gone, "kept": kept, "hidden": msgspec.to_builtins(hidden)}
    services.store.event("backup.removed", backup=old, successor=new, **noted)
    return ReplacedRemoval(backup=old, gone=gone, kept=kept, hidden=hidden)


def _safe_successor(services: Services, old: str) -> tuple[str, set[str]]:
    """Return what replaces a backup, and the targets that have it good. Raises if these are too few."""
    entry, new = services.store.backup(old), services.store.backup(successor_of(old))
    if entry is None:
        raise MissingPiece(f"the catalog has no backup '{old}'")
    if new is None:
        raise UsageError(f"Backup {old} was not re-encrypted, so nothing replaces it.", hint="")
    replicas = services.store.replicas(new.backup)
    good = {replica.target for replica in replicas if replica.good and replica.verified}
    if lacking := missing_from_quorum(services.pinned(entry.policy).spec, tuple(good)):
        raise QuorumNotMet(
            f"what replaces {old} is not safe yet: {lacking}", hint="Verify or repair it first."
        )
    return new.backup, good


def _remove_from_target(
    services: Services, backup: str, successor: str, name: str, held: Holds
) -> str | OldVersions:
    """Remove a backup from one target; return why it stays, or what the target still hides of it."""
    try:
        target = services.target(name)
        if not copies(target, manifest_name(successor)):
            # Another medium under the name of the one that was here: nothing is known of that one.
            return "its successor is not there: this may be another medium"
        if why := Successors(services).why_not_whole(successor, name):
            return why
        manifest = _read_manifest(services, target, backup)
        if manifest is not None and (why := held.why(HoldSubject.of(manifest))):
            return why
        if manifest is not None and (until := locked_until(manifest, target)):
            return f"locked until {until}"
        keys = _keys(services, target, backup, manifest)
        trusted = services.signer_fingerprints
        # A key that leaked opens the indexes too.
        removed = remove_backup(target, backup, keys, trusted=trusted, forget_names=True)
    except StrongroomError as error:
        return f"{error.code}: {error.message}"
    return removed.why if removed.left else hidden_of(target, backup, keys)


def _read_manifest(services: Services, target: Target, backup: str) -> Manifest | None:
    if not copies(target, manifest_name(backup)):
        return None  # an earlier attempt got that far
    return read_manifest(target, backup, trusted=services.signer_fingerprints)


def _keys(services: Services, target: Target, backup: str, manifest: Manifest | None) -> Iterable[str]:
    if manifest is not None:
        return wrapping_keys(manifest)
    return keys_by_containers(target, backup, trusted=services.signer_fingerprints)
