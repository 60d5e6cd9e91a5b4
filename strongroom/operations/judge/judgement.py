"""From facts to one judgement: every rule there is; those on runs and on strangers' marks stand here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Final

from msgspec.structs import replace

from strongroom.alert_kinds import (
    BEAT_IS_GONE,
    BEAT_RESTS,
    IN_VAIN,
    KINDS,
    MONTH,
    NO_NEWS,
    ONE_STEP,
    UNCOVERED,
    WAITS,
)
from strongroom.operations.access.look import REWRITTEN, SILENT
from strongroom.operations.engine.findings import Finding
from strongroom.operations.judge import backups, host
from strongroom.operations.judge.fact_records import (
    AlertLimits,
    ClusterFacts,
    Drilled,
    Drills,
    InstallationFacts,
    Intrusion,
    PausedEntry,
    Policy,
    Running,
)
from strongroom.operations.judge.freshness import judge as judge_freshness
from strongroom.operations.judge.kinds import alerts_of, good, moment, remark, unknown, wrong
from strongroom.schedule import last_slot
from strongroom.state.records import RunKind, RunState
from strongroom.times import about, measured
from strongroom.words import name_first_few, plural

# -- What runs, or should: runs, rotations, prunes, rehearsals, checks, and beat, which asks for them


def runs(facts: InstallationFacts, limits: AlertLimits) -> Iterator[Finding]:
    """Judge which runs do not move."""
    stuck = [running for running in facts.active if _is_stuck(running, limits, facts.now)]
    for run in facts.active:
        if run.waits_for_keys and run not in stuck:
            what = f"{run.kind.value} of '{run.policy}', run {run.run}: waits for the keys; recover workers "
            yield remark("run.waiting", run.run, what=f"{what}or custodians have them")
    if stuck:
        oldest = max(facts.now - running.began for running in stuck)
        names = name_first_few([f"{running.run} ({_why(running, facts.now)})" for running in stuck])
        what = f"{plural(len(stuck), 'run')} not ended, begun up to {about(oldest)} ago: {names}"
        yield wrong("run.waiting", what=what, weight=len(stuck))
    elif facts.state is None:
        yield good("run.waiting", what=f"{plural(len(facts.active), 'run')} at work, and none is stuck")


def _is_stuck(running: Running, limits: AlertLimits, now: float) -> bool:
    """Tell whether a run moves no more. A rotation that waits for keys is judged as a rotation."""
    if running.abandoned:
        return True
    if running.waits_for_keys or running.waits_for_approval:
        return running.kind is not RunKind.ROTATE and now - running.began > limits.threshold_age
    silent = running.moved_at is not None and now - running.moved_at > (
        ONE_STEP if running.at_work else NO_NEWS
    )
    return silent or (running.kind is not RunKind.ROTATE and now - running.began > limits.threshold_age)


def _why(running: Running, now: float) -> str:
    if running.abandoned:
        return "its process is gone"
    since = about(now - (running.began if running.moved_at is None else running.moved_at))
    return f"{running.kind.value} of '{running.policy}', no news for {since}"


def rotations(facts: InstallationFacts, _limits: AlertLimits) -> Iterator[Finding]:
    """Judge the newest rotation of each policy."""
    for policy in facts.policies:
        newest = next((ran for ran in policy.rotations if ran.state is not RunState.CANCELLED), None)
        if newest is None:
            continue
        why = f" ({newest.code})" if newest.code else ""
        what = f"policy '{policy.name}': rotation {newest.run}"
        if newest.state is RunState.FAILED:
            yield wrong("rotation.failed", policy.name, what=f"{what} failed{why}")
        elif newest.state is RunState.DEGRADED:
            yield wrong("rotation.failed", policy.name, what=f"{what} is incomplete{why}")
        elif newest.state is RunState.ACTIVE and facts.now - newest.began > WAITS:
            waits = f"{what} has waited for {about(facts.now - newest.began)}"
            yield wrong("rotation.failed", policy.name, what=waits)
        elif newest.state is RunState.DONE:
            yield good("rotation.failed", policy.name, what=f"{what} is complete")


def prunes(facts: InstallationFacts, _limits: AlertLimits) -> Iterator[Finding]:
    """Judge whether the newest prunes all fell short: one may have met a target that was away for an hour."""
    ended = [ran for ran in facts.prunes if ran.state.final and ran.state is not RunState.CANCELLED][:IN_VAIN]
    if len(ended) == IN_VAIN and not any(ran.state is RunState.DONE for ran in ended):
        why = f" ({ended[0].code})" if ended[0].code else ""
        what = f"the last {IN_VAIN} prunes did not delete all they should, the newest is {ended[0].run}{why}"
        yield wrong("prune.incomplete", what=what)


def cluster(facts: InstallationFacts, _limits: AlertLimits) -> Iterator[Finding]:
    """Judge the processes of a cluster, its broker and its workers: without one nothing is wrong."""
    shown = facts.cluster
    if shown is None:
        return
    if not shown.runs:
        what = "no cluster is configured or runs here: backups are driven by command lines"
        yield good("broker.away", what=what)
    subject = f"processes on {shown.host}"
    if shown.killed:
        what = "the cluster of this machine was killed: its supervisor is gone"
        yield wrong("process.down", subject, what=what, grave=True)
    elif shown.down:
        yield wrong("process.down", subject, what=f"not running: {', '.join(shown.down)}")
    if shown.again and not shown.killed:
        what = f"started again since the cluster is up: {', '.join(shown.again)}"
        yield remark("process.down", subject, what=what)
    if shown.away:
        away = wrong("broker.away", what=shown.away)
        yield replace(away, to_do=shown.mend or away.to_do)
    elif shown.broker:
        yield good("broker.away", what=f"{shown.broker} answers")
        yield _workers(shown)


def stages(facts: InstallationFacts, _limits: AlertLimits) -> Iterator[Finding]:
    """Judge whether hosts that hand runs on to one another have a place for that."""
    users = facts.stage_users
    if not users:
        return
    said = f"{plural(len(users), 'host')} hand runs on to one another ({name_first_few(users)})"
    if facts.unshared:
        none = f"{plural(len(facts.unshared), 'policy')} without a stage: {name_first_few(facts.unshared)}"
        what = f"{said}, and there is no [stages.default]; {none}"
        yield wrong("stage.unshared", what=what, weight=len(facts.unshared))
    else:
        yield good("stage.unshared", what=f"{said}, by a stage in [stages]")


def _workers(shown: ClusterFacts) -> Finding:
    if shown.unasked:
        return unknown("worker.silent", what=shown.unasked)
    if shown.silent:
        words = f"no worker answers for {', '.join(shown.silent)}: what is on these queues waits"
        return wrong("worker.silent", what=words)
    return good("worker.silent", what=f"answer: {', '.join(shown.answered)}")


# -- rehearsals ----------------------------------------------------------------------


def drills(facts: InstallationFacts, limits: AlertLimits) -> Iterator[Finding]:
    """Judge the rehearsals of each kind and policy: one of another kind that passed makes none good."""
    for found in facts.drills:
        newest = next((ran for ran in found.runs if ran.state.final), None)
        if newest is not None and newest.state is not RunState.CANCELLED:
            yield _drill(found, newest, facts.now)
        yield from _due(found, facts, limits)
    if facts.state is None and not any(ran.state.final for found in facts.drills for ran in found.runs):
        words = "no recovery was ever rehearsed, so nobody knows how long one takes"
        none = "" if any(found.schedule for found in facts.drills) else "; none is planned on this host"
        yield remark("drill.overdue", what=f"{words}{none}")


def _drill(found: Drills, newest: Drilled, now: float) -> Finding:
    words, subject = f"the {found.drill} drill of policy '{found.policy}'", f"{found.drill} {found.policy}"
    why = f" ({newest.code})" if newest.code else ""
    if newest.state is RunState.FAILED:
        return wrong("drill.failed", subject, what=f"{words} failed{why}: run {newest.run}")
    took = (
        "" if newest.recovered_in is None else f", {measured(newest.recovered_in)} of {newest.objective:g} s"
    )
    if newest.state is RunState.DEGRADED:
        lacks = "was too slow, left something behind or found less than is known"
        return wrong("drill.failed", subject, what=f"{words} {lacks}{why}: run {newest.run}{took}")
    if newest.recovered_in is None:
        lacks = "what is on record of its time cannot be read"
        return wrong("drill.failed", subject, what=f"{words}: {lacks}: run {newest.run}")
    passed = f"{words} of {moment(newest.began)} passed{took}"
    if not found.schedule and now - newest.began > MONTH:
        return remark("drill.overdue", subject, what=f"{passed}; once a month is asked for")
    return good("drill.failed", subject, what=passed)


def _due(found: Drills, facts: InstallationFacts, limits: AlertLimits) -> Iterator[Finding]:
    before = facts.now - limits.threshold_age
    had_to = last_slot(found.schedule, before, found.time_zone) if found.schedule else None
    policy = next(
        (policy_facts for policy_facts in facts.policies if policy_facts.name == found.policy), None
    )
    if had_to is None or policy is None or _first_backup(policy) > had_to:
        return  # without a backup there is nothing to rehearse with
    # One that failed came to an end: that is told by itself, and is not silence.
    if not any(ran.began >= had_to and ran.state.final for ran in found.runs):
        what = (
            f"the {found.drill} drill of policy '{found.policy}' has been due for {about(facts.now - had_to)}"
        )
        yield wrong("drill.overdue", f"{found.drill} {found.policy}", what=what)


def _first_backup(policy: Policy) -> float:
    made = [seen.made_at for seen in (policy.newest, policy.verified) if seen]
    began = [ran.began for ran in policy.runs if ran.state in (RunState.DONE, RunState.DEGRADED)]
    return min((*made, *began), default=float("inf"))


# -- the calendar --------------------------------------------------------------------


def calendar(facts: InstallationFacts, limits: AlertLimits) -> Iterator[Finding]:
    """Judge the entries that are paused, refused, or late without anybody's saying so."""
    yield from (_kept_back(entry, facts.now) for entry in facts.entries)
    kept_back = {entry.name for entry in facts.entries if entry.refused}
    for late in facts.late:
        if late.name in kept_back:
            continue
        what = f"'{late.name}' was due {moment(late.due)} and was not begun: {late.why}"
        if facts.now - late.due > limits.threshold_age:
            yield wrong("schedule.late", late.name, what=what, grave=True)
        else:
            yield remark("schedule.late", late.name, what=what)
    for name in facts.hooks:
        yield wrong("hook.failed", name, what=f"a hook of '{name}' failed in the last 24 hours")


def _kept_back(entry: PausedEntry, now: float) -> Finding:
    if entry.refused:
        since = about(now - entry.due)
        what = f"'{entry.name}' was due {since} ago and could not be begun ({entry.refused})"
        return wrong("schedule.late", entry.name, what=what, grave=True)
    paused = now - (entry.paused or now)
    what = f"'{entry.name}' has been paused for {about(paused)}"
    if paused > entry.following - entry.due:
        missed = f"{what}: it has missed at least one of its times"
        return wrong("schedule.late", entry.name, what=missed)
    return remark("schedule.late", entry.name, what=what)


def beat(facts: InstallationFacts, limits: AlertLimits) -> Iterator[Finding]:
    """Judge whether beat asks. It is worse where backups are due, or no target tells if they are made."""
    age = facts.beat_age
    if age is None:
        if facts.state is None:
            yield remark("beat.silent", what="beat was never seen: nothing is made by schedule")
        return
    said = f"beat was last seen {about(age)} ago"
    fresh = [
        judge_freshness(policy, threshold=limits.threshold_age, now=facts.now) for policy in facts.policies
    ]
    due = tuple(freshness.policy for freshness in fresh if freshness.missed_at is not None)
    if age <= BEAT_RESTS:
        yield good("beat.silent", what="beat asks for what is due")
    elif age >= BEAT_IS_GONE:
        yield remark("beat.silent", what=f"{said}: something else asks for what is due, or nothing does")
    elif due:
        what = f"{said}, and these policies are due: {name_first_few(due)}"
        yield wrong("beat.silent", what=what, grave=True)
    elif facts.places and len(facts.away) == len(facts.places):
        yield wrong("beat.silent", what=f"{said}, and no target could be checked", grave=True)
    else:
        yield wrong("beat.silent", what=said)


TOLD_APART = frozenset({"keys"})
"""Checks whose findings are judged by themselves."""


def checks(facts: InstallationFacts, _limits: AlertLimits) -> Iterator[Finding]:
    """Judge the checks of the calendar: those that could not be done, or found something."""
    for check in facts.checks:
        newest, name = check.newest, check.name
        if newest.state is RunState.FAILED:
            why = f" ({newest.code})" if newest.code else ""
            what = f"the check '{name}' could not be done{why}: run {newest.run}"
            yield wrong("check.failed", name, what=what, grave=True)
        elif newest.state is RunState.DEGRADED and name not in TOLD_APART:
            yield wrong(
                "check.failed", name, what=f"the check '{name}' found something wrong: run {newest.run}"
            )


# -- The marks of somebody who should not be there, and what people have to approve, close or be told by


def state(facts: InstallationFacts, _limits: AlertLimits) -> Iterator[Finding]:
    """Judge whether the state could be read."""
    if facts.state is not None:
        yield wrong("state.unreachable", what=facts.state)


def strangers(facts: InstallationFacts, _limits: AlertLimits) -> Iterator[Finding]:
    """Judge what somebody did who should not, or tried."""
    signs = facts.signs
    for pool, count in sorted(signs.messages.items()):
        what = f"{pool} workers refused {plural(count, 'message')} in the last 24 hours"
        # Doubled, not counted: whoever floods the broker must not flood the mailbox.
        yield wrong("message.refused", pool, what=what, weight=count.bit_length())
    for pool, count in sorted(signs.failed.items()):
        what = f"{pool} workers could not act on {plural(count, 'message')} of this installation's own"
        yield wrong("message.failed", pool, what=f"{what} in the last 24 hours", weight=count.bit_length())
    if signs.records:
        many, named = plural(len(signs.records), "run"), name_first_few(signs.records)
        what = f"workers refused rows of {many} in the last 24 hours: {named}"
        yield wrong("record.refused", what=what, weight=len(signs.records))
    if signs.shreds:
        what = f"{plural(signs.shreds, 'order')} to shred without a signature that counts"
        yield wrong("record.refused", "shredding", what=what, weight=signs.shreds)


def ledger(facts: InstallationFacts, _limits: AlertLimits) -> Iterator[Finding]:
    """Judge whether the record of events is what was appended, and leads on from the signed heads of it."""
    signs = facts.signs
    if signs.broken_at is not None:
        yield wrong("ledger.broken", what=f"from event {signs.broken_at} on the record was changed")
    elif signs.unlike is not None:
        yield wrong("ledger.broken", what=signs.unlike.rstrip("."))
    elif signs.events is not None:
        on = [on_target.target for on_target in signs.heads if on_target.agree]
        led = f", and the signed heads on {', '.join(on)} lead up to it" if on else ""
        what = f"{plural(signs.events, 'event')} on record: each is what was appended{led}"
        if signs.whole_at is not None:
            what += (
                f"; all were read at {moment(signs.whole_at)}, {signs.fresh:,} newer ones now, and "
                "'strongroom ledger check' reads all at once"
            )
        yield good("ledger.broken", what=what)
        yield from _covered(facts, signs.events)
    for target_ledger in signs.heads:
        if target_ledger.doubt:
            yield unknown("ledger.broken", what=target_ledger.doubt)
        for head in target_ledger.others:
            words = (
                f"target '{target_ledger.target}': another record ends there with "
                f"event {head.event}, of {head.at}: "
            )
            yield remark("ledger.broken", what=f"{words}this lacks what that had", hint=False)


def _covered(facts: InstallationFacts, events: int) -> Iterator[Finding]:
    """Judge whether a signed head stands for the newest events. What is away is told as a target."""
    signs, kind = facts.signs, "ledger.uncovered"
    for heads in signs.heads:
        if heads.missed and heads.target not in facts.away:
            what = f"nobody knows which heads lie on target '{heads.target}': {heads.missed}"
            yield unknown(kind, what=what)
    newest = {heads.target: heads.newest for heads in signs.heads if heads.newest is not None}
    last = max(newest.values(), key=attrgetter("event"), default=None)
    since = f"the newest signed head is of event {last.event}, of {last.at}" if last else ""
    if signs.heads and all(heads.missed or heads.doubt for heads in signs.heads):
        if not any(heads.doubt for heads in signs.heads):  # which is told for each
            yield unknown(kind, what="no target could be asked for signed heads")
    elif signs.uncovered is not None and facts.now - signs.uncovered > UNCOVERED:
        yield wrong(kind, what=f"{since}, and more came since" if last else "no signed head lies on a target")
    elif last:
        where = ", ".join(target for target, head in newest.items() if head.event == last.event)
        yield good(kind, what=f"{since}, on {where}")
    elif events:
        yield remark(kind, what="no signed head lies on a target yet")


def approvals(facts: InstallationFacts, _limits: AlertLimits) -> Iterator[Finding]:
    """Judge what was done without approvals, what did not count as one, and what waits for them."""
    for approval in facts.approvals:
        asked = f"{approval.action} '{approval.subject}', which {approval.requester} asked for"
        if approval.broken:
            yield wrong("approval.break-glass", approval.subject, what=f"{asked}, was done by break-glass")
        if approval.refused:
            what = f"{asked}: {plural(approval.refused, 'approval')} did not count in the last 7 days"
            yield wrong("approval.refused", approval.subject, what=what, weight=approval.refused.bit_length())
        if approval.late:
            what = f"{asked} {about(facts.now - approval.asked_at)} ago, waits for approval"
            yield wrong("approval.waiting", approval.subject, what=what)


_DOUBTFUL: Final = frozenset({REWRITTEN, SILENT})


def intrusions(facts: InstallationFacts, _limits: AlertLimits) -> Iterator[Finding]:
    """Judge who came to backups or keys by a server's log and by no record of ours, and which log is silent.

    One judgement for each somebody, with the last of each thing they did: who reads ten thousand objects is
    told once.
    """
    grouped: dict[tuple[str, str], list[Intrusion]] = {}
    for intrusion in facts.intrusions:
        kind = "access.log" if intrusion.kind in _DOUBTFUL else "access.unrecorded"
        grouped.setdefault((kind, intrusion.who or intrusion.log), []).append(intrusion)
    for (kind, subject), found in grouped.items():
        alike = [
            [intruder for intruder in found if intruder.kind == name]
            for name in dict.fromkeys(intruder.kind for intruder in found)
        ]
        what = "; ".join(_said(same, facts.now) for same in alike)
        weight = sum(intruder.times for intruder in found).bit_length() + len(alike) - 1
        yield wrong(kind, subject[:200], what=what, weight=weight)


def _said(found: list[Intrusion], now: float) -> str:
    last = max(found, key=lambda intrusion: intrusion.at)
    log = f"access log '{last.log}'"
    if last.kind == SILENT:
        return f"{log} has had nothing new for {about(now - last.at)}"
    if not last.who:
        return f"{log}: file '{last.what}' was cut or replaced, or has lines of another format"
    who = f"{last.who}, from {last.origin or 'nowhere known'}"
    often = f"{plural(sum(intrusion.times for intrusion in found), 'time')}, last {moment(last.at)}"
    return f"{who}: {last.how} of {last.what} ({often}), by {log}"


def cases(facts: InstallationFacts, _limits: AlertLimits) -> Iterator[Finding]:
    """Judge the incidents and recoveries that are open; those that should be over by now are worse."""
    for open_incident in facts.incidents:
        age, late = about(facts.now - open_incident.opened), facts.now > open_incident.due
        said = f"incident {open_incident.incident} has been open for {age}; next: '{open_incident.following}'"
        said += f" (overdue for {about(facts.now - open_incident.due)})" if late else ""
        yield wrong("incident.open", open_incident.incident, what=said, grave=late)
    for case in facts.recoveries:
        late = facts.now > case.due
        said = f"recovery {case.recovery} has been open for {about(facts.now - case.opened)}"
        said += f" (its objective passed {about(facts.now - case.due)} ago)" if late else ""
        yield wrong("recovery.open", case.recovery, what=said, grave=late)


def told(facts: InstallationFacts, _limits: AlertLimits) -> Iterator[Finding]:
    """Judge the channels that people cannot be told by, and the settings that are not in force."""
    for channel in facts.channels:
        since = about(facts.now - channel.since)
        what = f"channel '{channel.name}' has not worked for {since}: {channel.why.rstrip('.')}"
        yield wrong("channel.failed", channel.name, what=what)
    for file in facts.unused:
        why = f"{name_first_few(file.waits)} changed" if file.waits else file.problem
        what = f"host '{file.host}' goes on with older settings: {why}"
        yield wrong("settings.unused", file.host, what=what, grave=not file.waits)


# -- From facts to one judgement: every rule there is, and nothing but facts decides ------------


Rule = Callable[[InstallationFacts, AlertLimits], Iterator[Finding]]

RULES: Final[tuple[Rule, ...]] = (
    state,
    backups.backups,
    backups.answering,
    backups.replicas,
    backups.verification,
    host.host,
    cluster,
    stages,
    strangers,
    ledger,
    approvals,
    intrusions,
    cases,
    told,
    runs,
    rotations,
    prunes,
    drills,
    calendar,
    beat,
    checks,
    backups.keys,
)


def judge(facts: InstallationFacts, limits: AlertLimits) -> tuple[Finding, ...]:
    """Return what is wrong, remarkable, unknown and good, in the order of kinds."""
    order = {kind: place for place, kind in enumerate(KINDS)}
    found = (finding for rule in RULES for finding in rule(facts, limits))
    return tuple(sorted(found, key=lambda finding: (order[finding.kind], finding.subject)))


def alerts(facts: InstallationFacts, limits: AlertLimits) -> tuple[Finding, ...]:
    """Return what people are told of, the worst first; nothing if all is well."""
    return alerts_of(judge(facts, limits))
