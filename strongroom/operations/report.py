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
from strongroom.operations.drill import remove_scratch
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


Outcome = tuple[RunState, str | None]


def _outcome(run: Run, good: set[str], services: Services) -> Outcome:
    if (ending := run.facts.get("ending")) is not None:
        return RunState(ending), run.facts.get("error")
    if run.spec.kind is RunKind.RESTORE:
        return RunState.DONE, None
    if run.spec.kind is RunKind.DRILL:
        return _timed(run)
    return _judged(run, good, services)


def _judged(run: Run, good: set[str], services: Services) -> Outcome:
    """Hold what was read back to the policy's quorum, then to all of its targets."""
    if lacking := missing_from_quorum(run.spec, tuple(good)):
        return RunState.FAILED, f"read back, but {lacking}"
    bad = [pin.name for pin in run.spec.targets if pin.name not in good]
    if bad:
        return RunState.DEGRADED, f"no good replica on {', '.join(bad)}"
    if moved := _moved(run, services):
        return RunState.DEGRADED, f"every replica is good, but {moved} secrets have changed in the source"
    return RunState.DONE, None


def _timed(run: Run) -> Outcome:
    """Hold a drill that brought everything back to its objective."""
    took = sum(run.facts[kind]["seconds"] for kind in (StepKind.DRILL_RESTORE, StepKind.DRILL_COMPARE))
    objective = run.spec.options["objective_seconds"]
    if took > objective:
        return (
            RunState.DEGRADED,
            f"everything came back, but took {took:.1f} s; the objective is {objective:g} s",
        )
    return RunState.DONE, None


def _moved(run: Run, services: Services) -> int:
    """Count secrets that the source has otherwise by now, as the first good replica shows."""
    first = run.spec.targets[0].name
    rows = services.store.rows(run.id, StepKind.VERIFY)
    return sum((row.result or {}).get("moved", 0) for row in rows if row.step.target == first)


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
    if run.spec.kind is RunKind.DRILL:
        remove_scratch(run, services)
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
