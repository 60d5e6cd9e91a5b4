"""The in-process driver: the same steps, without a broker; and runs whose process was killed."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from traceback import clear_frames
from typing import TYPE_CHECKING

from strongroom.keys.passphrase import unasked
from strongroom.operations.engine import process_lock, run_log
from strongroom.operations.engine.jobs import Where, fold_old_steps, job_of
from strongroom.operations.engine.process_lock import driving
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.steps import perform, recover
from strongroom.operations.errors import ApprovalNeeded, StillEnding
from strongroom.state.errors import RunNotFound, StateError
from strongroom.state.records import Run, RunKind, StepKind, StepState, Ticket
from strongroom.state.store import RunStore
from strongroom.system.every_core import begin_as_child
from strongroom.system.lazy import lazy
from strongroom.system.process import INTERRUPTING, cores, may_fork, uninterrupted

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

_process_pool = lazy("concurrent.futures:ProcessPoolExecutor")
_context_of = lazy("multiprocessing:get_context")

# -- The in-process driver: the same steps, without a broker ------------------------------------
#
# Steps that compute are spread over forked processes when there are several. Steps that mostly wait for a
# network overlap in threads. All else runs here. A job's actions say which is which
# (:class:`~strongroom.operations.engine.jobs.Where`). Records go through the same run store, so whoever
# drives a run next resumes one that was killed here.


THREADS = 8

FOLDS_SECONDS = 0.2
"""How long a run that is over keeps who waits for it, to fold the steps of those of long ago."""

ENDS_SECONDS = 60.0
"""How long a run that is being cancelled waits for others: four of the usual leases."""

Watch = Callable[[Ticket], None]


def drive(
    run_id: str,
    tickets: Iterable[Ticket],
    services: Services,
    *,
    watch: Watch | None = None,
    processes: int = 0,
    apart: frozenset[StepKind] | None = None,
    patience: float = math.inf,
) -> Run:
    """Perform a run to its end, and the runs that it started, and return it.

    Args:
        watch: is told of each ticket when its step is over.
        processes: how many to spread over; 0 means one a core, 1 keeps all in this one.
        apart: the only kinds of steps that may leave this thread; ``None`` for all whose job says so.
        patience: seconds to wait while there is nothing to do but for others to let go of their steps.

    Raises:
        StillEnding: the patience is over.
        ApprovalNeeded: people have to approve it first.
    """
    actions = job_of(services.store.load(run_id).spec.kind).actions
    where = {kind: actions[kind].where for kind in actions if apart is None or kind in apart}
    pool = _Pool(services, processes or cores(), where)
    with driving(services.state_dir, run_id, services.owner):
        ended = _drive_to_end(run_id, list(tickets), pool, services, watch=watch, patience=patience)
    for started in (ended.facts.get("report") or {}).get("started", ()):
        due = services.store.take_ready(started, window=services.limits.window)
        drive(started, due, services, watch=watch, processes=processes, apart=apart, patience=patience)
    with suppress(StateError):  # this run is over, whatever becomes of those of long ago
        fold_old_steps(services, seconds=FOLDS_SECONDS)
        process_lock.sweep(services.state_dir, partial(_has_ended, services.store))
    return ended


def end(run_id: str, services: Services, tickets: Iterable[Ticket] | None = None) -> Run:
    """Bring a run that is being cancelled to its end and return it. This ends, whatever others do.

    Raises:
        StillEnding: another process kept a step for too long.
    """
    due = services.store.take_ready(run_id, window=1) if tickets is None else tickets
    return drive(run_id, due, services, processes=1, patience=ENDS_SECONDS)


@contextmanager
def ended_if_interrupted(services: Services) -> Iterator[list[str]]:
    """Have an interruption cancel what runs this process put on record within the block, and those that are
    added to the list, and bring them to their ends.

    It may come between the claim of a step and its work, and it kills the forked processes. So what is
    claimed here still is lost: nobody waits for its lease.

    Raises:
        StillEnding: another process kept a step for too long.
    """
    driven = list[str]()
    before, services.store.created = services.store.created, driven
    try:
        yield driven
    except (KeyboardInterrupt, StillEnding) as interrupt:  # what was driven within may not end, and told so
        clear_frames(interrupt.__traceback__)  # a transaction that nobody left ends with what holds it
        still_ending: StillEnding | None = None
        for run in dict.fromkeys(driven):
            try:
                services.store.cancel(run, error="interrupted")
                services.store.forsake(run, owners={services.owner})
                end(run, services)
            except RunNotFound:  # the interruption kept it off the record
                continue
            except StillEnding as error:  # it keeps no other from its end
                still_ending = error
        if still_ending is not None:
            raise still_ending from None
        raise
    finally:
        services.store.created = before


def _drive_to_end(
    run_id: str,
    queue: list[Ticket],
    pool: _Pool,
    services: Services,
    *,
    watch: Watch | None,
    patience: float,
) -> Run:
    until = time.monotonic() + patience
    try:
        while True:
            while queue or pool.busy:  # what is given out is performed, whoever ends the run meanwhile
                queue += _do_round(queue, pool, services, watch)
                until = time.monotonic() + patience
            run = services.store.load(run_id)
            if run.state.final:
                return run
            if pool.is_broken:  # nothing of this process is at work now: what it claims is lost
                pool.is_broken = False
                services.store.forsake(run_id, owners={services.owner})
            queue = _take_overdue(run_id, services)
            if not queue and time.monotonic() > until:
                _raise_still_ending(run_id, services)
    finally:
        pool.close()


def _do_round(queue: list[Ticket], pool: _Pool, services: Services, watch: Watch | None) -> list[Ticket]:
    """Hand out the steps that may leave this thread, do one other step here, collect what is done."""
    queue[:] = [ticket for ticket in queue if not pool.take(ticket, len(queue))]
    over: list[tuple[Ticket, list[Ticket]]] = []
    if queue:
        ticket = queue.pop(0)
        if ticket.step.kind is StepKind.REPORT:  # nothing is left to spread
            pool.dismiss()
        over.append((ticket, perform(ticket, services)))
        pool.done_here.add(ticket.step.kind)
    over += pool.collect(block=not over)
    for ticket, _ in over:
        if watch is not None:
            watch(ticket)
    return [ticket for _, following in over for ticket in following]


def _require_no_approval(run_id: str, services: Services) -> None:
    """Leave a run that waits for people to approve it: nobody sits before a terminal for that long.

    Raises:
        ApprovalNeeded: the run stays as it is, and goes on when it is driven again.
    """
    actions = job_of(services.store.load(run_id).spec.kind).actions
    asking = [kind for kind, action in actions.items() if ApprovalNeeded in action.waits_for]
    for row in [row for kind in asking for row in services.store.rows(run_id, kind)]:
        error = run_log.parse_error(row.error) if row.state is StepState.READY else None
        if isinstance(error, ApprovalNeeded):
            raise error


def _take_overdue(run_id: str, services: Services) -> list[Ticket]:
    recover(services, strict=run_id)
    tickets = services.store.take_ready(run_id, window=services.limits.window)
    if not tickets:
        _require_no_approval(run_id, services)
        # A retry's pause, or another process's lease: nothing announces its end.
        time.sleep(0.1)
    return tickets


def _raise_still_ending(run_id: str, services: Services) -> None:
    """Raise StillEnding and name whom the run waits for, unless it has ended just now."""
    if services.store.load(run_id).state.final:
        return
    rows = [row for row in services.store.rows(run_id) if not row.state.settled]
    working = [f"{row.step} (process {row.owner})" for row in rows if row.state is StepState.RUNNING]
    waiting = [str(row.step) for row in rows if row.state is not StepState.RUNNING]
    raise StillEnding(
        f"run {run_id} has not ended within {ENDS_SECONDS:g} s: it waits for "
        + (", ".join((working or waiting)[:5]) or "nothing on record")
    )


class _Pool:
    """Forked workers, started on first use; none where forking is not safe."""

    def __init__(self, services: Services, processes: int, where: Mapping[StepKind, Where]) -> None:
        self._services = services
        self.done_here: set[StepKind] = set()
        self._where = where
        self._may_overlap = processes > 1
        self._threads: ThreadPoolExecutor | None = None
        self._processes = processes if may_fork() else 1
        self._executor: ProcessPoolExecutor | None = None
        self._leaving: Thread | None = None
        self._futures: dict[Future[list[Ticket]], Ticket] = {}

        self.is_broken = False
        """Whether somebody killed a forked process, as the kernel does for want of memory. All go then, and
        what they were at is done here."""

    @property
    def busy(self) -> bool:
        return bool(self._futures)

    def take(self, ticket: Ticket, queued: int) -> bool:
        """Take a ticket if a process or thread pays for it: a single step is faster here."""
        worth = self._processes > 1 and (queued > 1 or self._executor is not None)
        where = self._where.get(ticket.step.kind, Where.HERE)
        if where is Where.THREAD and self._may_overlap and (queued > 1 or self._futures):
            self._overlapped(ticket)
        elif worth and self._forks(ticket.step.kind, where) and self._may_fork():
            return self._submit(ticket, asks=where is not Where.FORKED_AFTER_FIRST)
        else:
            return False
        return True

    def _forks(self, kind: StepKind, where: Where) -> bool:
        return where is Where.FORKED or (where is Where.FORKED_AFTER_FIRST and kind in self.done_here)

    def _overlapped(self, ticket: Ticket) -> None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="drive")
        self._futures[self._threads.submit(perform, ticket, self._services)] = ticket

    def _may_fork(self) -> bool:
        """Tell whether no thread is left that may hold a lock, which a child would wait for for ever."""
        if self._executor is not None:  # all its processes were started with the first ticket
            return True
        if self._futures:
            return False
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None
        return True

    def _submit(self, ticket: Ticket, *, asks: bool) -> bool:
        if self._executor is None:
            # A fork inherits the services; nothing of them could be pickled, nor should it be.
            _Forked.services = self._services
            self._executor = _process_pool(
                self._processes,
                mp_context=_context_of("fork"),
                initializer=_begin_forked,
                initargs=(os.getpid(),),
            )
        try:
            with uninterrupted():  # the first ticket forks
                self._futures[self._executor.submit(_perform_forked, ticket, asks=asks)] = ticket
        except BrokenExecutor:
            self._break()
            return False
        return True

    def collect(self, *, block: bool) -> list[tuple[Ticket, list[Ticket]]]:
        """Return the steps that are over, and what is due after each."""
        if not self._futures:
            return []
        done, _ = wait(self._futures, timeout=None if block else 0, return_when=FIRST_COMPLETED)
        over = []
        for future in done:
            ticket = self._futures.pop(future)
            try:
                over.append((ticket, future.result()))
            except BrokenExecutor:
                self._break()
        return over

    def _break(self) -> None:
        self.is_broken = True
        self._processes = 1

    def dismiss(self) -> None:
        """Have the forked processes go, and do not wait until they have let go of their memory."""
        self._processes = 1
        if self._executor is not None and self._leaving is None:
            self._leaving = Thread(target=self._executor.shutdown, name="dismiss")
            self._leaving.start()

    def close(self) -> None:
        if self._leaving is not None:
            self._leaving.join()
        for executor in (self._executor, self._threads):
            if executor is not None:
                executor.shutdown(cancel_futures=True)


class _Forked:
    """What a forked worker finds already there."""

    services: Services


def _begin_forked(parent: int) -> None:
    """Have a signal kill this process, whatever it is doing.

    Ctrl-C asks each process of a command. Raised in here, it may be lost in what hands a result back, or
    leave half of what a library does. The record knows what a killed process claimed.
    """
    begin_as_child(parent)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTING)


def _perform_forked(ticket: Ticket, *, asks: bool) -> list[Ticket]:
    with nullcontext() if asks else unasked():
        return perform(ticket, _Forked.services)


# -- Runs whose process was killed: telling them, and going on with them ------------------------


GONE = "its process is gone"


def is_abandoned(run: Run, store: RunStore, state_dir: Path) -> bool:
    """Tell whether the process that drove a run has died, and nobody has taken it up since."""
    if run.state.final:
        return False
    driver = process_lock.status(state_dir, run.id)
    if driver.alive or not driver.gone:
        return False
    started = [row for row in store.rows(run.id) if row.started_at is not None]
    # The cluster may have taken it up, and stand between two steps just now.
    newest = max(started, key=lambda row: row.started_at or 0.0, default=None)
    busy = any(row.state is StepState.RUNNING and row.owner not in driver.gone for row in started)
    return not busy and (newest is None or newest.owner in driver.gone)


def _has_ended(store: RunStore, run: str) -> bool:
    try:
        return store.load(run).state.final
    except RunNotFound:
        return True


def take_up(run: str, services: Services) -> list[Ticket]:
    """Take over an abandoned run: return what is due of it, and free the steps that its process claimed."""
    services.store.forsake(run, owners=process_lock.status(services.state_dir, run).gone)
    recover(services)
    return services.store.take_ready(run, window=services.limits.window)


def end_abandoned(services: Services, kind: RunKind) -> list[Run]:
    """Cancel the runs of a kind that nobody works on, let them sweep what they left, and return them."""
    begun = [run for run in services.store.active() if run.spec.kind is kind]
    gone = [run for run in begun if is_abandoned(run, services.store, services.state_dir)]
    for run in gone:
        services.store.cancel(run.id, error=f"{GONE}, and the next {kind.value} cancelled it")
    return [drive(run.id, take_up(run.id, services), services, processes=1) for run in gone]
