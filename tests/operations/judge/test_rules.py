"""Every rule, on facts that it is quiet about and on facts that it is not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import asdict, replace

from strongroom.alert_kinds import KINDS, UNCOVERED, Severity
from strongroom.model import Depth
from strongroom.operations.access.look import SILENT, STRANGE
from strongroom.operations.backup.order import DueContainer, Terms
from strongroom.operations.backup.verified_share import VerificationState, coverage
from strongroom.operations.judge.fact_records import (
    AlertLimits,
    Approval,
    BackupContents,
    BrokenChannel,
    CalendarCheck,
    ClusterFacts,
    Dated,
    Drilled,
    Drills,
    ExposedFile,
    HostFacts,
    IncidentFacts,
    InstallationFacts,
    Intrusion,
    KeyFacts,
    LocalStoreFacts,
    Mended,
    OpenRecovery,
    PausedEntry,
    Policy,
    Ran,
    Room,
    Running,
    RunPace,
    Signs,
    TargetFacts,
    Unused,
    VerifiedBackup,
)
from strongroom.operations.judge.judgement import alerts
from strongroom.operations.judge.kinds import wrong
from strongroom.operations.keys.health import QUARTER, WARNING, ProofsOnRecord
from strongroom.state.records import RunKind, RunState
from tests.operations.facts.test_freshness import DAILY, DAY, HOUR, NOON, WEEKLY, seen

LIMITS = AlertLimits()
YEAR = 365 * DAY
DONE, DEGRADED, FAILED, ACTIVE = RunState.DONE, RunState.DEGRADED, RunState.FAILED, RunState.ACTIVE
CANCELLED = RunState.CANCELLED


def ran(ago: float, state: RunState = DONE, *, took: float | None = 600.0, code: str = "") -> Ran:
    began = NOON - ago
    return Ran(
        run=f"r{ago:.0f}", state=state, began=began, ended=None if took is None else began + took, code=code
    )


def running(ago: float, kind: RunKind = RunKind.BACKUP) -> Running:
    pace = RunPace(unit="step", done=0, total=1)
    return Running(run="r1", state=ACTIVE, began=NOON - ago, ended=None, kind=kind, policy="p", pace=pace)


def held(*secrets: int, size: int = 100) -> tuple[BackupContents, ...]:
    return tuple(
        BackupContents(backup=f"b{at}", secrets=count, size=size) for at, count in enumerate(secrets)
    )


def sized(*sizes: int) -> tuple[BackupContents, ...]:
    return tuple(BackupContents(backup=f"b{at}", secrets=5, size=size) for at, size in enumerate(sizes))


WELL = Policy(
    name="p", schedule=DAILY, newest=seen(10 * HOUR), verified=seen(10 * HOUR), runs=(ran(10 * HOUR),)
)

DUE = replace(WELL, newest=seen(30 * HOUR), verified=seen(30 * HOUR))
"""Its time has passed, and no backup was made since."""


def policy(**fields: Any) -> InstallationFacts:
    return InstallationFacts(now=NOON, policies=(replace(WELL, **fields),))


NOTHING_YET = ran(HOUR, FAILED, code="NothingSelectedYet")


def idle(**fields: Any) -> InstallationFacts:
    """Return a policy that never had a backup, since nothing matches its filter."""
    return policy(**{"newest": None, "verified": None, "runs": (NOTHING_YET,), **fields})


def beside(*others: Policy) -> InstallationFacts:
    """Return a policy for which nothing is tagged yet, beside others."""
    nothing = replace(WELL, source="s", newest=None, verified=None, runs=(NOTHING_YET,))
    return InstallationFacts(now=NOON, policies=(nothing, *others))


def facts(**fields: Any) -> InstallationFacts:
    return replace(InstallationFacts(now=NOON, policies=(WELL,)), **fields)


def stands(*, read: float) -> VerificationState:
    """Return how verification stands if one container was read so many seconds ago."""
    item = DueContainer(backup="b", target="eu", piece=0, size=1, made_at=NOON - YEAR, checked_at=NOON - read)
    found = coverage([item], Terms(span=30 * DAY, interval=HOUR), now=NOON)
    return VerificationState(span=30 * DAY, all=found, targets={"eu": found})


def came(kind: str, *, who: str = "thief") -> Intrusion:
    return Intrusion(
        kind=kind, log="eu", who=who, origin="203.0.113.9", what="containers/b/x", at=NOON - HOUR
    )


def incident(*, due: float) -> IncidentFacts:
    return IncidentFacts(
        incident="i1", opened=NOON - HOUR, due=due, following="strongroom incident rotate i1"
    )


def recovery(*, due: float) -> OpenRecovery:
    return OpenRecovery(recovery="r1", opened=NOON - HOUR, due=due)


def runs(*of: Ran) -> InstallationFacts:
    return policy(runs=of)


def asked_for(**found: Any) -> InstallationFacts:
    asked = Approval(subject="run", action="restore", requester="dave@host", asked_at=NOON - HOUR, **found)
    return facts(approvals=(asked,))


def rotated(*of: Ran) -> InstallationFacts:
    return policy(rotations=of)


def drilled(*of: Ran, schedule: str = WEEKLY, made: float = 30 * DAY) -> InstallationFacts:
    found = replace(WELL, runs=(ran(10 * HOUR), ran(made)))
    rehearsed = tuple(Drilled(**asdict(one), recovered_in=2.0, objective=60.0) for one in of)
    return InstallationFacts(
        now=NOON, policies=(found,), drills=(Drills(policy="p", schedule=schedule, runs=rehearsed),)
    )


def offline(days: int) -> InstallationFacts:
    """A policy whose medium is needed in so many days."""
    then = datetime.fromtimestamp(NOON + days * DAY, UTC)
    return policy(offline=True, schedule=f"0 {then.hour} {then.day} {then.month} *")


def drift(ago: float) -> Ran:
    return ran(ago, DEGRADED, code="MassChange")


def drifted(*of: Ran) -> InstallationFacts:
    return policy(drifts=of)


def keys(**fields: Any) -> InstallationFacts:
    return facts(keys=KeyFacts(**fields))


def proof(
    *, since: float = NOON, last: float | None = None, failed: float | None = None
) -> InstallationFacts:
    proofs = ProofsOnRecord(
        proven={} if last is None else {"k": last},
        failed={} if failed is None else {"k": (failed, "WrongKey: it does not open")},
        retired={},
    )
    return keys(proofs=(proofs.of("k", "recovery", since=since, now=NOON),))


def shallow(age: float) -> VerifiedBackup:
    return seen(age, depth=None, shallow=("eu", "us"))


def slow(newest: Ran) -> InstallationFacts:
    return runs(newest, *(ran(DAY * day) for day in range(1, 6)))


PAUSED = PausedEntry(name="prune", due=NOON - HOUR, following=NOON + 23 * HOUR)

CASES: list[tuple[str, InstallationFacts, InstallationFacts]] = [
    ("state.unreachable", facts(), facts(state="the state database did not answer")),
    ("backup.overdue:p", policy(), policy(verified=seen(9 * DAY))),
    ("backup.overdue:p", policy(schedule=None, verified=None), policy(verified=None)),
    ("backup.overdue:p", policy(verified=None, newest=None, blind=True), policy(verified=None, newest=None)),
    (
        "backup.overdue:p",  # the very first may take its time, and not for ever
        policy(verified=None, newest=None, runs=(ran(HOUR, ACTIVE, took=None),)),
        policy(verified=None, newest=None, runs=(ran(25 * HOUR, ACTIVE, took=None),)),
    ),
    (
        "backup.overdue:p",  # nor is it the first that is tried
        policy(verified=None, newest=None, runs=(ran(HOUR, ACTIVE, took=None),)),
        policy(verified=None, newest=None, runs=(ran(HOUR, ACTIVE, took=None), ran(2 * HOUR, FAILED))),
    ),
    (
        "backup.overdue:p",  # it lies on the targets before it is verified, and its run has ended
        policy(
            verified=None, newest=seen(HOUR, backup="r3600", depth=None), runs=(ran(HOUR, ACTIVE, took=None),)
        ),
        policy(
            verified=None, newest=seen(HOUR, backup="b", depth=None), runs=(ran(HOUR, ACTIVE, took=None),)
        ),
    ),
    ("backup.failed:p", runs(ran(HOUR, CANCELLED), ran(10 * HOUR)), runs(ran(HOUR, FAILED), ran(10 * HOUR))),
    ("backup.failed:p", runs(ran(HOUR), ran(2 * HOUR, FAILED)), runs(ran(60, ACTIVE), ran(2 * HOUR, FAILED))),
    ("backup.failed:p", runs(ran(11 * HOUR, FAILED)), policy(newest=None, runs=(ran(11 * HOUR, FAILED),))),
    ("backup.failed:p", idle(), idle(newest=seen(9 * DAY))),  # it had a backup: what it held is gone
    ("backup.failed:p", idle(), idle(held=held(5))),
    ("backup.failed:p", idle(), idle(ahead=("b9",))),
    ("backup.overdue:p", idle(), idle(verified=seen(9 * DAY))),
    ("policy.idle:p", idle(runs=(ran(HOUR, FAILED, code="EmptySource"),)), idle()),
    (
        "policy.idle:p",
        idle(newest=seen(9 * DAY), runs=(ran(HOUR, FAILED, code="EmptySourceYet"),)),
        idle(runs=(ran(HOUR, FAILED, code="EmptySourceYet"),)),
    ),
    ("policy.idle:p", idle(runs=(ran(60, FAILED), NOTHING_YET)), idle(runs=(ran(60, ACTIVE), NOTHING_YET))),
    (
        "policy.idle:p",  # another one backs up all of the source, and is verified
        beside(replace(WELL, name="all", source="s", whole=True)),
        beside(replace(WELL, name="all", source="s", whole=True, verified=None)),
    ),
    (
        "policy.idle:p",
        beside(replace(WELL, name="all", source="s", whole=True)),
        beside(replace(WELL, name="all", source="t", whole=True), replace(WELL, name="some", source="s")),
    ),
    ("backup.lost", facts(), facts(lost=("b1",))),
    ("backup.degraded:p", runs(ran(HOUR), ran(DAY, DEGRADED)), runs(ran(HOUR, DEGRADED))),
    (
        "backup.degraded:p",  # that another run was called off makes no backup whole
        runs(ran(60, CANCELLED), ran(HOUR), ran(2 * HOUR, DEGRADED)),
        runs(ran(60, CANCELLED), ran(HOUR, DEGRADED)),
    ),
    (
        "backup.degraded:p",
        policy(runs=(ran(HOUR, DEGRADED),), mended=(f"r{HOUR:.0f}",)),
        policy(runs=(ran(HOUR, DEGRADED),), mended=("another",)),
    ),
    (
        "replica.unverified:p",
        policy(newest=shallow(10 * HOUR)),  # it may still be read back
        policy(newest=shallow(25 * HOUR), verified=seen(25 * HOUR), schedule=None),
    ),
    ("backup.ahead:p", policy(), policy(ahead=("b9",))),
    (
        "replica.bad:eu",
        facts(places=(TargetFacts(name="eu"),)),
        facts(places=(TargetFacts(name="eu", bad=("b",)),)),
    ),
    (
        "replica.repaired:eu",
        facts(),
        facts(mended=(Mended(backup="b", target="eu", why="its container 3: Tampered", sources=("us",)),)),
    ),
    ("verification.late:eu", facts(verification=stands(read=DAY)), facts(verification=stands(read=31 * DAY))),
    (
        "replica.bad:eu",
        facts(places=(TargetFacts(name="eu"),)),
        facts(places=(TargetFacts(name="eu", lost=("b",)),)),
    ),
    (
        "replica.bad:eu",
        facts(places=(TargetFacts(name="eu"),)),
        facts(places=(TargetFacts(name="eu", missing=("b",)),)),
    ),
    (
        "manifest.refused:eu",
        facts(places=(TargetFacts(name="eu"),)),
        facts(places=(TargetFacts(name="eu", refused=("b",)),)),
    ),
    ("catalog.lacks:eu", facts(), facts(places=(TargetFacts(name="eu", unknown=("b",)),))),
    (
        "target.all-away",
        facts(places=(TargetFacts(name="eu", away="no route"), TargetFacts(name="us"))),
        facts(places=(TargetFacts(name="eu", away="no route"), TargetFacts(name="us", away="no route"))),
    ),
    (
        "target.all-away:p",
        facts(
            places=(
                TargetFacts(name="eu", away="no route"),
                TargetFacts(name="us"),
                TargetFacts(name="west"),
            ),
            policies=(replace(WELL, targets=("eu", "us")),),
        ),
        facts(
            places=(
                TargetFacts(name="eu", away="no route"),
                TargetFacts(name="us", away="gone"),
                TargetFacts(name="west"),
            ),
            policies=(replace(WELL, targets=("eu", "us")),),
        ),
    ),
    (
        "target.away:eu",
        facts(places=(TargetFacts(name="eu"),)),
        facts(places=(TargetFacts(name="eu", away="no route"),)),
    ),
    ("ledger.broken", facts(), facts(signs=Signs(broken_at=7))),
    ("ledger.broken", facts(), facts(signs=Signs(unlike="the record ends before a signed head"))),
    (
        "broker.away",
        facts(cluster=ClusterFacts(runs=True, broker="b")),
        facts(cluster=ClusterFacts(runs=True, broker="b", away="no answer")),
    ),
    (
        "worker.silent",
        facts(cluster=ClusterFacts(runs=True, broker="b", answered=("seal",))),
        facts(cluster=ClusterFacts(runs=True, broker="b", silent=("seal",))),
    ),
    (
        "process.down:processes on h",
        facts(cluster=ClusterFacts(runs=True, host="h", again=("seal",))),
        facts(cluster=ClusterFacts(runs=True, host="h", down=("seal",))),
    ),
    (
        "stage.unshared",
        facts(stage_users=("ada", "bob")),
        facts(stage_users=("ada", "bob"), unshared=("p",)),
    ),
    ("stage.unshared", facts(unshared=("p",)), facts(stage_users=("ada", "bob"), unshared=("p",))),
    (
        "file.exposed:/k on h",
        facts(host=HostFacts(name="h")),
        facts(host=HostFacts(name="h", exposed=(ExposedFile(path="/k", mode="600"),))),
    ),
    (
        "clock.apart:clock on h",
        facts(host=HostFacts(name="h", ahead=-60.0)),
        facts(host=HostFacts(name="h", ahead=-61.0)),
    ),
    (
        "state.damaged",
        facts(host=HostFacts(name="h", unsound=())),
        facts(host=HostFacts(name="h", unsound=("run r",))),
    ),
    (
        "store.unusable:local on h",
        facts(host=HostFacts(name="h", stores=(LocalStoreFacts(name="local", made=True),))),
        facts(host=HostFacts(name="h", stores=(LocalStoreFacts(name="local", made=False, trouble="gone"),))),
    ),
    (
        "ledger.uncovered",
        facts(signs=Signs(events=1, uncovered=NOON - UNCOVERED)),
        facts(signs=Signs(events=1, uncovered=NOON - UNCOVERED - 1)),
    ),
    ("record.refused", facts(), facts(signs=Signs(records=("r1",)))),
    ("recovery.open:r1", facts(), facts(recoveries=(recovery(due=NOON + HOUR),))),
    ("incident.open:i1", facts(), facts(incidents=(incident(due=NOON + DAY),))),
    ("message.refused:seal", facts(), facts(signs=Signs(messages={"seal": 3}))),
    ("message.failed:seal", facts(), facts(signs=Signs(failed={"seal": 3}))),
    ("record.refused:shredding", facts(), facts(signs=Signs(shreds=1))),
    *[("access.unrecorded:thief", facts(), facts(intrusions=(came(kind),))) for kind in STRANGE],
    ("access.log:eu", facts(), facts(intrusions=(came("access.log-rewritten", who=""),))),
    ("access.log:eu", facts(), facts(intrusions=(came(SILENT, who=""),))),
    ("approval.break-glass:run", asked_for(), asked_for(broken=True)),
    ("approval.refused:run", asked_for(), asked_for(refused=2)),
    ("approval.waiting:run", asked_for(), asked_for(late=True)),
    ("rotation.failed:p", rotated(ran(HOUR), ran(DAY, FAILED)), rotated(ran(HOUR, FAILED), ran(DAY))),
    ("rotation.failed:p", rotated(), rotated(ran(HOUR, CANCELLED), ran(DAY, FAILED))),
    ("rotation.failed:p", rotated(ran(HOUR)), rotated(ran(HOUR, DEGRADED))),
    (
        "rotation.failed:p",
        rotated(ran(6 * DAY, ACTIVE, took=None)),
        rotated(ran(8 * DAY, ACTIVE, took=None)),
    ),
    (
        "prune.incomplete",
        facts(prunes=(ran(HOUR, DEGRADED), ran(DAY, FAILED), ran(2 * DAY), ran(3 * DAY, DEGRADED))),
        facts(
            prunes=(ran(HOUR, DEGRADED), ran(DAY, FAILED), ran(2 * DAY, CANCELLED), ran(3 * DAY, DEGRADED))
        ),
    ),
    (
        "run.waiting",
        facts(active=(running(23 * HOUR),)),
        facts(active=(running(25 * HOUR),)),
    ),
    (
        "run.waiting",
        facts(active=(running(25 * HOUR, RunKind.ROTATE),)),  # rotations have an alert of their own
        facts(active=(running(25 * HOUR, RunKind.ROTATE_SECRET),)),
    ),
    ("key.unproven:recovery", proof(last=NOON - QUARTER + WARNING + DAY), proof(last=NOON - QUARTER - DAY)),
    ("key.unproven:recovery", proof(last=NOON - DAY), proof(last=NOON - DAY, failed=NOON - HOUR)),
    (
        "key.unproven:recovery",
        proof(since=NOON - QUARTER + WARNING + DAY),
        proof(since=NOON - QUARTER + WARNING - DAY),
    ),
    ("key.unchecked", keys(checked_at=NOON), keys(checked_at=NOON, unread=("b1",))),
    (
        "key.unchecked",
        keys(schedule=WEEKLY, used=(Dated(name="k", at=NOON - HOUR),)),  # in use since its time alone
        keys(schedule=WEEKLY, used=(Dated(name="k", at=NOON - 30 * DAY),)),
    ),
    (
        "key.unchecked",
        keys(schedule=WEEKLY, used=(Dated(name="k", at=NOON - 30 * DAY),), checked_at=NOON - DAY),
        keys(schedule=WEEKLY, used=(Dated(name="k", at=NOON - 30 * DAY),), checked_at=NOON - 5 * DAY),
    ),
    (
        "custodian.silent:board",
        keys(asked=(Dated(name="board", at=NOON - 6 * DAY),)),
        keys(asked=(Dated(name="board", at=NOON - 8 * DAY),)),
    ),
    (
        "key.aging:k",
        keys(used=(Dated(name="k", at=NOON - YEAR + 31 * DAY),)),
        keys(used=(Dated(name="k", at=NOON - YEAR + 29 * DAY),)),
    ),
    ("emergency.due:p", offline(5), offline(2)),
    ("emergency.due:p", policy(schedule="0 0 20 7 *"), offline(3)),
    ("drift.mass-change:p", drifted(ran(HOUR), drift(2 * HOUR)), drifted(drift(HOUR), ran(DAY))),
    ("drift.mass-change:p", drifted(ran(HOUR)), drifted(ran(HOUR, ACTIVE), drift(DAY))),
    ("drift.unknown:p", drifted(ran(HOUR), ran(DAY, FAILED)), drifted(ran(HOUR, FAILED), ran(DAY))),
    ("drift.unknown:p", drifted(drift(HOUR)), drifted(ran(HOUR, DEGRADED))),
    ("drill.failed:full p", drilled(ran(HOUR), ran(DAY, FAILED)), drilled(ran(HOUR, FAILED), ran(DAY))),
    ("drill.failed:full p", drilled(ran(HOUR), schedule=""), drilled(ran(HOUR, FAILED), schedule="")),
    ("drill.failed:full p", drilled(ran(HOUR)), drilled(ran(HOUR, DEGRADED))),
    ("drill.overdue:full p", drilled(ran(3 * DAY)), drilled(ran(5 * DAY))),
    ("drill.overdue:full p", drilled(made=HOUR), drilled()),  # nothing to rehearse with at its time
    ("drill.overdue:full p", drilled(ran(HOUR, FAILED)), drilled(ran(HOUR, ACTIVE))),
    ("backup.shrunk:p", policy(held=held(75, 100)), policy(held=held(65, 100))),
    ("backup.shrunk:p", policy(held=held(20, 29, 29)), policy(held=held(19, 29, 29))),
    (
        "backup.shrunk:p",
        policy(held=held(15, 15, 60, 15, 15)),
        policy(held=held(15, 60, 15, 15)),
    ),  # new, gone
    ("backup.size:p", policy(held=held(10, 10, 11, 9)), policy(held=held(4, 10, 11, 9))),
    ("backup.size:p", policy(held=held(20, 10, 11, 9)), policy(held=held(21, 10, 11, 9))),
    ("backup.size:p", policy(held=held(1, 10, 10)), policy(held=held(1, 10, 10, 10))),  # of two, no median
    ("backup.size:p", policy(held=sized(190, 100, 90, 110)), policy(held=sized(210, 100, 90, 110))),
    ("backup.size:p", policy(held=sized(60, 100, 90, 110)), policy(held=sized(40, 100, 90, 110))),
    ("backup.slow:p", slow(ran(HOUR, took=1700.0)), slow(ran(HOUR, took=1900.0))),
    ("backup.slow:p", slow(ran(1700, ACTIVE, took=None)), slow(ran(1900, ACTIVE, took=None))),
    (
        "backup.slow:p",
        runs(ran(HOUR, took=50.0), *(ran(DAY * day, took=1.0) for day in range(1, 6))),
        runs(ran(HOUR, took=70.0), *(ran(DAY * day, took=1.0) for day in range(1, 6))),
    ),
    (
        "space.low:the stage",
        facts(rooms=(Room(name="the stage", free=11, total=100),)),
        facts(rooms=(Room(name="the stage", free=9, total=100),)),
    ),
    (
        "certificate.ending:mail.ca_file",
        facts(certificates=(Dated(name="mail.ca_file", at=NOON + 31 * DAY),)),
        facts(certificates=(Dated(name="mail.ca_file", at=NOON + 29 * DAY),)),
    ),
    (
        "check.failed:health",
        facts(checks=(CalendarCheck(name="health", newest=ran(HOUR)),)),
        facts(checks=(CalendarCheck(name="health", newest=ran(HOUR, FAILED)),)),
    ),
    (
        "check.failed:health",
        facts(checks=(CalendarCheck(name="keys", newest=ran(HOUR, DEGRADED)),)),
        facts(checks=(CalendarCheck(name="health", newest=ran(HOUR, DEGRADED)),)),
    ),
    (
        "schedule.late:prune",  # until the next time after its last one, nothing was missed
        facts(
            entries=(
                PausedEntry(
                    name="prune", due=NOON - HOUR, following=NOON + 23 * HOUR, paused=NOON - 20 * HOUR
                ),
            )
        ),
        facts(
            entries=(
                PausedEntry(
                    name="prune", due=NOON - HOUR, following=NOON + 23 * HOUR, paused=NOON - 25 * HOUR
                ),
            )
        ),
    ),
    (
        "schedule.late:drift",
        facts(),
        facts(
            entries=(
                PausedEntry(name="drift", due=NOON - HOUR, following=NOON + HOUR, refused="ConfigError"),
            )
        ),
    ),
    ("hook.failed:health", facts(), facts(hooks=("health",))),
    (
        "channel.failed:chat",
        facts(),
        facts(channels=(BrokenChannel(name="chat", since=NOON - HOUR, why="ChannelUnavailable: no."),)),
    ),
    ("settings.unused:h", facts(), facts(unused=(Unused(host="h", problem="not TOML"),))),
    ("settings.unused:h", facts(), facts(unused=(Unused(host="h", waits=("broker",)),))),
    ("beat.silent", facts(beat_age=60.0), facts(beat_age=HOUR)),
    ("beat.silent", facts(beat_age=30 * DAY), facts(beat_age=13 * DAY)),
    ("beat.silent", facts(beat_age=60.0, policies=(DUE,)), facts(beat_age=90.0, policies=(DUE,))),
    (
        "beat.silent",
        facts(places=(TargetFacts(name="eu", away="no answer"), TargetFacts(name="us", away="none"))),
        facts(
            beat_age=HOUR,
            places=(TargetFacts(name="eu", away="no answer"), TargetFacts(name="us", away="none")),
        ),
    ),
]


MISSING = facts(places=(TargetFacts(name="eu", missing=("b",)),))
LATE, IN_TIME = NOON - 1, NOON + HOUR

GRAVE: list[tuple[str, InstallationFacts, InstallationFacts]] = [
    (
        "emergency.due:p",
        policy(offline=True, schedule=WEEKLY, verified=seen(8 * DAY)),
        policy(offline=True, schedule=WEEKLY, verified=seen(12 * DAY)),
    ),
    (
        "replica.bad:eu",
        facts(places=(TargetFacts(name="eu", missing=("b",)),)),
        facts(places=(TargetFacts(name="eu", bad=("b",)),)),
    ),
    (
        "replica.bad:eu",
        facts(places=(TargetFacts(name="eu", missing=("b",)),)),
        facts(places=(TargetFacts(name="eu", lost=("b",)),)),
    ),
    (
        "recovery.open:r1",
        facts(recoveries=(recovery(due=NOON + HOUR),)),
        facts(recoveries=(recovery(due=NOON - 1),)),
    ),
    (
        "incident.open:i1",
        facts(incidents=(incident(due=NOON + DAY),)),
        facts(incidents=(incident(due=NOON - 1),)),
    ),
    ("key.unproven:recovery", proof(last=NOON - QUARTER + DAY), proof(last=NOON - QUARTER - DAY)),
    (
        "key.aging:k",
        keys(used=(Dated(name="k", at=NOON - YEAR + DAY),)),
        keys(used=(Dated(name="k", at=NOON - YEAR - DAY),)),
    ),
    (
        "check.failed:health",
        facts(checks=(CalendarCheck(name="health", newest=ran(HOUR, DEGRADED)),)),
        facts(checks=(CalendarCheck(name="health", newest=ran(HOUR, FAILED)),)),
    ),
    (
        "schedule.late:prune",
        facts(entries=(replace(PAUSED, paused=NOON - 25 * HOUR),)),
        facts(entries=(replace(PAUSED, refused="ConfigError"),)),
    ),
    (
        "settings.unused:h",
        facts(unused=(Unused(host="h", waits=("broker",)),)),
        facts(unused=(Unused(host="h", problem="not TOML"),)),
    ),
    (
        "process.down:processes on h",
        facts(cluster=ClusterFacts(runs=True, host="h", down=("seal",))),
        facts(cluster=ClusterFacts(runs=True, host="h", killed=True)),
    ),
    ("beat.silent", facts(beat_age=HOUR), facts(beat_age=90.0, policies=(DUE,))),
    (
        "beat.silent",
        facts(beat_age=HOUR, places=(TargetFacts(name="eu", away="no answer"), TargetFacts(name="us"))),
        facts(
            beat_age=HOUR,
            places=(TargetFacts(name="eu", away="no answer"), TargetFacts(name="us", away="none")),
        ),
    ),
    (
        "space.low:the stage",
        facts(rooms=(Room(name="the stage", free=9, total=100, least=9),)),
        facts(rooms=(Room(name="the stage", free=9, total=100, least=10),)),
    ),
    (
        "backup.degraded:p",
        policy(unlocked=("us",)),
        policy(lacks="2 of 3 targets"),
    ),
]


def found(given: InstallationFacts) -> list[str]:
    return [alert.key for alert in alerts(given, LIMITS)]


@pytest.mark.parametrize(("key", "quiet", "loud"), CASES)
def test_a_rule_tells_what_is_wrong_and_nothing_else(
    key: str, quiet: InstallationFacts, loud: InstallationFacts
) -> None:
    assert key not in found(quiet)
    assert key in found(loud)


@pytest.mark.parametrize(("key", "warns", "grave"), GRAVE)
def test_a_warning_becomes_critical_and_stays_the_same_alert(
    key: str, warns: InstallationFacts, grave: InstallationFacts
) -> None:
    severities = [
        next(one.severity for one in alerts(given, LIMITS) if one.key == key) for given in (warns, grave)
    ]
    assert severities == [Severity.WARNING, Severity.CRITICAL]


def test_each_kind_that_can_become_critical_does() -> None:
    assert {key.partition(":")[0] for key, _, _ in GRAVE} == {
        name for name, kind in KINDS.items() if kind.grave
    }


def test_where_all_is_well_nothing_is_told() -> None:
    assert found(facts(places=(TargetFacts(name="eu"),), rooms=(Room(name="x", free=1, total=2),))) == []


def test_every_kind_of_alert_has_a_rule_that_raises_it() -> None:
    assert {key.partition(":")[0] for key, _, _ in CASES} == set(KINDS)


@pytest.mark.parametrize("at", [float("inf"), float("-inf"), float("nan")])
def test_a_time_that_is_none_keeps_nothing_from_being_told(at: float) -> None:
    odd = Ran(run="r", state=FAILED, began=at, ended=at)
    given = facts(
        policies=(replace(WELL, runs=(odd,) * 9, rotations=(odd,)),),
        keys=KeyFacts(used=(Dated(name="k", at=at),), asked=(Dated(name="k", at=at),), checked_at=at),
        certificates=(Dated(name="c", at=at),),
        state="gone",
    )
    assert "state.unreachable" in found(given)


def test_the_worst_comes_first() -> None:
    loud = facts(state="gone", beat_age=HOUR, lost=("b",), signs=Signs(broken_at=1))
    told = alerts(loud, LIMITS)
    assert [one.severity for one in told] == sorted(one.severity for one in told)
    assert told[-1].kind == "beat.silent"


def test_a_failure_is_told_by_its_class_and_never_in_its_own_words() -> None:
    [alert] = alerts(runs(ran(HOUR, FAILED, code="SourceUnavailable")), LIMITS)
    assert "(SourceUnavailable)" in alert.what


@pytest.mark.parametrize(("fewer", "more"), [(5, 9), (130, 260)])
def test_what_goes_on_failing_is_worse_each_time_it_has_doubled(fewer: int, more: int) -> None:
    def weight(count: int) -> int:
        [alert] = alerts(policy(newest=None, runs=(ran(HOUR, FAILED),) * count, schedule=None), LIMITS)
        return alert.weight

    assert weight(more) > weight(fewer)
    assert weight(fewer) == weight(fewer + 1)


def test_an_overdue_policy_names_the_newer_backup_that_nobody_read_back() -> None:
    given = policy(newest=seen(HOUR, backup="newer", depth=None), verified=seen(9 * DAY, depth=Depth.OPENED))
    [alert] = alerts(given, LIMITS)
    assert "newer" in alert.what
    assert "depth 'opened'" in alert.what


def test_a_kind_says_what_to_do_about_its_subject_whatever_that_is_called() -> None:
    alert = wrong("rotation.failed", "{0}{kind}", what="x")
    assert alert.to_do.endswith("'strongroom keys rotate {0}{kind}'.")


def test_each_kind_of_alert_says_what_it_means_and_what_to_do() -> None:
    for name, kind in KINDS.items():
        assert kind.means.endswith("."), name
        assert kind.do.endswith(".") or "'" in kind.do, name
    assert {kind.severity for kind in KINDS.values()} == set(Severity)


def test_a_repaired_replica_is_told_with_what_was_wrong_and_where_it_was_copied_from() -> None:
    mended = [
        Mended(backup=f"b{at}", target="eu", why="its manifest: Stale", sources=("us",)) for at in (1, 2)
    ]
    [alert] = alerts(facts(mended=tuple(mended)), LIMITS)
    assert alert.what == (
        "target 'eu': 2 replicas damaged and repaired in the last 24 hours: "
        "b1 (its manifest: Stale; copied from us), b2 (its manifest: Stale; copied from us)"
    )


def test_what_was_not_verified_in_its_span_is_told_with_the_oldest() -> None:
    [alert] = alerts(facts(verification=stands(read=31 * DAY)), LIMITS)
    assert alert.what.startswith(
        "target 'eu': 0.0 % verified: 0 of 1 containers and manifests read within 30 days"
    )
    assert "container 0 of b on eu, 31 days" in alert.what


def test_what_mends_a_broker_that_does_not_answer_is_said_where_starting_it_does_not() -> None:
    silent = ClusterFacts(runs=True, broker="b", away="no answer")
    said = [
        finding.to_do
        for shown in (silent, replace(silent, mend="Write the password."))
        for finding in alerts(facts(cluster=shown), LIMITS)
        if finding.kind == "broker.away"
    ]
    assert said[0].startswith("Start it")
    assert said[1] == "Write the password."
