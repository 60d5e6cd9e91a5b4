"""Records to rows and back. What does not decode is an error that names its row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import msgspec
from sqlalchemy import Row

from strongroom.errors import StateError
from strongroom.model import Depth, prepare
from strongroom.state import tables
from strongroom.state.records import (
    CatalogEntry,
    Event,
    Replica,
    Run,
    RunState,
    Spec,
    Step,
    StepKind,
    StepRow,
    StepState,
)

T = TypeVar("T")
AnyRow: TypeAlias = Row[*tuple[Any, ...]]

_encoder = msgspec.json.Encoder(order="deterministic")
_spec = msgspec.json.Decoder(Spec)
_object = msgspec.json.Decoder(dict[str, Any])
prepare(CatalogEntry, Replica)


def encode(value: Any) -> str:
    """Return JSON text; equal values give equal text."""
    return _encoder.encode(value).decode()


def _readable(decode: Callable[[Any], T], row: Any, what: str) -> T:
    """A row that was edited or cut must not end in a traceback, nor show what it holds."""
    try:
        return decode(row)
    except (msgspec.DecodeError, ValueError, TypeError):
        raise StateError(f"the state database holds an unreadable {what}") from None


def run_of(row: AnyRow) -> Run:
    """Return a row of ``runs`` as a record."""
    return _readable(_run, row, f"run {row.id}")


def _run(row: AnyRow) -> Run:
    return Run(
        id=row.id,
        spec=_spec.decode(row.spec),
        state=RunState(row.state),
        request_id=row.request_id,
        created_at=row.created_at,
        finished_at=row.finished_at,
        error=row.error,
        facts=_object.decode(row.facts),
        closing=row.closing,
    )


def step_of(row: AnyRow) -> Step:
    """Return a step's key."""
    return _readable(_step, row, f"step of run {row.run}")


def _step(row: AnyRow) -> Step:
    return Step(StepKind(row.kind), row.piece, row.target)


def step_row_of(row: AnyRow) -> StepRow:
    """Return a row of ``steps`` as a record."""
    return _readable(_step_row, row, f"step {row.kind}/{row.piece}/{row.target} of run {row.run}")


def _step_row(row: AnyRow) -> StepRow:
    return StepRow(
        step=_step(row),
        state=StepState(row.state),
        attempts=row.attempts,
        result=None if row.result is None else _object.decode(row.result),
        error=row.error,
        started_at=row.started_at,
        finished_at=row.finished_at,
        owner=row.owner,
        not_before=row.not_before if row.state == StepState.READY.value and row.not_before else None,
        waits_since=None if StepState(row.state).settled else row.waits_since,
    )


def counts_of(rows: Sequence[AnyRow], run: str) -> dict[tuple[StepKind, str, StepState], int]:
    """Return rows of (kind, target, state, number) as a tally's counts."""
    return _readable(
        lambda rows: {(StepKind(kind), target, StepState(state)): n for kind, target, state, n in rows},
        rows,
        f"step of run {run}",
    )


def event_of(row: AnyRow) -> Event:
    """Return a row of ``events`` as a record."""
    return _readable(_event, row, f"event {row.id}")


def _event(row: AnyRow) -> Event:
    return Event(id=row.id, at=row.at, kind=row.kind, run=row.run, detail=_object.decode(row.detail))


def entry_of(row: AnyRow) -> CatalogEntry:
    """Return a row of ``catalog`` as a record."""
    return _readable(_entry, row, f"backup {row.backup}")


def _entry(row: AnyRow) -> CatalogEntry:
    return msgspec.convert(dict(zip(_ENTRY, row, strict=True)), CatalogEntry)


def record_of(row: AnyRow, kind: type[T], what: str) -> T:
    """Return a row as the record whose fields are named like its columns."""
    return _readable(lambda row: _convert(row, kind), row, what)


def _convert(row: AnyRow, kind: type[T]) -> T:
    # SQLAlchemy's names are of a kind of str that msgspec does not take for one.
    return msgspec.convert({str(name): value for name, value in row._mapping.items()}, kind)  # noqa: SLF001


def row_of(record: msgspec.Struct) -> Mapping[str, Any]:
    """Return a record as the row whose columns are named like its fields."""
    return msgspec.structs.asdict(record)


def texts_of(values: Sequence[object], what: str) -> list[str]:
    """Return one column of several rows."""
    return _readable(lambda values: msgspec.convert(values, list[str]), values, what)


def pairs_of(rows: Sequence[AnyRow], what: str) -> dict[str, str]:
    """Return two columns of several rows."""
    pairs = {row[0]: row[1] for row in rows}
    return _readable(lambda pairs: msgspec.convert(pairs, dict[str, str]), pairs, what)


def replica_of(row: AnyRow) -> Replica:
    """Return a row of ``replicas`` as a record."""
    return _readable(_replica, row, f"replica of {row.backup}")


def _replica(row: AnyRow) -> Replica:
    return msgspec.convert(dict(zip(_REPLICA, row, strict=True)), Replica)


# SQLAlchemy's names are of a kind of str that msgspec does not take for one. Made once, since a
# rotation reads a row for each backup that there is.
_ENTRY = tuple(map(str, tables.catalog.c.keys()))
_REPLICA = tuple(map(str, tables.replicas.c.keys()))


def entry_row(entry: CatalogEntry) -> Mapping[str, Any]:
    """Return a catalog entry as a row."""
    return msgspec.structs.asdict(entry)


def replica_row(replica: Replica) -> Mapping[str, Any]:
    """Return a replica as a row."""
    return msgspec.structs.asdict(replica) | {"verified": _plain(replica.verified)}


def _plain(depth: Depth | None) -> str | None:
    return None if depth is None else depth.value
