"""shred: destroy the keys of backups, prove it, remove what lies on targets, and say what is left.

The intent is on record before anything is destroyed. Every step may be done again: whoever comes
after a process that died goes on by the record. *Shredded* is said of a backup if on every target
nothing of it is left, or all that is left opens for keys that are proven to be destroyed.
"""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor

from strongroom.container import canonical
from strongroom.errors import StrongroomError, UsageError
from strongroom.model import Selection
from strongroom.operations.archive.holds import Holds, HoldSubject, read_holds
from strongroom.operations.key_management.usage import READERS
from strongroom.operations.services import Services
from strongroom.operations.shredding.destroy_keys import destroy_keys
from strongroom.operations.shredding.errors import KeyShared
from strongroom.operations.shredding.events import (
    INTENT,
    LOST,
    TARGET,
    VERDICT,
    DestroyedMedium,
    Intent,
    TargetNow,
    sign,
)
from strongroom.operations.shredding.plan import ShredPlan, make_plan
from strongroom.operations.shredding.record import Shredding, ShreddingRecord, read, write
from strongroom.operations.shredding.remove_objects import inspect_target, remove
from strongroom.operations.shredding.scope import CONFIRMER, ShredScope
from strongroom.operations.shredding.verdict import judge
from strongroom.timestamps import rfc3339, unique


def begin(services: Services, scope: ShredScope, plan: ShredPlan, *, by: str) -> Intent:
    """Write down what is to be destroyed, as the plan that a person confirmed has it.

    A key that goes on gets its next version first, so that nothing new comes under the old one
    meanwhile; then it is looked once more whether anything else needs what will be destroyed.

    Raises:
        KeyShared: something came since the plan that would be lost.
    """
    for key in plan.keys:
        scope.destroyers[key.name].prepare(key.epoch.version)
    names = tuple(meant_backup.backup for meant_backup in plan.backups)
    again = make_plan(services, scope, policy=plan.policy, backups=names)
    if digest(again) != digest(plan):
        raise KeyShared(
            "Something changed since this was planned.", hint="Nothing was destroyed. Plan again."
        )
    intent = Intent(
        shred=unique(time.time()),
        policy=plan.policy,
        at=rfc3339(time.time()),
        by=by,
        keys=plan.keys,
        backups=plan.backups,
    )
    write(services.store, INTENT, sign(intent, services.signers(CONFIRMER)))
    return intent


def note_lost(services: Services, scope: ShredScope, target: str, *, by: str, reason: str) -> None:
    """Put on record somebody's word that a medium is destroyed, which nobody can look at any more.

    Raises:
        UsageError: nothing that is pending waits for it, or it still shows what it is said to have lost.
    """
    waiting = [
        shredding
        for shredding in read(services.store, scope.confirmers).pending
        if target in shredding.meant.targets
    ]
    if not waiting:
        raise UsageError(
            f"Nothing that is pending waits for target '{target}'.", hint="See 'shred --status'."
        )
    for shredding in waiting:
        closes = set(shredding.meant.epochs).__contains__
        if inspect_target(services, shredding.meant, target, closes=closes, last=None).found:
            raise UsageError(
                f"Target '{target}' is there, and holds {shredding.meant.backup}.", hint="Let it answer."
            )
    write(services.store, LOST, DestroyedMedium(target=target, by=by, reason=reason))


def digest(plan: ShredPlan) -> str:
    """Return what tells whether two plans destroy the same."""
    same = ([(key.epoch, key.name, key.where) for key in plan.keys], plan.backups)
    return hashlib.sha256(canonical.encode(same)).hexdigest()


def advance(services: Services, scope: ShredScope, *, now: float | None = None) -> list[Shredding]:
    """Go on with whatever is not finished, as far as it goes today; return those backups.

    Nothing is raised for one key or target that does not answer: it is on record, and the others
    go on. A policy that is under a legal hold since, or no longer erasable, is left alone.
    """
    moment = time.time() if now is None else now
    record = read(services.store, scope.confirmers)
    pending = record.pending
    holds = read_holds(services, now=moment)
    held = {shredded.meant.backup: why for shredded in pending if (why := _held(scope, holds, shredded))}
    going = [shredded for shredded in pending if shredded.meant.backup not in held]
    kept = {epoch for shredded in pending if shredded.meant.backup in held for epoch in shredded.meant.epochs}
    for policy in sorted({shredded.policy for shredded in going}):
        mine = {epoch for shredded in going if shredded.policy == policy for epoch in shredded.meant.epochs}
        destroy_keys(services, scope, record, sorted(mine - kept), policy=policy, now=moment)
    removing = [*going, *(shredded for shredded in record.unremoved if not _held(scope, holds, shredded))]
    with ThreadPoolExecutor(READERS) as pool:  # targets answer slowly, and independently
        list(pool.map(lambda backup: _targets(services, backup), removing))
    for shredding in pending:
        _judge(services, record, shredding, held.get(shredding.meant.backup, ""))
    return pending


def _held(scope: ShredScope, holds: Holds, shredding: Shredding) -> str:
    """Say why a backup is left alone. What it was made of is not on record: a hold on any tag may mean it."""
    try:
        scope.require(shredding.policy)
    except StrongroomError as error:
        return f"{error.code}: {error.message}"
    subject = HoldSubject(backup=shredding.meant.backup, policy=shredding.policy, selection=Selection())
    return f"OnLegalHold: {why}" if (why := holds.why(subject)) else ""


# -- targets -------------------------------------------------------------------


def _targets(services: Services, shredding: Shredding) -> None:
    """Remove a backup wherever it lies, and put on record what was there and what is left."""
    closes = set(shredding.meant.epochs).__contains__
    for name in shredding.meant.targets:
        last = shredding.targets.get(name)
        if last is not None and last.gone:
            continue
        target_state = inspect_target(services, shredding.meant, name, closes=closes, last=last)
        if target_state.found and not (last and last.found and last.opens == target_state.opens):
            _note(services, shredding, target_state)
        after = remove(services, shredding.meant, name, closes=closes, last=target_state)
        if after.gone:
            services.store.drop_replica(shredding.meant.backup, name)
        if after != last:
            _note(services, shredding, after)


def _note(services: Services, shredding: Shredding, now: TargetNow) -> None:
    write(services.store, TARGET, now)
    shredding.targets[now.target] = now


def _judge(services: Services, record: ShreddingRecord, shredding: Shredding, held: str) -> None:
    judged = judge(shredding, record.now, held=held)
    if judged != shredding.judged:
        write(services.store, VERDICT, judged)
        shredding.judged = judged
    if shredding.done:  # what is left on a target is noise, and no replica
        for replica in services.store.replicas(shredding.meant.backup):
            services.store.drop_replica(shredding.meant.backup, replica.target)
