"""sweep: removing what a run left, and only that.

Whether a run made a backup is not taken from its row alone, for rows can be edited: if as
many targets as its signed manifest demands hold that manifest, it did, and nothing that the
manifest names is ever removed here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from strongroom.container.manifest import Manifest
from strongroom.container.signing import ever_trusted
from strongroom.errors import StrongroomError
from strongroom.operations.layout import container_name, containers_prefix, manifest_name, staged_prefix
from strongroom.operations.open import read_manifest
from strongroom.operations.services import Services
from strongroom.state.records import Run
from strongroom.targets import Target
from strongroom.targets.repaired import copies, original_name


def sweep_targets(run: Run, services: Services) -> list[str]:
    """Remove what a backup's run left on its targets; return those that were not reached.

    A run that did not commit leaves nothing: a manifest that a broken commit may have placed
    goes first, then its containers. One that did keeps exactly what its manifest names.
    """
    keep = _kept(run, services)
    names = [pin.name for pin in run.spec.targets]
    if keep is None:
        return names
    return [name for name in names if not _reached(partial(_sweep_target, name, run, keep, services))]


EARLIER = 100
"""Earlier runs that one report sweeps after, by lot. While a target is dead they grow by one with each
backup, each costs requests to those that answer, and a report must end."""


def sweep_earlier(run: Run, services: Services) -> list[str]:
    """Sweep again after earlier runs of this policy that had to leave something: under a lock that has
    ended by now, or on a target that did not answer then. Return those that leave nothing now."""
    over: list[str] = []
    for one in services.store.leaving(run.spec.policy, limit=EARLIER):
        if not sweep_targets(one, services) and sweep_stage(one, services):
            services.store.swept(one.id)
            over.append(one.id)
    return over


def sweep_stage(run: Run, services: Services) -> bool:
    """Remove all that a run staged; say whether the stage was reached."""
    return _reached(partial(_empty, services.stage, staged_prefix(run.id), frozenset()))


def _kept(run: Run, services: Services) -> frozenset[str] | None:
    """Name the containers to keep; ``None`` if a manifest should be there and none can be read."""
    signed = [found for pin in run.spec.targets if (found := _manifest(pin.name, run.id, services))]
    committed = "manifest" in run.facts or any(len(signed) >= manifest.quorum for manifest in signed)
    if not committed:
        return frozenset()
    if not signed:
        return None
    return frozenset(container_name(run.id, entry.sha256) for found in signed for entry in found.containers)


def _manifest(place: str, backup: str, services: Services) -> Manifest | None:
    try:
        # One whose signer is distrusted by now still keeps what it names: doubt removes nothing.
        return read_manifest(
            services.target(place), backup, trusted=ever_trusted(services.signer_fingerprints)
        )
    except StrongroomError:
        return None


def _sweep_target(place: str, run: Run, keep: frozenset[str], services: Services) -> None:
    target = services.target(place)
    if not keep:
        for name in copies(target, manifest_name(run.id)):
            target.delete(name)
    _empty(target, containers_prefix(run.id), keep)


def _empty(target: Target, prefix: str, keep: frozenset[str]) -> None:
    target.abort_incomplete(prefix)
    for name in [info.name for info in target.list(prefix)]:
        if original_name(name) not in keep:
            target.delete(name)


def _reached(work: Callable[[], None]) -> bool:
    try:
        work()
    except StrongroomError:
        return False
    return True
