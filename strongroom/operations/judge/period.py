"""What an audit report says besides the ledger: drills against their objective, incidents, ages of keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from strongroom.operations.archive.cases import incidents_on_record
from strongroom.operations.evidence.audit import Audit, AuditedIncident, KeyAge, Operation, Rehearsal
from strongroom.operations.judge.fact_records import KeyFacts
from strongroom.operations.judge.facts_on_record import drilled
from strongroom.state.errors import RunNotFound
from strongroom.state.records import Run, RunKind, RunState
from strongroom.state.store import RunStore
from strongroom.times import rfc3339


def add_facts(
    report: Audit, store: RunStore, *, trusted: frozenset[str], keys: KeyFacts, signers: Iterable[KeyAge]
) -> Audit:
    """Return an audit report with what was known when it was made."""
    return replace(
        report,
        drills=tuple(_drills(report, store)),
        incidents=tuple(_incidents(report, store, trusted)),
        keys=(*_keys(report, keys), *signers),
    )


def _drills(report: Audit, store: RunStore) -> Iterator[Rehearsal]:
    for operation in report.operations:
        if operation.kind == RunKind.DRILL and (run := _run(store, operation.run)) is not None:
            known = drilled(run)
            yield Rehearsal(
                run=operation.run,
                drill=known.drill,
                policy=operation.policy,
                began=operation.began,
                state=operation.state,
                took=round(1000 * (known.recovered_in or 0)) if operation.state in _CAME_BACK else None,
                objective=round(1000 * known.objective),
            )


_CAME_BACK = (RunState.DONE, RunState.DEGRADED)


def _run(store: RunStore, name: str) -> Run | None:
    try:
        return store.load(name)
    except RunNotFound:  # its row is gone, and its events are not
        return None


def _incidents(report: Audit, store: RunStore, trusted: frozenset[str]) -> Iterator[AuditedIncident]:
    for incident in incidents_on_record(store, trusted=trusted).values():
        closed = incident.closed.at if incident.closed else ""
        if incident.opened_at < report.until and (not closed or closed >= report.since):
            yield AuditedIncident(
                incident=incident.id, opened=incident.opened_at, due=incident.opening.due_at, closed=closed
            )


def _keys(report: Audit, keys: KeyFacts) -> Iterator[KeyAge]:
    for key in keys.used:
        since = rfc3339(key.at)
        yield KeyAge(name=key.name, use="opens backups", since=since, evidence=_first_sealed(report, since))


def _first_sealed(report: Audit, since: str) -> str:
    """Name the run that was the first to seal to a key, or the rotation to its newest version."""
    found: Iterable[Operation] = (operation for operation in report.operations if operation.began == since)
    run = next(
        (operation.run for operation in found if operation.kind in (RunKind.BACKUP, RunKind.ROTATE)), ""
    )
    return f"run {run}" if run else "the first run that sealed to it, before this span"
