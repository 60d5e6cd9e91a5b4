"""What the record says of runs and their steps."""

from __future__ import annotations

from strongroom.state import catalog, runs
from strongroom.state.engine import Transactions
from strongroom.state.records import Run, RunCount, RunKind, RunStep, StepKind, StepRow, Tally, Waiting


class RunQueries(Transactions):
    """Questions about runs and steps; they change nothing."""

    def load(self, run: str) -> Run:
        """Return a run by id. Raises RunNotFound."""
        with self._database.reading() as conn:
            return runs.load(conn, run)

    def find(self, name: str) -> Run:
        """Return a run by its id or by the request id it was made under. Raises RunNotFound."""
        with self._database.reading() as conn:
            return runs.find(conn, name)

    def runs(self, limit: int = 50, *, before: str | None = None) -> list[Run]:
        """Return the newest runs, newest first: of all, or of those older than one."""
        with self._database.reading() as conn:
            return runs.newest(conn, limit, before)

    def runs_of(self, policy: str, kind: RunKind, *, limit: int) -> list[Run]:
        """Return the newest runs of a policy and kind, newest first."""
        with self._database.reading() as conn:
            return runs.of(conn, policy, kind, limit)

    def runs_between(self, since: float, until: float) -> list[Run]:
        """Return the runs that went on at some time between two (epoch seconds)."""
        with self._database.reading() as conn:
            return runs.between(conn, since, until)

    def sealed_since(self, policy: str, fingerprint: str) -> float | None:
        """Return when (epoch seconds) the first backup on record began that a policy sealed for a key."""
        with self._database.reading() as conn:
            return runs.sealed_since(conn, policy, fingerprint)

    def counts(self, *, since: float = 0.0) -> list[RunCount]:
        """Count the runs that were made since a time (epoch seconds), by policy, kind and state."""
        with self._database.reading() as conn:
            return runs.counts(conn, since)

    def waiting(self) -> list[Waiting]:
        """Count the steps of all runs that have not ended, by kind and state."""
        with self._database.reading() as conn:
            return runs.waiting(conn)

    def unreadable(self) -> list[str]:
        """Say of which runs and backups the rows cannot be read: lists leave them out."""
        with self._database.reading() as conn:
            return [*runs.unreadable(conn), *catalog.unreadable(conn)]

    def active(self) -> list[Run]:
        """Return the runs that have not ended, however old they are."""
        with self._database.reading() as conn:
            return runs.active(conn)

    def leaving(self, policy: str, *, limit: int) -> list[Run]:
        """Return some of a policy's ended backups that left something to sweep, by lot."""
        with self._database.reading() as conn:
            return runs.leaving(conn, policy, limit)

    def tally(self, run: str) -> Tally:
        """Count a run's steps."""
        with self._database.reading() as conn:
            return runs.tally(conn, run)

    def moved_at(self, run: str) -> float:
        """Return when a step of a run was last begun or ended; 0 if none was."""
        with self._database.reading() as conn:
            return runs.moved_at(conn, run)

    def row(self, run: str, step: RunStep) -> StepRow:
        """Return one step. Raises StateError if there is no such row."""
        with self._database.reading() as conn:
            return runs.row(conn, run, step)

    def rows(self, run: str, kind: StepKind | None = None, *, piece: int | None = None) -> list[StepRow]:
        """Return a run's steps by kind, piece and target; of one kind or piece if given."""
        with self._database.reading() as conn:
            return runs.rows(conn, run, kind, piece)
