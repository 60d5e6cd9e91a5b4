"""Whether a policy's backups are as fresh as its schedule says (invariant 8: silence is an alarm).

Judged by what there is, whoever should have made it.

Overdue is a policy for which a time of its schedule has passed by more than the threshold, and no backup that
was read back has been made since. One without a schedule never is, and one whose schedule was changed is
judged by the new one, as ``open_due`` makes up for it. One that was never backed up is not overdue for times
before the installation began, nor while its very first backup is being made and that takes no longer than the
threshold.
"""

from __future__ import annotations

from msgspec import Struct

from strongroom.model import Depth
from strongroom.operations.errors import NOTHING_YET
from strongroom.operations.judge.fact_records import Policy, VerifiedBackup
from strongroom.schedule import last_slot, next_slot
from strongroom.state.records import RunState
from strongroom.times import if_any

ENDED_WHOLE = (RunState.DONE, RunState.DEGRADED)
SKEW = 300.0
"""Seconds by which a clock may be ahead. What claims to be made later than that hides nothing."""
OFFLINE = 7 * 86_400.0
"""How long after its time the medium of an emergency backup is waited for."""


class Freshness(Struct, frozen=True, kw_only=True):
    """How fresh a policy is; times in seconds since the epoch.

    ``judged`` is the backup that counts: the newest verified one or, where nothing is known of verification,
    the newest that lies on a target. ``due_at`` is the newest time of the schedule, ``missed_at`` the first
    one after ``judged`` that has passed, ``None`` if none has. ``age`` is that of ``judged``, in seconds.
    ``next_due`` is the next time of the schedule.
    """

    policy: str
    judged: VerifiedBackup | None
    due_at: float | None
    missed_at: float | None
    next_due: float | None
    age: float | None
    overdue: bool


class TargetStanding(Struct, frozen=True, kw_only=True):
    """How the newest backup of a policy lies on a target, for machines."""

    target: str
    good: bool
    depth: Depth | None
    read_at: str | None
    locked_until: str | None


class PolicyStanding(Struct, frozen=True, kw_only=True):
    """How a policy's newest backup stands, for machines. ``lacks`` says what it lacks of what is demanded."""

    policy: str
    backup: str | None
    made_at: str | None
    verified: Depth | None
    age_seconds: float | None
    due_at: str | None
    next_due: str | None
    overdue: bool
    lacks: str | None
    targets: tuple[TargetStanding, ...]


def standing(policy: Policy, found: Freshness) -> PolicyStanding:
    """Return how a policy stands, as machines are told."""
    judged = found.judged
    return PolicyStanding(
        policy=policy.name,
        backup=judged.backup if judged else None,
        made_at=if_any(judged.made_at if judged else None),
        verified=judged.depth if judged else None,
        age_seconds=found.age,
        due_at=if_any(found.due_at),
        next_due=if_any(found.next_due),
        overdue=found.overdue,
        lacks=policy.lacks,
        targets=tuple(
            TargetStanding(
                target=newest.target,
                good=newest.good,
                depth=newest.depth,
                read_at=if_any(newest.read_at),
                locked_until=if_any(newest.locked_until),
            )
            for newest in policy.on_targets
        ),
    )


def judge(policy: Policy, *, threshold: float, now: float, recorded: bool = True) -> Freshness:
    """Judge a policy.

    Args:
        threshold: seconds after a time of the schedule.
        recorded: whether the state could be read. Without it nobody knows what was verified.
    """
    seen = _counting(policy, recorded=recorded)
    judged = seen if seen is None or seen.made_at <= now + SKEW else None
    made_at = judged.made_at if judged else None
    grace = OFFLINE if policy.offline else threshold
    had_to = _had_to(policy, now - grace)
    return Freshness(
        policy=policy.name,
        judged=judged,
        due_at=_last(policy, now),
        missed_at=_missed(policy, made_at, had_to, now),
        next_due=next_slot(policy.schedule, now, policy.time_zone) if policy.schedule else None,
        age=None if made_at is None else max(0.0, now - made_at),
        overdue=had_to is not None
        and (made_at is None or made_at < had_to)
        and not _is_first(policy, now, threshold),
    )


def _had_to(policy: Policy, now: float) -> float | None:
    """Return the newest time of the schedule. What came before the installation, nobody missed."""
    due = _last(policy, now)
    return due if due is not None and (due >= policy.begun or _has_had_any(policy)) else None


def _has_had_any(policy: Policy) -> bool:
    """Tell whether a policy had a backup at any time, on record or on a target."""
    made = any(ran.state in ENDED_WHOLE for ran in policy.runs)
    return made or bool(policy.newest or policy.verified or policy.held or policy.ahead)


def _is_first(policy: Policy, now: float, threshold: float) -> bool:
    """Tell whether the very first backup is being made, and not for too long: nobody is woken for that."""
    active = {ran.run: ran.began for ran in policy.runs if ran.state is RunState.ACTIVE}
    waited = now - min(active.values(), default=0.0)
    # It lies on the targets, unverified, before its run has ended.
    none_before = policy.newest is None or policy.newest.backup in active
    return none_before and len(active) == len(policy.runs) and 0 <= waited < threshold


def _counting(policy: Policy, *, recorded: bool) -> VerifiedBackup | None:
    """Return the verified backup; the newest whole one where the record has never heard of it."""
    newest = policy.newest
    if newest is not None and newest.on_targets and not (recorded and newest.recorded):
        return newest
    return policy.verified


def is_verified(depth: Depth | None, wanted: Depth) -> bool:
    """Tell whether a look makes a backup verified: its bytes were read, unless less is wanted."""
    order = list(Depth)
    least = min(order.index(wanted), order.index(Depth.DIGEST))
    return depth is not None and order.index(depth) >= least


def is_idle(policy: Policy) -> bool:
    """Tell whether a policy never had a backup because its source holds no secret yet, or none matches its
    filter. One that had any, on record or on a target, has lost what it held: that is an alarm like any other
    (invariant 7)."""
    ended = (ran for ran in policy.runs if ran.state in (*ENDED_WHOLE, RunState.FAILED))
    newest = next(ended, None)
    nothing = newest is not None and newest.code in NOTHING_YET
    return nothing and not _has_had_any(policy)


def _last(policy: Policy, now: float) -> float | None:
    return last_slot(policy.schedule, now, policy.time_zone) if policy.schedule else None


def _missed(policy: Policy, made_at: float | None, had_to: float | None, now: float) -> float | None:
    if policy.schedule is None:
        return None
    missed = had_to if made_at is None else next_slot(policy.schedule, made_at, policy.time_zone)
    return missed if missed is not None and missed <= now else None


def shallow(depths: dict[str, Depth | None], wanted: Depth) -> tuple[str, ...]:
    """Return the targets whose replica was not read back as deep as is wanted."""
    order = list(Depth)
    return tuple(
        sorted(
            target
            for target, depth in depths.items()
            if depth is None or order.index(depth) < order.index(wanted)
        )
    )
