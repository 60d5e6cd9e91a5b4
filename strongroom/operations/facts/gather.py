"""Gathering the facts that alarms are judged by: from the targets, the record, and this host."""

from __future__ import annotations

from strongroom.errors import StrongroomError
from strongroom.operations.facts import backups as facts_backups
from strongroom.operations.facts import record
from strongroom.operations.facts.host import certificates, rooms
from strongroom.operations.facts.records import Facts, Keys, Limits, Signs
from strongroom.operations.facts.watched import Watched
from strongroom.state.store import RunStore


def gather(watched: Watched, limits: Limits, *, now: float) -> Facts:
    """Return all that is known at a time (epoch seconds).

    That the state database cannot be read is a fact, and no error: what lies on targets is looked at all the
    same, and somebody is told.
    """
    try:
        return _facts(watched, limits, watched.store(), now=now)
    except StrongroomError as error:  # of the state: what a target answers is caught where it is asked
        return without_record(watched, limits, now=now, why=error.message)


def without_record(watched: Watched, limits: Limits, *, now: float, why: str) -> Facts:
    """Return what is known without the state database, and why it is without."""
    return _facts(watched, limits, None, now=now, why=why)


def _facts(
    watched: Watched, limits: Limits, store: RunStore | None, *, now: float, why: str | None = None
) -> Facts:
    backups = facts_backups.inspect_targets(watched, store, now=now)
    policies = tuple(
        facts_backups.policy_facts(backups, policy, store, compared=limits.compared, now=now)
        for policy in watched.policies
    )
    return Facts(
        now=now,
        policies=policies,
        places=backups.places(),
        lost=tuple(backups.lost()),
        active=record.active(store, now=now) if store else (),
        prunes=record.prunes(store, now=now) if store else (),
        rooms=rooms(watched.rooms),
        certificates=certificates(watched.certificates),
        drills=tuple(record.drills(store, watched, now=now)) if store else (),
        keys=record.keys(store, watched, now=now) if store else Keys(),
        signs=record.signs(store, watched, now=now) if store else Signs(),
        verification=record.verification(store, watched, now=now) if store else None,
        mended=tuple(record.mended_replicas(store, now=now)) if store else (),
        beat_age=store.heartbeats().get(record.BEAT) if store else None,
        unused=tuple(record.unused(store)) if store else (),
        checks=tuple(record.checks(store, watched.checks, now=now)) if store else (),
        entries=tuple(record.kept_back(store, watched.calendar, now=now)) if store else (),
        hooks=record.hooks(store, now=now) if store else (),
        state=why,
    )
