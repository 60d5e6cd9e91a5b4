"""The look for alarms: facts gathered from the simulated installation, judged and told by the real rules.

:func:`expected` says from lists and comparisons alone which alarms there must be, and is compared with them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from msgspec.structs import asdict

from strongroom.alert_kinds import BEAT_IS_GONE, BEAT_RESTS, KINDS, Severity
from strongroom.model import Depth
from strongroom.operations.backup.order import DueContainer
from strongroom.operations.backup.verified_share import VerificationState, by_target, coverage, scope_of
from strongroom.operations.engine.findings import Finding
from strongroom.operations.judge.fact_records import (
    AlertLimits,
    Drilled,
    Drills,
    InstallationFacts,
    PausedEntry,
    Policy,
    Ran,
    Running,
    RunPace,
    TargetFacts,
    VerifiedBackup,
)
from strongroom.operations.judge.freshness import ENDED_WHOLE, SKEW
from strongroom.operations.judge.judgement import alerts
from strongroom.operations.notify.message import tell
from strongroom.state.notes import NotifiedAlert
from strongroom.state.records import Run, RunKind
from tests.simulation.faults import DAY, REGIONS
from tests.simulation.installation import Backup

if TYPE_CHECKING:
    from tests.simulation.year import Year

LIMITS: Final = AlertLimits()
REPEAT: Final = DAY
COMPARED: Final = (
    *("state.", "backup.overdue", "target.away", "run.waiting", "beat.", "replica.bad"),
    *("drill.overdue", "schedule.late", "verification.late"),
)
"""How the keys of those alarms begin that :func:`expected` knows of."""


GRAVE: Final = " is critical"
"""What is put behind the key of a warning that has become critical."""


class Watcher:
    """Looks at the installation, and tells people."""

    def __init__(self, year: Year) -> None:
        self._year = year
        self._told: dict[str, NotifiedAlert] = {}

    def look(self) -> None:
        """Judge what there is now, hold it against the plain model, and tell what is new."""
        facts = gather(self._year)
        found_now = alerts(facts, LIMITS)
        found = {_named(alert) for alert in found_now if alert.key.startswith(COMPARED)}
        wanted = set(expected(self._year))
        if missing := sorted(wanted - found):
            raise self._year.broken("an alarm is raised within its limit", f"there is no alarm {missing[0]}")
        if more := sorted(found - wanted):
            raise self._year.broken("no alarm is raised without reason", f"there is an alarm {more[0]}")
        self._tell(found_now)

    def _tell(self, found: tuple[Finding, ...]) -> None:
        now = self._year.now
        telling = tell(found, self._told.values(), repeat=REPEAT, now=now)  # type: ignore[arg-type]
        self._year.counts["alarms told"] += len(telling.items)
        for item in telling.items:
            before = self._told.get(item.alert.key)
            again = (
                before is not None and before.resolved_at is None and now - (before.sent_at or 0.0) < REPEAT
            )
            worse = before is not None and _badness(item.alert) > (
                before.severity == "critical",
                before.weight,
            )
            if again and not worse:
                raise self._year.broken("nothing is told twice within a day", item.alert.key)
        self._told |= {row.key: row for row in telling.rows}
        for alert in found:
            row = self._told.get(alert.key)
            if row is None or row.sent_at is None or now - row.sent_at >= REPEAT:
                raise self._year.broken("every alarm is told", f"nobody was told of {alert.key}")


def _badness(alert: Finding | NotifiedAlert) -> tuple[bool, int]:
    return alert.severity == Severity.CRITICAL, alert.weight


def _named(alert: Finding) -> str:
    can_be = bool(KINDS[alert.kind].grave) and alert.severity is Severity.CRITICAL
    return f"{alert.key}{GRAVE if can_be else ''}"


# -- what is gathered ----------------------------------------------------------------------------------------


def gather(year: Year) -> InstallationFacts:
    """Return what a look at the record and the targets finds."""
    away = [name for name in REGIONS if year.is_on("target away", name)]
    if year.is_on("database away"):
        places = tuple(TargetFacts(name=name, away="away" if name in away else None) for name in REGIONS)
        return InstallationFacts(now=year.now, places=places, state="the state database did not answer")
    return InstallationFacts(
        now=year.now,
        policies=tuple(_policy(year, name) for name in year.installation.policies),
        places=tuple(_place(year, name, away) for name in REGIONS),
        active=tuple(_running(run) for run in year.store.all_active()),
        drills=tuple(_drills(year)),
        entries=tuple(_paused(year)),
        verification=_verification(year),
        beat_age=year.beat_age(),
    )


def _policy(year: Year, name: str) -> Policy:
    policy = year.installation.policies[name]
    made = [one for one in year.installation.of(name) if one.made_at <= year.now + SKEW]
    newest = next(iter(made), None)
    verified = next((one for one in made if one.is_verified), None)
    return Policy(
        name=name,
        schedule=policy.schedule,
        time_zone=policy.time_zone,
        newest=_seen(newest),
        verified=_seen(verified),
        runs=tuple(_ran(run) for run in year.store.newest_of(name, RunKind.BACKUP, 22)),
    )


def _seen(backup: Backup | None) -> VerifiedBackup | None:
    if backup is None:
        return None
    depth = Depth.DIGEST if backup.is_verified else None
    return VerifiedBackup(backup=backup.name, made_at=backup.made_at, depth=depth)


def _ran(run: Run) -> Ran:
    return Ran(run=run.id, state=run.state, began=run.created_at, ended=run.finished_at)


def _running(run: Run) -> Running:
    pace = RunPace(unit="step", done=0, total=0)  # no rule judges how far a run is
    spec = run.spec
    return Running(
        run=run.id,
        state=run.state,
        began=run.created_at,
        ended=run.finished_at,
        kind=spec.kind,
        policy=spec.policy,
        pace=pace,
    )


def _place(year: Year, name: str, away: list[str]) -> TargetFacts:
    if name in away:
        return TargetFacts(name=name, away="it does not answer")
    bad, missing = [], []
    for backup in year.installation.backups.values():
        copy = backup.copies.get(name)
        if name in year.installation.lacking(backup):
            (bad if copy is not None and copy.manifest else missing).append(backup.name)
    return TargetFacts(name=name, bad=tuple(bad), missing=tuple(missing))


def _drills(year: Year) -> Iterator[Drills]:
    for entry in year.calendar:
        if entry.kind is RunKind.DRILL:
            runs = tuple(
                Drilled(**asdict(_ran(run)), recovered_in=1.0)
                for run in year.store.newest_of(entry.policy, RunKind.DRILL, 20)
            )
            yield Drills(policy=entry.policy, schedule=entry.schedule, time_zone=entry.time_zone, runs=runs)


def _paused(year: Year) -> Iterator[PausedEntry]:
    for entry in year.calendar:
        pause = year.store.paused.get(entry.name)
        if pause is not None and pause.holds(year.now):
            due = entry.last(year.now) or 0.0
            yield PausedEntry(name=entry.name, due=due, following=entry.next(due) or 0.0, paused=pause.since)


def _verification(year: Year) -> VerificationState:
    scope = scope_of(year.verification, year.now)
    targets = by_target(year.items())
    return VerificationState(
        span=scope.span,
        all=coverage((), scope, now=year.now),
        targets={name: coverage(items, scope, now=year.now) for name, items in targets.items()},
        outside={},
        offline=0,
    )


# -- the plain model -----------------------------------------------------------------------------------------


def expected(year: Year) -> Iterator[str]:
    """Yield the keys of the alarms that there must be, no more and no less."""
    yield from (f"target.away:{name}" for name in REGIONS if year.is_on("target away", name))
    if year.is_on("database away"):
        yield "state.unreachable"
        return
    yield from _expected_of_policies(year)
    yield from _expected_of_replicas(year)
    yield from _expected_of_beat(year)
    if any(year.now - run.created_at > DAY for run in year.store.all_active()):
        yield "run.waiting"
    yield from _expected_of_drills(year)
    yield from _expected_of_pauses(year)
    yield from _expected_of_verification(year)


def _overdue(year: Year, name: str, before: float) -> bool:
    """Tell whether a policy was due at a time before, and nothing that was verified was made since.

    Before its first backup, what came before the installation's first run counts for nothing.
    """
    policy = year.installation.policies[name]
    due = year.last_by_model(policy.schedule, policy.time_zone, before)
    if due < (year.store.began_at() or 0.0) and not any(True for _ in year.installation.of(name)):
        return False
    made = (one for one in year.installation.of(name) if one.is_verified)
    return not any(due <= one.made_at <= year.now + SKEW for one in made)


def _expected_of_policies(year: Year) -> Iterator[str]:
    for name in year.installation.policies:
        if _overdue(year, name, year.now - DAY):
            yield f"backup.overdue:{name}"


def _expected_of_replicas(year: Year) -> Iterator[str]:
    for name in REGIONS:
        kept = [
            one for one in year.installation.backups.values() if not year.installation.is_deleted(one, name)
        ]
        copies = [backup.copies.get(name) for backup in kept]
        if year.is_on("target away", name):
            continue
        damaged = any(copy is not None and copy.manifest and not copy.good for copy in copies)
        if damaged or any(copy is None or not copy.manifest for copy in copies):
            yield f"replica.bad:{name}{GRAVE if damaged else ''}"


def _expected_of_beat(year: Year) -> Iterator[str]:
    age = year.beat_age()
    if age is not None and BEAT_RESTS < age < BEAT_IS_GONE:
        missed = any(_overdue(year, name, year.now) for name in year.installation.policies)
        away = all(year.is_on("target away", name) for name in REGIONS)
        yield f"beat.silent{GRAVE if missed or away else ''}"


def _expected_of_drills(year: Year) -> Iterator[str]:
    for entry in year.calendar:
        if entry.kind is not RunKind.DRILL:
            continue
        due = year.last_by_model(entry.schedule, entry.time_zone, year.now - DAY)
        backups = year.store.newest_of(entry.policy, RunKind.BACKUP, 22)
        could = any(run.state in ENDED_WHOLE and run.created_at <= due for run in backups)
        drills = year.store.newest_of(entry.policy, RunKind.DRILL, 20)
        if could and not any(run.state.final and run.created_at >= due for run in drills):
            yield f"drill.overdue:full {entry.policy}"


def _expected_of_pauses(year: Year) -> Iterator[str]:
    for entry in year.calendar:
        pause = year.store.paused.get(entry.name)
        if pause is None or pause.until is None or year.now >= pause.until:
            continue
        known = year.slots_by_model(entry)
        place = bisect_right(known, year.now)
        if year.now - pause.since > known[place] - known[place - 1]:
            yield f"schedule.late:{entry.name}"


def _expected_of_verification(year: Year) -> Iterator[str]:
    before = year.now - year.verification.options["span"]
    late = {item.target for item in year.items() if _read_at(item, year.now) <= before}
    yield from (f"verification.late:{name}" for name in late)


def _read_at(item: DueContainer, now: float) -> float:
    """Return when a container was read or made. A check that is dated an hour ahead counts as none."""
    at = item.checked_at or 0.0
    return item.made_at if not at or at > now + 3600.0 else at
