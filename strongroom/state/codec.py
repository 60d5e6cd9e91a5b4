"""Records to rows and back. What does not decode is an error that names its row."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, TypeAlias, TypeVar

import msgspec
from sqlalchemy import Row

from strongroom.model import Depth, prepare
from strongroom.state import tables
from strongroom.state.errors import StateError
from strongroom.state.records import (
    CatalogEntry,
    ContainerCheck,
    Event,
    HeldReplica,
    ReadContainers,
    Replica,
    Run,
    RunCount,
    RunState,
    RunStep,
    Spec,
    StepKind,
    StepRange,
    StepRow,
    StepState,
    Waiting,
)

log = logging.getLogger(__name__)

T = TypeVar("T")
AnyRow: TypeAlias = Row[*tuple[Any, ...]]

_encoder = msgspec.json.Encoder(order="deterministic")
_spec = msgspec.json.Decoder(Spec)
_folded = msgspec.json.Decoder(list[StepRow])
_ranges = msgspec.json.Decoder(tuple[StepRange, ...])
_object = msgspec.json.Decoder(dict[str, Any])
prepare(CatalogEntry, Replica, RunCount, Waiting)


def encode(value: Any) -> str:
    """Return JSON text; equal values give equal text."""
    return _encoder.encode(value).decode()


def _readable(decode: Callable[[Any], T], row: Any, what: str) -> T:
    """A row that was edited or cut must not end in a traceback, nor show what it holds."""
    try:
        return decode(row)
    except (msgspec.DecodeError, ValueError, TypeError, OverflowError, RecursionError):
        raise StateError(f"the state database holds an unreadable {what}", hint=ODD) from None


ODD: Final = (
    "Strongroom writes no such row: somebody else wrote to the database, or a disk is failing. Keep a copy. "
    "No backup on a target is affected; docs/how-to/symptoms.md says how to begin a new database."
)


def readable(rows: Iterable[AnyRow], decode: Callable[[AnyRow], T]) -> Iterator[T]:
    """Yield what can be read of many rows. One odd row must not keep the others from being seen: it is left
    out, with a line in the log, and :meth:`~strongroom.state.store.RunStore.unreadable` names it."""
    for row in rows:
        try:
            yield decode(row)
        except StateError as error:
            log.error("row-left-out", extra={"why": error.message})


def complaints(rows: Iterable[AnyRow], decode: Callable[[AnyRow], object]) -> list[str]:
    """Return what is wrong with those of many rows that cannot be read."""
    texts: list[str] = []
    for row in rows:
        try:
            decode(row)
        except StateError as error:
            texts.append(error.message)
    return texts


def moment(value: Any) -> float:
    """Return a time in seconds since the epoch. One that no calendar has raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LAST_TIME:
        raise ValueError("no time")
    return float(value)


def _moment_if_any(value: Any) -> float | None:
    return None if value is None else moment(value)


def count(value: Any, *, least: int = 0) -> int:
    """Return a whole number that something can be counted by; anything else raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < _TOO_MANY:
        raise ValueError("no count")
    return value


def _text_if_any(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError("no text")
    return value


LAST_TIME: Final = 253_402_300_799  # the year 10000, which no calendar here can write
_TOO_MANY: Final = 2**53  # beyond it JSON's numbers lose their last digits

_Count = Annotated[int, msgspec.Meta(ge=0, lt=_TOO_MANY)]


class _PlannedFacts(msgspec.Struct):
    pieces: Annotated[int, msgspec.Meta(ge=0, lt=10_000_000)]
    secrets: _Count = 0
    size: _Count = 0


class _Counted(msgspec.Struct):
    secrets: _Count = 0
    size: _Count = 0


class _ReckonedFacts(msgspec.Struct):
    """Of a run's facts what is reckoned with, so that no edited number gets as far as that."""

    plan: _PlannedFacts | None = None
    counts: _Counted | None = None
    report: dict[str, Any] | None = None
    ending: RunState | None = None
    error: str | None = None


_facts = msgspec.json.Decoder(_ReckonedFacts)


def run_of(row: AnyRow) -> Run:
    """Return a row of ``runs`` as a record."""
    return _readable(_run, row, f"run {row.id}")


def _run(row: AnyRow) -> Run:
    _facts.decode(row.facts)
    return Run(
        id=row.id,
        spec=_spec.decode(row.spec),
        state=RunState(row.state),
        request_id=row.request_id,
        created_at=moment(row.created_at),
        finished_at=_moment_if_any(row.finished_at),
        error=_text_if_any(row.error),
        facts=_object.decode(row.facts),
        closing=bool(row.closing),
        queued=bool(row.queued) and row.state == RunState.ACTIVE.value,
        unmade=() if row.unmade is None else _unmade(row.unmade),
    )


def _unmade(text: str) -> tuple[StepRange, ...]:
    ranges = _ranges.decode(text)
    for each in ranges:
        count(each.first, least=-1)
        count(each.count, least=1)
    return ranges


def step_of(row: AnyRow) -> RunStep:
    """Return a step's key."""
    return _readable(_step, row, f"step of run {row.run}")


def _step(row: AnyRow) -> RunStep:
    if not isinstance(row.target, str):
        raise TypeError("no target")
    return RunStep(StepKind(row.kind), count(row.piece, least=-1), row.target)


def step_row_of(row: AnyRow) -> StepRow:
    """Return a row of ``steps`` as a record."""
    return _readable(
        lambda row: StepRow(
            step=_step(row),
            state=StepState(row.state),
            attempts=count(row.attempts),
            result=None if row.result is None else _object.decode(row.result),
            error=_text_if_any(row.error),
            started_at=_moment_if_any(row.started_at),
            finished_at=_moment_if_any(row.finished_at),
            owner=_text_if_any(row.owner),
            not_before=row.not_before if row.state == StepState.READY.value and row.not_before else None,
            waits_since=None if StepState(row.state).settled else row.waits_since,
        ),
        row,
        f"step {row.kind}/{row.piece}/{row.target} of run {row.run}",
    )


def step_group_of(row: AnyRow, run: str) -> StepRow:
    """Return the record that stands for steps of one kind, target, state and owner."""
    return _readable(
        lambda row: StepRow(
            step=RunStep(StepKind(row.kind), -1, row.target),
            state=StepState(row.state),
            attempts=count(row.attempts),
            result=None,
            error=_text_if_any(row.error),
            started_at=_moment_if_any(row.started_at),
            finished_at=_moment_if_any(row.finished_at),
            owner=None if (owner := _text_if_any(row.owner)) is None else f"{owner.partition(':')[0]}:",
            steps=row.steps,
            worked=round(max(0.0, row.worked or 0.0), 3),
        ),
        row,
        f"step {row.kind} of run {run}",
    )


def folded_of(text: str, run: str) -> list[StepRow]:
    """Return the records that stand for the steps of a run that ended long ago."""
    return _readable(_folded.decode, text, f"record of the steps of run {run}")


def counts_of(rows: Sequence[Sequence[Any]], run: str) -> dict[tuple[StepKind, str, StepState], int]:
    """Return rows of (kind, target, state, number) as a tally's counts."""
    return _readable(
        lambda rows: {(StepKind(kind), target, StepState(state)): n for kind, target, state, n in rows},
        rows,
        f"step of run {run}",
    )


def event_of(row: AnyRow) -> Event:
    """Return a row of ``events`` as a record."""
    return _readable(
        lambda row: Event(
            id=row.id, at=moment(row.at), kind=row.kind, run=row.run, detail=_object.decode(row.detail)
        ),
        row,
        f"event {row.id}",
    )


def entry_of(row: AnyRow) -> CatalogEntry:
    """Return a row of ``catalog`` as a record."""
    return _readable(_entry, row, f"backup {row.backup}")


def _entry(row: AnyRow) -> CatalogEntry:
    entry = msgspec.convert(dict(zip(_ENTRY, row, strict=True)), CatalogEntry)
    moment(datetime.fromisoformat(entry.created_at).timestamp())
    for number in (entry.secrets, entry.size, entry.containers):
        count(number)
    return entry


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
    """Return a row of ``replicas`` as a record. One that cannot be read is not known to be good."""
    try:
        return _readable(_replica, row, f"replica of {row.backup}")
    except StateError as error:
        log.error("row-left-out", extra={"why": error.message})
        return Replica(
            backup=str(row.backup), target=str(row.target), good=False, verified=None, verified_at=None
        )


def _replica(row: AnyRow) -> Replica:
    replica = msgspec.convert(dict(zip(_REPLICA, row, strict=True)), Replica)
    _moment_if_any(replica.verified_at)
    return replica


def held_of(row: AnyRow) -> HeldReplica:
    """Return a good replica with what the catalog has of its backup."""
    return _readable(_held, row, f"replica of {row.backup}")


def _held(row: AnyRow) -> HeldReplica:
    # By hand: there is a row for each good replica, and all are read to judge verification.
    backup, target, policy, created_at, size, containers, verified, verified_at = row
    if not (isinstance(backup, str) and isinstance(target, str) and isinstance(policy, str)):
        raise TypeError("no names")
    return HeldReplica(
        backup=backup,
        target=target,
        policy=policy,
        made_at=moment(datetime.fromisoformat(created_at).timestamp()),
        size=count(size),
        containers=count(containers),
        verified=None if verified is None else Depth(verified),
        verified_at=_moment_if_any(verified_at),
    )


def read_of(row: AnyRow) -> tuple[tuple[str, str], ReadContainers]:
    """Return how many containers of which replica were read."""
    backup, target, *counted = row
    return (backup, target), _readable(_read, counted, f"check of {backup}")


def _read(counted: Sequence[Any]) -> ReadContainers:
    depth, lately, containers, manifests, oldest = counted
    return ReadContainers(
        depth=Depth(depth),
        lately=bool(lately),
        containers=count(containers),
        manifests=count(manifests),
        oldest=moment(oldest),
    )


def check_of(row: AnyRow) -> ContainerCheck:
    """Return a row of ``container_checks`` as a record."""
    return _readable(_check, row, f"check of {row.backup}")


def _check(row: AnyRow) -> ContainerCheck:
    # By hand: there is a row for each container of each replica, and all are read to judge verification.
    backup, target, piece, depth, checked_at = row
    if not (isinstance(backup, str) and isinstance(target, str)):
        raise TypeError("no names")
    return ContainerCheck(
        backup=backup,
        target=target,
        piece=count(piece, least=-1),
        depth=Depth(depth),
        checked_at=moment(checked_at),
    )


# SQLAlchemy's names are of a kind of str that msgspec does not take for one. Made once, since a
# rotation reads a row for each backup that there is.
_ENTRY = tuple(map(str, tables.catalog.c.keys()))
_REPLICA = tuple(map(str, tables.replicas.c.keys()))


def entry_row(entry: CatalogEntry) -> Mapping[str, Any]:
    """Return a catalog entry as a row."""
    return msgspec.structs.asdict(entry)


def replica_row(replica: Replica) -> Mapping[str, Any]:
    """Return a replica as a row."""
    return msgspec.structs.asdict(replica) | {
        "verified": None if replica.verified is None else replica.verified.value
    }


def check_row(check: ContainerCheck) -> Mapping[str, Any]:
    """Return a check as a row."""
    return msgspec.structs.asdict(check) | {"depth": check.depth.value}
