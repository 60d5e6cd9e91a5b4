"""What runs, or should: runs, rotations, prunes, rehearsals, checks, and beat, which asks for them."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.durations import about, measured
from strongroom.operations.facts.freshness import judge
from strongroom.operations.facts.records import (
    AlertLimits,
    Drilled,
    Drills,
    InstallationFacts,
    PausedEntry,
    Policy,
    Running,
)
from strongroom.operations.findings import Finding
from strongroom.operations.judge.kinds import (
    BEAT_IS_GONE,
    BEAT_RESTS,
    IN_VAIN,
    MONTH,
    NO_NEWS,
    ONE_STEP,
    WAITS,
    good,
    moment,
    remark,
    wrong,
)
from strongroom.schedule import last_slot
from strongroom.state.records import RunKind, RunState
from strongroom.words import name_first_few, plural


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
    fresh = [judge(policy, threshold=limits.threshold_age, now=facts.now) for policy in facts.policies]
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
