"""What a run about an existing backup is to do: at its policy's targets, to its policy's quorum."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from strongroom.container.errors import MissingPiece
from strongroom.operations.archive.file_backups import in_a_file, made_by_a_command
from strongroom.operations.archive.quarantine import on_record
from strongroom.operations.services import Services
from strongroom.operations.shredding import record as shredding_record
from strongroom.state.records import CatalogEntry, RunKind, Spec

_IDS = "Give the id of a backup, and no policy: 'strongroom backups list' shows them."


def spec_about(services: Services, kind: RunKind, backup: str, **fields: Any) -> Spec:
    """Return the spec of a run about an existing backup.

    Raises:
        BackupShredded: nothing brings it up or back.
        UsageError: a command made it: no policy says where it belongs.
    """
    shredding_record.check(services.store, backup, services.signer_fingerprints)
    entry = services.store.backup(backup)
    if entry is None:
        raise MissingPiece(f"the catalog has no backup '{backup}'", hint=_IDS)
    if in_a_file(entry):
        raise made_by_a_command(services, backup)
    about = {"source": entry.source, "values": entry.values, "backup": backup}
    return spec_of_policy(services, kind, entry.policy, **about, **fields)


def spec_of_policy(services: Services, kind: RunKind, policy: str, **fields: Any) -> Spec:
    """Return the spec of a run about the backups of a policy."""
    pinned = services.pinned(policy).spec
    return Spec(
        kind=kind,
        policy=policy,
        sealed=pinned.sealed,
        targets=pinned.targets,
        recipients=pinned.recipients,
        quorum=pinned.quorum,
        regions=pinned.regions,
        providers=pinned.providers,
        minimum_retention_days=pinned.minimum_retention_days,
        **fields,
    )


def newest(services: Services, policy: str) -> str:
    """Return the id of a policy's newest backup that is to be kept, and may be restored from."""
    backup = newest_if_any(services, policy)
    if backup is None:
        hint = f"Make one: 'strongroom backup --policy {policy}'."
        raise MissingPiece(f"there is no backup of policy '{policy}' yet", hint=hint)
    return backup


def newest_if_any(services: Services, policy: str) -> str | None:
    """As :func:`newest`; ``None`` if there is none."""
    return next((entry.backup for entry in restorable(services, policy)), None)


def had_backup(services: Services, policy: str, moment: float) -> bool:
    """Tell whether a policy had a backup at a moment (epoch seconds) that may still be restored from."""
    made = (datetime.fromisoformat(entry.created_at) for entry in restorable(services, policy))
    return any(made_at.timestamp() <= moment for made_at in made)


def restorable(services: Services, policy: str) -> Iterator[CatalogEntry]:
    """Yield a policy's backups that may be restored from, the newest first."""
    shredding = shredding_record.shredded_backups(services.store, services.signer_fingerprints)
    aside = shredding | on_record(services.store).keys()
    yield from (entry for entry in services.store.backups(policy=policy) if entry.backup not in aside)
