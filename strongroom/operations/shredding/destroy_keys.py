"""Destroying the key versions of backups at their key services, and finding out whether they are gone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from strongroom.errors import StrongroomError
from strongroom.keys.destroying import Destroyer, Fate, KeyVersionState, attempt
from strongroom.keys.errors import KeyNotDestroyed
from strongroom.operations.services import Services
from strongroom.operations.shredding.errors import KeyShared
from strongroom.operations.shredding.events import KEY, KeyNow, MeantKey
from strongroom.operations.shredding.key_versions import Epoch
from strongroom.operations.shredding.plan import require_alone
from strongroom.operations.shredding.record import ShreddingRecord, write
from strongroom.operations.shredding.scope import ShredScope
from strongroom.timestamps import rfc3339


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
