"""How each entry of the calendar stands: its last slot, the next one, and what is overdue and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from strongroom.alert_kinds import BEAT_RESTS
from strongroom.errors import StrongroomError
from strongroom.operations.engine import run_log
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.jobs import job_of
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import due_slots
from strongroom.operations.judge.fact_records import LateEntry
from strongroom.operations.judge.facts_on_record import BEAT
from strongroom.state.errors import RunNotFound
from strongroom.state.records import Pause, Run, RunKind, RunState, Slot
from strongroom.times import about, if_any

GRACE = 120.0
"""How long after its time a slot may wait, in seconds: the calendar is asked every half minute."""


class EntryState(StrEnum):
    """How an entry stands, the worst first."""

    OVERDUE = "overdue"
    PAUSED = "paused"
    WAITING = "waits for its medium"
    RUNNING = "running"
    ON = "on"
    OFF = "off"


class EntryStatus(Struct, frozen=True, kw_only=True):
    """An entry, with its newest slot that became a run (times in epoch seconds).

    ``run`` is the run of ``last_due``, while it is on record. ``missed_at`` is the slot that has come, should
    run, and did not. ``why`` says what keeps it, in words for a person.
    """

    entry: Scheduled
    state: EntryState
    next_due: float | None
    last_due: float | None = None
    run: Run | None = None
    missed_at: float | None = None
    pause: Pause | None = None
    why: str = ""

    @property
    def record(self) -> EntryRecord:
        """What machines are told of it."""
        entry, run = self.entry, self.run
        return EntryRecord(
            name=entry.name,
            kind=entry.kind,
            policy=entry.policy or None,
            reason=entry.reason,
            schedule=entry.schedule,
            time_zone=entry.time_zone,
            state=self.state.name.lower(),
            why=self.why or None,
            last_ran=if_any(self.last_ran),
            last_due=if_any(self.last_due),
            run=run.id if run else None,
            run_state=run.state if run else None,
            seconds=run.seconds if run else None,
            next_due=if_any(self.next_due),
            missed=if_any(self.missed_at),
            paused_until=if_any(self.pause.until) if self.pause else None,
        )

    @property
    def last_ran(self) -> float | None:
        """When it last ran; by its slot, if the run is on record no more."""
        return self.run.created_at if self.run else self.last_due

    @property
    def made_up_for(self) -> float | None:
        """The slot of that run, if it ran at another time."""
        if self.run is None or self.last_due is None:
            return None
        return self.last_due if abs(self.run.created_at - self.last_due) > GRACE else None


class EntryRecord(Struct, frozen=True, kw_only=True):
    """How an entry stands, for machines. ``run`` is the newest, which took so many ``seconds``."""

    name: str
    kind: RunKind
    policy: str | None
    reason: str
    schedule: str
    time_zone: str
    state: str
    why: str | None
    last_ran: str | None
    last_due: str | None
    run: str | None
    run_state: RunState | None
    seconds: float | None
    next_due: str | None
    missed: str | None
    paused_until: str | None


def overview(services: Services, calendar: Iterable[Scheduled], *, now: float) -> list[EntryStatus]:
    """Say how every entry stands, in the calendar's order."""
    pauses = [pause for pause in services.store.pauses() if pause.holds(now)]
    beat = _beat(services)
    entries = list(calendar)
    found = []
    for entry in entries:
        others = [
            scheduled_entry.name
            for scheduled_entry in entries
            if scheduled_entry is not entry and scheduled_entry.belongs_to(entry.name)
        ]
        last = services.store.last_claimed(entry.name, others=others)
        found.append(_status(services, entry, last, pauses, beat=beat, now=now))
    return found


def planned(calendar: Iterable[Scheduled], *, now: float) -> list[EntryStatus]:
    """Say how every entry stands where nothing is on record yet."""
    return [
        EntryStatus(
            entry=entry,
            state=EntryState.OFF if entry.needs else EntryState.ON,
            next_due=_next(entry, None, now),
            why=entry.needs,
        )
        for entry in calendar
    ]


TOLD_APART = frozenset({RunKind.BACKUP, RunKind.DRILL})
"""Kinds of runs of which it is judged by what there is whether they came in time. So are trials of keys."""


def late_entries(services: Services, calendar: Iterable[Scheduled], *, now: float) -> Iterator[LateEntry]:
    """Yield the entries that should have been begun by now, with the first of their times that was missed."""
    begun = services.store.first_run_at() or now
    for found in overview(services, calendar, now=now):
        entry = found.entry
        apart = entry.kind in TOLD_APART or entry.options.get("check") == "keys"
        if found.state is EntryState.OVERDUE and found.missed_at is not None and not apart:
            # Repairs have nothing to do for long: when they had to begin, the newest time says best.
            first = None if entry.kind is RunKind.REPAIR else entry.next(found.last_due or begun)
            yield LateEntry(name=entry.name, due=min(first or now, found.missed_at), why=found.why)


def _status(
    services: Services,
    entry: Scheduled,
    last: Slot | None,
    pauses: Sequence[Pause],
    *,
    beat: str,
    now: float,
) -> EntryStatus:
    pause = (
        None if entry.needs else next((paused for paused in pauses if entry.belongs_to(paused.entry)), None)
    )
    missed, refused = _missed(services, entry, now)
    found = EntryStatus(
        entry=entry,
        state=EntryState.OFF if entry.needs else EntryState.ON,
        last_due=last.due_at if last else None,
        run=_run(services, last.run) if last else None,
        next_due=_next(_acting(services, entry), pause, now),
        missed_at=missed,
        pause=pause,
        why=entry.needs,
    )
    state, why = (
        _kept_back(found, now) or _late(services, found, refused or beat, now) or _at_work(found, now)
    )
    return replace(found, state=state, why=why)


def _kept_back(found: EntryStatus, now: float) -> tuple[EntryState, str] | None:
    """Say what keeps an entry on purpose, if anything does."""
    if found.entry.needs:
        return EntryState.OFF, found.entry.needs
    if found.pause is not None:
        return EntryState.PAUSED, _of_pause(found.pause, found.missed_at, now)
    if found.entry.offline and found.missed_at is not None:
        return EntryState.WAITING, f"bring it, then 'strongroom emergency backup {found.entry.policy}'"
    return None


def _late(services: Services, found: EntryStatus, keeps: str, now: float) -> tuple[EntryState, str] | None:
    """Say why an entry is late, if it is. What came before the installation, nobody missed."""
    missed, begun = found.missed_at, services.store.first_run_at()
    if missed is None or now - missed <= GRACE:
        return None
    if begun is None or begun > missed:
        return EntryState.ON, f"due at once; {keeps}" if keeps else "due at once"
    return (
        EntryState.OVERDUE,
        keeps or "beat asks for it, and no control worker took it up: are they running?",
    )


def _at_work(found: EntryStatus, now: float) -> tuple[EntryState, str]:
    run = found.run
    if run is None or run.state in (RunState.DONE, RunState.CANCELLED):
        return EntryState.ON, ""
    if not run.state.final:
        return EntryState.RUNNING, f"run {run.id} began {about(now - run.created_at)} ago and has not ended"
    happened, _ = run_log.apart(run.error)
    came_to = "" if run_log.found_nothing_yet(run) else f" {_CAME_TO[run.state]}"
    return EntryState.ON, f"run {run.id}{came_to}: {happened}"


_CAME_TO = {RunState.FAILED: "failed", RunState.DEGRADED: "is degraded"}


def _of_pause(pause: Pause, missed: float | None, now: float) -> str:
    until = f", for {about(pause.until - now)} more" if pause.until else ", until somebody resumes it"
    overdue = f"; overdue for {about(now - missed)}" if missed is not None and now - missed > GRACE else ""
    return f"by {pause.by} {about(now - pause.since)} ago{until}{overdue}: {pause.reason}"


def _acting(services: Services, entry: Scheduled) -> Scheduled:
    """Return an entry as its job has it now: what is tried again comes before its time."""
    if entry.kind is not RunKind.BACKUP:
        return entry
    return next(iter(job_of(entry.kind).scheduled_entries(entry, services)), entry)


def _missed(services: Services, entry: Scheduled, now: float) -> tuple[float | None, str]:
    """Return the slot that should have become a run, and why it cannot, if that is known."""
    if entry.needs:
        return None, ""
    if entry.offline:
        return _missed_medium(services, entry, now), ""
    job, newest = job_of(entry.kind), services.store.newest_slot
    try:
        for scheduled_entry, due in due_slots(job.scheduled_entries(entry, services), newest=newest, now=now):
            if job.scheduled_spec(scheduled_entry, services, due) is not None:
                return due, ""
    except StrongroomError as error:
        return entry.last(now), error.message
    return None, ""


def _missed_medium(services: Services, entry: Scheduled, now: float) -> float | None:
    due = entry.last(now)
    newest = next(iter(services.store.backups(policy=entry.policy, limit=1)), None)
    made = datetime.fromisoformat(newest.created_at).timestamp() if newest else 0.0
    return due if due is not None and made < due else None


def _next(entry: Scheduled, pause: Pause | None, now: float) -> float | None:
    """Return when an entry runs next. What comes due in a pause is made up for at its end."""
    if entry.needs or (pause is not None and pause.until is None):
        return None
    due = entry.next(pause.since if pause else now)
    return due if pause is None or pause.until is None or due is None else max(due, pause.until)


def _run(services: Services, run: str) -> Run | None:
    with suppress(RunNotFound):
        return services.store.load(run)
    return None


def _beat(services: Services) -> str:
    """Say what is wrong with beat, if anything is."""
    age = services.store.heartbeats().get(BEAT)
    if age is None:
        return "beat was never seen; start it: 'strongroom up'"
    if age > BEAT_RESTS:
        return f"beat was last seen {about(age)} ago; start it: 'strongroom up'"
    return ""
