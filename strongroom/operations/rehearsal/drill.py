"""drill: a rehearsed recovery, timed against its objective.

Newest backup → scratch store → compare every value → teardown. The scratch store is a
local store of its own: sealed under a master key that goes with it.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from msgspec import Struct

from strongroom.container.digests import value_digest
from strongroom.container.errors import VerificationFailed
from strongroom.model import Secret, prepare
from strongroom.operations.archive.failover import Replicated
from strongroom.operations.restore.restore import present
from strongroom.operations.restore.restore import restore as restore_secrets
from strongroom.operations.restore.step import open_anywhere
from strongroom.operations.runs.job import read_facts
from strongroom.operations.services import Services
from strongroom.sources import Rationed
from strongroom.sources.local import LocalStore
from strongroom.state.records import Run, Step
from strongroom.words import plural

BATCH = 1000


class Rehearsed(Struct, frozen=True, kw_only=True):
    """What came back into the scratch store, of which backup, and how long that took."""

    backup: str
    source: str
    secrets: int
    versions: int
    seconds: float


class Compared(Struct, frozen=True, kw_only=True):
    """How many values were compared, and how long that took."""

    compared: int
    seconds: float


class TornDown(Struct, frozen=True):
    """The scratch store is gone."""


class DrillFacts(Struct, frozen=True, kw_only=True, rename="kebab"):
    """What is known of a drill, from step to step."""

    drill_restore: Rehearsed | None = None
    drill_compare: Compared | None = None


prepare(DrillFacts, TornDown)


def restore(run: Run, step: Step, services: Services) -> Rehearsed:
    """Restore the whole backup into an empty scratch store.

    If the backup is quarantined by now, the one before it is rehearsed.
    """
    started = time.monotonic()
    remove_scratch(run, services)
    earlier = _rehearsed_backup(run)
    backup = open_anywhere(run, services, backup=earlier, or_newest=not earlier)
    done = restore_secrets(backup.secrets, LocalStore(_scratch(run, services)), overwrite=False)
    if done.created != backup.manifest.counts.secrets:
        expected = plural(backup.manifest.counts.secrets, "secret")
        raise VerificationFailed(f"{done.created:,} of {expected} came back")
    return Rehearsed(
        backup=backup.manifest.backup_id,
        source=backup.manifest.source,
        secrets=done.created,
        versions=done.versions,
        seconds=time.monotonic() - started,
    )


def _rehearsed_backup(run: Run) -> str:
    rehearsed = read_facts(run, DrillFacts).drill_restore
    return "" if rehearsed is None else rehearsed.backup


def took_seconds(run: Run) -> float:
    """Return how long a drill took to bring everything back and to compare it, as far as it came."""
    facts = read_facts(run, DrillFacts)
    timed = (facts.drill_restore, facts.drill_compare)
    return sum(step.seconds for step in timed if step is not None)


def least_seconds(rehearsed: Rehearsed, services: Services) -> float:
    """Return how long the source itself takes at the least for what came back.

    The scratch store takes all that a disk can; a cloud lets only so many writes through, and
    would make a drill's time a promise that nobody can keep.
    """
    source: object = services.sources.get(rehearsed.source)
    if not isinstance(source, Rationed):
        return 0.0
    return source.least_seconds(secrets=rehearsed.secrets, versions=rehearsed.versions)


def compare(run: Run, step: Step, services: Services) -> Compared:
    """Compare every value in the scratch store against the digests taken at capture."""
    started = time.monotonic()
    backup = open_anywhere(run, services, backup=_rehearsed_backup(run))
    store = LocalStore(_scratch(run, services))
    compared = sum(
        _compare_container(backup, piece, store, services) for piece in range(len(backup.manifest.containers))
    )
    return Compared(compared=compared, seconds=time.monotonic() - started)


def teardown(run: Run, step: Step, services: Services) -> TornDown:
    """Remove the scratch store. The run's report does so too, if this is never reached."""
    remove_scratch(run, services)
    return TornDown()


def remove_scratch(run: Run, services: Services) -> None:
    """Delete the scratch store; its master key goes with it."""
    shutil.rmtree(_scratch(run, services), ignore_errors=True)


def _scratch(run: Run, services: Services) -> Path:
    return services.state_dir / "drills" / run.id


def _compare_container(backup: Replicated, piece: int, store: LocalStore, services: Services) -> int:
    compared = 0
    batch: list[tuple[str, int, bytes]] = []
    for name, number, digest in backup.digests(backup.manifest.containers[piece]):
        batch.append((name, number, digest))
        if len(batch) == BATCH:
            compared += _compare_batch(batch, backup.manifest.source, store, services)
            batch = []
    return compared + _compare_batch(batch, backup.manifest.source, store, services)


def _compare_batch(
    batch: list[tuple[str, int, bytes]], source: str, store: LocalStore, services: Services
) -> int:
    restored = present(store, dict.fromkeys(name for name, _, _ in batch))
    for name, number, digest in batch:
        value = _value(restored.get(name), number)
        if value is None or value_digest(services.digest_key, source, name, number, value) != digest:
            raise VerificationFailed(f"secret '{name}' version {number} did not come back as it was captured")
    return len(batch)


def _value(secret: Secret | None, number: int) -> bytes | None:
    for version in secret.versions if secret is not None else ():
        if version.number == number and version.value is not None:
            return version.value.reveal()
    return None
