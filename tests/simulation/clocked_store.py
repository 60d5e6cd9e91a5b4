"""The real run store, on SQLite, with the clock of a simulation. It is too slow for a year."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from msgspec import structs
from sqlalchemy import Connection, event

from strongroom.state import runs
from strongroom.state.engine import StateDatabase
from strongroom.state.records import Pause, Run, RunKind, RunStep, Spec
from strongroom.state.store import RunStore
from tests.simulation.thin_store import name_of


class ClockedStore(RunStore):
    """A run store whose database has a clock of its own, and is away when ``reach`` raises."""

    def __init__(self, path: Path, clock: Callable[[], float], reach: Callable[[], None]) -> None:
        super().__init__(f"sqlite:///{path}")
        self._really = self._database
        self._database = _Reached(self._database, reach)  # type: ignore[assignment]
        event.listen(
            self._really._connections.engine(), "connect", lambda connection, _: _set_clock(connection, clock)
        )
        self._really.close()
        self.claimed: list[tuple[str, float, str, float]] = []
        self.paused: dict[str, Pause] = {}

    def close(self) -> None:
        self._really.close()

    def create(
        self, spec: Spec, *, first: Sequence[RunStep], slot: tuple[str, float] | None = None, **more: Any
    ) -> Run | None:
        with patch.object(runs, "_new", _new):
            run = super().create(spec, first=first, slot=slot, **more)
        if run is not None and slot is not None:
            self.claimed.append((*slot, run.id, run.created_at))
        return run

    def pauses(self) -> list[Pause]:
        super().pauses()
        return list(self.paused.values())

    # -- what the simulation looks at itself, whether the database is away or not ----------------------------

    @property
    def has_active(self) -> bool:
        return bool(self.all_active())

    def all_active(self) -> list[Run]:
        with self._really.reading() as conn:
            return runs.active(conn)

    def began_at(self) -> float | None:
        with self._really.reading() as conn:
            return runs.first_at(conn)

    def newest_of(self, policy: str, kind: RunKind, limit: int) -> list[Run]:
        with self._really.reading() as conn:
            return runs.of(conn, policy, kind, limit)

    def newest_claim(self, name: str, until: float) -> float | None:
        query = "SELECT max(due_at) FROM slots WHERE policy = ? AND due_at <= ?"
        with self._really.reading() as conn:
            found: float | None = conn.exec_driver_sql(query, (name, until)).scalar()
            return found

    def forget_ended(self, before: float) -> None:
        """The real store keeps everything."""


class _Reached:
    """A database that is away when ``reach`` raises."""

    def __init__(self, database: StateDatabase, reach: Callable[[], None]) -> None:
        self._database, self._reach = database, reach

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        self._reach()
        with self._database.reading() as conn:
            yield conn

    def clock(self) -> float:
        self._reach()
        return self._database.clock()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        self._reach()
        with self._database.writing() as conn:
            yield conn


def _set_clock(connection: sqlite3.Connection, clock: Callable[[], float]) -> None:
    """Have SQLite's ``julianday('now')`` tell a simulation's time."""
    connection.create_function("julianday", 1, lambda _: clock() / 86_400.0 + 2440587.5)


_really_new = runs._new


def _new(
    conn: Connection, spec: Spec, request_id: str | None, facts: Mapping[str, Any], *, queued: bool
) -> Run:
    run = _really_new(conn, spec, request_id, facts, queued=queued)
    return structs.replace(run, id=name_of(spec, run.created_at))
