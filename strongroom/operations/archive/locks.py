"""Locks on what was placed: short at the put, extended once the backup is whole.

Until its commit nobody knows whether a backup comes of what lies on a target, and an object
under a long lock could not be swept. Afterwards each of its objects is locked for as
long as the policy keeps backups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Protocol

from msgspec import Struct

from strongroom.container.manifest import Manifest
from strongroom.errors import StrongroomError
from strongroom.model import prepare
from strongroom.operations.layout import container_name, manifest_name
from strongroom.operations.runs.job import read_facts
from strongroom.operations.services import Services
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run
from strongroom.state.store import RunStore
from strongroom.targets import Locking, Target
from strongroom.targets.repaired import copies
from strongroom.words import plural

RECENT = 1000
"""Runs that are looked through."""


class LockingTarget(Target, Locking, Protocol):
    """A target that locks."""


def lock_replicas(run: Run, manifest: Manifest, names: Sequence[str], services: Services) -> dict[str, str]:
    """Lock a backup on each of these targets that locks; say on which it is not, and why."""
    until = lock_until(manifest, run.spec.minimum_retention_days)
    refusals = {name: lock_backup(services.target(name), manifest, until) for name in names}
    return {name: why for name, why in refusals.items() if why is not None}


def left_unlocked(store: RunStore) -> dict[str, Mapping[str, str]]:
    """Say which whole backups are not locked, and where and why, by the newest run that tried.

    The next repair locks them. One that a repair tries in vain stays among the newest runs.
    """
    newest: dict[str, Mapping[str, str]] = {}
    for run in store.runs(limit=RECENT):
        if run.state.final and (unlocked := _unlocked_by(run)) is not None:
            newest.setdefault(run.spec.backup or run.id, unlocked)
    return {backup: where for backup, where in newest.items() if where}


class _LockFacts(Struct, frozen=True, kw_only=True):
    """What a run that locked replicas says: on which target one is not locked, and why."""

    unlocked: Mapping[str, str] | None = None


prepare(_LockFacts)


def _unlocked_by(run: Run) -> Mapping[str, str] | None:
    try:
        return read_facts(run, _LockFacts).unlocked
    except RecordRefused:  # an odd row says nothing, and must not hide the others
        return None


def lock_until(manifest: Manifest, minimum_retention_days: int) -> datetime:
    """Return until when a policy keeps a backup at least."""
    return datetime.fromisoformat(manifest.created_at) + timedelta(days=minimum_retention_days)


def lock_backup(target: Target, manifest: Manifest, until: datetime) -> str | None:
    """Lock a backup's objects on a target that locks; return what stays unlocked, or ``None``.

    The manifest comes last, so that one which is locked for long says that all of them are.
    A target's own maximum counts as done: the cap is its administrator's word.
    """
    if not (isinstance(target, Locking) and target.locks):
        return None
    names = [container_name(manifest.backup_id, entry.sha256) for entry in manifest.containers]
    names.append(manifest_name(manifest.backup_id))
    failed = [(name, why) for name in names if (why := _locked(target, name, until))]
    return _said(failed, len(names))


def _locked(target: LockingTarget, name: str, until: datetime) -> str | None:
    try:
        for copy in copies(target, name) or [name]:
            target.extend_lock(copy, until)
    except StrongroomError as error:
        return str(error)
    return None


def _said(failed: Sequence[tuple[str, str]], total: int) -> str | None:
    if not failed:
        return None
    [(_, why)] = islice(failed, 1)
    return f"{len(failed):,} of {plural(total, 'object')} could not be locked: {why}"
