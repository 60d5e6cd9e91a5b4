"""What the state database has that alarms go by: runs, rotations, drills, keys, and marks of strangers.

What a run said in its own words is left behind: it may name a secret, and a mail lies in many places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from strongroom.alert_kinds import HOST_IS_GONE
from strongroom.keys import BY_LABEL, hostlist, passphrase
from strongroom.model import EVERY_POLICY
from strongroom.operations.access.look import REWRITTEN, SILENT, STRANGE, beat_of
from strongroom.operations.archive import shredding
from strongroom.operations.archive.cases import Places, incidents_on, next_command
from strongroom.operations.archive.inventory import REPAIRED
from strongroom.operations.archive.recoveries import recoveries_on
from strongroom.operations.backup.verified_share import VerificationState, scope_of, standing
from strongroom.operations.drills.facts import DrillFacts, took_seconds
from strongroom.operations.engine import approvals as approval_record
from strongroom.operations.engine import noted, run_log
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.drive import is_abandoned
from strongroom.operations.engine.hooks import FAILED
from strongroom.operations.engine.jobs import read_facts
from strongroom.operations.engine.noted import untaken
from strongroom.operations.engine.stage import rights_on_stage
from strongroom.operations.errors import (
    ApprovalNeeded,
    MessageRefused,
    NothingOpens,
    NothingSelected,
    OwnMessageFailed,
)
from strongroom.operations.evidence.ledger import BEFORE_ALL, look
from strongroom.operations.evidence.ledger_heads import TargetLedger as HeadsOnTarget
from strongroom.operations.judge.fact_records import (
    Approval,
    BrokenChannel,
    CalendarCheck,
    Dated,
    DayOfRuns,
    Drilled,
    Drills,
    IncidentFacts,
    Intrusion,
    KeyFacts,
    Mended,
    OpenRecovery,
    PausedEntry,
    Ran,
    Running,
    Signs,
    Unused,
    WatchedInstallation,
    pace_of,
)
from strongroom.operations.judge.freshness import SKEW
from strongroom.operations.keys.health import (
    CHALLENGE_HOLDS,
    CHALLENGED,
    DAY,
    PROVEN,
    KeyProof,
    ProofsOnRecord,
    keys_looked_at,
    newest_trial,
    read_proofs,
)
from strongroom.operations.keys.usage import pinned_key
from strongroom.schedule import zone
from strongroom.sources.errors import SecretNotFound
from strongroom.state.errors import LedgerChanged, LedgerCut, RecordRefused
from strongroom.state.records import (
    RESTORING,
    ROTATING,
    Event,
    Run,
    RunKind,
    RunProgress,
    RunState,
    StepKind,
    StepState,
    Tally,
)
from strongroom.state.store import RunStore

REFUSED, FAILED_OWN = MessageRefused.event, OwnMessageFailed.event
STEP_FAILED: Final = "step.failed"
ENTRY_REFUSED: Final = "schedule.refused"
BEAT: Final = "beat"
VERSIONED: Final = BY_LABEL - {passphrase.TYPE}
"""Kinds of keys whose key services have versions of a key."""
WITH_KEYS: Final = frozenset({*RESTORING, *ROTATING})
"""The steps that are done where keys are at hand, which is not always."""
YEAR: Final = 400 * DAY
DAYS: Final = 30
"""Days of a policy's backups that are shown at a glance."""
TURNS: Final = 20
"""Rotations and drills that are looked through for the newest that ended."""


def ran(runs: Iterable[Run], *, now: float) -> tuple[Ran, ...]:
    """Return runs as facts; one that begins later than now would be the newest for long, and is none."""
    return tuple(
        Ran(run=run.id, state=run.state, began=run.created_at, ended=run.finished_at, code=_code(run))
        for run in not_ahead(runs, now)
    )


def not_ahead(runs: Iterable[Run], now: float) -> Iterator[Run]:
    """Yield the runs but for those of a clock that was ahead. What is no number, somebody wrote there: it is
    judged."""
    return (run for run in runs if not run.created_at > now + SKEW)


def _code(run: Run) -> str:
    return run_log.class_in(run.error)


def days(store: RunStore, policy: str, time_zone: str, *, now: float) -> tuple[DayOfRuns, ...]:
    """Return the last thirty days of a policy's backups by its clock, the oldest first."""
    today, clock = datetime.fromtimestamp(now, zone(time_zone)).date(), zone(time_zone)
    dates = [(today - timedelta(days=back)).isoformat() for back in range(DAYS - 1, -1, -1)]
    runs = store.states_of(policy, RunKind.BACKUP, since=now - (DAYS + 1) * DAY)
    last = {
        datetime.fromtimestamp(at, clock).date().isoformat(): state for at, state in runs if at <= now + SKEW
    }
    return tuple(DayOfRuns(date=date, state=last.get(date)) for date in dates)


def rotations(store: RunStore, policy: str, *, now: float) -> tuple[Ran, ...]:
    """Return the rotations of a policy's backups, the newest first."""
    return ran(store.runs_of(policy, RunKind.ROTATE, limit=TURNS), now=now)


def drifts(store: RunStore, policy: str, *, now: float) -> tuple[Ran, ...]:
    """Return the comparisons of a policy's backups with their source, the newest first."""
    return ran(store.runs_of(policy, RunKind.DRIFT, limit=TURNS), now=now)


def prunes(store: RunStore, *, now: float) -> tuple[Ran, ...]:
    """Return the prunes of all policies, the newest first."""
    return ran(store.runs_of(EVERY_POLICY, RunKind.PRUNE, limit=TURNS), now=now)


def active(store: RunStore, watched: WatchedInstallation, *, now: float) -> tuple[Running, ...]:
    """Return the runs that have not ended."""
    found, known = list(not_ahead(store.active(), now)), store.progress()
    progress = {run.id: known.get(run.id, _NOTHING_YET) for run in found}
    moved = {run.id: max(run.created_at, progress[run.id].moved_at) for run in found}
    if any(run.queued for run in found):
        queues = _queues_moved(store, found, moved)
        moved |= {run.id: max(moved[run.id], queues.get(run.spec.kind, 0.0)) for run in found if run.queued}
    return tuple(
        Running(
            run=run.id,
            state=run.state,
            began=run.created_at,
            ended=run.finished_at,
            kind=run.spec.kind,
            policy=run.spec.policy,
            pace=pace_of(run, store, progress[run.id], now=now),
            waits_for_approval=_waits_for_approval(run, progress[run.id], store),
            moved_at=moved[run.id],
            **_signs_of_life(run, progress[run.id], store, watched.state_dir),
        )
        for run in found
    )


_NOTHING_YET: Final = RunProgress(tally=Tally({}), moved_at=0.0)


def _queues_moved(store: RunStore, active: Iterable[Run], moved: Mapping[str, float]) -> dict[RunKind, float]:
    """Return when the runs of each kind last moved: one that waits for its turn is stuck when those before it
    are."""
    newest = store.newest_ends()
    for run in active:
        if not run.queued:
            newest[run.spec.kind] = max(newest.get(run.spec.kind, 0.0), moved[run.id])
    return newest


def _signs_of_life(run: Run, of: RunProgress, store: RunStore, state_dir: Path | None) -> dict[str, Any]:
    kinds = {kind for kind, _, state in of.tally.counts if not state.settled}
    at_work = any(state is StepState.RUNNING for _, _, state in of.tally.counts)
    return {
        "at_work": at_work,
        "waits_for_keys": bool(kinds) and kinds <= WITH_KEYS and not at_work,
        "abandoned": state_dir is not None and is_abandoned(run, store, state_dir),
    }


def _waits_for_approval(run: Run, of: RunProgress, store: RunStore) -> bool:
    if run.closing or not of.tally.of(StepKind.APPROVE):
        return False
    asking = (row for row in store.rows(run.id, StepKind.APPROVE) if row.waits_since)
    return any(run_log.code_of(row.error or "") == ApprovalNeeded.__name__ for row in asking)


def checks(store: RunStore, names: Iterable[str], *, now: float) -> Iterator[CalendarCheck]:
    """Yield each check of the calendar that was done, with the newest run of it that ended."""
    for name in names:
        runs = ran(store.runs_of(name, RunKind.CHECK, limit=TURNS), now=now)
        newest = next((run for run in runs if run.state.final and run.state is not RunState.CANCELLED), None)
        if newest is not None:
            yield CalendarCheck(name=name, newest=newest)


def kept_back(store: RunStore, calendar: Iterable[Scheduled], *, now: float) -> Iterator[PausedEntry]:
    """Yield the entries of the calendar that are paused, or that could not be run at their time."""
    paused = {pause.entry: pause.since for pause in store.pauses() if pause.holds(now)}
    refused = {
        str(event.detail.get("entry")): event
        for event in store.happened(ENTRY_REFUSED, since=now - DAY)
        if event.at <= now + SKEW
    }
    for entry in calendar:
        due, following = entry.last(now), entry.next(now)
        if entry.needs or due is None or following is None:
            continue
        code = _refused(store, entry, refused.get(entry.name))
        if entry.name in paused or code:
            since = paused.get(entry.name)
            yield PausedEntry(name=entry.name, due=due, following=following, paused=since, refused=code)


def _refused(store: RunStore, entry: Scheduled, event: Event | None) -> str:
    """Return why an entry could not be run, unless it was run since."""
    if event is None:
        return ""
    last = store.last_claimed(entry.name)
    return "" if last and last.due_at >= (entry.last(event.at) or 0.0) else str(event.detail.get("error"))


def hooks(store: RunStore, *, now: float) -> tuple[str, ...]:
    """Return the entries of the calendar whose hooks failed in the last day, after a run."""
    failed = store.happened(FAILED, since=now - DAY)
    return tuple(sorted({str(event.detail.get("entry")) for event in failed}))


def channels(store: RunStore, watched: WatchedInstallation, *, now: float) -> Iterator[BrokenChannel]:
    """Yield the channels that people cannot be told by. One that nobody uses any more cannot work again."""
    for name, event in noted.failing(store, now=now).items():
        if watched.channels is None or name in watched.channels:
            yield BrokenChannel(name=name, since=event.at, why=str(event.detail.get("error")))


def approvals(store: RunStore, *, now: float) -> Iterator[Approval]:
    """Yield what people have to approve or to look into, and what did not count as an approval."""
    refused = Counter(
        str(event.detail.get("subject"))
        for event in store.happened(approval_record.REFUSED, since=now - 7 * DAY)
        if event.detail.get("stale") is not True
    )
    for case in approval_record.read_cases(store, since=now - YEAR).cases:
        request, ends = case.document.request, case.document.ends
        waits = not case.used and not case.rejected and case.at <= now < ends
        found = Approval(
            subject=request.subject,
            action=request.action.value,
            requester=request.requester,
            asked_at=case.at,
            ends=ends,
            waits=waits,
            late=waits and now - case.at > (ends - case.at) / 2,
            broken=case.broken and not case.acknowledged,
            refused=refused.pop(request.subject, 0),
        )
        if found.late or found.broken or found.refused or waits:
            yield found


def intrusions(store: RunStore, watched: WatchedInstallation, *, now: float) -> Iterator[Intrusion]:
    """Yield what access logs told in the last week that no record of ours has, and which are silent."""
    for event in store.happened(*STRANGE, REWRITTEN, since=now - 7 * DAY):
        said = event.detail
        yield Intrusion(
            kind=event.kind,
            log=str(said.get("log")),
            who=str(said.get("who", "")),
            origin=str(said.get("origin", "")),
            what=str(said.get("what") or said.get("file", "")),
            how=str(said.get("how", "")),
            times=_count(said.get("times")),
            at=_seconds(said.get("last")) or event.at,
        )
    ages = store.heartbeats()
    for log, silent in watched.access_logs.items():
        age = ages.get(beat_of(log))
        if age is not None and age > silent:
            yield Intrusion(kind=SILENT, log=log, at=now - age)


def unused(store: RunStore) -> Iterator[Unused]:
    """Yield the changed configuration files that their hosts did not take on."""
    for event in untaken(store):
        said = event.detail
        waits = tuple(map(str, said.get("waits") or ()))
        yield Unused(host=str(said.get("host")), problem=str(said.get("problem", "")), waits=waits)


def stage_users(store: RunStore, watched: WatchedInstallation) -> tuple[str, ...]:
    """Return the hosts that hand runs on to one another; none, if there is only one.

    Only the host list tells hosts apart: containers of one host that share its folders have names of their
    own, and are not on it.
    """
    heard = {
        process.host
        for process in store.processes()
        if process.age < HOST_IS_GONE and rights_on_stage(process.role)
    }
    if len(heard) > 1 and watched.state_dir is not None:
        heard &= hostlist.roles_of(watched.state_dir / "keys" / "roles").keys()
    return tuple(sorted(heard)) if len(heard) > 1 else ()


def drills(store: RunStore, watched: WatchedInstallation, *, now: float) -> Iterator[Drills]:
    """Yield the drills of each kind and policy: those that are scheduled, and those that somebody made."""
    scheduled = {(entry.drill, entry.policy): entry for entry in watched.drills}
    made: dict[tuple[str, str], list[Run]] = {key: [] for key in scheduled}
    for policy in watched.policies:
        for run in store.runs_of(policy.name, RunKind.DRILL, limit=TURNS):
            made.setdefault((str(run.spec.options.get("drill")), policy.name), []).append(run)
    for (drill, policy_name), runs in made.items():
        entry = scheduled.get((drill, policy_name))
        yield Drills(
            drill=drill,
            policy=policy_name,
            schedule=entry.schedule if entry else "",
            time_zone=entry.time_zone if entry else "UTC",
            runs=tuple(
                drilled(run)
                for run in not_ahead(runs, now)
                if not (_asked_for_nothing_there(run) or (entry is None and _asked_without_a_key(run)))
            ),
        )


def _asked_for_nothing_there(run: Run) -> bool:
    """Tell whether a drill was asked for by a name or tag that no secret of the backup has.

    No calendar names one, so a person mistyped it, and was told. It says nothing of the backup, and no
    drill of the calendar would end the alarm.
    """
    asked, code = run.spec.options, _code(run)
    no_tag = bool(asked.get("tags")) and code == NothingSelected.__name__
    return no_tag or (bool(asked.get("secret")) and code == SecretNotFound.__name__)


def _asked_without_a_key(run: Run) -> bool:
    """Tell whether a person asked for a drill on a host that only seals, and was told. Where the calendar has
    one of that kind the host is to open the backups: then a key is gone."""
    return _code(run) == NothingOpens.__name__


def drilled(run: Run) -> Drilled:
    """Return a drill as a fact: how long the recovery took, and how long it might."""
    return Drilled(
        run=run.id,
        state=run.state,
        began=run.created_at,
        ended=run.finished_at,
        code=_code(run),
        drill=str(run.spec.options.get("drill")),
        recovered_in=_recovered_in(run),
        objective=_seconds(run.spec.options.get("objective_seconds")),
    )


def _recovered_in(run: Run) -> float | None:
    try:
        return took_seconds(read_facts(run, DrillFacts))
    except RecordRefused:  # an odd row says nothing, and must not hide the others
        return None


def _seconds(said: object) -> float:
    return float(said) if isinstance(said, int | float) else 0.0


def keys(store: RunStore, watched: WatchedInstallation, *, now: float) -> KeyFacts:
    """Return how the keys stand."""
    trial, proofs = newest_trial(store, until=now + SKEW), read_proofs(store, until=now + SKEW)
    used = tuple(_used(store, watched, proofs))
    return KeyFacts(
        schedule=watched.key_health,
        time_zone=watched.key_zone,
        used=used,
        checked_at=trial.at if trial else None,
        proofs=tuple(_proofs(used, trial, proofs, now)),
        unread=tuple(_texts(trial.detail.get("unread"))) if trial else (),
        asked=tuple(_asked(store, now)),
        unasked={
            name: error.message for policy in watched.policies for name, error in policy.unpinned.items()
        },
    )


def _proofs(
    used: Iterable[Dated], trial: Event | None, proofs: ProofsOnRecord, now: float
) -> Iterator[KeyProof]:
    """Yield how the proof of each key stands that is in use, or that older backups still depend on."""
    since = {dated.key: (dated.name, dated.at) for dated in used}
    for known_key in keys_looked_at(trial):
        if known_key.key in since:
            since[known_key.key] = (since[known_key.key][0], min(known_key.since, since[known_key.key][1]))
        elif known_key.key not in proofs.retired:
            since[known_key.key] = (known_key.name, known_key.since)
    for key, (name, first) in since.items():
        yield proofs.of(key, name, since=first, now=now)


def _used(store: RunStore, watched: WatchedInstallation, proofs: ProofsOnRecord) -> Iterator[Dated]:
    """Yield since when each key of the newest backups is sealed for, but for those that were retired since.

    A rotation that renewed took the newest version of each key that has any, and counts as its beginning.
    """
    since: dict[tuple[str, str], float] = {}
    for policy in watched.policies:
        newest = next(iter(store.runs_of(policy.name, RunKind.BACKUP, limit=1)), None)
        renewed = _renewed_at(store, policy.name)
        for pin in newest.spec.recipients if newest else ():
            first = store.sealed_since(policy.name, pin.fingerprint)
            retired = newest is not None and proofs.retired.get(pinned_key(pin), 0.0) > newest.created_at
            if first is not None and not retired:
                began = max(first, renewed) if pin.type in VERSIONED else first
                key = (pin.name, pinned_key(pin))
                since[key] = min(began, since.get(key, began))
    yield from (Dated(name=name, at=at, key=key) for (name, key), at in sorted(since.items()))


def _renewed_at(store: RunStore, policy: str) -> float:
    done = store.runs_of(policy, RunKind.ROTATE, limit=TURNS)
    renewed = (run for run in done if run.state is RunState.DONE and run.spec.options.get("renew"))
    return next((run.created_at for run in renewed), 0.0)


def _asked(store: RunStore, now: float) -> Iterator[Dated]:
    """Yield the challenges that nobody has answered, as long as they hold."""
    waiting: dict[str, Event] = {}
    for event in store.happened(CHALLENGED, PROVEN, since=now - CHALLENGE_HOLDS):
        key = str(event.detail.get("key"))
        if event.kind == CHALLENGED:
            waiting.setdefault(key, event)  # asking again does not make the wait begin anew
        else:
            waiting.pop(key, None)
    yield from (Dated(name=str(event.detail.get("name")), at=event.at) for event in waiting.values())


def _texts(listed: object) -> Iterator[str]:
    """Yield what an event lists. Rows can be edited: nothing in one may keep an alarm from being told."""
    yield from (map(str, listed) if isinstance(listed, list) else ())


def mended(store: RunStore, policy: str) -> tuple[str, ...]:
    """Return the backups that a repair made whole."""
    repairs = store.runs_of(policy, RunKind.REPAIR, limit=TURNS)
    return tuple(run.spec.backup for run in repairs if run.state is RunState.DONE)


def signs(store: RunStore, watched: WatchedInstallation, *, now: float) -> Signs:
    """Return the marks of somebody who should not be there."""
    messages: dict[str, Counter[str]] = {REFUSED: Counter(), FAILED_OWN: Counter()}
    records: dict[str, None] = {}
    for event in store.happened(*messages, STEP_FAILED, since=now - DAY):
        if event.kind in messages:
            messages[event.kind][str(event.detail.get("pool"))] += _count(event.detail.get("count"))
        elif event.run and run_log.code_of(str(event.detail.get("error"))) == "RecordRefused":
            records[event.run] = None
    chain, (unlike, heads) = look(store, watched.state_dir, now=now), _heads(watched)
    covered = max((on_target.newest.event for on_target in heads if on_target.newest), default=BEFORE_ALL)
    uncovered = store.links(after=covered, limit=1) if watched.hold_ledger is not None else []
    return Signs(
        messages=dict(messages[REFUSED]),
        failed=dict(messages[FAILED_OWN]),
        records=tuple(records),
        shreds=len(shredding.read(store, watched.trusted).refused),
        broken_at=chain.broken,
        unlike=unlike,
        events=chain.events,
        fresh=chain.fresh,
        whole_at=chain.whole_at,
        heads=heads,
        uncovered=uncovered[0].at if uncovered else None,
    )


def verification(store: RunStore, watched: WatchedInstallation, *, now: float) -> VerificationState | None:
    """Return how verification stands; nothing if the calendar has none, not even one that is switched off."""
    if watched.verification is None:
        return None
    gone = shredding.shredded_backups(store, watched.trusted)
    return standing(store, scope_of(watched.verification, now), now=now, gone=gone)


def mended_replicas(store: RunStore, *, now: float) -> Iterator[Mended]:
    """Yield the replicas that were found damaged and were repaired in the last day."""
    for event in store.happened(REPAIRED, since=now - DAY):
        said = event.detail
        if why := str(said.get("why", "")):  # without one it never came, and was told as missing
            sources = tuple(_texts(said.get("sources")))
            names = {name: str(said.get(name)) for name in ("backup", "target")}
            yield Mended(**names, why=why, sources=sources)


def incidents(store: RunStore | None, watched: WatchedInstallation, *, look: bool) -> Iterator[IncidentFacts]:
    """Yield the incidents that nobody closed: on record, and on the targets, where another host put them."""
    targets = {name: watched.targets[name] for name in watched.in_use} if look else {}
    places = Places(targets=targets, trusted=watched.trusted, store=store)
    for incident in incidents_on(places).values():
        if incident.closed is None:
            opened, due = map(datetime.fromisoformat, (incident.opened_at, incident.opening.due_at))
            yield IncidentFacts(
                incident=incident.id,
                opened=opened.timestamp(),
                due=due.timestamp(),
                following=next_command(incident),
            )


def recoveries(watched: WatchedInstallation, *, look: bool) -> Iterator[OpenRecovery]:
    """Yield the recoveries that are not over: by the record of this host, and of the targets."""
    targets = {name: watched.targets[name] for name in watched.in_use} if look else {}
    for recovery in recoveries_on(watched.state_dir, targets, trusted=watched.trusted).values():
        if not recovery.closed_at:
            opened = datetime.fromisoformat(recovery.opened_at).timestamp()
            yield OpenRecovery(recovery=recovery.id, opened=opened, due=opened + watched.recovery_objective)


def _count(said: object) -> int:
    return said if isinstance(said, int) and 0 < said < 2**31 else 1


def _heads(watched: WatchedInstallation) -> tuple[str | None, tuple[HeadsOnTarget, ...]]:
    """Say which signed head on a target the record does not lead to, if so; else what each target has."""
    try:
        return None, watched.hold_ledger() if watched.hold_ledger is not None else ()
    except (LedgerChanged, LedgerCut) as error:
        return error.message, ()
