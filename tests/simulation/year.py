"""A simulated year: two beats, workers, targets and a watcher, one event after the other on one clock.

Real: ``open_due`` and what it asks, the engine's ``perform_step``, ``reconcile``, ``decide`` and the jobs'
decisions, when a message or lease counts as lost, the retention rules, the plan of a prune with its marks and
checks, the order of verification and its coverage, the rules of alerts and of what is told.
Simulated: the store (in memory), what a step does to a target or a source, messages, processes and clocks,
and the gathering of facts for alerts. Both beats open what is due, which is harder than one with the lease.
Left out: signatures of the record, the thread that renews a lease, and chance in pauses between attempts.
"""

from __future__ import annotations

import heapq
import logging
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from strongroom.operations.backup.order import DueContainer
from strongroom.operations.engine import calendar_entries, integrity, steps, submit
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.services import ConfiguredPolicy, Pinned, RunLimits, Services
from strongroom.operations.judge import freshness
from strongroom.operations.judge import judgement as judge_runs
from strongroom.state.errors import StateUnavailable
from strongroom.state.records import Pause, Pool, Run, RunKind, RunStep, Ticket
from strongroom.system.attempts import backoff
from strongroom.system.errors import TargetFull
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from tests.simulation import slots
from tests.simulation.faults import BEATS, DAY, HOUR, MINUTE, REGIONS, Fault, chance
from tests.simulation.installation import Backup, Copy, Installation, damage, rot
from tests.simulation.jobs import SPECS, simulated_jobs
from tests.simulation.prune import simulated_prune
from tests.simulation.thin_store import ThinStore
from workers import names

BEAT_TICKS = 30.0
RECONCILES = 5.0
LONG = ("pause", "host clock", "legal hold", "restore", "secrets gone", "damage", "rot after verification")
"""Faults that keep no run from ending."""
HARMLESS = (
    *("host clock", "database clock", "legal hold", "restore", "secrets gone"),
    *("damage", "rot after verification"),
    *("messages twice", "target full", "source away", "prune workers away"),
)
"""Faults that keep nothing from being read."""
LIMITS = RunLimits(patience=3 * HOUR, at_once=8)


class Killed(BaseException):
    """The process that performs a step dies at once: nothing catches it."""


class Broken(BaseException):
    """A rule that must hold does not, at a moment (epoch seconds). No step of a run catches it."""

    def __init__(self, rule: str, at: float, what: str) -> None:
        super().__init__(what)
        self.rule, self.at, self.what = rule, at, what


MakeStore = Callable[[Callable[[], float], Callable[[], None]], Any]
"""Makes a store of a clock and of what raises while the database is away."""


class Year:
    """One installation, and what happens to it.

    Everything happens in :meth:`run_until`, in the order of time. ``now`` is the true time.
    """

    def __init__(
        self,
        seed: int,
        start: float,
        calendar: list[Scheduled],
        installation: Installation,
        make_store: MakeStore = ThinStore,
    ) -> None:
        self.seed, self.start, self.now = seed, start, start
        self.calendar, self.installation = calendar, installation
        self.placed: dict[str, dict[str, set[int]]] = {}
        self.locking = ("us",)
        self.store = make_store(self.clock, self._reach_database)
        self.counts: Counter[str] = Counter()
        self.ticked: Callable[[], None] = lambda: None
        """Is told when a beat has opened what was due."""
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._on: Counter[tuple[str, str]] = Counter()
        self._lasting: set[tuple[str, str]] = set()
        self._faults: dict[tuple[str, str], Fault] = {}
        self.disturbed_until = 0.0
        """When the last fault that has begun is over."""
        self._heard_until: float | None = None
        self.begun: list[Fault] = []
        self._restored: dict[str, str] = {}
        self.services = self._services()

    def clock(self) -> float:
        """Return the time by the database's clock, with the rounding errors of SQLite's."""
        wrong_by = self._faults["database clock", ""].size if self.is_on("database clock") else 0.0
        return (((self.now + wrong_by) / 86_400.0 + 2440587.5) - 2440587.5) * 86_400.0

    def broken(self, rule: str, what: str) -> Broken:
        """Return what to raise where a rule does not hold now."""
        return Broken(rule, self.now, what)

    # -- time ------------------------------------------------------------------------------------------------

    def at(self, moment: float, happens: Callable[[], None]) -> None:
        """Have something happen at a time."""
        heapq.heappush(self._events, (moment, next(self._numbers), happens))

    def run_until(self, moment: float) -> None:
        """Let everything happen that is to happen until then."""
        events = self._events
        while events and events[0][0] <= moment:
            at, _, happens = heapq.heappop(events)
            self.now = max(self.now, at)
            happens()
        self.now = max(self.now, moment)

    # -- faults ----------------------------------------------------------------------------------------------

    def expect(self, fault: Fault) -> None:
        """Have a fault begin and end."""
        self.at(fault.at, lambda: self._begin(fault))

    def _begin(self, fault: Fault) -> None:
        key = fault.kind, fault.subject
        self._on[key] += 1
        self._lasting.add(key)
        self._faults[key] = fault
        self.begun.append(fault)
        if fault.kind not in LONG:
            self.disturbed_until = max(self.disturbed_until, fault.until)
        if fault.kind == "restore" and (oldest := self.installation.oldest(fault.subject)) is not None:
            self._restored[fault.subject] = oldest.name
        if fault.kind == "pause":
            self.store.paused[fault.subject] = Pause(
                entry=fault.subject, reason="works", by="ops", since=fault.at, until=fault.until
            )
        if fault.kind == "damage":
            damage(self.installation, fault)
        if fault.kind == "rot after verification":
            rot(self.installation, fault)
        self.at(fault.until, lambda: self._end(key))
        self._beats_changed()

    def _end(self, key: tuple[str, str]) -> None:
        self._on[key] -= 1
        if not self._on[key]:
            self._lasting.discard(key)
        if key[0] == "restore" and not self._on[key]:
            self._restored.pop(key[1], None)
        self._beats_changed()

    def is_on(self, kind: str, subject: str = "") -> bool:
        """Tell whether a fault of a kind lasts."""
        return (kind, subject) in self._lasting

    def meets(self, kind: str, *names: object) -> bool:
        """Tell whether a fault that lasts, and that meets a part of all, meets what has these names."""
        return self.is_on(kind) and chance(self.seed, kind, *names) < self._faults[kind, ""].size

    def secrets_of(self, policy: str) -> int:
        """Return how many secrets the source has of a policy."""
        gone = self._faults["secrets gone", policy].size if self.is_on("secrets gone", policy) else 0.0
        return round(self.installation.policies[policy].secrets * (1 - gone))

    def shows(self, backup: Backup, target: str) -> bool:
        """Tell whether a target answers and shows all of a backup, by names and sizes."""
        return not self.is_on("target away", target) and backup.copies[target].is_there(backup.pieces)

    def items(self, away: Collection[str] = ()) -> list[DueContainer]:
        """Return every container of every replica that is good by the record, as the record has it."""
        return [
            item
            for backup in self.installation.backups.values()
            if backup.name not in self.installation.marked
            for name, copy in backup.copies.items()
            if copy.good and name not in away
            for item in backup.items(name, copy)
        ]

    def hindered(self, target: str, since: float, kinds: Collection[str] = ()) -> float:
        """Return for how many seconds since a time something kept a target from being read, or one of these
        kinds of faults lasted."""
        spans = [
            (max(fault.at, since), min(fault.until + DAY, self.now))
            for fault in self.begun
            if (fault.kind in kinds or fault.kind not in HARMLESS)
            and (fault.kind != "target away" or fault.subject == target)
        ]
        return sum(end - begin for begin, end in spans if end > begin)

    def copy_of(self, item: DueContainer) -> Copy:
        """Return the replica that an item is of."""
        return self.installation.backups[item.backup].copies[item.target]

    def held(self) -> dict[str, str]:
        """Return the backups that a legal hold keeps."""
        names = self.installation.policies
        return {
            backup.name: f"policy {name} is held"
            for name in names
            if self.is_on("legal hold", name)
            for backup in self.installation.of(name)
        }

    def needed(self) -> dict[str, str]:
        """Return the backups that a run or a restore needs."""
        active = {run.spec.backup or run.id: run.id for run in self.store.all_active()}
        return active | dict.fromkeys(self._restored.values(), "a restore")

    def need_target(self, name: str, *, room: bool = False) -> None:
        """Raise what a target answers that is away, or has no room."""
        if self.is_on("target away", name):
            raise TargetUnavailable(f"target '{name}' does not answer")
        if room and self.is_on("target full", name):
            raise TargetFull(f"target '{name}' is full")

    def _reach_database(self) -> None:
        if self.is_on("database away"):
            raise StateUnavailable("the state database did not answer")

    def strike(self, run: Run, step: RunStep, when: str) -> None:
        """Kill or stop the process that performs a step, if that is to be."""
        if self.meets("workers killed", run.id, step, when, self.now):
            raise Killed
        if when == "after" and self.meets("workers stall", run.id, step, self.now):
            self.run_until(self.now + MINUTE)

    # -- messages and workers --------------------------------------------------------------------------------

    def send(self, tickets: list[Ticket]) -> None:
        """Send messages: each arrives within seconds, or never, or twice."""
        for ticket in tickets:
            name = ticket.run, ticket.step, ticket.dispatch
            if self.is_on("broker away") or self.meets("messages lost", *name):
                continue
            delay = 0.2 + 2 * chance(self.seed, "delay", *name)
            self.at(self.now + delay, lambda ticket=ticket: self._deliver(ticket))  # type: ignore[misc]
            if self.meets("messages twice", *name):
                self.at(self.now + delay * 40, lambda ticket=ticket: self._deliver(ticket))  # type: ignore[misc]

    def _deliver(self, ticket: Ticket) -> None:
        own = steps.pools()[ticket.step.kind] is Pool.PRUNE
        for kind in ("workers away", "prune workers away") if own else ("workers away",):
            if self.is_on(kind):  # it waits in its queue
                self.at(max(self.now + MINUTE, self._faults[kind, ""].until), lambda: self._deliver(ticket))
                return
        try:
            due, _ = steps.perform_step(ticket, self.services)
            self.strike(self.store.load(ticket.run), ticket.step, "sending")
        except (Killed, StateUnavailable):
            due = []
        self.send(due)
        self._watch_over()

    def _watch_over(self) -> None:
        """Have reconcile look soon, if anything is left to look after."""
        if self.store.has_active and not self._reconciles:
            self._reconciles = True
            self.at(self.now + 6 * RECONCILES, self._reconcile)

    _reconciles = False

    def _reconcile(self) -> None:
        self._reconciles = False
        if not self.is_on("workers away"):
            with suppress(StateUnavailable):
                self.send(steps.reconcile(self.services))
        self._watch_over()

    # -- beats -----------------------------------------------------------------------------------------------

    def _beats_changed(self) -> None:
        heard = not self.is_on("database away") and any(not self.is_on("beat away", beat) for beat in BEATS)
        if heard:
            self._heard_until = None
        elif self._heard_until is None:
            self._heard_until = self.now

    def beat_age(self) -> float:
        """Return how long ago a beat was seen alive: each living one is, twice a minute."""
        return BEAT_TICKS / 2 if self._heard_until is None else self.now - self._heard_until

    @property
    def verification(self) -> Scheduled:
        """The entry of the verification that covers."""
        return next(entry for entry in self.calendar if entry.kind is RunKind.SCRUB)

    def slots_by_model(self, entry: Scheduled) -> tuple[float, ...]:
        """Return the slots of an entry, by the plain model."""
        return slots.slots(entry.schedule, entry.time_zone)

    def last_by_model(self, schedule: str, time_zone: str, now: float) -> float:
        """Return the newest slot of a schedule not after a time, by the plain model."""
        known = slots.slots(schedule, time_zone)
        return known[bisect_right(known, now) - 1]

    def has_work(self, entry: Scheduled) -> bool:
        """Tell whether a slot of an entry has something to run."""
        return entry.kind is not RunKind.REPAIR and SPECS[entry.kind](self, entry) is not None

    def clock_ahead(self, moment: float) -> float:
        """Return by how many seconds the clock of the host that prunes was ahead at a time."""
        wrong = [one for one in self.begun if one.kind == "host clock" and one.at <= moment <= one.until]
        return max((fault.size for fault in wrong if fault.size > 0), default=0.0)

    def host_clock(self) -> float:
        """Return the time by the clock of the host that prunes."""
        return self.now + (self._faults["host clock", ""].size if self.is_on("host clock") else 0.0)

    def tick(self, beat: str) -> None:
        """Open what is due, if the beat lives, and come again when something is due next."""
        opened = not self.is_on("beat away", beat) and self._open_due(beat)
        self.at(self._next_tick(beat, soon=not opened), lambda: self.tick(beat))

    def _open_due(self, beat: str) -> bool:
        try:
            tickets = submit.open_due(self.services, self.calendar)
            self.store.heartbeat(names.BEAT)
        except StateUnavailable:
            return False
        self.ticked()
        self.send(tickets)
        self._watch_over()
        return True

    def _next_tick(self, beat: str, *, soon: bool) -> float:
        """Return when a beat ticks next: each half minute, but for ticks at which nothing can be due."""
        if soon:
            return self.now + 10 * MINUTE
        nearest = min(self._next_due(entry) for entry in self.calendar)
        return nearest + BEAT_TICKS * chance(self.seed, beat, nearest)

    def _next_due(self, entry: Scheduled) -> float:
        return slots.next_after(entry.schedule, self.now, entry.time_zone)

    # -- services --------------------------------------------------------------------------------------------

    def _services(self) -> Services:
        return Services(
            owner="simulated",
            state_dir=Path("/nowhere"),
            store=self.store,
            stage=MemoryTarget(name="stage", region="local"),
            targets={name: SimpleNamespace(name=name) for name in REGIONS},  # type: ignore[misc]
            sources={},
            pinned=lambda name: Pinned(spec=self.installation.policies[name].spec),
            signers=_nobody,
            trusted=lambda role, _: (),
            signer_fingerprints=frozenset(),
            identities=lambda: (),
            work_key=b"",
            digest_key=b"",
            limits=LIMITS,
            retention=self._retention,
        )

    def _retention(self) -> dict[str, ConfiguredPolicy]:
        return {
            name: ConfiguredPolicy(spec=policy.spec, keep=policy.keep)
            for name, policy in self.installation.policies.items()
        }


def _nobody(role: str) -> Any:
    raise AssertionError(f"nothing is signed here, least of all as {role}")


def _middle(least: float, most: float) -> float:
    return (least + most) / 2


@contextmanager
def simulated(year: Year) -> Iterator[None]:
    """Put simulated jobs in, and leave out what costs more than all else: signatures, and a thread a step."""
    with ExitStack() as stack:
        stack.enter_context(simulated_jobs(year))
        stack.enter_context(simulated_prune(year))
        for module, name, instead in (
            (steps, "kept_alive", lambda *_, **__: nullcontext()),
            (steps, "adopted", lambda services, *_, **__: services),
            (integrity, "refusal", lambda *_, **__: None),
            (integrity, "sign_record", lambda run, result, services: result),
            (integrity, "check_time", lambda run: None),
            (integrity, "check_terms", lambda *_: None),
            (steps, "backoff", partial(backoff, draw=_middle)),
            (steps, "backoff", partial(backoff, draw=_middle)),
            (calendar_entries, "last_slot", slots.last_slot),
            (freshness, "last_slot", slots.last_slot),
            (judge_runs, "last_slot", slots.last_slot),
        ):
            stack.enter_context(patch.object(module, name, instead))
        logging.disable(logging.CRITICAL)
        stack.callback(logging.disable, logging.NOTSET)
        yield
