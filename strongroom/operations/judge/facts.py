"""Gathering the facts that are judged: from the targets, the record, and this host."""

from __future__ import annotations

from msgspec import structs

from strongroom.errors import StrongroomError
from strongroom.operations.archive.quarantine import on_record as on_record_aside
from strongroom.operations.judge import facts_on_record
from strongroom.operations.judge import facts_on_targets as facts_backups
from strongroom.operations.judge.fact_records import (
    AlertLimits,
    InstallationFacts,
    Signs,
    WatchedInstallation,
)
from strongroom.operations.judge.host import certificates, host_facts, rooms
from strongroom.state.store import RunStore


def gather(
    watched: WatchedInstallation, limits: AlertLimits, *, now: float, look: bool = True
) -> InstallationFacts:
    """Return all that is known at a time (epoch seconds).

    That the state database cannot be read is a fact, and no error: what lies on targets is looked at all the
    same, and somebody is told.

    Args:
        look: look at the targets and this host too, and hold the ledger against its heads. Otherwise the
            record alone is read: quick, and no network is used.
    """
    try:
        return _facts(watched, limits, watched.store(), now=now, look=look)
    except StrongroomError as error:  # of the state: what a target answers is caught where it is asked
        return without_record(watched, limits, now=now, why=error.message, look=look)


def on_record(
    watched: WatchedInstallation, limits: AlertLimits, store: RunStore, *, now: float
) -> InstallationFacts:
    """Return what the record has at a time; no target and no file system is looked at.

    Raises StateError if it cannot be read.
    """
    return _facts(watched, limits, store, now=now, look=False)


def without_record(
    watched: WatchedInstallation, limits: AlertLimits, *, now: float, why: str, look: bool = True
) -> InstallationFacts:
    """Return what is known without the state database, and why it is without."""
    return structs.replace(_seen(watched, limits, None, now=now, look=look), state=why)


def with_look(facts: InstallationFacts, look: InstallationFacts) -> InstallationFacts:
    """Return what the record has, with what only a look shows. Without a record the look is all there is."""
    if facts.state is not None:
        return structs.replace(look, state=facts.state)
    return structs.replace(
        facts,
        places=look.places,
        lost=look.lost,
        rooms=look.rooms,
        certificates=look.certificates,
        host=look.host,
        cluster=look.cluster,
        signs=look.signs,
        late=look.late,
        verification=look.verification,
        unverified=look.unverified,
        recoveries=facts.recoveries or look.recoveries,
    )


def _facts(
    watched: WatchedInstallation, limits: AlertLimits, store: RunStore, *, now: float, look: bool
) -> InstallationFacts:
    return structs.replace(
        _seen(watched, limits, store, now=now, look=look),
        active=facts_on_record.active(store, watched, now=now),
        prunes=facts_on_record.prunes(store, now=now),
        drills=tuple(facts_on_record.drills(store, watched, now=now)),
        keys=facts_on_record.keys(store, watched, now=now),
        signs=facts_on_record.signs(store, watched, now=now) if look else Signs(),
        verification=facts_on_record.verification(store, watched, now=now),
        unverified=watched.verification.needs if watched.verification else "",
        mended=tuple(facts_on_record.mended_replicas(store, now=now)),
        beat_age=store.heartbeats().get(facts_on_record.BEAT),
        unused=tuple(facts_on_record.unused(store)),
        checks=tuple(facts_on_record.checks(store, watched.checks, now=now)),
        entries=tuple(facts_on_record.kept_back(store, watched.calendar, now=now)),
        hooks=facts_on_record.hooks(store, now=now),
        approvals=tuple(facts_on_record.approvals(store, now=now)),
        channels=tuple(facts_on_record.channels(store, watched, now=now)),
        intrusions=tuple(facts_on_record.intrusions(store, watched, now=now)),
        late=tuple(watched.late_entries(now)) if look else (),
        quarantined=len(on_record_aside(store)),
        counts=tuple(store.counts()),
        waiting=tuple(store.waiting()),
        stage_users=facts_on_record.stage_users(store, watched),
        unshared=watched.unshared,
    )


def _seen(
    watched: WatchedInstallation, limits: AlertLimits, store: RunStore | None, *, now: float, look: bool
) -> InstallationFacts:
    """Return the backups there are: as the targets show them, or by the record alone."""
    inspect = facts_backups.inspect_targets if look else facts_backups.by_record
    backups = inspect(watched, store, now=now)
    policies = tuple(
        facts_backups.policy_facts(backups, policy, watched, store, compared=limits.compared, now=now)
        for policy in watched.policies
    )
    return InstallationFacts(
        now=now,
        policies=policies,
        places=backups.places(),
        lost=tuple(backups.lost()) if look else (),
        rooms=rooms(watched.rooms, policies) if look else (),
        certificates=certificates(watched.certificates) if look else (),
        host=host_facts(watched, store) if look else None,
        cluster=watched.cluster() if look and watched.cluster is not None else None,
        incidents=tuple(facts_on_record.incidents(store, watched, look=look)),
        recoveries=tuple(facts_on_record.recoveries(watched, look=look)),
    )
