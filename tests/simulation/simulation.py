"""Living a year of a seed: what is drawn, what has to hold at each moment, and what is left of a failure."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from msgspec import Struct

from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.services import KeepRules
from strongroom.state.notes import SKEW
from strongroom.state.records import RunKind
from tests.simulation.faults import BEATS, DAY, HOUR, REGIONS, Fault, chance, draw_faults, moment
from tests.simulation.installation import Installation, make_policy
from tests.simulation.prune import GRACE
from tests.simulation.thin_store import ThinStore
from tests.simulation.watcher import Watcher
from tests.simulation.year import Broken, MakeStore, Year, simulated

FIRST = datetime(2025, 1, 1, tzinfo=UTC).timestamp()
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
KEEPING = ("restore", "legal hold", "prune workers away")
"""Faults that keep a backup from being deleted."""
SETTLES = 12 * HOUR
"""How long after the last fault a run may still be under way."""


class Lived(Struct, frozen=True, kw_only=True):
    """A year that was lived, or the first part of it up to where a rule was broken."""

    seed: int
    faults: tuple[Fault, ...]
    counts: dict[str, int]
    days: int
    broken: str = ""
    what: str = ""
    at: float = 0.0

    def __str__(self) -> str:
        if not self.broken:
            return f"seed {self.seed}: no rule was broken; {self.counts}"
        left = "\n".join(f"  {fault}" for fault in self.faults) or "  (none)"
        return (
            f"seed {self.seed}, {moment(self.at)}: broken: {self.broken}: {self.what}\n"
            f"With no more than these faults:\n{left}"
        )


def start_of(seed: int) -> float:
    """Return when the year of a seed begins."""
    return FIRST + random.Random(f"start {seed}").randrange(4 * 365) * DAY


def live(seed: int, faults: Sequence[Fault] | None = None, *, days: int = 365) -> Lived:
    """Live the year of a seed, with its own faults or others; it ends at once where a rule is broken."""
    year = make_year(seed)
    given = draw_faults(seed, year.start, days) if faults is None else tuple(faults)
    with simulated(year):
        try:
            live_through(year, given, days=days)
        except Broken as broken:
            return Lived(
                seed=seed,
                faults=given,
                counts=dict(year.counts),
                days=days,
                broken=broken.rule,
                what=broken.what,
                at=broken.at,
            )
    return Lived(seed=seed, faults=given, counts=dict(year.counts), days=days)


def live_through(year: Year, faults: Iterable[Fault], *, days: int = 365) -> None:
    """Let a year happen, or so many days of it.

    Raises:
        Broken: a rule does not hold.
    """
    audit, watcher = Audit(year), Watcher(year)
    year.ticked = audit.after_tick
    for fault in faults:
        year.expect(fault)
        year.counts["faults"] += 1
    for beat in BEATS:
        year.at(year.start + chance(year.seed, beat), lambda beat=beat: year.tick(beat))  # type: ignore[misc]
    for day in range(1, days + 1):
        year.run_until(year.start + (day + chance(year.seed, "look", day)) * DAY)
        watcher.look()
        audit.daily()


def make_year(seed: int, make_store: MakeStore = ThinStore) -> Year:
    """Draw the installation of a seed, and its calendar."""
    draw = random.Random(f"year {seed}")
    zone = draw.choice(ZONES)
    minute = draw.choice((0, 17, 30, 59))
    policies = {
        name: make_policy(
            name,
            f"{minute} {schedule}",
            pieces=pieces,
            secrets=secrets,
            quorum=quorum,
            zone=zone,
            keep=draw_rules(draw, zone),
        )
        for name, schedule, pieces, secrets, quorum in POLICIES
    }
    installation = Installation(policies=policies)
    return Year(seed, start_of(seed), draw_calendar(draw, installation, zone), installation, make_store)


POLICIES = (
    ("daily-metadata", "2 * * *", 1, 90, 1),
    ("weekly-critical", "3 * * 0", 2, 40, 2),
    ("monthly-rest", "4 1 * *", 2, 50, 2),
)
"""Name, times, containers, secrets and quorum of each policy."""


def draw_rules(draw: random.Random, zone: str) -> KeepRules:
    """Return what a policy says of keeping, small enough for a year to show it."""
    return KeepRules(
        last=draw.choice((0, 1, 3)),
        daily=draw.choice((0, 0, 4)),
        weekly=draw.choice((0, 2, 4)),
        monthly=draw.choice((0, 2)),
        yearly=draw.choice((0, 1)),
        minimum_days=draw.choice((1, 5, 12)),
        minimum_count=draw.choice((1, 2, 3)),
        zone=ZoneInfo(zone),
    )


def draw_calendar(draw: random.Random, installation: Installation, zone: str) -> list[Scheduled]:
    """Return the entries: those of the policies, and what is done besides."""
    backups = [
        Scheduled(
            name=policy.name,
            kind=RunKind.BACKUP,
            schedule=policy.schedule,
            time_zone=policy.time_zone,
            policy=policy.name,
        )
        for policy in installation.policies.values()
    ]
    return [
        *backups,
        Scheduled(
            name="verification",
            kind=RunKind.SCRUB,
            schedule=f"41 {draw.choice((0, 13, 22))} * * *",
            options={"span": draw.choice((20, 30)) * DAY, "sample": 0.1},
        ),
        Scheduled(name="prune", kind=RunKind.PRUNE, schedule="0 5 * * 1,4"),
        Scheduled(name="repair", kind=RunKind.REPAIR, schedule="17 4 * * *"),
        Scheduled(
            name="full-drill",
            kind=RunKind.DRILL,
            schedule="0 7 3 1,4,7,10 *",
            time_zone=zone,
            policy="weekly-critical",
            options={"objective_seconds": 7200.0},
        ),
    ]


class Audit:
    """What has to hold whenever a beat has ticked, and every day."""

    def __init__(self, year: Year) -> None:
        self._year = year
        self._seen = 0
        self._claims: dict[tuple[str, float], str] = {}
        self._entries = {entry.name: entry for entry in year.calendar}

    def after_tick(self) -> None:
        """Hold the slots to the plain model: each that has come is claimed, once, and no other."""
        year = self._year
        for name, due, run, at in year.store.claimed[self._seen :]:
            self._check_claim(name, due, run, at)
        self._seen = len(year.store.claimed)
        for entry in year.calendar:
            if not self._is_paused(entry.name) and year.has_work(entry):
                self._check_due(entry)

    def _check_claim(self, name: str, due: float, run: str, at: float) -> None:
        year, entry = self._year, self._entries[name.partition(" ")[0]]
        year.counts["slots claimed"] += 1
        if due != year.last_by_model(entry.schedule, entry.time_zone, due):
            raise year.broken("only slots of the calendar are run", f"{name} at {moment(due)} is none")
        if self._is_paused(entry.name):
            raise year.broken("what is paused is not run", f"{name} at {moment(due)}")
        if due > at:
            raise year.broken("no slot is run before its time", f"{name} at {moment(due)}")
        if due > year.now + SKEW:  # the database's clock is wrong: once it is right, the slot is given back
            return
        if (other := self._claims.setdefault((name, due), run)) != run:
            raise year.broken("each slot is run once", f"{name} at {moment(due)}: {other} and {run}")

    def _is_paused(self, entry: str) -> bool:
        pause = self._year.store.paused.get(entry)
        return pause is not None and self._year.clock() < pause.until  # type: ignore[operator]

    def _check_due(self, entry: Scheduled) -> None:
        year = self._year
        due = year.last_by_model(entry.schedule, entry.time_zone, year.clock())
        if (year.store.newest_claim(entry.name, year.clock() + SKEW) or 0.0) < due:
            raise year.broken("each slot that has come is run", f"{entry.name} at {moment(due)} is not")

    def daily(self) -> None:
        """Look at what has to hold at any time."""
        year = self._year
        for run in year.store.all_active():
            if year.now - max(run.created_at, year.disturbed_until) > SETTLES:
                raise year.broken("every run ends", f"{run.id}, a {run.spec.kind.value}, goes on")
        for name in year.installation.policies:
            backups = list(year.installation.of(name))
            if any(one.is_verified for one in backups) and not any(one.can_be_restored() for one in backups):
                raise year.broken("there is always a backup to restore", f"policy {name} has none left")
        self._check_coverage()
        self._check_marked()
        year.store.forget_ended(year.now - HOUR)

    def _check_marked(self) -> None:
        """Hold what is marked to its grace: it is gone some days later, unless something was in the way."""
        year = self._year
        for name, since in year.installation.marked.items():
            # What replaces it may have rotted meanwhile: then it stays until the next prune after the repair.
            rotted = sum(fault.kind.startswith("rot") and fault.at >= since for fault in year.begun)
            late = year.now - since - year.clock_ahead(since) - GRACE - 8 * DAY - rotted * 4 * DAY
            if late > 0 and late > sum(year.hindered(target, since, KEEPING) for target in REGIONS):
                raise year.broken("what no rule keeps is deleted", f"{name}, marked at {moment(since)}")

    def _check_coverage(self) -> None:
        """Hold every container to the span, which is longer by the time in which it could not be read."""
        year = self._year
        span = year.verification.options["span"]
        for item in year.items():
            if (item.checked_at or 0.0) > year.now + HOUR:  # by a clock that was wrong: it is read again soon
                continue
            unmarked_at = year.installation.unmarked.get(item.backup, 0.0)
            read_at = max(item.checked_at or 0.0, item.made_at, unmarked_at - span + 2 * DAY)
            if year.now - read_at > span and year.now - read_at - year.hindered(item.target, read_at) > span:
                what = f"container {item.piece} of {item.backup} on {item.target}"
                raise year.broken(
                    "every container is read within the span", f"{what}: since {moment(read_at)}"
                )


# -- shrinking -----------------------------------------------------------------------------------------------

Planted = Callable[[], AbstractContextManager[object]]


def shrink(found: Lived, planted: Planted = nullcontext) -> Lived:
    """Leave out faults as long as the same rule is still broken, and return what is left.

    Halves first, then ever smaller parts, then one by one: what remains is needed, each of it.
    """
    part = max(1, len(found.faults) // 2)
    while True:
        smaller = _smaller(found, part, planted)
        if smaller is not None:
            found, part = smaller, min(part, max(1, len(smaller.faults) // 2))
        elif part == 1:
            return found
        else:
            part //= 2


def _smaller(found: Lived, part: int, planted: Planted) -> Lived | None:
    for begin in range(0, len(found.faults), part):
        fewer = found.faults[:begin] + found.faults[begin + part :]
        with planted():
            again = live(found.seed, fewer, days=found.days)
        if again.broken == found.broken:
            return again
    return None
