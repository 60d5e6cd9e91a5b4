"""report: the last step of every run. Sweeps what the run left, says what came of it.

A run that did not commit leaves nothing: its manifest goes first (were a broken commit to
have placed one), then its containers. A run that did keeps exactly what its manifest names.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from strongroom.errors import StrongroomError
from strongroom.model import Depth
from strongroom.operations.commit import missing_from_quorum
from strongroom.operations.layout import container_name, containers_prefix, manifest_name, staged_prefix
from strongroom.operations.services import Services
from strongroom.state.records import Replica, Run, RunKind, RunState, Step, StepKind, StepState
from strongroom.targets import Target


def report(run: Run, step: Step, services: Services) -> dict[str, Any]:
    """Clean up after the run and return its final state, with the reason if it is a bad one."""
    unswept = _sweep(run, services)
    good = _record_replicas(run, services)
    state, error = _outcome(run, good, services)
    return {"state": state.value, "error": error, "good": sorted(good), "unswept": unswept}


def _outcome(run: Run, good: set[str], services: Services) -> tuple[RunState, str | None]:
    if (ending := run.facts.get("ending")) is not None:
        return RunState(ending), run.facts.get("error")
    if run.spec.kind in (RunKind.RESTORE, RunKind.DRILL):
        return RunState.DONE, None
    if lacking := missing_from_quorum(run.spec, tuple(good)):
        return RunState.FAILED, f"read back, but {lacking}"
    bad = [pin.name for pin in run.spec.targets if pin.name not in good]
    if bad:
        return RunState.DEGRADED, f"no good replica on {', '.join(bad)}"
    return RunState.DONE, None


def _record_replicas(run: Run, services: Services) -> set[str]:
    """Write into the catalog what was read back from each target; return the good ones."""
    if run.spec.kind in (RunKind.RESTORE, RunKind.DRILL) or "manifest" not in run.facts:
        return set()
    good = set()
    rows = services.store.rows(run.id, StepKind.VERIFY)
    pieces = run.facts["plan"]["pieces"]
    for pin in run.spec.targets:
        done = [row for row in rows if row.step.target == pin.name and row.state is StepState.DONE]
        if len(done) == pieces:
            good.add(pin.name)
        depth = min((Depth((row.result or {})["depth"]) for row in done), key=list(Depth).index, default=None)
        services.store.set_replica(
            Replica(
                backup=run.spec.backup or run.id,
                target=pin.name,
                good=pin.name in good,
                verified=depth if pin.name in good else None,
                verified_at=time.time() if pin.name in good else None,
            )
        )
    return good


def _sweep(run: Run, services: Services) -> list[str]:
    """Remove leftovers; return the places that could not be reached."""
    unswept = []
    if run.spec.kind is RunKind.BACKUP:
        keep = _kept(run, services)
        names = [pin.name for pin in run.spec.targets]
        unswept += [name for name in names if not _reached(partial(_sweep_named, name, run, keep, services))]
    if not _reached(lambda: _empty(services.stage, staged_prefix(run.id))):
        unswept.append("stage")
    return unswept


def _kept(run: Run, services: Services) -> set[str]:
    if "manifest" not in run.facts:
        return set()
    rows = services.store.rows(run.id, StepKind.CAPTURE)
    return {container_name(run.id, row.result["receipt"]["sha256"]) for row in rows if row.result}


def _sweep_named(place: str, run: Run, keep: set[str], services: Services) -> None:
    target = services.target(place)
    prefix = containers_prefix(run.id)
    if not keep:
        target.delete(manifest_name(run.id))
    target.abort_incomplete(prefix)
    for name in _names(target, prefix):
        if name not in keep:
            target.delete(name)


def _empty(target: Target, prefix: str) -> None:
    target.abort_incomplete(prefix)
    for name in _names(target, prefix):
        target.delete(name)


def _names(target: Target, prefix: str) -> Iterator[str]:
    return iter([info.name for info in target.list(prefix)])


def _reached(work: Callable[[], None]) -> bool:
    try:
        work()
    except StrongroomError:
        return False
    return True
