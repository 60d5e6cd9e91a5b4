"""What came of a run that read replicas back, what it learned of each, and what it sweeps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from strongroom.container.errors import DAMAGE, FormatError, VerificationFailed
from strongroom.container.manifest import Manifest, parse_manifest
from strongroom.container.signing import ever_trusted
from strongroom.errors import StrongroomError, TargetError
from strongroom.model import COMMAND, Depth
from strongroom.operations.archive.envelopes import describe_aside
from strongroom.operations.archive.inventory import LOST
from strongroom.operations.archive.live_comparison import FLOOR, REMEMBERED, describe_drift
from strongroom.operations.archive.open import manifest_bytes
from strongroom.operations.backup import commit
from strongroom.operations.backup.order import MANIFEST, refresh
from strongroom.operations.backup.plan import plan_of
from strongroom.operations.backup.verify import (
    ReplicaFacts,
    Verified,
    has_manifest,
    missing_from_quorum,
    pieces_of,
    read_verified,
    replica_facts,
)
from strongroom.operations.engine import run_log
from strongroom.operations.engine.drive import GONE, drive, is_abandoned, take_up
from strongroom.operations.engine.jobs import Ending, read_result
from strongroom.operations.engine.layout import container_name, containers_prefix, manifest_name
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.stage import sweep_stage
from strongroom.state.errors import RecordRefused
from strongroom.state.records import (
    ContainerCheck,
    Replica,
    Run,
    RunKind,
    RunState,
    StepKind,
    StepRow,
    StepState,
)
from strongroom.targets import Target
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.reading import copies, original_name
from strongroom.times import rfc3339
from strongroom.words import plural

if TYPE_CHECKING:
    from strongroom.state.store import RunStore


# -- What a run learned of each replica by reading it back: it is good, it is bad, or nothing is known
#
# Only bytes that are wrong or missing make a replica bad. If a target or the source does not answer, or the
# host has no key, the status of the replica does not change. Otherwise whole replicas would be called lost,
# and each repair would copy them again.


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
            # The class of the first damage. No more: what an error says may name a secret.
            rows = services.store.rows(run.id, StepKind.VERIFY)
            codes = [run_log.code_of(row.error or "") for row in rows if row.step.target == replica.target]
            why = next((code for code in codes if code in _DAMAGE), "MissingPiece")
            services.store.event(LOST, run.id, backup=replica.backup, target=replica.target, why=why)
    if services.store.backup(run.spec.backup or run.id) is not None:
        services.store.put_checks(list(_checks(run, read, services)))
    return sorted(read.good)


def _damaged_pieces(run: Run, target: str, services: Services) -> set[int] | None:
    """Return which containers of a bad replica were found to be; ``None`` if nobody knows which."""
    rows = services.store.rows(run.id, StepKind.VERIFY)
    found = {piece for name, piece in replica_facts(run).lacking if name == target}
    for row in rows:
        if row.step.target == target and run_log.code_of(row.error or "") in _DAMAGE:
            found.add(row.step.piece)
    return found or None


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
                # When each container of a replica was last read: earlier, or by this run.
                found = {
                    check.piece: check
                    for check in services.store.checks([run.spec.backup])
                    if check.target == name
                }
                found |= {check.piece: check for check in _read_by(run, services) if check.target == name}
                now = _vouched_for(now, list(found.values()), pieces_of(run), at=services.store.clock())
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
    # No later than any of its containers was read: reading them all may take a day.
    read_at = min((row.finished_at for row in done if row.finished_at), default=time.time())
    return Replica(
        backup=run.spec.backup or run.id,
        target=target,
        good=whole,
        verified=depth if whole else None,
        verified_at=read_at if whole else None,
    )


def _vouched_for(replica: Replica, checks: Sequence[ContainerCheck], pieces: int, *, at: float) -> Replica:
    """Return a replica of which only a part was read: it is as deep as what was read least, and as old.

    If the record vouches for the rest no more, since that was found to be damaged meanwhile, the replica was
    only seen.
    """
    seen = structs.replace(replica, verified=Depth.PRESENT)
    return refresh(seen, pieces, checks, now=at)


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
        # Say why a replica was not even begun to be read; ``None`` if it was missing or could not be placed.
        if target in facts.away:
            return f"TargetUnavailable: target '{target}' does not answer"
        if (why := facts.unread.get(target)) is not None:
            return why
        lacks = any(name == target for name, _ in facts.lacking)
        return _ENDED if facts.ending is not None and not lacks else None
    missed = [row.error or _ENDED for row in rows if row.state is not StepState.DONE]
    if any(run_log.code_of(error) in _DAMAGE for error in missed):
        return None
    return missed[0] if missed else None


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
        codes = {run_log.code_of(row.error or "") for row in rows if row.step.target == name}
        asked = not codes & _DAMAGE if codes else None
        yield name, name in away or (asked and TargetUnavailable.__name__ in codes)


def describe_unread(read: ReadBack) -> str:
    """Say what was not verified and why, by the first reason: ``not verified on x: ...``."""
    happened, to_do = run_log.apart(next(iter(read.unread.values())))
    reason = happened.removeprefix(f"{run_log.code_of(happened)}: ")
    return run_log.joined(f"not verified on {', '.join(sorted(read.unread))}: {reason}", to_do)


def describe_with_code(read: ReadBack) -> str:
    """Return the same as a run records an error: with the code of the first reason, if it has one."""
    code = run_log.code_of(next(iter(read.unread.values())))
    return f"{code}: {describe_unread(read)}" if code else describe_unread(read)


# -- What came of a run that read replicas back: a backup, a verification or a repair -----------


def backup_outcome(run: Run, read: ReadBack, services: Services) -> Ending:
    """Hold what was read back to the policy's quorum, then to all that the policy asks for.

    A backup that was made and could not be read back here is one all the same, and degraded.
    """
    if lacking := missing_from_quorum(run.spec, (*read.good, *read.kept)):
        return Ending(RunState.FAILED, f"read back, but {lacking}")
    return _blemished(run, services, _backup_blemishes(run, read, services))


def replica_outcome(run: Run, read: ReadBack, services: Services) -> Ending:
    """Hold what a verification or a repair read back to the policy's quorum, then to all of its targets.

    One that could not be made has failed: it is never taken for one that was.
    """
    if lacking := missing_from_quorum(run.spec, (*read.good, *read.kept)):
        return Ending(RunState.FAILED, f"{VerificationFailed.__name__}: read back, but {lacking}")
    if missing_from_quorum(run.spec, tuple(read.good)):
        return Ending(RunState.FAILED, describe_with_code(read))
    return _blemished(run, services, _replica_blemishes(run, read, services))


def _blemished(run: Run, services: Services, blemishes: Iterable[str | None]) -> Ending:
    if two_keys := _compare_name_keys(run, services):
        return Ending(RunState.FAILED, two_keys)
    blemish = next(filter(None, blemishes), None)
    return Ending(RunState.DEGRADED, blemish) if blemish else Ending(RunState.DONE)


def _backup_blemishes(run: Run, read: ReadBack, services: Services) -> Iterator[str | None]:
    """Yield what keeps a good backup from being all that the policy asks for, the worst first."""
    yield from _missing_replicas(run, read, services)
    yield _describe_omitted_recipients(run, read, services)
    yield _describe_shortfall(run, services)
    yield _describe_half_restored(run)
    if read.unread:
        yield f"whole, but {describe_unread(read)}"
    yield from _further_blemishes(run, services)


def _replica_blemishes(run: Run, read: ReadBack, services: Services) -> Iterator[str | None]:
    yield from _missing_replicas(run, read, services)
    if read.unread:
        yield describe_unread(read)
    yield from _further_blemishes(run, services)


def _missing_replicas(run: Run, read: ReadBack, services: Services) -> Iterator[str]:
    if bad := [pin.name for pin in run.spec.targets if pin.name not in read.good | read.kept]:
        yield f"no good replica on {', '.join(bad)}{_explain_missing(run, bad, services)}"
    if unlocked := replica_facts(run).unlocked:
        yield "whole, but not locked: " + "; ".join(
            f"target '{name}': {why}" for name, why in unlocked.items()
        )


def _further_blemishes(run: Run, services: Services) -> Iterator[str]:
    if aside := describe_aside((row.step.target, done.aside) for row, done in read_verified(run, services)):
        yield f"whole, but {aside}"
    if drift := _describe_drift(run, services):
        yield f"every replica is good, but the source has drifted: {drift}"


_PLACING = (StepKind.UPLOAD, StepKind.REPAIR, StepKind.VERIFY)


def _explain_missing(run: Run, bad: Sequence[str], services: Services) -> str:
    """Say why the first of these targets has no good replica, as far as this run knows: ``: target ...``."""
    facts = replica_facts(run)
    if bad[0] in facts.away:
        return f": target '{bad[0]}' does not answer"
    if (why := facts.unplaced.get(bad[0])) is not None:
        return f": {why}"
    rows = (row for kind in _PLACING for row in services.store.rows(run.id, kind))
    errors = (row.error for row in rows if row.step.target == bad[0] and row.error and not row.result)
    error = next(errors, None)
    return f": {run_log.apart(error)[0]}" if error else ""


def _describe_omitted_recipients(run: Run, read: ReadBack, services: Services) -> str | None:
    """Describe whom a backup is not sealed for, since a key is lost or its service did not answer.

    The signed manifest says it: a row can be edited.
    """
    if not run.spec.sealed:
        return None
    trusted, why = services.signer_fingerprints, ""
    for name in (*sorted(read.good), *sorted(read.kept)):
        try:
            content = manifest_bytes(services.target(name), run.id, trusted=trusted)
            sealed_for = {recipient.name for recipient in parse_manifest(content, trusted=trusted).recipients}
            break
        except StrongroomError as error:
            why = error.message
    else:
        return f"whole, but its recipients could not be read back: {why}"
    who = ", ".join(pin.name for pin in run.spec.recipients if pin.name not in sealed_for)
    if not who:
        return None
    return (
        f"whole, but not sealed to {who}: that key could not be used, so it does not open this backup. "
        f"'strongroom keys rotate {run.spec.policy}' adds it once it can be. If it is lost, take it out of "
        "the "
        "policy's recipients and put another key in"
    )


def _describe_half_restored(run: Run) -> str | None:
    """Say if the source holds secrets that a restore began to write: the backup has half of each."""
    count = plan_of(run).plan.unfinished
    if not count:
        return None
    return (
        f"whole, but an interrupted restore left {plural(count, 'secret')} of the source half-written (tag "
        "strongroom:restoring), and the backup holds half of each. Repeat the command of that restore, then "
        "back up again"
    )


def _describe_shortfall(run: Run, services: Services) -> str | None:
    """Say if a backup holds much less than was expected: a source that answers with too little
    looks just like one from which much was deleted (invariant 7)."""
    if not (fewer := count_missing_secrets(run, services)):
        return None
    secrets = _count_secrets(run)
    expected = secrets + fewer
    if secrets >= FLOOR * expected:
        return None
    holds = plural(secrets, "secret")
    return f"whole, but it holds {holds} where {expected:,} were expected; look at the source"


def count_missing_secrets(run: Run, services: Services) -> int:
    """Return how many secrets a backup lacks of those that were listed, or that earlier ones have."""
    if replica_facts(run).counts is None:
        return 0
    expected = max(plan_of(run).plan.secrets, _most_secrets_before(run, services))
    return max(0, expected - _count_secrets(run))


def _count_secrets(run: Run) -> int:
    counts = replica_facts(run).counts
    return 0 if counts is None else counts.secrets


def _most_secrets_before(run: Run, services: Services) -> int:
    """Return the most that any of the policy's backups of late holds; a command has none before it."""
    if run.spec.policy.startswith("("):
        return 0
    since = rfc3339(run.created_at - REMEMBERED)
    return services.store.most_secrets(run.spec.policy, since=since, besides=run.id)


def _compare_name_keys(run: Run, services: Services) -> str:
    """Say that containers were opened which hash names under different keys: a name could be in two of them.

    Each step reads one container, so only here are they compared (FORMAT.md, 13.7).
    """
    keys = {done.name_key for _, done in read_verified(run, services) if done.name_key}
    return "Tampered: its containers have different keys for names" if len(keys) > 1 else ""


def _describe_drift(run: Run, services: Services) -> str:
    """Say how many secrets are not in the source as they were, by the replica on the first target."""
    first = run.spec.targets[0].name
    done = [done for row, done in read_verified(run, services) if row.step.target == first]
    return describe_drift(
        sum(verified.changed for verified in done), sum(verified.missing for verified in done)
    )


# -- sweep: remove what a run left, and only that -----------------------------------------------
#
# Rows can be edited, so no row says that a run made no backup: its targets do. Nothing is removed anywhere
# until every target of the run has answered. What a manifest on any of them names is kept, whatever the
# policy's quorum, and whether its signer is still trusted. Manifests themselves are never removed here; one
# that a commit placed before it was cut off goes into the catalog (:mod:`.interrupted_commit`).
#
# A manifest that nobody known here signed, or that cannot be read, may be that of a good backup whose key
# was lost, or a stranger's junk. It keeps all that the run has on *its own* target, and is told of. So junk
# cannot have a backup removed, nor can it keep leftovers anywhere but where its writer could fill the
# target anyway.


class ManifestCopies(Struct, frozen=True, kw_only=True):
    """What a target shows of a run's manifest. ``names`` are those of its copies; ``unclear`` says why
    none of them can be believed, ``away`` why the target could not be asked."""

    names: Sequence[str] = ()
    manifest: Manifest | None = None
    unclear: str | None = None
    away: str | None = None


def sweep_targets(run: Run, services: Services) -> dict[str, str]:
    """Remove what a backup's run left on its targets; say which still hold some of it, or may, and why."""
    looks = {name: _find_manifest(name, run, services) for name in targets_of(run, services)}
    for name, look in looks.items():
        if look.away is None:  # what is not whole yet belongs to no backup
            _reason_if_failed(partial(services.target(name).abort_incomplete, containers_prefix(run.id)))
    signed = {name: look.manifest for name, look in looks.items() if look.manifest}
    commit.enter_backup(run, signed, services)
    if away := {name: look.away for name, look in looks.items() if look.away is not None}:
        return away
    if has_manifest(run) and not signed:
        return dict.fromkeys(looks, "the run made a backup, and no target shows its manifest")
    keep = frozenset(
        container_name(run.id, entry.sha256) for manifest in signed.values() for entry in manifest.containers
    )
    left = {name: _sweep_target(services.target(name), run.id, look, keep) for name, look in looks.items()}
    return {name: why for name, why in left.items() if why is not None}


def targets_of(run: Run, services: Services) -> list[str]:
    """Return the targets of a run: those of its row, and all that its policy has here.

    A row could leave out the very target that shows that there is a backup. A target that is configured no
    more is not asked: nothing could be removed from it either.
    """
    named = [pin.name for pin in run.spec.targets if pin.name in services.targets]
    return list(dict.fromkeys((*named, *_policy_targets(run, services))))


def _policy_targets(run: Run, services: Services) -> Iterable[str]:
    try:
        return [pin.name for pin in services.pinned(run.spec.policy).spec.targets]
    except (
        StrongroomError
    ):  # who cannot tell looks everywhere; a command's file is known to its process alone
        return () if run.spec.policy == COMMAND else services.targets


EARLIER = 100
"""Earlier runs that one report sweeps after, chosen by lot. While a target is dead, each backup adds one.
Each costs requests to the targets that answer, and a report must end."""


def sweep_earlier(run: Run, services: Services) -> list[str]:
    """Sweep again after earlier runs of this policy; return those that leave nothing any more.

    They had to leave something because it was locked, or because a target did not answer.
    """
    clean: list[str] = []
    for earlier in services.store.leaving(run.spec.policy, limit=EARLIER):
        if not sweep_targets(earlier, services) and sweep_stage(earlier, services):
            services.store.swept(earlier.id)
            clean.append(earlier.id)
    return clean


def _find_manifest(place: str, run: Run, services: Services) -> ManifestCopies:
    """Find a run's manifest on one target."""
    # One whose signer is distrusted by now still keeps what it names: doubt removes nothing.
    trusted = ever_trusted(services.signer_fingerprints)
    names: Sequence[str] = ()
    try:
        names = copies(services.target(place), manifest_name(run.id))
        if not names:
            return ManifestCopies()
        content = manifest_bytes(services.target(place), run.id, trusted=trusted)
        return ManifestCopies(names=names, manifest=parse_manifest(content, trusted=trusted))
    except FormatError as error:
        return ManifestCopies(names=names, unclear=error.message)
    except StrongroomError as error:
        return ManifestCopies(away=error.message)


def _sweep_target(target: Target, backup: str, look: ManifestCopies, keep: frozenset[str]) -> str | None:
    """Remove from one target what no manifest names; return why something stays, if it does."""
    if look.unclear is not None:
        return f"a manifest that cannot be believed keeps it: {look.unclear}"
    return _reason_if_failed(partial(_remove, target, backup, look, keep))


def _remove(target: Target, backup: str, look: ManifestCopies, keep: frozenset[str]) -> None:
    """Remove a run's containers that no manifest names.

    Before each it is asked again whether the target shows the same manifests: a worker that was taken for
    dead may have been about to write one.
    """
    for name in [info.name for info in target.list(containers_prefix(backup))]:
        if original_name(name) not in keep:
            if list(copies(target, manifest_name(backup))) != list(look.names):
                raise TargetError(
                    f"target '{target.name}' has another manifest of {backup} than a moment ago"
                )
            target.delete(name)


def _reason_if_failed(work: Callable[[], object]) -> str | None:
    try:
        work()
    except StrongroomError as error:
        return error.message
    return None


# -- Backups whose process was killed, before the policy makes another --------------------------


def end_abandoned(services: Services, *, policy: str) -> list[Run]:
    """Bring a policy's abandoned backups to their end before it makes another; return them.

    One whose containers all lie where they belong is gone on with: it may have a manifest by now, and then is
    a backup. Any other is cancelled, and what it left removed: the next one takes its place.
    """
    ended: list[Run] = []
    for run in services.store.active():
        is_its_backup = run.spec.kind is RunKind.BACKUP and run.spec.policy == policy
        if is_its_backup and is_abandoned(run, services.store, services.state_dir):
            if not services.store.rows(run.id, StepKind.COMMIT):
                services.store.cancel(run.id, error=f"{GONE}, and the next backup took its place")
            ended.append(drive(run.id, take_up(run.id, services), services))
    return ended
