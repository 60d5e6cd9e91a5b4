"""What the hosts of an installation leave for each other: that their processes live and in which version,
requests to join, and signed lists on their way.

Nothing here is believed for standing here. Lists are checked against the installation's key by whoever takes
them over, requests against a key that only the token gives, and parcels are sealed under another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Collection, Sequence
from typing import Final

from msgspec import Struct
from sqlalchemy import Connection, delete, select, update

from strongroom.model import prepare
from strongroom.state import catalog, codec, sql, tables
from strongroom.state.engine import Transactions
from strongroom.state.migrations import HEAD

LIVES: Final = 60.0
"""Seconds after which a process that was not heard of counts as gone."""
FORGOTTEN: Final = 24 * 3600.0
"""Seconds after which a host that was not heard of is forgotten, unless it is on the host list."""
MOST_LISTS: Final = 64
"""Lists of a kind that are looked through: who may write to the database can add any number of false ones."""


class ReportedProcess(Struct, frozen=True, kw_only=True):
    """A process of a host as it last reported itself; ``age`` in seconds, by the database's clock."""

    host: str
    role: str
    version: str
    schema: str
    age: float

    @property
    def lives(self) -> bool:
        return self.age < LIVES


class JoinRecord(Struct, frozen=True, kw_only=True):
    """What the database has of a token. Times are seconds since the epoch, by the database's clock."""

    id: str
    expires_at: float
    parcel: str | None
    request: str | None
    used_by: str | None
    used_at: float | None

    @property
    def sealed(self) -> bytes:
        """What the token brings, as it was sealed; empty if that is no such thing."""
        return _bytes(self.parcel)


prepare(ReportedProcess, JoinRecord)

_processes, _joins, _lists = tables.processes.c, tables.joins.c, tables.signed_lists.c
_JOIN: Final = (
    _joins.id,
    _joins.expires_at,
    _joins.parcel,
    _joins.request,
    _joins.used_by,
    _joins.used_at,
)


class HostRecord(Transactions):
    """Processes, tokens and signed lists of several hosts."""

    # -- processes

    def report_process(self, host: str, role: str, *, version: str, schema: str = HEAD) -> None:
        """Note that a process of a host lives."""
        with self._database.writing() as conn:
            now = conn.execute(select(sql.now())).scalar_one()
            row = {"host": host, "role": role, "version": version, "schema": schema, "heard_at": now}
            sql.put(conn, tables.processes, [row])

    def forget_silent(self, *, listed: Collection[str]) -> None:
        """Forget the hosts of which nothing was heard for a day: containers and pods that others replaced.

        Args:
            listed: hosts that somebody has to remove, so silence ends nothing.
        """
        gone = (_processes.heard_at < sql.now() - FORGOTTEN) & _processes.host.not_in(listed)
        with self._database.writing() as conn:
            conn.execute(delete(tables.processes).where(gone))

    def processes(self) -> list[ReportedProcess]:
        """Return all that reported itself and was not forgotten, by host and role."""
        with self._database.reading() as conn:
            return processes(conn)

    # -- tokens

    def put_join(self, token: str, *, digest: str, parcel: bytes, seconds: float) -> None:
        """Enter a token that was made."""
        with self._database.writing() as conn:
            now: float = conn.execute(select(sql.now())).scalar_one()
            row = {"id": token, "digest": digest, "parcel": base64.b64encode(parcel).decode()}
            times = {"made_at": now, "expires_at": now + seconds}
            sql.put(conn, tables.joins, [row | times | dict.fromkeys(("request", "used_by", "used_at"))])

    def join_of(self, token: str) -> JoinRecord | None:
        """Return what is there of a token."""
        with self._database.reading() as conn:
            row = conn.execute(select(*_JOIN).where(_joins.id == token)).one_or_none()
            return None if row is None else codec.record_of(row, JoinRecord, "token to join with")

    def use_join(self, token: str, *, digest: str, host: str, request: str) -> JoinRecord | None:
        """Use a token up, for one request, and return what is there of it.

        One statement decides, so of two hosts one gets it. The same request again is the same use: whoever
        was killed in between goes on.

        Returns:
            ``None`` if it does not exist under this digest, is used up, or is over.
        """
        rests = _joins.used_at.is_(None) & (_joins.expires_at > sql.now())
        own = (_joins.id == token) & (_joins.digest == digest)
        with self._database.writing() as conn:
            used = (
                update(tables.joins)
                .where(own & rests)
                .values(used_at=sql.now(), used_by=host, request=request)
                .returning(_joins.id)
            )
            if conn.execute(used).first() is not None:
                catalog.append(conn, "cluster.token-used", None, {"token": token, "host": host})
            row = conn.execute(select(*_JOIN).where(own, _joins.request == request)).one_or_none()
            return None if row is None else codec.record_of(row, JoinRecord, "token to join with")

    def requests(self) -> list[JoinRecord]:
        """Return the requests that wait, or whose hosts were not seen to have joined."""
        with self._database.reading() as conn:
            query = select(*_JOIN).where(_joins.request.is_not(None), _joins.parcel.is_not(None))
            rows = conn.execute(query.order_by(_joins.used_at).limit(MOST_LISTS))
            return list(
                codec.readable(rows, lambda row: codec.record_of(row, JoinRecord, "token to join with"))
            )

    def end_join(self, token: str) -> None:
        """Remove what a token brought: its host has it."""
        with self._database.writing() as conn:
            conn.execute(update(tables.joins).where(_joins.id == token).values(parcel=None))

    # -- signed lists

    def put_list(self, kind: str, number: int, content: bytes) -> None:
        """Leave a signed list for the other hosts."""
        row = {"kind": kind, "number": number, "sha256": hashlib.sha256(content).hexdigest()}
        with self._database.writing() as conn:
            sql.insert_new(conn, tables.signed_lists, [row | {"content": base64.b64encode(content).decode()}])

    def newest_lists(self, kind: str, *, after: int) -> list[bytes]:
        """Return the lists of a kind with a number above ``after``, or as high, the highest first."""
        query = (
            select(_lists.content)
            .where(_lists.kind == kind, _lists.number >= after)
            .order_by(_lists.number.desc(), _lists.sha256)
            .limit(MOST_LISTS)
        )
        with self._database.reading() as conn:
            return list(filter(None, map(_bytes, conn.execute(query).scalars())))


def _bytes(text: object) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError):
        return b""


def processes(conn: Connection) -> list[ReportedProcess]:
    """Return all processes that are on record."""
    now: float = conn.execute(select(sql.now())).scalar_one()
    query = select(
        _processes.host,
        _processes.role,
        _processes.version,
        _processes.schema,
        (now - _processes.heard_at).label("age"),
    ).order_by(_processes.host, _processes.role)
    rows = codec.readable(
        conn.execute(query),
        lambda row: codec.record_of(row, ReportedProcess, f"process of host {row.host}"),
    )
    return list(rows)


def living(found: Sequence[ReportedProcess]) -> list[ReportedProcess]:
    """Return those of which one heard in the last minute. One in the future tells of a clock set back."""
    return [process for process in found if process.lives]
