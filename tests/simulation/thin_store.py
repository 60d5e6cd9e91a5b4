"""The run store in memory, on a clock that the simulation moves: what SQL does, in dictionaries.

A year has some tens of thousands of steps. Each costs the real store milliseconds and this one microseconds.
``tests/simulation/test_thin_store.py`` lives the same weeks on both and compares every run that came of them.
When a message or a lease counts as lost, and by how much a clock may be ahead, the real modules say here too.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from msgspec import structs

from strongroom.state import recovery
from strongroom.state.catalog import FUTURE
from strongroom.state.errors import ClaimLost, RunNotFound, StillNeeded
from strongroom.state.notes import SKEW
from strongroom.state.records import (
    Claim,
    Decide,
    Event,
    Needed,
    Pause,
    Run,
    RunKind,
    RunState,
    RunStep,
    Spec,
    StepConsequence,
    StepKind,
    StepRow,
    StepState,
    Tally,
    Ticket,
)
from strongroom.state.recovery import LossPatience, Queue, UnsettledStep, is_live, is_lost
from strongroom.state.runs import AHEAD, FARTHEST
from strongroom.state.store import RunStore
from strongroom.state.turns import BEGUN_TOGETHER, YIELDS
from strongroom.times import stamp

READY, SENT, RUNNING = StepState.READY, StepState.SENT, StepState.RUNNING
DONE, MISSED, POISONED = StepState.DONE, StepState.MISSED, StepState.POISONED
UNSETTLED = (READY, SENT, RUNNING)
REPORT = RunStep(StepKind.REPORT)


def name_of(spec: Spec, now: float) -> str:
    """Return the id of a run. It is random in the real store; here it follows from what the run is."""
    mark = zlib.crc32(f"{spec.kind.value} {spec.policy} {spec.backup}".encode())
    return f"{stamp(now)}-{mark:08x}"


class Row:
    """A row of ``steps``."""

    __slots__ = (
        "attempts",
        "dispatch",
        "error",
        "fence",
        "finished_at",
        "lease_expires",
        "not_before",
        "owner",
        "result",
        "sends",
        "sent_at",
        "silent",
        "started_at",
        "state",
        "step",
        "waits_since",
    )

    def __init__(self, step: RunStep) -> None:
        self.step, self.state = step, READY
        self.attempts = self.silent = self.dispatch = self.sends = self.fence = 0
        self.not_before = 0.0
        self.sent_at: float | None = None
        self.lease_expires: float | None = None
        self.started_at: float | None = None
        self.finished_at: float | None = None
        self.waits_since: float | None = None
        self.owner: str | None = None
        self.error: str | None = None
        self.result: Mapping[str, Any] | None = None


class ThinStore(RunStore):
    """What the engine and the calendar ask of a store. ``reach`` raises while the database is away."""

    def __init__(self, clock: Callable[[], float], reach: Callable[[], None] = lambda: None) -> None:
        self._clock, self._reach = clock, reach
        self._patience = LossPatience()
        self._runs: dict[str, Run] = {}
        self._steps: dict[str, dict[RunStep, Row]] = {}
        self._requests: dict[str, str] = {}
        self._active: dict[str, None] = {}
        self._by_kind: dict[tuple[str, RunKind], list[str]] = defaultdict(list)
        self._slots: dict[str, list[float]] = defaultdict(list)
        """The slots that are claimed under each name, in order."""
        self._beats: dict[str, float] = {}
        self._events: list[Event] = []
        self._dispatch = 0
        self.paused: dict[str, Pause] = {}
        self.claimed: list[tuple[str, float, str, float]] = []
        """Each slot that was ever claimed: its name, when it was due, the run, and when it was claimed."""

    def close(self) -> None:
        """There is nothing to close."""

    def make_row(self, step: RunStep) -> Row:
        return Row(step)

    # -- runs ------------------------------------------------------------------------------------------------

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
        self._reach()
        now = self._clock()
        if request_id is not None and (known := self._requests.get(request_id)) is not None:
            return self._runs[known]
        name = name_of(spec, now)
        if slot is not None and not self._take_slot(*slot, name, now):
            return None
        run = Run(
            id=name,
            spec=spec,
            state=RunState.ACTIVE,
            request_id=request_id,
            created_at=now,
            finished_at=None,
            error=None,
            facts=dict(facts or {}),
            queued=queued,
        )
        self._runs[name], self._steps[name] = run, {step: self.make_row(step) for step in first}
        if request_id is not None:
            self._requests[request_id] = name
        self._active[name] = None
        self._by_kind[spec.policy, spec.kind].append(name)
        return run

    def _take_slot(self, name: str, due: float, run: str, now: float) -> bool:
        slots = self._slots[name]
        while slots and slots[-1] > max(now + SKEW, due):
            slots.pop()
        if (place := bisect_left(slots, due)) < len(slots) and slots[place] == due:
            return False
        slots.insert(place, due)
        self.claimed.append((name, due, run, now))
        return True

    def newest_slot(self, policy: str) -> float | None:
        self._reach()
        return self.newest_claim(policy, self._clock() + SKEW)

    def load(self, run: str) -> Run:
        self._reach()
        try:
            return self._runs[run]
        except KeyError:
            raise RunNotFound(f"there is no run {run}") from None

    @property
    def has_active(self) -> bool:
        """Whether a run has not ended."""
        return bool(self._active)

    def all_active(self) -> list[Run]:
        """As :meth:`active`, whether the database answers or not."""
        return [self._runs[name] for name in sorted(self._active)]

    def first_run_at(self) -> float | None:
        self._reach()
        return self.began_at()

    def began_at(self) -> float | None:
        """As :meth:`first_run_at`, whether the database answers or not."""
        return next((run.created_at for run in self._runs.values()), None)

    def newest_of(self, policy: str, kind: RunKind, limit: int) -> list[Run]:
        """As :meth:`runs_of`, whether the database answers or not."""
        return [self._runs[name] for name in self._by_kind[policy, kind][: -limit - 1 : -1]]

    def clock(self) -> float:
        self._reach()
        return self._clock()

    def pauses(self) -> list[Pause]:
        self._reach()
        return list(self.paused.values())

    def newest_claim(self, name: str, until: float) -> float | None:
        """Return the newest slot up to a time that is claimed under a name."""
        slots = self._slots[name]
        place = bisect_right(slots, until)
        return slots[place - 1] if place else None

    def active(self) -> list[Run]:
        self._reach()
        return self.all_active()

    def runs_of(self, policy: str, kind: RunKind, *, limit: int) -> list[Run]:
        self._reach()
        return self.newest_of(policy, kind, limit)

    def tally(self, run: str) -> Tally:
        rows = self._steps[run].values()
        return Tally(Counter((row.step.kind, row.step.target, row.state) for row in rows))

    def row(self, run: str, step: RunStep) -> StepRow:
        return _record(self._steps[run][step])

    def rows(self, run: str, kind: StepKind | None = None, *, piece: int | None = None) -> list[StepRow]:
        return [
            _record(row)
            for step, row in sorted(self._steps[run].items())
            if kind in (None, step.kind) and piece in (None, step.piece)
        ]

    def forget_ended(self, before: float) -> None:
        """Drop the steps of runs that ended long ago: nobody asks for them again."""
        for name in [name for name in self._steps if name not in self._active]:
            if (self._runs[name].finished_at or 0.0) < before:
                del self._steps[name]

    # -- giving out and claiming -----------------------------------------------------------------------------

    def take_ready(self, run: str, *, window: int) -> list[Ticket]:
        self._reach()
        if self._runs[run].state.final:
            return []
        now = self._clock()
        due = self._due(run, now)
        if not due:
            return []
        due.sort(key=lambda row: (row.step.kind is StepKind.CAPTURE, row.step.piece, row.step))
        room = window - self._open_pieces(run)
        going = []
        for row in due:
            if row.step.kind is not StepKind.CAPTURE or room > 0:
                room -= row.step.kind is StepKind.CAPTURE
                going.append(self._send(run, row, now))
        return going

    def _due(self, run: str, now: float) -> list[Row]:
        return [row for row in self._steps[run].values() if row.state is READY and _is_due(row, now)]

    def queued_kinds(self) -> list[RunKind]:
        self._reach()
        return sorted({run.spec.kind for run in self.all_active() if run.queued})

    def begin_next(self, kind: RunKind, *, most: int, window: int, apart: bool = False) -> list[Ticket]:
        self._reach()
        active = [run for run in self.all_active() if run.spec.kind is kind]
        queued = sorted((run for run in active if run.queued), key=lambda run: run.created_at)
        at_work = [run.spec.policy for run in active if not run.queued and self._is_at_work(run.id)]
        room, busy = min(most - len(at_work), BEGUN_TOGETHER), set(at_work)
        tickets = []
        for run in queued:
            if room > 0 and not (apart and run.spec.policy in busy):
                tickets += self.take_ready(run.id, window=window)
                self._change(self._runs[run.id], queued=False)
                room -= 1
                busy.add(run.spec.policy)
        return tickets

    def _is_at_work(self, run: str) -> bool:
        now = self._clock()
        rows = [row for row in self._steps[run].values() if row.state in UNSETTLED]
        waits = [row.waits_since for row in rows if row.waits_since is not None]
        if any(since <= now - YIELDS for since in waits):
            return False
        return any(row.state is not SENT or self._will_be_taken(row, now) for row in rows)

    def _will_be_taken(self, row: Row, now: float) -> bool:
        """Tell whether a message is young, or its queue is served."""
        served = any(
            other.state is RUNNING and other.step.kind is row.step.kind and (other.lease_expires or 0.0) > now
            for name in self._active
            for other in self._steps[name].values()
        )
        return (row.sent_at or 0.0) > now - YIELDS or served

    def _send(self, run: str, row: Row, now: float) -> Ticket:
        if self._runs[run].queued:
            self._change(self._runs[run], queued=False)
        self._dispatch += 1
        row.state, row.dispatch, row.sends, row.sent_at = SENT, self._dispatch, row.sends + 1, now
        return Ticket(run, row.step, row.dispatch)

    def _open_pieces(self, run: str) -> int:
        return len(
            {
                row.step.piece
                for row in self._steps[run].values()
                if (row.step.kind is StepKind.UPLOAD and row.state in UNSETTLED)
                or (row.step.kind is StepKind.CAPTURE and row.state in (SENT, RUNNING))
            }
        )

    def claim(self, ticket: Ticket, *, owner: str, lease: float | None = None) -> Claim | None:
        self._reach()
        now, run, row = (
            self._clock(),
            self._runs[ticket.run],
            self._steps.get(ticket.run, {}).get(ticket.step),
        )
        if row is None or row.dispatch != ticket.dispatch or row.silent >= self._patience.starts:
            return None
        if not _is_wanted(run, row) or not (
            row.state is SENT or (row.state is RUNNING and _lapsed(row, now))
        ):
            return None
        row.state, row.owner, row.started_at = RUNNING, owner, now
        row.attempts, row.silent, row.fence, row.sends = row.attempts + 1, row.silent + 1, row.fence + 1, 0
        row.lease_expires = now + self._lease(lease)
        return Claim(ticket=ticket, run=run, owner=owner, fence=row.fence, attempt=row.attempts)

    def renew(self, claim: Claim, *, lease: float | None = None) -> bool:
        self._reach()
        row = self._steps[claim.ticket.run][claim.ticket.step]
        if not _holds(claim, row) or not _is_wanted(self._runs[claim.ticket.run], row):
            return False
        row.lease_expires = self._clock() + self._lease(lease)
        return True

    # -- outcomes --------------------------------------------------------------------------------------------

    def finish(
        self, claim: Claim, result: Mapping[str, Any], decide: Decide, *, window: int | None = None
    ) -> tuple[Run, list[Ticket]]:
        self._reach()
        run = self._runs[claim.ticket.run]
        row = self._held(claim)
        if row is not None:
            self._settle(row, DONE, result=result)
            run, _ = self._conclude(run, claim.ticket.step, decide)
        return run, [] if window is None else self.take_ready(run.id, window=window)

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
        self._reach()
        run, step = self._runs[claim.ticket.run], claim.ticket.step
        again = retry_in is not None and (not run.closing or step.kind is StepKind.REPORT)
        if unless is not None and not again and unless(run, self.tally(run.id)):
            raise StillNeeded
        row = self._held(claim)
        if row is None:
            return run, self.tally(run.id)
        state = READY if again else settle or MISSED
        self._settle(row, state, error=error, wait=min(retry_in or 0.0, FARTHEST))
        if again:
            return run, self.tally(run.id)
        return self._give_up(run, step, state, error, decide)

    def wait(self, claim: Claim, error: str, *, pause: float, patience: float) -> bool:
        self._reach()
        now, run = self._clock(), self._runs[claim.ticket.run]
        row = self._steps[run.id][claim.ticket.step]
        waits_not = row.waits_since is None or row.waits_since > now + AHEAD
        if run.closing or not _holds(claim, row) or not (waits_not or row.waits_since > now - patience):  # type: ignore[operator]
            return False
        until = now + min(pause, FARTHEST)
        row.state, row.error, row.silent, row.lease_expires = READY, error, 0, None
        row.attempts, row.not_before = row.attempts - 1, until
        row.waits_since = now if waits_not else row.waits_since
        for other in self._steps[run.id].values():
            alike = (other.step.kind, other.step.target) == (row.step.kind, row.step.target)
            if alike and other.state is READY:
                other.not_before = max(other.not_before, until)
        return True

    def _held(self, claim: Claim) -> Row | None:
        """Return the row that a claim holds; ``None`` if this very claim has settled it before."""
        row = self._steps.get(claim.ticket.run, {}).get(claim.ticket.step)
        if row is not None and _holds(claim, row):
            return row
        mine = row is not None and (row.dispatch, row.fence) == (claim.ticket.dispatch, claim.fence)
        if row is None or not mine or row.state is not DONE:
            raise ClaimLost(f"another worker holds {claim.ticket.step} of run {claim.ticket.run} now")
        return None

    def _settle(
        self,
        row: Row,
        state: StepState,
        *,
        result: Mapping[str, Any] | None = None,
        error: str | None = None,
        wait: float = 0.0,
    ) -> None:
        now = self._clock()
        row.state, row.result, row.error, row.silent, row.lease_expires = state, result, error, 0, None
        row.not_before, row.finished_at = now + wait, None if state is READY else now

    def _give_up(
        self, run: Run, step: RunStep, state: StepState, error: str, decide: Decide
    ) -> tuple[Run, Tally]:
        if step.kind is StepKind.REPORT:
            run = self._finalise(run, RunState.FAILED, f"{step}: {error}")
        elif run.closing:
            self._report_when_idle(run)
        elif state is POISONED:
            run = self._close(run, RunState.FAILED, f"{step}: {error}")
        else:
            return self._conclude(run, step, decide)
        return run, self.tally(run.id)

    def _conclude(self, run: Run, step: RunStep, decide: Decide) -> tuple[Run, Tally]:
        tally = self.tally(run.id)
        return self._apply(run, step, decide(run, tally, step)), tally

    def _apply(self, run: Run, step: RunStep, verdict: StepConsequence) -> Run:
        if verdict.facts:
            run = self._change(run, facts={**run.facts, **verdict.facts})
        if run.closing and step.kind is not StepKind.REPORT:
            self._report_when_idle(run)
            return run
        if run.closing:
            return self._finalise(run, RunState.FAILED, None)
        if verdict.state is None or not verdict.state.final:
            self._insert(run.id, verdict.follow)
            self._wake(run, verdict.wake)
            return run
        early = verdict.state in (RunState.FAILED, RunState.CANCELLED) and step.kind is not StepKind.REPORT
        return (self._close if early else self._finalise)(run, verdict.state, verdict.error)

    def _insert(self, run: str, steps: Sequence[RunStep]) -> None:
        rows = self._steps[run]
        for step in steps:
            if step not in rows:
                rows[step] = self.make_row(step)

    def _wake(self, run: Run, kinds: Sequence[StepKind]) -> None:
        for row in self._steps[run.id].values() if kinds else ():
            if row.state is READY and row.step.kind in kinds:
                row.not_before = 0.0

    def _close(self, run: Run, ending: RunState, error: str | None) -> Run:
        if not run.closing:
            facts = {**run.facts, "ending": ending.value, "error": error}
            run = self._change(run, closing=True, queued=False, facts=facts, error=error)
        self._drop(run, run.error, (READY, SENT))
        self._report_when_idle(run)
        return run

    def _drop(self, run: Run, error: str | None, states: Sequence[StepState]) -> None:
        for row in self._steps[run.id].values():
            if row.state in states and row.step.kind is not StepKind.REPORT:
                row.state, row.error, row.finished_at, row.lease_expires = MISSED, error, self._clock(), None

    def _report_when_idle(self, run: Run) -> None:
        rows = self._steps[run.id].values()
        if not any(row.state in UNSETTLED and row.step.kind is not StepKind.REPORT for row in rows):
            self._insert(run.id, [REPORT])

    def _finalise(self, run: Run, state: RunState, error: str | None) -> Run:
        if run.closing:
            state, error = RunState(run.facts["ending"]), run.facts["error"]
        self._drop(run, "the run had ended", UNSETTLED)
        self._active.pop(run.id, None)
        return self._change(run, state=state, error=error, finished_at=self._clock())

    def _change(self, run: Run, **values: Any) -> Run:
        self._runs[run.id] = changed = structs.replace(run, **values)
        return changed

    # -- recovery --------------------------------------------------------------------------------------------

    def reconcile(
        self,
        decide: Decide,
        *,
        exhausted: recovery.Exhausted = recovery.given_up,
        strict: str = "",
        failed: Callable[[Run], None] = recovery.unannounced,
        queues: Mapping[StepKind, str] = MappingProxyType({}),
    ) -> list[str]:
        self._reach()
        now = self._clock()
        for run, stuck in self._stuck(now, queues).items():
            if not stuck:
                self._end_stalled(run)
            for row in stuck:
                if not self._runs[run].state.final:
                    self._mend(run, row, decide, exhausted)
        return [
            name
            for name in sorted(self._active)
            if not self._runs[name].queued
            and any(row.state is READY and _is_due(row, now) for row in self._steps[name].values())
        ]

    def _stuck(self, now: float, queues: Mapping[StepKind, str]) -> dict[str, list[Row]]:
        """Return, by run, the rows to act on; a run without any step to wait for has none."""
        rows = {name: list(self._steps[name].values()) for name in self._active}
        stuck: dict[str, list[Row]] = {
            name: [] for name, own in rows.items() if not any(row.state in UNSETTLED for row in own)
        }
        waiting = [(name, row) for name, own in rows.items() for row in own if row.state in (SENT, RUNNING)]
        by_queue: dict[str, list[Row]] = defaultdict(list)
        for _, row in waiting:
            by_queue[queues.get(row.step.kind, row.step.kind.value)].append(row)
        facts = {name: self._queue(name, own, now, queues) for name, own in by_queue.items()}
        for name, row in waiting:
            queue = facts[queues.get(row.step.kind, row.step.kind.value)]
            if self._is_stuck(name, row, queue, now):
                stuck.setdefault(name, []).append(row)
        return stuck

    def _is_stuck(self, run: str, row: Row, queue: Queue, now: float) -> bool:
        if row.state is RUNNING:
            return not is_live(row.lease_expires or 0.0, now)
        return is_lost(_watched(run, row), queue, now, self._patience)

    def _queue(self, name: str, rows: Sequence[Row], now: float, queues: Mapping[StepKind, str]) -> Queue:
        sent = [row.sent_at or 0.0 for row in rows if row.state is SENT]
        if not sent:
            return Queue()
        taken = [row for row in self._taken(name, queues) if min(sent) <= (row.started_at or 0.0)]
        taken = [row for row in taken if (row.sent_at or 0.0) <= (row.started_at or 0.0)]
        settled = [row.dispatch for row in taken if (row.started_at or 0.0) < now - self._patience.grace]
        return Queue(
            overtaking=max(settled, default=0),
            taken_at=max((row.started_at or 0.0 for row in taken), default=0.0),
            working=any(row.state is RUNNING and is_live(row.lease_expires or 0.0, now) for row in rows),
        )

    def _taken(self, name: str, queues: Mapping[StepKind, str]) -> Iterator[Row]:
        for rows in self._steps.values():
            for row in rows.values():
                if row.started_at is not None and queues.get(row.step.kind, row.step.kind.value) == name:
                    yield row

    def _mend(self, name: str, row: Row, decide: Decide, exhausted: recovery.Exhausted) -> None:
        run = self._runs[name]
        closing = run.closing and row.step.kind is not StepKind.REPORT
        if not closing and not (row.state is RUNNING and row.silent >= self._patience.starts):
            row.state, row.lease_expires, row.not_before = READY, None, 0.0
            return
        state = MISSED if run.closing else exhausted(run, row.step)
        error = f"{row.silent} starts without an outcome; each ended its worker or lost its lease"
        row.state, row.error, row.lease_expires, row.finished_at = state, error, None, self._clock()
        self._give_up(run, row.step, state, error, decide)

    def _end_stalled(self, name: str) -> None:
        run, reason = self._runs[name], "nothing was left to do, and the run had not ended"
        if REPORT in self._steps[name]:
            self._finalise(run, RunState.FAILED, reason)
        else:
            self._close(run, RunState.FAILED, reason)

    # -- events and heartbeats -------------------------------------------------------------------------------

    def event(self, kind: str, run: str | None = None, **detail: Any) -> None:
        self._reach()
        self._events.append(
            Event(id=len(self._events) + 1, at=self._clock(), kind=kind, run=run, detail=detail)
        )

    def events(
        self, *, run: str | None = None, kind: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[Event]:
        self._reach()
        found = (event for event in self._events if event.id > after)
        return [one for one in found if run in (None, one.run) and kind in (None, one.kind)][:limit]

    def happened(self, *kinds: str, since: float) -> list[Event]:
        self._reach()
        return [event for event in self._events if event.at >= since and event.kind in kinds]

    def heartbeat(self, name: str) -> None:
        self._reach()
        self._beats[name] = self._clock()

    def heartbeats(self) -> dict[str, float]:
        self._reach()
        now = self._clock()
        return {name: max(0.0, now - at) for name, at in self._beats.items() if now - at > -FUTURE}


def _is_due(row: Row, now: float) -> bool:
    return row.not_before <= now or row.not_before > now + FARTHEST


def _lapsed(row: Row, now: float) -> bool:
    return row.lease_expires is None or not is_live(row.lease_expires, now)


def _is_wanted(run: Run, row: Row) -> bool:
    return run.state is RunState.ACTIVE and (not run.closing or row.step.kind is StepKind.REPORT)


def _holds(claim: Claim, row: Row) -> bool:
    return row.state is RUNNING and (row.dispatch, row.fence) == (claim.ticket.dispatch, claim.fence)


def _watched(run: str, row: Row) -> UnsettledStep:
    return UnsettledStep(
        run=run,
        step=row.step,
        state=row.state,
        dispatch=row.dispatch,
        silent=row.silent,
        sends=min(row.sends, 1_000),
        sent_at=row.sent_at or 0.0,
        lease_expires=row.lease_expires or 0.0,
    )


def _record(row: Row) -> StepRow:
    return StepRow(
        step=row.step,
        state=row.state,
        attempts=row.attempts,
        result=row.result,
        error=row.error,
        started_at=row.started_at,
        finished_at=row.finished_at,
        owner=row.owner,
        not_before=row.not_before if row.state is READY and row.not_before else None,
        waits_since=None if row.state.settled else row.waits_since,
    )
