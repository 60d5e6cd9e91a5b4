"""What the state keeps beside runs: the catalog of backups, and the events."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, case, delete, func, insert, or_, select, tuple_, update

from strongroom.model import Depth
from strongroom.state import codec, sql, tables
from strongroom.state.records import (
    CatalogEntry,
    ChainedEvent,
    ContainerCheck,
    Event,
    HeldReplica,
    ReadContainers,
    Replica,
)
from strongroom.system.lazy import batched

# -- Which backups there are, and where. The targets are the truth; this can be rebuilt ---------


_catalog, _replicas, _checks = tables.catalog.c, tables.replicas.c, tables.container_checks.c


def put(conn: Connection, entry: CatalogEntry, replicas: Sequence[Replica]) -> None:
    """Record a backup and where it lies; what was known of it is replaced."""
    sql.put(conn, tables.catalog, [codec.entry_row(entry)])
    sql.put(conn, tables.replicas, [codec.replica_row(replica) for replica in replicas])


def put_replica(conn: Connection, replica: Replica) -> None:
    """Record what is known of one replica of a backup in the catalog."""
    sql.put(conn, tables.replicas, [codec.replica_row(replica)])


def is_on_record(conn: Connection, replica: Replica) -> bool:
    """Tell whether just that is known of a replica; nobody changes it before this transaction ends."""
    of_it = (_replicas.backup == replica.backup, _replicas.target == replica.target)
    row = conn.execute(select(tables.replicas).where(*of_it).with_for_update()).first()
    return row is not None and codec.replica_of(row) == replica


def forget_checks(conn: Connection, name: str, target: str, pieces: Collection[int] | None = None) -> bool:
    """Have containers of a replica count as never read: these, or a slice of all. Tell whether there may be
    more."""
    of_it = (_checks.backup == name, _checks.target == target)
    if pieces is None:
        gone = sql.change_some(conn, delete(tables.container_checks), *of_it, most=sql.SLICE)
        return gone >= sql.SLICE
    conn.execute(delete(tables.container_checks).where(*of_it, _checks.piece.in_(pieces)))
    return False


def drop_replica(conn: Connection, name: str, target: str) -> bool:
    """Forget a replica that was removed; with the last one, the backup. Tell whether it was that."""
    conn.execute(delete(tables.replicas).where(_replicas.backup == name, _replicas.target == target))
    if conn.execute(select(_replicas.target).where(_replicas.backup == name).limit(1)).first():
        return False
    conn.execute(delete(tables.catalog).where(_catalog.backup == name))
    return True


def backups(
    conn: Connection, *, policy: str | None, limit: int | None, before: str | None = None
) -> list[CatalogEntry]:
    """Return backups, newest first; of one policy if given, and those after one in that order if given."""
    query = select(tables.catalog).order_by(_catalog.created_at.desc(), _catalog.backup.desc()).limit(limit)
    if before is not None:
        query = query.where(sql.before(_catalog.created_at, _catalog.backup, before))
    if policy is not None:
        query = query.where(_catalog.policy == policy)
    return list(codec.readable(conn.execute(query), codec.entry_of))


def unreadable(conn: Connection) -> list[str]:
    """Say of which backups the rows cannot be read."""
    return codec.complaints(conn.execute(select(tables.catalog)), codec.entry_of)


def with_bad_replicas(conn: Connection) -> list[str]:
    """Return the backups that have a replica that is not good, newest first."""
    bad = select(_replicas.backup).where(tables.BAD)
    query = select(_catalog.backup).where(_catalog.backup.in_(bad))
    return list(conn.execute(query.order_by(_catalog.created_at.desc(), _catalog.backup.desc())).scalars())


def most_secrets(conn: Connection, policy: str, *, since: str, besides: str) -> int:
    """Return the most secrets that a policy's backups since then hold, or its newest if that is older."""
    others = select(_catalog.secrets).where(_catalog.policy == policy, _catalog.backup != besides)
    newest = others.order_by(_catalog.created_at.desc(), _catalog.backup.desc()).limit(1)
    late = others.where(_catalog.created_at >= since).order_by(_catalog.secrets.desc()).limit(1)
    return max(conn.execute(query).scalar() or 0 for query in (newest, late))


def backup(conn: Connection, name: str) -> CatalogEntry | None:
    """Return one backup, or ``None`` if the catalog does not know it."""
    row = conn.execute(select(tables.catalog).where(_catalog.backup == name)).first()
    return None if row is None else codec.entry_of(row)


def names(conn: Connection, policy: str) -> list[str]:
    """Return a policy's backups by name, newest first."""
    query = select(_catalog.backup).where(_catalog.policy == policy)
    rows = conn.execute(query.order_by(_catalog.created_at.desc(), _catalog.backup.desc()))
    return codec.texts_of(rows.scalars().all(), f"backup of policy {policy}")


def digests(conn: Connection, backups: Sequence[str]) -> dict[str, str]:
    """Return the digests of the manifests of those of these backups that the catalog knows."""
    query = select(_catalog.backup, _catalog.manifest_sha256).where(_catalog.backup.in_(backups))
    return codec.pairs_of(conn.execute(query).all(), "digest of a manifest")


def replicas_of(conn: Connection, names: Sequence[str]) -> dict[str, list[Replica]]:
    """Return the replicas of each of these backups, by target."""
    replicas: dict[str, list[Replica]] = {name: [] for name in names}
    query = select(tables.replicas).where(_replicas.backup.in_(names)).order_by(_replicas.target)
    for replica in map(codec.replica_of, conn.execute(query)):
        replicas[replica.backup].append(replica)
    return replicas


def replicas(conn: Connection, name: str) -> list[Replica]:
    """Return the replicas of one backup, by target."""
    query = select(tables.replicas).where(_replicas.backup == name).order_by(_replicas.target)
    return [codec.replica_of(row) for row in conn.execute(query)]


def put_checks(conn: Connection, read: Sequence[ContainerCheck]) -> None:
    """Record which containers were read back. What was once read deeper keeps that depth: it is the same,
    byte by byte."""

    def deepest(new: Any) -> Mapping[str, Any]:
        return {"depth": case((_rank(_checks.depth) > _rank(new.depth), _checks.depth), else_=new.depth)}

    sql.put(conn, tables.container_checks, [codec.check_row(check) for check in read], keeps=deepest)


def _rank(depth: Any) -> ColumnElement[int]:
    return case(*((depth == each.value, rank) for rank, each in enumerate(Depth)), else_=-1)


def checks(conn: Connection, backups: Collection[str] | None) -> list[ContainerCheck]:
    """Return what was read back of replicas: of these backups, or of all. A row that cannot be read counts
    as never read."""
    query = select(tables.container_checks)
    if backups is not None:
        query = query.where(_checks.backup.in_(backups))
    return list(codec.readable(conn.execute(query), codec.check_of))


def held(conn: Connection) -> list[HeldReplica]:
    """Return all replicas that are good on record, but for those whose row cannot be read."""
    return list(codec.readable(conn.execute(_HELD), codec.held_of))


_HELD: Final = (
    select(_replicas.backup, _replicas.target, _catalog.policy, _catalog.created_at, _catalog.size)
    .add_columns(_catalog.containers, _replicas.verified, _replicas.verified_at)
    .join_from(tables.replicas, tables.catalog, _catalog.backup == _replicas.backup)
    .where(_replicas.good.is_(True))
)


def read_counts(
    conn: Connection, replicas: Collection[tuple[str, str]], *, since: float, until: float
) -> dict[tuple[str, str], list[ReadContainers]]:
    """Count the containers of some replicas (backup, target) that were read, by depth, and by whether they
    were since a time. A row that cannot be read, or is dated later than ``until``, counts as never read."""
    found: dict[tuple[str, str], list[ReadContainers]] = {}
    groups = (_checks.backup, _checks.target, _checks.depth, (_checks.checked_at > since).label("lately"))
    manifests = func.sum(case((_checks.piece < 0, 1), else_=0))
    query = select(*groups, func.count(), manifests, func.min(_checks.checked_at)).where(*_sound(until))
    query = query.group_by(*(group.name for group in groups))
    for some in batched(sorted(replicas), _NAMED):
        rows = conn.execute(query.where(tuple_(_checks.backup, _checks.target).in_(some)))
        for replica, read in codec.readable(rows, codec.read_of):
            found.setdefault(replica, []).append(read)
    return found


def _sound(until: float) -> tuple[ColumnElement[bool], ...]:
    """Return what holds of the rows that say when a container was read, and how deep."""
    containers = select(_catalog.containers).where(_catalog.backup == _checks.backup).scalar_subquery()
    return (
        _checks.piece.between(_MANIFEST, containers - 1),
        _checks.depth.in_([depth.value for depth in Depth]),
        _checks.checked_at.between(0.0, until),
    )


_MANIFEST: Final = -1


def oldest_read(conn: Connection, backup: str, target: str, *, until: float) -> int | None:
    """Return the container of a replica that was not read for longest, of those that were ever read."""
    query = select(_checks.piece).where(_checks.backup == backup, _checks.target == target, *_sound(until))
    return conn.execute(query.order_by(_checks.checked_at, _checks.piece).limit(1)).scalar()


def first_unread(conn: Connection, backup: str, target: str, *, until: float) -> int:
    """Return the first container of a replica that was never read; its manifest is before all others."""
    query = select(_checks.piece).where(_checks.backup == backup, _checks.target == target, *_sound(until))
    piece = _MANIFEST
    for read in conn.execute(query.order_by(_checks.piece)).scalars():
        if read != piece:
            break
        piece += 1
    return piece


# -- What happened, one line each: appended and never changed. Also who was seen alive ----------
#
# Each event carries the digest of itself and of the digest before it, made in the transaction that
# appends it. So a changed, added or removed one shows in every digest from there on; whoever can write
# to the database could make them all anew, and then none is the one that was printed.


FUTURE: Final = 300.0
"""Seconds by which a heartbeat may be ahead: the clock may have been set back a little."""

_events = tables.events.c
_LOCK: Final = 0x6C6564676572  # any number of our own will do
_LAST: Final = select(_events.chain).order_by(_events.id.desc()).limit(1).scalar_subquery()
_NOW_AND_LAST: Final = select(sql.now().label("at"), _LAST.label("chain"))
_ONE_BY_ONE: Final = select(func.pg_advisory_xact_lock(_LOCK))


def append(conn: Connection, kind: str, run: str | None, detail: Mapping[str, Any]) -> None:
    """Record an event at the database's time. Appends go one after the other until they are committed."""
    if conn.dialect.name == "postgresql":  # SQLite's write lock is held already
        conn.execute(_ONE_BY_ONE)
    before = conn.execute(_NOW_AND_LAST).one()
    row = {"at": before.at, "kind": kind, "run": run, "detail": codec.encode(detail)}
    conn.execute(insert(tables.events).values(**row, chain=digest(before.chain or "", **row)))


def digest(before: str, *, at: float, kind: str, run: str | None, detail: str) -> str:
    """Return the SHA-256, in hex, that chains an event to the one before it.

    Args:
        before: the digest of that one; empty for the first.
        detail: as it is stored.
    """
    return hashlib.sha256(msgspec.json.encode([before, float(at), kind, run, detail])).hexdigest()


def links(conn: Connection, *, after: int, limit: int) -> list[ChainedEvent]:
    """Return events as they are chained, with an id above ``after``, in order."""
    query = select(*_LINK).where(_events.id > after).order_by(_events.id).limit(limit)
    return [ChainedEvent(*row) for row in conn.execute(query)]


def chained(conn: Connection, events: Collection[int]) -> dict[int, str]:
    """Return the digests that these events carry."""
    digests: dict[int, str] = {}
    for some in batched(sorted(events), _NAMED):
        query = select(_events.id, _events.chain).where(_events.id.in_(some))
        digests |= {number: str(chain) for number, chain in conn.execute(query)}
    return digests


_NAMED: Final = 1_000
"""A query takes only so many names."""


def newest_link(conn: Connection) -> ChainedEvent | None:
    """Return the newest event as it is chained; ``None`` if nothing has happened yet."""
    row = conn.execute(select(*_LINK).order_by(_events.id.desc()).limit(1)).one_or_none()
    return None if row is None else ChainedEvent(*row)


# In the order of the record's fields: a ledger of years has millions of rows, and naming each field of each
# takes longer than its digest.
_LINK: Final = tuple(_events[name] for name in ChainedEvent.__struct_fields__)


def recorded(conn: Connection, *, run: str | None, kind: str | None, after: int, limit: int) -> list[Event]:
    """Return events with an id above ``after``, oldest first; of one run or kind if given."""
    query = select(tables.events).where(_events.id > after).order_by(_events.id).limit(limit)
    if run is not None:
        query = query.where(_events.run == run)
    if kind is not None:
        query = query.where(_events.kind == kind)
    return list(codec.readable(conn.execute(query), codec.event_of))


def since(conn: Connection, moment: float, kinds: Sequence[str]) -> list[Event]:
    """Return the events of some kinds from a time on, oldest first."""
    query = select(tables.events).where(_events.at >= moment, _events.kind.in_(kinds)).order_by(_events.id)
    return list(codec.readable(conn.execute(query), codec.event_of))


def run_without(conn: Connection) -> str | None:
    """Return a run of which no event tells."""
    told = select(_events.id).where(_events.run == tables.runs.c.id).correlate(tables.runs)
    return conn.execute(select(tables.runs.c.id).where(~told.exists()).limit(1)).scalar()


def beat(conn: Connection, name: str) -> None:
    """Note that ``name`` is alive now."""
    moment = conn.execute(select(sql.now())).scalar_one()
    sql.put(conn, tables.heartbeats, [{"name": name, "at": moment}])


def take_turn(conn: Connection, name: str, every: float) -> bool:
    """Note that ``name`` is alive now if it was not for so long; tell whether that was so."""
    beats, now = tables.heartbeats.c, sql.now()
    ahead = beats.at > now + FUTURE
    # Left ahead by a clock that was wrong, the dead would never be missed: they are silent from now on.
    conn.execute(update(tables.heartbeats).where(beats.name != name, ahead).values(at=now))
    rests = or_(beats.at < now - every, ahead)
    returning_update = (
        update(tables.heartbeats).where(beats.name == name, rests).values(at=now).returning(beats.name)
    )
    if conn.execute(returning_update).first() is not None:
        return True
    moment = conn.execute(select(now)).scalar_one()
    return sql.insert_one(conn, tables.heartbeats, name=name, at=moment)


def ages(conn: Connection) -> dict[str, float]:
    """Return how many seconds ago each name was last seen alive.

    A time that is none, or lies in the future, says nothing: it must not make the dead look alive.
    """
    beats = tables.heartbeats.c
    now: float = conn.execute(select(sql.now())).scalar_one()
    seconds: dict[str, float] = {}
    for row in conn.execute(select(beats.name, beats.at)):
        with suppress(ValueError):
            if (age := now - codec.moment(row.at)) > -FUTURE:
                seconds[row.name] = max(0.0, age)
    return seconds
