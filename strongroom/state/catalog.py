"""Which backups there are, and where. The targets are the truth; this can be rebuilt."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import structs
from sqlalchemy import Connection, delete, select

from strongroom.model import Depth
from strongroom.state import codec, sql, tables
from strongroom.state.records import CatalogEntry, ContainerCheck, Replica

_DEPTHS = tuple(Depth)
_catalog, _replicas, _checks = tables.catalog.c, tables.replicas.c, tables.container_checks.c


def put(conn: Connection, entry: CatalogEntry, replicas: Sequence[Replica]) -> None:
    """Record a backup and where it lies; what was known of it is replaced."""
    sql.put(conn, tables.catalog, [codec.entry_row(entry)])
    sql.put(conn, tables.replicas, [codec.replica_row(replica) for replica in replicas])


def put_replica(conn: Connection, replica: Replica, damaged: Collection[int] | None) -> None:
    """Record what is known of one replica of a backup in the catalog. What is damaged of a bad one counts as
    never read: these containers, or all of them if nobody knows which."""
    sql.put(conn, tables.replicas, [codec.replica_row(replica)])
    if not replica.good:
        forgotten = delete(tables.container_checks).where(
            _checks.backup == replica.backup, _checks.target == replica.target
        )
        conn.execute(forgotten if damaged is None else forgotten.where(_checks.piece.in_(damaged)))


def drop_replica(conn: Connection, name: str, target: str) -> bool:
    """Forget a replica that was removed; with the last one, the backup. Tell whether it was that."""
    conn.execute(delete(tables.replicas).where(_replicas.backup == name, _replicas.target == target))
    conn.execute(delete(tables.container_checks).where(_checks.backup == name, _checks.target == target))
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
    known = {_key_of(check): check.depth for check in checks(conn, {check.backup for check in read})}
    deeper = [
        structs.replace(
            check, depth=max(check.depth, known.get(_key_of(check), check.depth), key=_DEPTHS.index)
        )
        for check in read
    ]
    sql.put(conn, tables.container_checks, [codec.check_row(check) for check in deeper])


def _key_of(check: ContainerCheck) -> tuple[str, str, int]:
    return check.backup, check.target, check.piece


def checks(conn: Connection, backups: Collection[str] | None) -> list[ContainerCheck]:
    """Return what was read back of replicas: of these backups, or of all. A row that cannot be read counts
    as never read."""
    query = select(tables.container_checks)
    if backups is not None:
        query = query.where(_checks.backup.in_(backups))
    return list(codec.readable(conn.execute(query), codec.check_of))


def good_replicas(conn: Connection) -> list[Replica]:
    """Return all replicas that are good on record."""
    rows = map(codec.replica_of, conn.execute(select(tables.replicas)))
    return [replica for replica in rows if replica.good]
