"""What can be wrong with the backups of a policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from statistics import median

from strongroom.durations import about
from strongroom.operations.alerts.alert_kinds import Alert
from strongroom.operations.emergency.medium import NOTICE
from strongroom.operations.facts.freshness import ENDED_WHOLE, Freshness, is_idle, judge
from strongroom.operations.facts.records import Facts, Held, Limits, Policy, Ran, Seen
from strongroom.schedule import next_slot
from strongroom.state.records import RunState
from strongroom.timestamps import rfc3339
from strongroom.words import name_first_few, plural, verb

FEWEST = 3
"""From so many backups on a median says something."""
SHORT = 60.0
"""Seconds that a run may always take: what is quick is soon three times as long."""


def backups(facts: Facts, limits: Limits) -> Iterator[Alert]:
    """Yield what is wrong, policy by policy."""
    for policy in facts.policies:
        yield from _idle(policy) if is_idle(policy) else (*_overdue(policy, facts, limits), *_failed(policy))
        yield from _coming(policy, facts.now)
        yield from _degraded(policy)
        yield from _unverified(policy, facts, limits)
        yield from _ahead(policy)
        yield from _odd(policy, limits)
        yield from _slow(policy, facts, limits)
    if facts.lost:
        what = (
            f"{plural(len(facts.lost), 'backup')} on record, and on no target: {name_first_few(facts.lost)}"
        )
        yield Alert(kind="backup.lost", what=what, weight=len(facts.lost))


def _idle(policy: Policy) -> Iterator[Alert]:
    what = f"policy '{policy.name}' has never had a backup: its source holds no secret that it is for"
    yield Alert(kind="policy.idle", subject=policy.name, what=what)


def _overdue(policy: Policy, facts: Facts, limits: Limits) -> Iterator[Alert]:
    if policy.blind:  # that is told by itself
        return
    recorded = facts.state is None
    freshness = judge(policy, threshold=limits.threshold_age, now=facts.now, recorded=recorded)
    if freshness.overdue:
        kind = "emergency.overdue" if policy.offline else "backup.overdue"
        yield Alert(kind=kind, subject=policy.name, what=_said(policy, freshness, facts.now))


def _coming(policy: Policy, now: float) -> Iterator[Alert]:
    """Remind whoever fetches the medium of an emergency backup, before it is due."""
    due = next_slot(policy.schedule, now, policy.time_zone) if policy.offline and policy.schedule else None
    if due is not None and due - now <= NOTICE:
        what = f"policy '{policy.name}': its medium is needed on {rfc3339(due)}"
        yield Alert(kind="emergency.coming", subject=policy.name, what=what)


def _said(policy: Policy, freshness: Freshness, now: float) -> str:
    if freshness.judged is None:  # the schedule may be older than the installation
        whole = f"; {_newest(policy.newest, now)}" if policy.newest else ""
        return f"policy '{policy.name}' is due and has no verified backup{whole}"
    late = f"has been due for {about(now - freshness.missed_at)}" if freshness.missed_at else "is due"
    return f"policy '{policy.name}' {late}: {_newest(freshness.judged, now)}{_since(policy, freshness, now)}"


def _newest(seen: Seen, now: float) -> str:
    how = f"verified to depth '{seen.depth.value}'" if seen.depth else "not known to be verified"
    return f"backup {seen.backup}, {how}, is {about(now - seen.made_at)} old"


def _since(policy: Policy, freshness: Freshness, now: float) -> str:
    """Say if there is a newer one that nobody read back."""
    newer, judged = policy.newest, freshness.judged
    if newer is None or judged is None or newer.made_at <= judged.made_at:
        return ""
    return f"; {_newest(newer, now)}"


def _failed(policy: Policy) -> Iterator[Alert]:
    made_at = policy.newest.made_at if policy.newest else 0.0
    since = takewhile(lambda ran: ran.began > made_at and ran.state not in ENDED_WHOLE, policy.runs)
    failed = [ran for ran in since if ran.state is RunState.FAILED]
    if failed:
        newest = failed[0]
        why = f" ({newest.code})" if newest.code else ""
        what = f"policy '{policy.name}': {plural(len(failed), 'run')} failed since its newest whole backup"
        what += f"; the last was run {newest.run}{why}"
        # Doubled, not counted: a policy of every hour must not send a mail every hour.
        yield Alert(kind="backup.failed", subject=policy.name, what=what, weight=len(failed).bit_length())


def _degraded(policy: Policy) -> Iterator[Alert]:
    newest = next((ran for ran in policy.runs if ran.state in ENDED_WHOLE), None)
    if newest is not None and newest.state is RunState.DEGRADED and newest.run not in policy.mended:
        what = f"policy '{policy.name}': run {newest.run} ended degraded"
        yield Alert(kind="backup.degraded", subject=policy.name, what=what)


def _unverified(policy: Policy, facts: Facts, limits: Limits) -> Iterator[Alert]:
    newest = policy.newest
    if newest is None or not newest.shallow or facts.now - newest.made_at < limits.threshold_age:
        return
    what = (
        f"policy '{policy.name}': backup {newest.backup} was not verified to depth '{policy.depth.value}' "
        f"on {', '.join(newest.shallow)}"
    )
    yield Alert(kind="replica.unverified", subject=policy.name, what=what, weight=len(newest.shallow))


def _ahead(policy: Policy) -> Iterator[Alert]:
    if many := len(policy.ahead):
        what = f"policy '{policy.name}': {plural(many, 'backup')} {verb(many, 'say')} "
        what += f"to be made later than now, by this host's clock: {name_first_few(policy.ahead)}"
        yield Alert(kind="backup.ahead", subject=policy.name, what=what, weight=many)


def _odd(policy: Policy, limits: Limits) -> Iterator[Alert]:
    """Compare the newest backup with the median of those before it, in both directions.

    That many secrets are gone is as bad as drift finds it, which only a host with a key can look for.
    """
    before = policy.held[1 : limits.compared + 1]
    if before and (lost := _lost_at_once(policy.held[0], before, limits)):
        what = f"policy '{policy.name}': backup {policy.held[0].backup} holds {plural(lost, 'secret')} fewer"
        what += " than those before it"
        yield Alert(kind="backup.shrunk", subject=policy.name, what=what)
        return
    if len(before) < FEWEST:
        return
    newest = policy.held[0]
    for kind, is_now, usual, unit in (
        ("backup.count", newest.secrets, median(held.secrets for held in before), "secret"),
        ("backup.size", newest.size, median(held.size for held in before), "byte"),
    ):
        if _is_odd(is_now, usual, limits.size_factor):
            what = (
                f"policy '{policy.name}': backup {newest.backup} holds {plural(is_now, unit)}, where the "
                f"{len(before)} before it hold {plural(round(usual), unit)} (median)"
            )
            yield Alert(kind=kind, subject=policy.name, what=what)


def _lost_at_once(newest: Held, before: Sequence[Held], limits: Limits) -> int:
    """Return how many secrets the newest backup lacks, if they are as many as in a mass change; else none.

    They may have come a short while ago: what the one before it held counts, and not the median alone.
    """
    usual = max(before[0].secrets, median(held.secrets for held in before))
    lost = usual - newest.secrets
    return round(lost) if limits.mass_change.exceeded(lost, round(usual)) else 0


def _is_odd(is_now: float, usual: float, factor: float) -> bool:
    return is_now > usual * factor or is_now * factor < usual


def _slow(policy: Policy, facts: Facts, limits: Limits) -> Iterator[Alert]:
    """Compare the newest run, ended or not, with the median of those before it."""
    timed = [ran for ran in policy.runs if ran.state in (*ENDED_WHOLE, RunState.ACTIVE)]
    before = _seconds(timed[1:], limits.compared)
    if len(before) < FEWEST:
        return
    newest = timed[0]
    took, usual = (newest.ended or facts.now) - newest.began, median(before)
    if took > max(usual * limits.duration_factor, SHORT):
        verb = "took" if newest.ended else "has taken"
        what = (
            f"policy '{policy.name}': run {newest.run} {verb} {about(took)}, where the {len(before)} before "
            f"it took {about(usual)} (median)"
        )
        yield Alert(kind="backup.slow", subject=policy.name, what=what)


def _seconds(runs: Sequence[Ran], most: int) -> list[float]:
    return [ran.ended - ran.began for ran in runs if ran.ended is not None][:most]
