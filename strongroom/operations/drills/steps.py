"""The steps of a drill that handle secrets: restore, compare, tear down, and a look at the source.

No result names a secret. What does not come back is counted, so that the report can be handed on.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from strongroom.container.digests import value_digester
from strongroom.model import Secret, Selection
from strongroom.operations.archive.failover import Replicated
from strongroom.operations.archive.live_comparison import (
    Digests,
    SecretState,
    batches,
    beside,
    selected,
    standing,
)
from strongroom.operations.drills.facts import DrillComparison, Live, Rehearsed, TornDown, options_of
from strongroom.operations.drills.part import Names, names_of, secrets_of, tags_of
from strongroom.operations.drills.places import place_of
from strongroom.operations.drills.step_facts import lacking, open_picked, rehearsed_of
from strongroom.operations.recovery_objective import DrillScope
from strongroom.operations.restore.journal import RestoreAccount
from strongroom.operations.restore.restore import present
from strongroom.operations.restore.restore import restore as restore_secrets
from strongroom.operations.services import Services
from strongroom.operations.validation import live as look
from strongroom.sources import Destination
from strongroom.state.records import Run, RunStep

Digested = tuple[str, Digests]
"""The name of a secret, and the keyed digests of its values at capture."""


def restore(run: Run, step: RunStep, services: Services) -> Rehearsed:
    """Restore what the drill is about into an empty place of its own."""
    began = time.monotonic()
    backup = open_picked(run, services)
    names = names_of(run, backup)
    account = RestoreAccount()
    backup.gave.clear()
    done = restore_secrets(
        secrets_of(backup, names), place_of(run, services).make(run.id), overwrite=False, account=account
    )
    return Rehearsed(
        backup=backup.manifest.backup_id,
        created_at=backup.manifest.created_at,
        source=backup.manifest.source,
        tags=tags_of(run, backup),
        expected=backup.manifest.counts.secrets if names is None else len(names),
        secrets=done.created,
        versions=done.versions,
        not_done=account.by_code,
        gave=dict(backup.gave),
        seconds=time.monotonic() - began,
        shortfall=lacking(run, backup, services),
    )


def least_seconds(rehearsed: Rehearsed, services: Services) -> float:
    """Return how long the source itself takes at the least for what came back.

    The scratch store takes all that a disk can; a cloud lets only so many writes through, and
    would make a drill's time a promise that nobody can keep.
    """
    source = services.sources.get(rehearsed.source)
    if not isinstance(source, Destination):
        return 0.0
    return source.least_seconds(secrets=rehearsed.secrets, versions=rehearsed.versions)


# -- compare -------------------------------------------------------------------


def compare(run: Run, step: RunStep, services: Services) -> DrillComparison:
    """Compare every value that came back with its digest at capture."""
    began = time.monotonic()
    backup = open_picked(run, services)
    store = place_of(run, services).open(run.id)
    comparison = _Comparison(backup, store, services.digest_key)
    for batch in batches(_digested(backup, names_of(run, backup))):
        comparison.add(batch)
    stand_out = _stand_out(store) if options_of(run).drill is DrillScope.EMERGENCY else None
    counts = comparison.counts
    return DrillComparison(
        compared=counts.total(),
        differ=counts["differ"],
        missing=counts["missing"],
        stand_out=stand_out,
        seconds=time.monotonic() - began,
    )


def _digested(backup: Replicated, names: Names) -> Iterator[Digested]:
    return (found for found in backup.digested() if names is None or found[0] in names)


class _Comparison:
    """Counts the values that are the same, that differ and that are missing."""

    def __init__(self, backup: Replicated, store: Destination, key: bytes) -> None:
        self.counts: Counter[str] = Counter()
        self._backup = backup
        self._store = store
        self._digest = value_digester(key, backup.manifest.source)

    def add(self, batch: Sequence[Digested]) -> None:
        restored = present(self._store, [name for name, _ in batch])
        for name, captured in batch:
            back = restored.get(name)
            self.counts.update(self._compared(back, number, digest) for number, digest in captured.items())

    def _compared(self, back: Secret | None, number: int, digest: bytes) -> str:
        value = None if back is None else value_of(back, number)
        if back is None or value is None:
            return "missing"
        same = self._digest(back.name, number, value) == digest
        return "same" if same or self._is_spelled_otherwise(back, number, digest) else "differ"

    def _is_spelled_otherwise(self, back: Secret, number: int, digest: bytes) -> bool:
        """Tell whether a store that spells JSON in its own way has what was captured."""
        wanted = self._backup.find(back.name)
        value = None if wanted is None else value_of(wanted, number)
        if wanted is None or value is None or self._digest(back.name, number, value) != digest:
            return False
        return self._store.kept(wanted).versions == self._store.kept(back).versions


def value_of(secret: Secret, number: int) -> bytes | None:
    """Return the value of a version, if it has one."""
    versions = (version for version in secret.versions if version.number == number)
    return next((version.value.reveal() for version in versions if version.value is not None), None)


def _stand_out(store: Destination) -> int:
    """Look at each value by itself, as after a real recovery: certificates, keys, dates."""
    found = look.values(store, selected(store, Selection()), now=datetime.now(UTC))
    return len(found.findings)


# -- teardown ------------------------------------------------------------------


def tear_down(run: Run, step: RunStep, services: Services) -> TornDown:
    """Remove the place. The run's report and the next drill do so too, if this is never reached."""
    began = time.monotonic()
    place_of(run, services).remove(run.id)
    return TornDown(seconds=time.monotonic() - began)


# -- the source ----------------------------------------------------------------


def compare_with_source(run: Run, step: RunStep, services: Services) -> Live:
    """Compare what came back with what the source has now: news of the source, and no fault of the backup."""
    began = time.monotonic()
    source = services.source(rehearsed_of(run).source)
    backup = open_picked(run, services)
    digest = value_digester(services.digest_key, source.name)
    held = _digested(backup, names_of(run, backup))
    stands = Counter(standing(now, captured, digest) for _, captured, now in beside(source, held))
    return Live(
        same=stands[SecretState.SAME],
        changed=stands[SecretState.CHANGED],
        missing=stands[SecretState.MISSING],
        unread=stands[SecretState.UNREAD],
        seconds=time.monotonic() - began,
    )
