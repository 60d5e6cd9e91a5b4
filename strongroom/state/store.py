"""The run store: what is to be done, who is doing it, and what came of it.

Celery carries, this decides. Every method is one transaction or one read; none is held
across I/O of anything else. All times are the database's clock. Any method may raise
:class:`~strongroom.state.errors.StateUnavailable` (try again) or another
:class:`~strongroom.state.errors.StateError`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from heapq import merge
from types import MappingProxyType
from typing import Any

from strongroom.state import catalog, folding, notes, outcomes, recovery, runs, sql, turns
from strongroom.state.engine import Transactions
from strongroom.state.hosts import HostRecord
from strongroom.state.notes import AccessMarks, Calendar, NotifiedAlert, SecretRotations
from strongroom.state.records import (
    CatalogEntry,
    ChainedEvent,
    Claim,
    ContainerCheck,
    Decide,
    DecideAgain,
    Event,
    HeldReplica,
    Needed,
    ReadContainers,
    Replica,
    Run,
    RunCount,
    RunKind,
    RunProgress,
    RunState,
    RunStep,
    Spec,
    StepKind,
    StepRow,
    StepState,
    Tally,
    Ticket,
    Waiting,
)
from strongroom.state.recovery import Exhausted, LossPatience
from strongroom.state.runs import FARTHEST
from strongroom.system.lazy import batched

__all__ = [
    "BackupCatalog",
    "Calendar",
    "Decide",
    "DecideAgain",
    "EventLog",
    "Exhausted",
    "LossPatience",
    "RunQueries",
    "RunStore",
]


# -- What the record says of runs and their steps -----------------------------------------------


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

    def states_of(self, policy: str, kind: RunKind, *, since: float) -> list[tuple[float, RunState]]:
        """Return when each run of a policy and kind began since a time (epoch seconds), the oldest first, and
        how it stands."""
        with self._database.reading() as conn:
            return runs.states_of(conn, policy, kind, since)

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

    def progress(self) -> dict[str, RunProgress]:
        """Return how far each run is that has not ended, by id: one read, however many there are."""
        with self._database.reading() as conn:
            return runs.progress(conn)

    def newest_ends(self) -> dict[RunKind, float]:
        """Return when a run of each kind last ended, of those that ended within a day."""
        with self._database.reading() as conn:
            return runs.newest_ends(conn)

    def first_run_at(self) -> float | None:
        """Return when the oldest run on record was created: what was due before, nobody missed."""
        with self._database.reading() as conn:
            return runs.first_at(conn)

    def row(self, run: str, step: RunStep) -> StepRow:
        """Return one step. Raises StateError if there is no such row."""
        with self._database.reading() as conn:
            return runs.row(conn, run, step)

    def rows(self, run: str, kind: StepKind | None = None, *, piece: int | None = None) -> list[StepRow]:
        """Return a run's steps by kind, piece and target; of one kind or piece if given."""
        with self._database.reading() as conn:
            return runs.rows(conn, run, kind, piece)


# -- Which backups there are, and what is known of each of their replicas -----------------------


class BackupCatalog(Transactions):
    """Backups and their replicas."""

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

    def backups(
        self, *, policy: str | None = None, limit: int | None = None, before: str | None = None
    ) -> list[CatalogEntry]:
        """Return backups, newest first; of one policy if given, and those older than one. Without a limit,
        all of them."""
        with self._database.reading() as conn:
            return catalog.backups(conn, policy=policy, limit=limit, before=before)

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

    def set_replica(self, replica: Replica, *, damaged: Collection[int] | None = None) -> None:
        """Record what is known of one replica. Its backup must be in the catalog.

        Args:
            damaged: which containers of a bad one are. Without it all of them count as never read.
        """
        some = [None] if damaged is None else list(batched(sorted(damaged), sql.SLICE))
        for pieces in () if replica.good else some:
            self._forget_checks(replica.backup, replica.target, pieces)
        with self._database.writing() as conn:
            catalog.put_replica(conn, replica)

    def refresh_replica(self, before: Replica, now: Replica) -> None:
        """Record what is newly known of a replica, unless something else became known of it meanwhile: that
        it is damaged, or gone."""
        with self._database.writing() as conn:
            if catalog.is_on_record(conn, before):
                catalog.put_replica(conn, now)

    def drop_replica(self, backup: str, target: str) -> bool:
        """Forget a replica that was removed from its target; return whether it was the last one,
        and the backup is forgotten with it."""
        self._forget_checks(backup, target)
        with self._database.writing() as conn:
            return catalog.drop_replica(conn, backup, target)

    def _forget_checks(self, backup: str, target: str, pieces: Collection[int] | None = None) -> None:
        """Have containers of a replica count as never read, a slice a transaction. It comes before what else
        is recorded of the replica: who is killed in between leaves too little that was read, and never a
        replica that counts as read and was not."""
        more = True
        while more:
            with self._database.writing() as conn:
                more = catalog.forget_checks(conn, backup, target, pieces)

    def replicas(self, backup: str) -> list[Replica]:
        """Return the replicas of a backup, by target."""
        with self._database.reading() as conn:
            return catalog.replicas(conn, backup)

    def replicas_of(self, backups: Sequence[str]) -> dict[str, list[Replica]]:
        """Return the replicas of each of these backups, by target; one read for all of them."""
        with self._database.reading() as conn:
            return catalog.replicas_of(conn, backups)

    def held_replicas(self) -> list[HeldReplica]:
        """Return all replicas that are good on record, each with what is known of its backup."""
        with self._database.reading() as conn:
            return catalog.held(conn)

    def read_counts(
        self, replicas: Collection[tuple[str, str]], *, since: float, until: float
    ) -> dict[tuple[str, str], list[ReadContainers]]:
        """Count the containers of some replicas (backup, target) that were read until a time, by depth, and
        by whether they were read since another."""
        with self._database.reading() as conn:
            return catalog.read_counts(conn, replicas, since=since, until=until)

    def oldest_read(self, backup: str, target: str, *, until: float) -> int | None:
        """Return the container of a replica that was not read for longest, of those that were until a time;
        ``None`` if none was."""
        with self._database.reading() as conn:
            return catalog.oldest_read(conn, backup, target, until=until)

    def first_unread(self, backup: str, target: str, *, until: float) -> int:
        """Return the first container of a replica that was not read until a time."""
        with self._database.reading() as conn:
            return catalog.first_unread(conn, backup, target, until=until)

    def put_checks(self, checks: Sequence[ContainerCheck]) -> None:
        """Record which containers were read back, how deep and when, a slice a transaction: each stands for
        itself."""
        for some in batched(checks, sql.SLICE):
            with self._database.writing() as conn:
                catalog.put_checks(conn, some)

    def checks(self, backups: Collection[str] | None = None) -> list[ContainerCheck]:
        """Return what was read back of replicas: of these backups, or of all."""
        with self._database.reading() as conn:
            return catalog.checks(conn, backups)


# -- What happened, which processes are alive, and who was told of an alert ---------------------


class EventLog(Transactions):
    """Events, heartbeats, and which audience was notified of which alert."""

    def event(self, kind: str, run: str | None = None, **detail: Any) -> None:
        """Append an event. ``detail`` is small, JSON-able and free of secrets and names."""
        with self._database.writing() as conn:
            catalog.append(conn, kind, run, detail)

    def append(self, entries: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Append several events together, each a kind and its detail: all of them or none."""
        with self._database.writing() as conn:
            for kind, detail in entries:
                catalog.append(conn, kind, None, detail)

    def events(
        self, *, run: str | None = None, kind: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[Event]:
        """Return events in order, those with an id above ``after``."""
        with self._database.reading() as conn:
            return catalog.recorded(conn, run=run, kind=kind, after=after, limit=limit)

    def each_event(self, *kinds: str) -> Iterator[Event]:
        """Yield every event of some kinds, in order, a page of each at a time."""
        yield from merge(*map(self._each, kinds), key=lambda event: event.id)

    def _each(self, kind: str) -> Iterator[Event]:
        after = 0
        while page := self.events(kind=kind, after=after):
            yield from page
            after = page[-1].id

    def links(self, *, after: int = 0, limit: int = 1000) -> list[ChainedEvent]:
        """Return events as they are chained, in order, those with an id above ``after``."""
        with self._database.reading() as conn:
            return catalog.links(conn, after=after, limit=limit)

    def chained(self, events: Collection[int]) -> dict[int, str]:
        """Return the digest that each of these events carries, by its number, of those that are there."""
        with self._database.reading() as conn:
            return catalog.chained(conn, events)

    def newest_link(self) -> ChainedEvent | None:
        """Return the newest event as it is chained; ``None`` if nothing has happened yet."""
        with self._database.reading() as conn:
            return catalog.newest_link(conn)

    def run_without_event(self) -> str | None:
        """Return a run that is on record though no event tells of it: those were removed."""
        with self._database.reading() as conn:
            return catalog.run_without(conn)

    def happened(self, *kinds: str, since: float) -> list[Event]:
        """Return the events of some kinds from a time (epoch seconds) on, oldest first."""
        with self._database.reading() as conn:
            return catalog.since(conn, since, kinds)

    def heartbeat(self, name: str) -> None:
        """Note that a process, such as ``beat``, is alive."""
        with self._database.writing() as conn:
            catalog.beat(conn, name)

    def take_turn(self, name: str, *, every: float) -> bool:
        """Note that ``name`` is alive if it was not for ``every`` seconds, and tell whether that was so.

        Of all that ask at once, one gets the turn.
        """
        with self._database.writing() as conn:
            return catalog.take_turn(conn, name, every)

    def heartbeats(self) -> dict[str, float]:
        """Return for each name how many seconds ago it was alive."""
        with self._database.reading() as conn:
            return catalog.ages(conn)

    def take_lease(self, name: str, owner: str, *, seconds: float) -> str:
        """Take a lease, or renew it, unless another renewed it within so many seconds.

        Returns:
            who has it now: ``owner``, or the other.
        """
        with self._database.writing() as conn:
            return notes.take_lease(conn, name, owner, seconds)

    def release_lease(self, name: str, owner: str) -> None:
        """Give a lease back, if this owner has it."""
        with self._database.writing() as conn:
            notes.release(conn, name, owner)

    def told(self, audience: str) -> list[NotifiedAlert]:
        """Return the alerts that an audience was told of, by key."""
        with self._database.reading() as conn:
            return notes.alerts_told(conn, audience)

    def told_of(self, key: str) -> list[NotifiedAlert]:
        """Return what each audience was told of an alert that is not over."""
        with self._database.reading() as conn:
            return notes.told_of(conn, key)

    def put_told(self, audience: str, rows: Sequence[NotifiedAlert], *, forget: float) -> None:
        """Record what an audience was told; forget what has been over since before ``forget``."""
        with self._database.writing() as conn:
            notes.put_told(conn, audience, rows)
            notes.forget(conn, audience, forget)


# -- The run store: what is to be done, who is doing it, and what came of it --------------------
#
# Celery carries, this decides. Every method is one transaction or one read; none is held
# across I/O of anything else. All times are the database's clock. Any method may raise
# :class:`~strongroom.state.errors.StateUnavailable` (try again) or another
# :class:`~strongroom.state.errors.StateError`.


class RunStore(RunQueries, EventLog, BackupCatalog, Calendar, SecretRotations, AccessMarks, HostRecord):
    """The state of an installation, on SQLite or PostgreSQL.

    May be built before a fork; each process opens its own connections on first use, and
    migrates the schema then, if it has to. Safe to use from threads.

    Args:
        url: ``sqlite:////path/to/state.db`` or ``postgresql://user@host/database``.
        patience: how long to wait before something counts as lost.
    """

    def __init__(self, url: str, *, patience: LossPatience | None = None) -> None:
        super().__init__(url)
        self._patience = patience or LossPatience()
        self.created: list[str] | None = None
        """The runs that this process put on record, or tried to, while somebody wants to know: it may be
        interrupted as that is done. One that was there before is another's."""

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

    def create(
        self,
        spec: Spec,
        *,
        first: Sequence[RunStep],
        request_id: str | None = None,
        slot: tuple[str, float] | None = None,
        facts: Mapping[str, Any] | None = None,
        queued: bool = False,
    ) -> Run | None:
        """Create a run with its first steps, and claim its slot, in one transaction.

        Args:
            queued: it waits for its turn: :meth:`begin_next` begins it. So does :meth:`take_ready`, for who
                performs it by itself.

        Returns:
            the run; the one that ``request_id`` made before, if it did; or ``None`` if
            the slot (policy, due time) has been claimed, in which case nothing is written.
        """
        with self._database.writing() as conn:
            if request_id is not None and (existing := runs.by_request(conn, request_id)) is not None:
                return existing
            run = runs.create(
                conn,
                spec,
                first=first,
                request_id=request_id,
                slot=slot,
                facts=facts or {},
                queued=queued,
            )
            if run is not None and self.created is not None:
                self.created.append(run.id)
            return run

    def cancel(self, run: str, *, error: str = "cancelled") -> Run:
        """Begin to cancel a run and return it, ``closing``.

        What has not started is MISSED; what runs may end, but its :meth:`renew` says
        ``False``; then REPORT sweeps and the run is CANCELLED. A run that has ended, is
        closing, or is at its REPORT already, is returned as it is.
        """
        with self._database.writing() as conn:
            cancelled = outcomes.cancel(conn, run, error)
        more = cancelled.closing and not cancelled.state.final
        while more:
            with self._database.writing() as conn:
                more = outcomes.go_on(conn, runs.lock(conn, run))
        return cancelled

    def retry(
        self, run: str, decide: DecideAgain, *, first: Sequence[RunStep] = (), queued: bool = False
    ) -> Run:
        """Make a FAILED run ACTIVE again, its poisoned and missed steps READY with no
        attempts counted; with ``first``, forget all its steps and start over with these,
        once its turn has come if it is ``queued``.

        ``decide`` is asked again for each step that is done, with its recorded result,
        since what ended while the run was closing led to nothing.

        Raises:
            UsageError: the run has not failed.
        """
        more = bool(first)
        while more:
            with self._database.writing() as conn:
                more = outcomes.forget(conn, run)
        with self._database.writing() as conn:
            return outcomes.retry(conn, run, decide, first, queued=queued)

    def swept(self, run: str) -> None:
        """Note that a run leaves nothing any more."""
        with self._database.writing() as conn:
            runs.swept(conn, run)

    def take_ready(self, run: str, *, window: int) -> list[Ticket]:
        """Give out what is due: READY becomes SENT, each under a new dispatch number.

        Captures come last, and only while fewer than ``window`` pieces are being captured
        or have an upload outstanding: that bounds the stage. The caller sends the tickets
        after this has returned; one that never arrives is noticed by :meth:`reconcile`. What a very large run
        has still to insert, or to give up, is done first.
        """
        while True:
            with self._database.writing() as conn:
                tickets = outcomes.take_ready(conn, run, window=window)
            if tickets is not None:
                return tickets

    def queued_kinds(self) -> list[RunKind]:
        """Return the kinds of the runs that wait for their turn: nearly always none."""
        with self._database.reading() as conn:
            return turns.queued_kinds(conn)

    def begin_next(self, kind: RunKind, *, most: int, window: int, apart: bool = False) -> list[Ticket]:
        """Give out the first steps of the runs of a kind whose turn has come, the oldest first.

        So many of a kind are at work at once that ``most`` are not exceeded. One that has done nothing but
        wait for a minute, for a target or for workers, does not count: it keeps nobody back.

        Args:
            apart: of a policy one at a time.
        """
        with self._database.writing() as conn:
            return turns.begin_next(conn, kind, most=most, window=window, apart=apart)

    def claim(self, ticket: Ticket, *, owner: str, lease: float | None = None) -> Claim | None:
        """Start a step: take its lease for ``lease`` seconds, count the attempt, and load its run.

        Returns:
            ``None`` if the ticket is stale, the step settled or leased by someone alive,
            its starts used up, or the run has ended (or is closing, and this is not REPORT).
        """
        with self._database.writing() as conn:
            return runs.claim(
                conn, ticket, owner=owner, lease=self._lease(lease), starts=self._patience.starts
            )

    def renew(self, claim: Claim, *, lease: float | None = None) -> bool:
        """Extend a lease from now. ``False``: it is lost, or the run is being cancelled or
        has failed, and the worker should stop and clean up after itself."""
        with self._database.writing() as conn:
            return runs.renew(conn, claim, lease=self._lease(lease))

    def finish(
        self, claim: Claim, result: Mapping[str, Any], decide: Decide, *, window: int | None = None
    ) -> tuple[Run, list[Ticket]]:
        """Record a step's result and what follows from it, and give out what is due, in one transaction.
        Where thousands of steps follow, or a run of thousands ends, the others come a slice a transaction.

        ``decide`` is called inside it, with the run's row locked and the step counted, and
        must be pure. While the run is closing only the facts of its verdicts count; REPORT
        then ends the run as it began to end. A repeated call by the same claim, after an
        answer was lost, changes nothing of the step.

        Args:
            window: as of :meth:`take_ready`; ``None`` gives out nothing.

        Returns:
            the run as it is now, and what is given out.

        Raises:
            ClaimLost: another took the step over; delete what only this attempt made.
        """
        with self._database.writing() as conn:
            run, tickets = outcomes.finish(conn, claim, result, decide, window=window)
        if tickets is None:
            tickets = self.take_ready(run.id, window=window or 0)
        return run, tickets

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

    def wake(self, run: str, *kinds: StepKind) -> None:
        """End the pause of a run's steps of some kinds: what they wait for may have come. An id that is no
        run's has none."""
        with self._database.writing() as conn:
            outcomes.wake(conn, run, kinds)

    def reconcile(
        self,
        decide: Decide,
        *,
        exhausted: Exhausted = recovery.given_up,
        strict: str = "",
        failed: Callable[[Run], None] = recovery.unannounced,
        queues: Mapping[StepKind, str] = MappingProxyType({}),
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
            queues: the queue that carries each kind of step. A queue is first in, first out, and that tells
                a message that is lost from one that waits.
        """
        return recovery.reconcile(
            self._database,
            decide,
            patience=self._patience,
            exhausted=exhausted,
            strict=strict,
            failed=failed,
            queues=queues,
        )

    def fold(
        self, *, keeps: Callable[[], Collection[RunKind]], seconds: float, after: float = folding.AFTER
    ) -> int:
        """Put a few records in the place of the steps of runs that ended long ago (seconds); return how many
        steps went. Bounded transactions, and safe to call from several processes at once.

        Args:
            keeps: asked, if there is something to fold, for the kinds of runs whose steps stay.
            seconds: how long this may go on. The next call does what is left.
        """
        return folding.fold(self._database, keeps=keeps, seconds=seconds, after=after)

    def forsake(self, run: str, *, owners: Collection[str]) -> None:
        """Count as lost now what processes held of a run that are known to have died: their claims, and
        what was given out and not begun. :meth:`reconcile` draws the consequence."""
        more = True
        while more:
            with self._database.writing() as conn:
                more = recovery.forsake(conn, run, owners)

    def _lease(self, given: float | None) -> float:
        return min(self._patience.lease if given is None else given, FARTHEST)
