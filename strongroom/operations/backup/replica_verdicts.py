"""What a run learned of each replica by reading it back: it is good, it is bad, or nothing is known.

Only bytes that are wrong or missing make a replica bad. If a target or the source does not answer, or the
host has no key, the status of the replica does not change. Otherwise whole replicas would be called lost, and
each repair would copy them again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from strongroom.container.errors import DAMAGE
from strongroom.model import Depth
from strongroom.operations import recorded_errors
from strongroom.operations.archive.inventory import LOST
from strongroom.operations.backup.facts import ReplicaFacts, pieces_of, replica_facts
from strongroom.operations.backup.verify import Verified, read_verified
from strongroom.operations.runs.job import read_result
from strongroom.operations.services import Services
from strongroom.operations.verification.checks import refresh
from strongroom.operations.verification.order import MANIFEST
from strongroom.state.errors import RecordRefused
from strongroom.state.records import ContainerCheck, Replica, Run, StepKind, StepRow, StepState
from strongroom.targets.errors import TargetUnavailable

if TYPE_CHECKING:
    from strongroom.state.store import RunStore

_DAMAGE = frozenset(kind.__name__ for kind in DAMAGE)
_DEPTHS = tuple(Depth)
DEEPEST = Depth.COMPARED
"""What is said of a replica at most: "live" is about the source on that day."""
RECENT = 1000
"""Runs that are looked through."""
_ENDED = "the run ended before it was read back"


class ReadBack(Struct, frozen=True, kw_only=True):
    """The targets whose replica was read back whole, and why others could not be, as it is recorded.
    ``kept`` are those of the latter that are still known to be good. ``changed`` is what the catalog is to
    know from now on."""

    good: frozenset[str] = frozenset()
    unread: Mapping[str, str] = {}
    kept: frozenset[str] = frozenset()
    changed: tuple[Replica, ...] = ()


def record_replicas(run: Run, read: ReadBack, services: Services) -> list[str]:
    """Write into the catalog what was read back from each target; return those with a good replica."""
    good = {
        other_replica.target
        for other_replica in services.store.replicas(run.spec.backup or run.id)
        if other_replica.good
    }
    for replica in read.changed:
        services.store.set_replica(replica, damaged=_damaged_pieces(run, replica.target, services))
        if replica.target in good and not replica.good:
            why = _first_code(run, replica.target, services)
            services.store.event(LOST, run.id, backup=replica.backup, target=replica.target, why=why)
    if services.store.backup(run.spec.backup or run.id) is not None:
        services.store.put_checks(list(_checks(run, read, services)))
    return sorted(read.good)


def _damaged_pieces(run: Run, target: str, services: Services) -> set[int] | None:
    """Return which containers of a bad replica were found to be; ``None`` if nobody knows which."""
    rows = services.store.rows(run.id, StepKind.VERIFY)
    found = {piece for name, piece in replica_facts(run).lacking if name == target}
    for row in rows:
        if row.step.target == target and recorded_errors.code_of(row.error or "") in _DAMAGE:
            found.add(row.step.piece)
    return found or None


def _first_code(run: Run, target: str, services: Services) -> str:
    """Return the class of the first damage. No more: what an error says may name a secret."""
    rows = services.store.rows(run.id, StepKind.VERIFY)
    codes = [recorded_errors.code_of(row.error or "") for row in rows if row.step.target == target]
    return next((code for code in codes if code in _DAMAGE), "MissingPiece")


def _checks(run: Run, read: ReadBack, services: Services) -> Iterator[ContainerCheck]:
    """Yield which containers were read back, whatever came of the others of the same replica."""
    whole: dict[str, ContainerCheck] = {}
    for check in _read_by(run, services):
        yield check
        whole[check.target] = min(
            check, whole.get(check.target, check), key=lambda container_check: container_check.checked_at
        )
    for target in read.good & whole.keys():
        yield structs.replace(whole[target], piece=MANIFEST, depth=Depth.DIGEST)


def _read_by(run: Run, services: Services) -> Iterator[ContainerCheck]:
    for row, done in read_verified(run, services):
        if done.depth is not Depth.PRESENT:
            yield ContainerCheck(
                backup=run.spec.backup or run.id,
                target=row.step.target,
                piece=row.step.piece,
                depth=min(done.depth, DEEPEST, key=_DEPTHS.index),
                checked_at=row.finished_at or 0.0,
            )


def read_back(run: Run, services: Services, *, enter_unread: bool = False) -> ReadBack:
    """Return what a run's steps read back from each target.

    It is the same when asked again after :func:`record_replicas`.

    Args:
        enter_unread: whether to enter a replica as bad that was not read and that the catalog does not know.
    """
    facts = replica_facts(run)
    if facts.manifest is None:
        return ReadBack()
    rows = services.store.rows(run.id, StepKind.VERIFY)
    replicas = {replica.target: replica for replica in services.store.replicas(run.spec.backup or run.id)}
    good, unread, kept = set(facts.held), dict[str, str](), set[str]()
    changed: list[Replica] = []
    for name in [pin.name for pin in run.spec.targets if pin.name not in facts.held]:
        own = [row for row in rows if row.step.target == name]
        if (why := _explain_unread(facts, name, own)) is not None:
            unread[name] = why
        if why is None or (enter_unread and name not in replicas):
            now = _judge_replica(run, name, own)
            if now.good and facts.is_read_in_part(name):
                now = _vouched_for(now, _known_checks(run, name, services), pieces_of(run))
            replicas[name] = _keep_depth(facts, replicas.get(name), now)
            changed.append(replicas[name])
        if name in replicas and replicas[name].good:
            (kept if why else good).add(name)
    return ReadBack(good=frozenset(good), unread=unread, kept=frozenset(kept), changed=tuple(changed))


def _judge_replica(run: Run, target: str, rows: Sequence[StepRow]) -> Replica:
    done = [row for row in rows if row.state is StepState.DONE]
    facts = replica_facts(run)
    expected = len(facts.pieces_read(target)) if facts.is_read_in_part(target) else pieces_of(run)
    whole = len(done) == expected
    depths = (read_result(run, row.step, row.result, Verified).depth for row in done)
    depth = min(depths, key=_DEPTHS.index, default=None)
    return Replica(
        backup=run.spec.backup or run.id,
        target=target,
        good=whole,
        verified=depth if whole else None,
        verified_at=time.time() if whole else None,
    )


def _known_checks(run: Run, target: str, services: Services) -> list[ContainerCheck]:
    """Return when each container of a replica was last read: earlier, or by this run."""
    found = {
        check.piece: check for check in services.store.checks([run.spec.backup]) if check.target == target
    }
    found |= {check.piece: check for check in _read_by(run, services) if check.target == target}
    return list(found.values())


def _vouched_for(replica: Replica, checks: Sequence[ContainerCheck], pieces: int) -> Replica:
    """Return a replica of which only a part was read: it is as deep as what was read least, and as old."""
    at = min((check.checked_at for check in checks), default=replica.verified_at)
    return refresh(structs.replace(replica, verified=Depth.DIGEST, verified_at=at), pieces, checks)


def _keep_depth(facts: ReplicaFacts, before: Replica | None, now: Replica) -> Replica:
    """Keep the depth that a replica was once verified to, if its bytes are still the same.

    Containers are named by their digests, so a verification that compared digests knows that they are. One
    that compared sizes does not, and the date does not change. A container that a repair put there was not
    opened.
    """
    if before is None or before.verified is None or now.verified is None or not (before.good and now.good):
        return now
    if any(name == now.target for name, _ in facts.lacking):
        return now
    once = min(before.verified, DEEPEST, key=_DEPTHS.index)
    if _DEPTHS.index(once) <= _DEPTHS.index(now.verified):
        return now
    at = before.verified_at if now.verified is Depth.PRESENT else now.verified_at
    return structs.replace(now, verified=once, verified_at=at)


def _explain_unread(facts: ReplicaFacts, target: str, rows: Sequence[StepRow]) -> str | None:
    """Say why nothing became known of a replica; ``None`` if something did."""
    if not rows:
        return _explain_not_asked(facts, target)
    missed = [row.error or _ENDED for row in rows if row.state is not StepState.DONE]
    if any(recorded_errors.code_of(error) in _DAMAGE for error in missed):
        return None
    return missed[0] if missed else None


def _explain_not_asked(facts: ReplicaFacts, target: str) -> str | None:
    """Say why a replica was not even begun to be read; ``None`` if it was missing or could not be placed."""
    if target in facts.away:
        return f"TargetUnavailable: target '{target}' does not answer"
    if (why := facts.unread.get(target)) is not None:
        return why
    lacks = any(name == target for name, _ in facts.lacking)
    return _ENDED if facts.ending is not None and not lacks else None


def unanswered(store: RunStore, replicas: Sequence[Replica]) -> dict[str, tuple[str, ...]]:
    """Say which bad replicas are called that only because their target did not answer, by the newest run that
    asked for them; none of them is known to be damaged."""
    bad = {(replica.backup, replica.target) for replica in replicas if not replica.good}
    known: dict[tuple[str, str], bool] = {}
    for run in store.runs(limit=RECENT) if bad else ():
        about = run.spec.backup or run.id
        asked = [name for backup, name in bad - known.keys() if backup == about]
        if run.state.final and asked:
            known |= {(about, name): said for name, said in _silent(run, asked, store) if said is not None}
    silent = sorted(silent_target for silent_target, said in known.items() if said)
    return {backup: tuple(name for of, name in silent if of == backup) for backup, _ in silent}


def _silent(run: Run, names: Sequence[str], store: RunStore) -> Iterator[tuple[str, bool | None]]:
    """Yield of each target whether it was silent; ``None`` if the run did not ask it, or its row is odd."""
    try:
        away = replica_facts(run).away
    except RecordRefused:
        return
    rows = store.rows(run.id)
    for name in names:
        codes = {recorded_errors.code_of(row.error or "") for row in rows if row.step.target == name}
        asked = not codes & _DAMAGE if codes else None
        yield name, name in away or (asked and TargetUnavailable.__name__ in codes)


def describe_unread(read: ReadBack) -> str:
    """Say what was not verified and why, by the first reason: ``not verified on x: ...``."""
    happened, to_do = recorded_errors.apart(next(iter(read.unread.values())))
    reason = happened.removeprefix(f"{recorded_errors.code_of(happened)}: ")
    return recorded_errors.joined(f"not verified on {', '.join(sorted(read.unread))}: {reason}", to_do)


def describe_with_code(read: ReadBack) -> str:
    """Return the same as a run records an error: with the code of the first reason, if it has one."""
    code = recorded_errors.code_of(next(iter(read.unread.values())))
    return f"{code}: {describe_unread(read)}" if code else describe_unread(read)
