"""shred: destroy the keys of backups, prove it, remove what lies on targets, and say what is left."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from strongroom.container import canonical
from strongroom.errors import StrongroomError, UsageError
from strongroom.keys.destroying import Destroyer, Fate, KeyVersionState, attempt
from strongroom.keys.errors import KeyNotDestroyed
from strongroom.model import Selection
from strongroom.operations.archive.holds import Holds, HoldSubject, read_holds
from strongroom.operations.archive.key_versions import (
    CONFIRMER,
    Epoch,
    Gone,
    ShredScope,
    envelopes_on,
    is_closed,
)
from strongroom.operations.archive.removal import objects_of, remove_backup
from strongroom.operations.archive.shredding import (
    INTENT,
    KEY,
    LOST,
    PENDING,
    SHREDDED,
    TARGET,
    VERDICT,
    DestroyedMedium,
    Intent,
    Judged,
    KeyNow,
    MeantBackup,
    MeantKey,
    Shredding,
    ShreddingRecord,
    TargetNow,
    read,
    sign,
    write,
)
from strongroom.operations.engine.services import Services
from strongroom.operations.errors import KeyShared
from strongroom.operations.keys.shred_plan import ShredPlan, make_plan, require_alone
from strongroom.operations.keys.usage import READERS
from strongroom.targets import Target
from strongroom.times import rfc3339, unique

# -- Destroying the key versions of backups at their key services, and finding out whether they are gone


def destroy_keys(
    services: Services,
    scope: ShredScope,
    record: ShreddingRecord,
    epochs: Iterable[Epoch],
    *,
    policy: str,
    now: float,
) -> None:
    """Destroy the key versions of a policy's backups, unless that is proven already, and put on record
    how each stands. A key service that does not answer is on record too, and the others go on."""
    unproven = [epoch for epoch in epochs if not _is_proven(record, epoch)]
    shown = {epoch: _shown(scope, record.keys[epoch]) for epoch in unproven}
    present = [
        epoch
        for epoch, state in shown.items()
        if isinstance(state, KeyVersionState) and state.fate is Fate.THERE
    ]
    refusal = _refusal(services, scope, record, present, policy) if present else None
    for epoch, standing in shown.items():
        after = _after(scope, record, epoch, standing=standing, refusal=refusal, now=now)
        if after != record.now.get(epoch):
            write(services.store, KEY, after)
            record.now[epoch] = after


def _is_proven(record: ShreddingRecord, epoch: Epoch) -> bool:
    before = record.now.get(epoch)
    return before is not None and before.proven


def _shown(scope: ShredScope, meant_key: MeantKey) -> KeyVersionState | StrongroomError:
    destroyer = scope.destroyers.get(meant_key.name)
    if destroyer is None:
        return KeyNotDestroyed(f"key '{meant_key.name}' cannot be destroyed from here")
    try:
        return destroyer.look(meant_key.epoch.version)
    except StrongroomError as error:
        return error


def _refusal(
    services: Services, scope: ShredScope, record: ShreddingRecord, epochs: Iterable[Epoch], policy: str
) -> StrongroomError | None:
    """Say why nothing may be destroyed now: since it was planned, something may have come to need it."""
    keys = {epoch: record.keys[epoch] for epoch in epochs}
    try:
        require_alone(services, scope, keys, policy=policy, asked=record.backups)
    except StrongroomError as error:
        return error
    return None


def _after(
    scope: ShredScope,
    record: ShreddingRecord,
    epoch: Epoch,
    *,
    standing: KeyVersionState | StrongroomError,
    refusal: StrongroomError | None,
    now: float,
) -> KeyNow:
    meant_key, before = record.keys[epoch], record.now.get(epoch)
    try:
        if isinstance(standing, StrongroomError):
            raise standing
        destroyer = scope.destroyers[meant_key.name]
        if standing.fate is Fate.THERE:
            standing = _destroyed(destroyer, meant_key, standing, refusal)
        return _tried(destroyer, meant_key, standing, before, now)
    except StrongroomError as error:
        until = before.until if before else ""
        return KeyNow(epoch=epoch, until=until, why=(f"{error.code}: {error.message}",))


def _destroyed(
    destroyer: Destroyer, meant_key: MeantKey, standing: KeyVersionState, refusal: StrongroomError | None
) -> KeyVersionState:
    """Have a version destroyed, and return how it stands then."""
    _require_same(meant_key, standing)
    if refusal is not None:
        raise refusal
    destroyer.destroy(meant_key.epoch.version)
    return destroyer.look(meant_key.epoch.version)


def _require_same(key: MeantKey, standing: KeyVersionState) -> None:
    if standing.where != key.where:
        raise KeyShared(
            f"'{key.name}' is another key now ({standing.where}) than was confirmed ({key.where})."
        )


def _tried(
    destroyer: Destroyer, meant_key: MeantKey, standing: KeyVersionState, before: KeyNow | None, now: float
) -> KeyNow:
    opened, said = False, ""
    if meant_key.witness is not None:
        context = bytes.fromhex(meant_key.witness.context)
        opened, said = attempt(destroyer, meant_key.epoch.version, meant_key.witness.stanza, context)
    why = tuple(_against(meant_key, standing, before, now, opened=opened))
    return KeyNow(
        epoch=meant_key.epoch,
        fate=standing.fate,
        until=standing.until or (before.until if before and standing.fate is Fate.GONE else ""),
        proven=not why,
        tried=said,
        why=why,
        answer=standing.answer,
    )


def _against(
    meant_key: MeantKey, standing: KeyVersionState, before: KeyNow | None, now: float, *, opened: bool
) -> Iterator[str]:
    """Yield what stands against calling a key version destroyed."""
    if standing.fate is Fate.THERE:
        yield "its key service still has it"
    if standing.fate is Fate.PENDING:
        yield f"its key service deletes it on {standing.until or 'a day that it does not tell'}"
    if opened and standing.fate is not Fate.PENDING:
        yield "it still opens"
    if standing.where != meant_key.where:
        yield f"another key service answered ({standing.where}) than before ({meant_key.where})"
    if standing.absent and not meant_key.seen:
        yield "it was not there before either, as it would not be with a wrong key service"
    if standing.absent and before is not None and before.until > rfc3339(now):
        yield f"it is called gone before the announced day, {before.until}"
    yield from dict.fromkeys((*meant_key.doubts, *standing.doubts))


# -- Removing a backup that is shredded from a target, and saying for whom what stays opens -----


def inspect_target(
    services: Services, meant: MeantBackup, name: str, *, closes: Gone, last: TargetNow | None
) -> TargetNow:
    """Say what of a backup lies on one target. On record before anything is removed, it tells an
    emptied target from another medium in its place.

    Args:
        closes: whether a key version is among those to be destroyed.
        last: what was known of this target before.
    """
    return _asked(meant, name, last, lambda: _seen(services, meant, services.target(name), closes, last))


def remove(services: Services, meant: MeantBackup, name: str, *, closes: Gone, last: TargetNow) -> TargetNow:
    """Remove a backup from one target, as far as that lets. As :func:`inspect_target`."""
    return _asked(meant, name, last, lambda: _removed(services, meant, services.target(name), closes, last))


def _asked(
    meant_backup: MeantBackup, name: str, last: TargetNow | None, ask: Callable[[], TargetNow]
) -> TargetNow:
    """A target that is away is said, not raised; what was read there before stays known."""
    try:
        return ask()
    except StrongroomError as error:
        # Words that change from hour to hour would fill the record.
        why = f"it does not answer ({error.code})" if error.transient else f"{error.code}: {error.message}"
        return msgspec.structs.replace(last or TargetNow(backup=meant_backup.backup, target=name), why=why)


def _seen(
    services: Services, meant_backup: MeantBackup, target: Target, closes: Gone, last: TargetNow | None
) -> TargetNow:
    there = list(objects_of(target, meant_backup.backup, meant_backup.wrapping_keys))
    found = bool(there) or (last is not None and last.found)
    return TargetNow(
        backup=meant_backup.backup,
        target=target.name,
        found=found,
        seen=found or target.name not in meant_backup.expected,
        left=len(there),
        hidden=last.hidden if last else 0,
        opens=_united(_opens(services, meant_backup, target, closes), last),
        why="" if found else EXCHANGED,
    )


def _removed(
    services: Services, meant_backup: MeantBackup, target: Target, closes: Gone, last: TargetNow
) -> TargetNow:
    removed = remove_backup(
        target,
        meant_backup.backup,
        meant_backup.wrapping_keys,
        trusted=services.signer_fingerprints,
        forget_names=True,
    )
    opens = _opens(services, meant_backup, target, closes)
    return msgspec.structs.replace(
        last,
        gone=last.seen and not removed.left and removed.hidden == 0,
        deleted=last.deleted + removed.deleted,
        left=removed.left,
        hidden=removed.hidden,
        # What a delete only hid may come back: for whom that opens still counts.
        opens=_united(opens, last if removed.hidden else None),
        until=removed.until,
        why=removed.why if last.seen else EXCHANGED,
    )


EXCHANGED = "nothing of it is there, and there was: another medium may be in its place"


def _united(opens: Sequence[str], last: TargetNow | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*opens, *(last.opens if last else ())]))


def _opens(services: Services, meant_backup: MeantBackup, target: Target, closes: Gone) -> list[str]:
    """Return for whom an envelope on a target opens whose key is not to be destroyed."""
    records, aside = envelopes_on(target, meant_backup.wrapping_keys, services)
    stanzas = [stanza for record in records for stanza in record.stanzas]
    opens = [stanza.label or stanza.type for stanza in stanzas if not is_closed(stanza, closes)]
    # Anybody who may write could have put those there: they direct no destruction, and are removed.
    return opens + [f"the recipients of {envelope.name} ({envelope.code})" for envelope in aside]


# -- The verdict on a backup: *shredded*, or *pending* until a date, with the reasons -----------


UNKNOWN = ""


def judge(shredding: Shredding, now: Mapping[Epoch, KeyNow], *, held: str = "") -> Judged:
    """Judge a backup by what is known of its keys and targets.

    Args:
        held: why nothing is done for now.
    """
    keys = list(_keys(shredding.meant, now))
    words = {name: lost for name, lost in shredding.lost.items() if _is_lost(shredding.targets.get(name))}
    left = [_left(shredding, name, keys) for name in shredding.meant.targets if name not in words]
    open_ = [(reasons, until) for reasons, until in left if reasons]
    if not open_:
        losses = [words[name] for name in shredding.meant.targets if name in words]
        reasons = tuple(
            f"target '{w.target}' is destroyed, by the word of {w.by}: {w.reason}" for w in losses
        )
        return Judged(backup=shredding.meant.backup, verdict=SHREDDED, reasons=reasons)
    ends = [until for _, until in open_]
    waits = [reason for found, _ in open_ for reason in found]
    return Judged(
        backup=shredding.meant.backup,
        verdict=PENDING,
        until=UNKNOWN if held or UNKNOWN in ends else max(ends),
        reasons=tuple(dict.fromkeys([held, *waits] if held else waits)),
    )


def _is_lost(target_state: TargetNow | None) -> bool:
    """A word about a medium counts only as long as the medium itself does not speak against it."""
    return target_state is None or not target_state.left


def _keys(meant_backup: MeantBackup, now: Mapping[Epoch, KeyNow]) -> Iterator[tuple[str, str]]:
    """Yield why the keys alone do not shred it, each with when that ends."""
    for name in meant_backup.stays:
        yield f"'{name}' opens it, and cannot be destroyed", UNKNOWN
    for epoch in meant_backup.epochs:
        key_state = now.get(epoch)
        if key_state is None:
            yield f"{_words(epoch)} is not destroyed yet", UNKNOWN
        elif not key_state.proven:
            waits = key_state.until if len(key_state.why) == 1 else UNKNOWN
            yield f"{_words(epoch)}: {'; '.join(key_state.why)}", waits
    if not meant_backup.epochs:
        yield "no key of it can be destroyed", UNKNOWN


def _left(shredding: Shredding, name: str, keys: list[tuple[str, str]]) -> tuple[list[str], str]:
    """Return why a backup could come back from one target (nothing: it cannot), and until when."""
    target_state = shredding.targets.get(name)
    if target_state is not None and target_state.gone:
        return [], UNKNOWN
    shut = [*keys, *_open_there(shredding.meant, target_state)]
    if not shut:
        return [], UNKNOWN
    why = target_state.why if target_state and target_state.why else "it was not looked at yet"
    by_key = _latest([until for _, until in shut])
    by_target = target_state.until if target_state else UNKNOWN
    ends = [until for until in (by_key, by_target) if until]
    return [f"target '{name}': {why}", *(reason for reason, _ in shut)], min(ends, default=UNKNOWN)


def _open_there(meant_backup: MeantBackup, target_state: TargetNow | None) -> Iterator[tuple[str, str]]:
    """Yield what keeps a replica from being shut although the keys are destroyed."""
    if target_state is None or not target_state.seen:
        yield "what opens the copy there could not be read", UNKNOWN
        return
    for name in target_state.opens:
        yield f"there it also opens for {name}", UNKNOWN
    if target_state.hidden and meant_backup.gaps:
        yield "an older envelope was removed there, and what the target hides of it cannot be told", UNKNOWN


def _latest(ends: list[str]) -> str:
    return UNKNOWN if UNKNOWN in ends else max(ends, default=UNKNOWN)


def _words(epoch: Epoch) -> str:
    kind, _, named = epoch.key.partition(":")
    shown = named if kind == "kms" else named[:16]
    return f"the {kind} key {shown}" + (f" v{epoch.version}" if epoch.version else "")


# -- shred: destroy the keys of backups, prove it, remove what lies on targets, and say what is left
#
# The intent is on record before anything is destroyed. Every step may be done again: whoever comes
# after a process that died goes on by the record. *Shredded* is said of a backup if on every target
# nothing of it is left, or all that is left opens for keys that are proven to be destroyed.


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
