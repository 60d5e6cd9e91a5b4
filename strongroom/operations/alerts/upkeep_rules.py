"""What can be wrong with what keeps backups fit for use: keys, drills, places, beat."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.durations import about
from strongroom.operations.alerts.alert_kinds import Alert
from strongroom.operations.errors import MassChange
from strongroom.operations.facts.freshness import judge
from strongroom.operations.facts.records import Dated, Drills, Facts, Keys, Limits, Policy
from strongroom.operations.key_management.proofs import WARNING
from strongroom.operations.verification.description import describe_coverage
from strongroom.schedule import last_slot
from strongroom.state.records import RunKind, RunState
from strongroom.timestamps import rfc3339
from strongroom.words import name_first_few, plural

WEEK = 7 * 86_400.0
"""How long a rotation waits for workers, and a challenge for its answer, before that is an alert."""
IN_VAIN = 3
"""Prunes in a row that fall short before that is an alert."""
BEAT_RESTS, BEAT_IS_GONE = 75.0, 14 * 86_400.0
"""Beat asks every half minute: two of its intervals, and a moment until it is recorded.

After two weeks another does its work: what it missed is overdue by then."""


def rotations(facts: Facts, _limits: Limits) -> Iterator[Alert]:
    """Yield what is wrong with the newest rotation of each policy."""
    for policy in facts.policies:
        newest = next((ran for ran in policy.rotations if ran.state is not RunState.CANCELLED), None)
        if newest is None:
            continue
        why = f" ({newest.code})" if newest.code else ""
        what = f"policy '{policy.name}': rotation {newest.run}"
        if newest.state is RunState.FAILED:
            yield Alert(kind="rotation.failed", subject=policy.name, what=f"{what} failed{why}")
        elif newest.state is RunState.DEGRADED:
            yield Alert(kind="rotation.incomplete", subject=policy.name, what=f"{what} is incomplete{why}")
        elif newest.state is RunState.ACTIVE and facts.now - newest.began > WEEK:
            waits = f"{what} has waited for {about(facts.now - newest.began)}"
            yield Alert(kind="rotation.waiting", subject=policy.name, what=waits)


def prunes(facts: Facts, _limits: Limits) -> Iterator[Alert]:
    """Yield that the newest prunes all fell short: one may have met a target that was away for an hour."""
    ended = [ran for ran in facts.prunes if ran.state.final and ran.state is not RunState.CANCELLED][:IN_VAIN]
    if len(ended) == IN_VAIN and not any(ran.state is RunState.DONE for ran in ended):
        why = f" ({ended[0].code})" if ended[0].code else ""
        what = f"the last {IN_VAIN} prunes did not delete all they should, the newest is {ended[0].run}{why}"
        yield Alert(kind="prune.incomplete", what=what)


def waiting(facts: Facts, limits: Limits) -> Iterator[Alert]:
    """Yield the runs that should have ended long ago: nobody does what they wait for. Rotations are judged by
    themselves."""
    others = (ran for ran in facts.active if ran.kind is not RunKind.ROTATE)
    late = [ran for ran in others if facts.now - ran.began > limits.threshold_age]
    if late:
        oldest = max(facts.now - ran.began for ran in late)
        names = name_first_few([ran.run for ran in late])
        what = f"{plural(len(late), 'run')} not ended, begun up to {about(oldest)} ago: {names}"
        yield Alert(kind="run.waiting", what=what, weight=len(late))


def drills(facts: Facts, limits: Limits) -> Iterator[Alert]:
    """Yield what is wrong with the drills of each kind."""
    for found in facts.drills:
        yield from _drill(found, facts, limits)


def _drill(found: Drills, facts: Facts, limits: Limits) -> Iterator[Alert]:
    about_it = f"the {found.drill} drill of policy '{found.policy}'"
    subject = f"{found.drill} {found.policy}"
    newest = next((ran for ran in found.runs if ran.state.final), None)
    if newest is not None and newest.state is RunState.FAILED:
        why = f" ({newest.code})" if newest.code else ""
        yield Alert(kind="drill.failed", subject=subject, what=f"{about_it} failed{why}: run {newest.run}")
    elif newest is not None and newest.state is RunState.DEGRADED:
        why = f" ({newest.code})" if newest.code else ""
        lacks = "was too slow, left something behind or found less than is known"
        what = f"{about_it} {lacks}{why}: run {newest.run}"
        yield Alert(kind="drill.late", subject=subject, what=what)
    before = facts.now - limits.threshold_age
    had_to = last_slot(found.schedule, before, found.time_zone) if found.schedule else None
    if had_to is not None and _had_backup(facts, found, had_to) and not _drilled(found, had_to):
        what = f"{about_it} has been due for {about(facts.now - had_to)}"
        yield Alert(kind="drill.overdue", subject=subject, what=what)


def _drilled(found: Drills, had_to: float) -> bool:
    """Tell whether one came to an end since: failing is told by itself, and is not silence."""
    return any(ran.began >= had_to and ran.state.final for ran in found.runs)


def _had_backup(facts: Facts, found: Drills, had_to: float) -> bool:
    """Without a backup there is nothing to rehearse with; what is on record first counts."""
    policy = next((one for one in facts.policies if one.name == found.policy), None)
    return policy is not None and _oldest(policy) <= had_to


def _oldest(policy: Policy) -> float:
    made = [seen.made_at for seen in (policy.newest, policy.verified) if seen]
    began = [ran.began for ran in policy.runs if ran.state in (RunState.DONE, RunState.DEGRADED)]
    return min((*made, *began), default=float("inf"))


def drifts(facts: Facts, _limits: Limits) -> Iterator[Alert]:
    """Yield the sources of which much changed at once, and those that could not be compared."""
    for policy in facts.policies:
        newest = next((ran for ran in policy.drifts if ran.state in _JUDGED), None)
        if newest is None:
            continue
        if newest.code == MassChange.__name__:
            what = (
                f"policy '{policy.name}': much of its source changed at once; run {newest.run} says how much"
            )
            yield Alert(kind="drift.mass-change", subject=policy.name, what=what)
        elif newest.state is not RunState.DONE:
            why = f" ({newest.code})" if newest.code else ""
            what = f"policy '{policy.name}': run {newest.run} could not compare all{why}"
            yield Alert(kind="drift.unknown", subject=policy.name, what=what)


_JUDGED = (RunState.DONE, RunState.DEGRADED, RunState.FAILED)


def keys(facts: Facts, limits: Limits) -> Iterator[Alert]:
    """Yield keys that failed, that nobody tried or answered for, or that grow old."""
    found = facts.keys
    yield from _proofs(facts)
    for asked in found.asked:
        if facts.now - asked.at > WEEK:
            what = f"the holder of '{asked.name}' was asked {about(facts.now - asked.at)} ago"
            yield Alert(kind="custodian.silent", subject=asked.name, what=what)
    yield from _unchecked(facts, limits)
    for used in found.used:
        if facts.now - used.at > limits.key_age - limits.notice:
            yield _aging(used, facts.now, limits.key_age)


def _proofs(facts: Facts) -> Iterator[Alert]:
    found = facts.keys
    for proof in found.proofs:
        if proof.wrong:
            yield Alert(kind="key.unproven", subject=proof.name, what=proof.words)
        elif facts.now > proof.by - WARNING:
            yield Alert(kind="key.proof-due", subject=proof.name, what=proof.words)
    if found.unread:
        yield Alert(kind="key.unread", what=not_looked_at(found), weight=len(found.unread))


def not_looked_at(keys: Keys) -> str:
    """Say which backups the newest trial of keys could not read."""
    when, many = rfc3339(keys.checked_at or 0.0), len(keys.unread)
    return (
        f"the trial of keys of {when} could not read {plural(many, 'backup')}: {name_first_few(keys.unread)}"
    )


def _unchecked(facts: Facts, limits: Limits) -> Iterator[Alert]:
    found = facts.keys
    before = facts.now - limits.threshold_age
    had_to = last_slot(found.schedule, before, found.time_zone) if found.schedule else None
    in_use = had_to is not None and any(used.at <= had_to for used in found.used)
    if had_to is not None and in_use and (found.checked_at is None or found.checked_at < had_to):
        what = f"the trial of all keys has been due for {about(facts.now - had_to)}"
        yield Alert(kind="key.unchecked", what=what)


def _aging(used: Dated, now: float, age: float) -> Alert:
    left = used.at + age - now
    when = f"is due in {about(left)}" if left > 0 else f"was due {about(-left)} ago"
    what = f"key '{used.name}' has been in use since {about(now - used.at)}; its rotation {when}"
    return Alert(kind="key.aging", subject=used.name, what=what, weight=int(left <= 0))


def places(facts: Facts, limits: Limits) -> Iterator[Alert]:
    """Yield targets that were not looked at, disks that fill up, certificates that end, and a dead beat."""
    yield from _all_away(facts)
    for place in facts.places:
        if place.away is not None:
            what = place.away if place.name in place.away else f"target '{place.name}': {place.away}"
            yield Alert(kind="target.away", subject=place.name, what=what)
        if place.unknown:
            few = name_first_few(place.unknown)
            many = f"{plural(len(place.unknown), 'backup')} the catalog does not know: {few}"
            yield Alert(kind="catalog.lacks", subject=place.name, what=f"target '{place.name}' has {many}")
    for room in facts.rooms:
        percent = 100.0 * room.free / room.total if room.total else 100.0
        if percent < limits.free_percent:
            yield Alert(kind="space.low", subject=room.name, what=f"{room.name}: {percent:.0f} % is free")
    yield from _certificates(facts, limits)
    if facts.beat_age is not None and BEAT_RESTS < facts.beat_age < BEAT_IS_GONE:
        yield _silent(facts, limits, facts.beat_age)


def _all_away(facts: Facts) -> Iterator[Alert]:
    """Yield one alert if no target answers; else one for each policy of whose own targets none does."""
    away = set(facts.away)
    if facts.places and len(away) == len(facts.places):
        named = name_first_few(tuple(place.name for place in facts.places))
        what = f"none of {plural(len(facts.places), 'target')} answers: {named}"
        yield Alert(kind="target.all-away", what=what)
        return
    for policy in facts.policies:
        if policy.targets and not policy.offline and away.issuperset(policy.targets):
            of = plural(len(policy.targets), "target")
            what = f"policy '{policy.name}': none of its {of} answers: {name_first_few(policy.targets)}"
            yield Alert(kind="target.all-away", subject=policy.name, what=what)


def _silent(facts: Facts, limits: Limits, age: float) -> Alert:
    """Say that beat is silent. It is worse where backups are due, or no target tells if they are made."""
    said = f"beat was last seen {about(age)} ago"
    fresh = [judge(one, threshold=limits.threshold_age, now=facts.now) for one in facts.policies]
    due = [one.policy for one in fresh if one.missed_at is not None]
    if due:
        return Alert(
            kind="beat.dead", what=f"{said}, and these policies are due: {name_first_few(tuple(due))}"
        )
    if facts.places and len(facts.away) == len(facts.places):
        return Alert(kind="beat.dead", what=f"{said}, and no target could be checked")
    return Alert(kind="beat.silent", what=said)


def _certificates(facts: Facts, limits: Limits) -> Iterator[Alert]:
    for one in facts.certificates:
        left = one.at - facts.now
        if left < limits.notice:
            ends = f"ends in {about(left)}" if left > 0 else f"ended {about(-left)} ago"
            what = f"a certificate in {one.name} {ends}"
            yield Alert(kind="certificate.ending", subject=one.name, what=what, weight=int(left <= 0))


def verification(facts: Facts, _limits: Limits) -> Iterator[Alert]:
    """Yield the targets of which something was not read again within the span."""
    found = facts.verification
    if found is None or facts.unverified:
        return
    for target, coverage in found.targets.items():
        if coverage.late:
            what = f"target '{target}': {describe_coverage(coverage, span=found.span, now=facts.now)}"
            # Doubled, not counted: a target that is away falls behind with each hour.
            weight = coverage.late.bit_length()
            yield Alert(kind="verification.late", subject=target, what=what, weight=weight)


def settings(facts: Facts, _limits: Limits) -> Iterator[Alert]:
    """Yield the changed configuration files that are not in force."""
    for file in facts.unused:
        if file.waits:
            what = f"host '{file.host}' goes on with older settings: {name_first_few(file.waits)} changed"
            yield Alert(kind="settings.waiting", subject=file.host, what=what)
        else:
            what = f"host '{file.host}' goes on with older settings: {file.problem}"
            yield Alert(kind="settings.refused", subject=file.host, what=what)


TOLD_APART = frozenset({"keys"})
"""Checks whose findings are alerts of their own."""


def calendar(facts: Facts, _limits: Limits) -> Iterator[Alert]:
    """Yield the entries that have been paused for longer than they rest between two times, and those that
    could not be run at their time."""
    for entry in facts.entries:
        if entry.refused:
            since = about(facts.now - entry.due)
            what = f"'{entry.name}' was due {since} ago and could not be begun ({entry.refused})"
            yield Alert(kind="schedule.refused", subject=entry.name, what=what)
        elif entry.paused is not None and facts.now - entry.paused > entry.following - entry.due:
            since = about(facts.now - entry.paused)
            what = f"'{entry.name}' has been paused for {since}: it has missed at least one of its times"
            yield Alert(kind="schedule.paused", subject=entry.name, what=what)


def checks(facts: Facts, _limits: Limits) -> Iterator[Alert]:
    """Yield the checks of the calendar that could not be done, or found something."""
    for check in facts.checks:
        newest = check.newest
        if newest.state is RunState.FAILED:
            why = f" ({newest.code})" if newest.code else ""
            what = f"the check '{check.name}' could not be done{why}: run {newest.run}"
            yield Alert(kind="check.failed", subject=check.name, what=what)
        elif newest.state is RunState.DEGRADED and check.name not in TOLD_APART:
            what = f"the check '{check.name}' found something wrong: run {newest.run}"
            yield Alert(kind="check.found", subject=check.name, what=what)


def hooks(facts: Facts, _limits: Limits) -> Iterator[Alert]:
    """Yield the entries whose hooks failed after a run. Before a run, it is the run that fails."""
    for entry in facts.hooks:
        yield Alert(
            kind="hook.failed", subject=entry, what=f"a hook of '{entry}' failed in the last 24 hours"
        )
