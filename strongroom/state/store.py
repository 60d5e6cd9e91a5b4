"""The run store: what is to be done, who is doing it, and what came of it.

Celery carries, this decides. Every method is one transaction or one read; none is held
across I/O of anything else. All times are the database's clock. Any method may raise
:class:`~strongroom.state.errors.StateUnavailable` (try again) or another
:class:`~strongroom.state.errors.StateError`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from strongroom.state import alerts, catalog, claims, events, outcomes, recovery, runs, slots
from strongroom.state.alerts import Told
from strongroom.state.engine import Database
from strongroom.state.keys import FARTHEST
from strongroom.state.outcomes import Decide, DecideAgain, Needed
from strongroom.state.records import (
    CatalogEntry,
    Claim,
    Event,
    Link,
    Replica,
    Run,
    RunKind,
    Spec,
    Step,
    StepKind,
    StepRow,
    StepState,
    Tally,
    Ticket,
)
from strongroom.state.recovery import Exhausted, Patience

__all__ = ["LEASE_SECONDS", "Decide", "DecideAgain", "Exhausted", "Patience", "RunStore"]

LEASE_SECONDS: Final = Patience().lease


class RunStore:
    """The state of an installation, on SQLite or PostgreSQL.

    May be built before a fork; each process opens its own connections on first use, and
    migrates the schema then, if it has to. Safe to use from threads.

    Args:
        url: ``sqlite:////path/to/state.db`` or ``postgresql://user@host/database``.
        patience: how long to wait before something counts as lost.
    """

    def __init__(self, url: str, *, patience: Patience | None = None) -> None:
        self._database = Database(url)
        self._patience = patience or Patience()

    def close(self) -> None:
        """Close this process's connections."""
        self._database.close()

    def check(self) -> None:
        """Connect, and migrate if needed: everything that could be wrong shows now."""
        with self._database.reading():
            pass

    def examine(self) -> None:
        """Raise StateError if a SQLite file is damaged anywhere."""
        self._database.examine()

    # -- runs ----------------------------------------------------------------

    def create(
        self,
        spec: Spec,
        *,
        first: Sequence[Step],
        request_id: str | None = None,
        slot: tuple[str, float] | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Run | None:
        """Create a run with its first steps, and claim its slot, in one transaction.

        Returns:
            the run; the one that ``request_id`` made before, if it did; or ``None`` if
            the slot (policy, due time) has been claimed, in which case nothing is written.
        """
        with self._database.writing() as conn:
            return runs.create(conn, spec, first=first, request_id=request_id, slot=slot, facts=facts or {})

    def load(self, run: str) -> Run:
        """Return a run by id. Raises RunNotFound."""
        with self._database.reading() as conn:
            return runs.load(conn, run)

    def find(self, name: str) -> Run:
        """Return a run by its id or by the request id it was made under. Raises RunNotFound."""
        with self._database.reading() as conn:
            return runs.find(conn, name)

    def runs(self, limit: int = 50) -> list[Run]:
        """Return the newest runs, newest first."""
        with self._database.reading() as conn:
            return runs.newest(conn, limit)

    def runs_of(self, policy: str, kind: RunKind, *, limit: int) -> list[Run]:
        """Return the newest runs of a policy and kind, newest first."""
        with self._database.reading() as conn:
            return runs.of(conn, policy, kind, limit)

    def sealed_since(self, policy: str, fingerprint: str) -> float | None:
        """Return when (epoch seconds) the first backup on record began that a policy sealed for a key."""
        with self._database.reading() as conn:
            return runs.sealed_since(conn, policy, fingerprint)

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

    def swept(self, run: str) -> None:
        """Note that a run leaves nothing any more."""
        with self._database.writing() as conn:
            runs.swept(conn, run)

    def tally(self, run: str) -> Tally:
        """Count a run's steps."""
        with self._database.reading() as conn:
            return runs.tally(conn, run)

    def row(self, run: str, step: Step) -> StepRow:
        """Return one step. Raises StateError if there is no such row."""
        with self._database.reading() as conn:
            return runs.row(conn, run, step)

    def rows(self, run: str, kind: StepKind | None = None, *, piece: int | None = None) -> list[StepRow]:
        """Return a run's steps by kind, piece and target; of one kind or piece if given."""
        with self._database.reading() as conn:
            return runs.rows(conn, run, kind, piece)

    def cancel(self, run: str, *, error: str = "cancelled") -> Run:
        """Begin to cancel a run and return it, ``closing``.

        What has not started is MISSED; what runs may end, but its :meth:`renew` says
        ``False``; then REPORT sweeps and the run is CANCELLED. A run that has ended, is
        closing, or is at its REPORT already, is returned as it is.
        """
        with self._database.writing() as conn:
            return outcomes.cancel(conn, run, error)

    def retry(self, run: str, decide: DecideAgain, *, first: Sequence[Step] = ()) -> Run:
        """Make a FAILED run ACTIVE again, its poisoned and missed steps READY with no
        attempts counted; with ``first``, forget all its steps and start over with these.

        ``decide`` is asked again for each step that is done, with its recorded result,
        since what ended while the run was closing led to nothing.

        Raises:
            UsageError: the run has not failed.
        """
        with self._database.writing() as conn:
            return outcomes.retry(conn, run, decide, first)

    # -- steps ---------------------------------------------------------------

    def take_ready(self, run: str, *, window: int) -> list[Ticket]:
        """Give out what is due: READY becomes SENT, each under a new dispatch number.

        Captures come last, and only while fewer than ``window`` pieces are being captured
        or have an upload outstanding: that bounds the stage. The caller sends the tickets
        after this has returned; one that never arrives is noticed by :meth:`reconcile`.
        """
        with self._database.writing() as conn:
            return claims.take_ready(conn, run, window=window)

    def claim(self, ticket: Ticket, *, owner: str, lease: float | None = None) -> Claim | None:
        """Start a step: take its lease for ``lease`` seconds and count the attempt.

        Returns:
            ``None`` if the ticket is stale, the step settled or leased by someone alive,
            its starts used up, or the run has ended (or is closing, and this is not REPORT).
        """
        with self._database.writing() as conn:
            return claims.claim(
                conn, ticket, owner=owner, lease=self._lease(lease), starts=self._patience.starts
            )

    def renew(self, claim: Claim, *, lease: float | None = None) -> bool:
        """Extend a lease from now. ``False``: it is lost, or the run is being cancelled or
        has failed, and the worker should stop and clean up after itself."""
        with self._database.writing() as conn:
            return claims.renew(conn, claim, lease=self._lease(lease))

    def finish(self, claim: Claim, result: Mapping[str, Any], decide: Decide) -> tuple[Run, Tally]:
        """Record a step's result, and what follows from it, in one transaction.

        ``decide`` is called inside it, with the run's row locked and the step counted, and
        must be pure. While the run is closing only the facts of its verdicts count; REPORT
        then ends the run as it began to end. A repeated call by the same claim, after an
        answer was lost, changes nothing.

        Returns:
            the run as it is now, and the tally that ``decide`` saw.

        Raises:
            ClaimLost: another took the step over; delete what only this attempt made.
        """
        with self._database.writing() as conn:
            return outcomes.finish(conn, claim, result, decide)

    def fail(
        self,
        claim: Claim,
        error: str,
        *,
        retry_in: float | None = None,
        settle: StepState | None = None,
        decide: Decide,
        unless: Needed | None = None,
    ) -> tuple[Run, Tally]:
        """Record that a step failed.

        With ``retry_in`` it is READY again in so many seconds (MISSED, if the run is
        closing). Otherwise it is settled: MISSED leads on by ``decide``; POISONED fails
        the run. ``decide`` is not asked then, nor while the run is closing, nor for
        REPORT, whose failure ends the run. ``error`` must be free of secrets.

        Args:
            unless: asked before the step is settled, the run's row locked: two targets that fail at the
                same moment would otherwise each be given up for the sake of the other.

        Raises:
            ClaimLost: as :meth:`finish`.
            StillNeeded: ``unless`` says so; nothing was recorded.
        """
        with self._database.writing() as conn:
            return outcomes.fail(
                conn, claim, error, retry_in=retry_in, settle=settle, decide=decide, unless=unless
            )

    def wait(self, claim: Claim, error: str, *, pause: float, patience: float) -> bool:
        """Give a step back that met a full disk, or a place that does not answer.

        It is READY again in ``pause`` seconds, and the attempt does not count. Steps of the same kind and
        target pause with it. ``error`` says what it waits for, and must be free of secrets.

        Returns:
            ``False`` if nothing was recorded: it has waited for ``patience`` seconds already, the run is
            closing, or the claim is lost. The caller then records a failure.
        """
        with self._database.writing() as conn:
            return outcomes.wait(conn, claim, error, pause=pause, patience=patience)

    def reconcile(
        self,
        decide: Decide,
        *,
        exhausted: Exhausted = recovery.given_up,
        strict: str = "",
        failed: Callable[[Run], None] = recovery.unannounced,
    ) -> list[str]:
        """Put right what got lost and return the runs that have something to send.

        A lease that ran out makes its step READY again, or after the last of its starts
        settles it as ``exhausted`` says. A message that got lost makes its step READY. An
        active run with nothing left to do fails. Bounded transactions; safe to call from
        several processes at once. Follow with :meth:`take_ready` for each run returned.
        ``failed`` is told of each run that this made fail, once that is recorded.

        Args:
            strict: the run whose trouble is raised. That of any other is logged: one edited
                run must not keep the others waiting.
        """
        return recovery.reconcile(
            self._database,
            decide,
            patience=self._patience,
            exhausted=exhausted,
            strict=strict,
            failed=failed,
        )

    def forsake(self, run: str, *, owners: Collection[str]) -> None:
        """Count as lost now what processes held of a run that are known to have died: their claims, and
        what was given out and not begun. :meth:`reconcile` draws the consequence."""
        with self._database.writing() as conn:
            recovery.forsake(conn, run, owners)

    def _lease(self, given: float | None) -> float:
        return min(self._patience.lease if given is None else given, FARTHEST)

    # -- slots, events, heartbeats -------------------------------------------

    def newest_slot(self, policy: str) -> float | None:
        """Return when the newest slot claimed for a policy was due (epoch seconds)."""
        with self._database.reading() as conn:
            return slots.newest(conn, policy)

    def event(self, kind: str, run: str | None = None, **detail: Any) -> None:
        """Append an event. ``detail`` is small, JSON-able and free of secrets and names."""
        with self._database.writing() as conn:
            events.append(conn, kind, run, detail)

    def append(self, entries: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Append several events together, each a kind and its detail: all of them or none."""
        with self._database.writing() as conn:
            for kind, detail in entries:
                events.append(conn, kind, None, detail)

    def events(
        self, *, run: str | None = None, kind: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[Event]:
        """Return events in order, those with an id above ``after``."""
        with self._database.reading() as conn:
            return events.recorded(conn, run=run, kind=kind, after=after, limit=limit)

    def links(self, *, after: int = 0, limit: int = 1000) -> list[Link]:
        """Return events as they are chained, in order, those with an id above ``after``."""
        with self._database.reading() as conn:
            return events.links(conn, after=after, limit=limit)

    def newest_link(self) -> Link | None:
        """Return the newest event as it is chained; ``None`` if nothing has happened yet."""
        with self._database.reading() as conn:
            return events.newest_link(conn)

    def run_without_event(self) -> str | None:
        """Return a run that is on record though no event tells of it: those were removed."""
        with self._database.reading() as conn:
            return events.run_without(conn)

    def happened(self, *kinds: str, since: float) -> list[Event]:
        """Return the events of some kinds from a time (epoch seconds) on, oldest first."""
        with self._database.reading() as conn:
            return events.since(conn, since, kinds)

    def heartbeat(self, name: str) -> None:
        """Note that a process, such as ``beat``, is alive."""
        with self._database.writing() as conn:
            events.beat(conn, name)

    def take_turn(self, name: str, *, every: float) -> bool:
        """Note that ``name`` is alive if it was not for ``every`` seconds, and tell whether that was so.

        Of all that ask at once, one gets the turn.
        """
        with self._database.writing() as conn:
            return events.take_turn(conn, name, every)

    def heartbeats(self) -> dict[str, float]:
        """Return for each name how many seconds ago it was alive."""
        with self._database.reading() as conn:
            return events.ages(conn)

    # -- alerts --------------------------------------------------------------

    def told(self, audience: str) -> list[Told]:
        """Return the alerts that an audience was told of, by key."""
        with self._database.reading() as conn:
            return alerts.alerts_told(conn, audience)

    def put_told(self, audience: str, rows: Sequence[Told], *, forget: float) -> None:
        """Record what an audience was told; forget what has been over since before ``forget``."""
        with self._database.writing() as conn:
            alerts.put(conn, audience, rows)
            alerts.forget(conn, audience, forget)

    # -- catalog -------------------------------------------------------------

    def put_backup(self, entry: CatalogEntry, replicas: Sequence[Replica] = ()) -> None:
        """Record a backup and its replicas; a known one is replaced."""
        with self._database.writing() as conn:
            catalog.put(conn, entry, replicas)

    def backup(self, name: str) -> CatalogEntry | None:
        """Return one backup, or ``None``."""
        with self._database.reading() as conn:
            return catalog.backup(conn, name)

    def names(self, policy: str) -> list[str]:
        """Return the names of all backups of a policy, newest first."""
        with self._database.reading() as conn:
            return catalog.names(conn, policy)

    def digests(self, backups: Sequence[str]) -> dict[str, str]:
        """Return the SHA-256 (hex) of the manifest of each of these backups that the catalog knows."""
        with self._database.reading() as conn:
            return catalog.digests(conn, backups)

    def backups(self, *, policy: str | None = None, limit: int = 1000) -> list[CatalogEntry]:
        """Return backups, newest first; of one policy if given."""
        with self._database.reading() as conn:
            return catalog.backups(conn, policy=policy, limit=limit)

    def with_bad_replicas(self) -> list[str]:
        """Return the backups that have a replica that is not good, newest first, however old they are."""
        with self._database.reading() as conn:
            return catalog.with_bad_replicas(conn)

    def most_secrets(self, policy: str, *, since: str, besides: str) -> int:
        """Return the most secrets that a policy's backups since then hold, or its newest if that is older.

        Args:
            besides: the backup that is to be held against them.
        """
        with self._database.reading() as conn:
            return catalog.most_secrets(conn, policy, since=since, besides=besides)

    def set_replica(self, replica: Replica) -> None:
        """Record what is known of one replica. Its backup must be in the catalog."""
        with self._database.writing() as conn:
            catalog.put_replica(conn, replica)

    def drop_replica(self, backup: str, target: str) -> bool:
        """Forget a replica that was removed from its target; return whether it was the last one,
        and the backup is forgotten with it."""
        with self._database.writing() as conn:
            return catalog.drop_replica(conn, backup, target)

    def replicas(self, backup: str) -> list[Replica]:
        """Return the replicas of a backup, by target."""
        with self._database.reading() as conn:
            return catalog.replicas(conn, backup)

    def replicas_of(self, backups: Sequence[str]) -> dict[str, list[Replica]]:
        """Return the replicas of each of these backups, by target; one read for all of them."""
        with self._database.reading() as conn:
            return catalog.replicas_of(conn, backups)
