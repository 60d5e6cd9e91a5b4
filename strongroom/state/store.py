"""The run store: what is to be done, who is doing it, and what came of it.

Celery carries, this decides. Every method is one transaction or one read; none is held
across I/O of anything else. All times are the database's clock. Any method may raise
:class:`~strongroom.state.errors.StateUnavailable` (try again) or another
:class:`~strongroom.state.errors.StateError`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from strongroom.state import claims, outcomes, recovery, runs
from strongroom.state.access_marks import AccessMarks
from strongroom.state.backup_catalog import BackupCatalog
from strongroom.state.calendar import Calendar
from strongroom.state.event_log import EventLog
from strongroom.state.losses import LossPatience
from strongroom.state.records import (
    Claim,
    Decide,
    DecideAgain,
    Needed,
    Run,
    RunStep,
    Spec,
    StepKind,
    StepState,
    Tally,
    Ticket,
)
from strongroom.state.recovery import Exhausted
from strongroom.state.run_queries import RunQueries
from strongroom.state.secret_rotations import SecretRotations
from strongroom.state.step_conditions import FARTHEST

__all__ = ["Decide", "DecideAgain", "Exhausted", "LossPatience", "RunStore"]


class RunStore(RunQueries, EventLog, BackupCatalog, Calendar, SecretRotations, AccessMarks):
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
    ) -> Run | None:
        """Create a run with its first steps, and claim its slot, in one transaction.

        Returns:
            the run; the one that ``request_id`` made before, if it did; or ``None`` if
            the slot (policy, due time) has been claimed, in which case nothing is written.
        """
        with self._database.writing() as conn:
            return runs.create(conn, spec, first=first, request_id=request_id, slot=slot, facts=facts or {})

    def cancel(self, run: str, *, error: str = "cancelled") -> Run:
        """Begin to cancel a run and return it, ``closing``.

        What has not started is MISSED; what runs may end, but its :meth:`renew` says
        ``False``; then REPORT sweeps and the run is CANCELLED. A run that has ended, is
        closing, or is at its REPORT already, is returned as it is.
        """
        with self._database.writing() as conn:
            return outcomes.cancel(conn, run, error)

    def retry(self, run: str, decide: DecideAgain, *, first: Sequence[RunStep] = ()) -> Run:
        """Make a FAILED run ACTIVE again, its poisoned and missed steps READY with no
        attempts counted; with ``first``, forget all its steps and start over with these.

        ``decide`` is asked again for each step that is done, with its recorded result,
        since what ended while the run was closing led to nothing.

        Raises:
            UsageError: the run has not failed.
        """
        with self._database.writing() as conn:
            return outcomes.retry(conn, run, decide, first)

    def swept(self, run: str) -> None:
        """Note that a run leaves nothing any more."""
        with self._database.writing() as conn:
            runs.swept(conn, run)

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

    def forsake(self, run: str, *, owners: Collection[str]) -> None:
        """Count as lost now what processes held of a run that are known to have died: their claims, and
        what was given out and not begun. :meth:`reconcile` draws the consequence."""
        with self._database.writing() as conn:
            recovery.forsake(conn, run, owners)

    def _lease(self, given: float | None) -> float:
        return min(self._patience.lease if given is None else given, FARTHEST)
