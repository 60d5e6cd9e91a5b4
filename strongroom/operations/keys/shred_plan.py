"""What shredding would destroy, and what would be lost with it. Nothing is changed by a plan."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
from msgspec import Struct

from strongroom.container.errors import MissingPiece
from strongroom.container.manifest import Manifest
from strongroom.container.wrapping import Stanza, wrap_context
from strongroom.keys import allof
from strongroom.keys.destroying import Destroyer, Fate
from strongroom.operations.archive.holds import HoldSubject, read_holds
from strongroom.operations.archive.key_versions import (
    Epoch,
    Lying,
    ShredScope,
    UnbelievedEnvelope,
    epoch_of,
    epochs_in,
    legs_of,
    places_of,
    survey,
)
from strongroom.operations.archive.shredding import MeantBackup, MeantKey, Witness, read
from strongroom.operations.engine.jobs import job_of
from strongroom.operations.engine.layout import base_of
from strongroom.operations.engine.services import Services
from strongroom.operations.errors import KeyShared, NothingSelected, OnLegalHold
from strongroom.operations.keys.usage import READERS, Opens, look_all
from strongroom.state.records import CatalogEntry
from strongroom.words import plural

SHOWN = 10
RECENT = 1000


class ShredPlan(Struct, frozen=True, kw_only=True):
    """What would be destroyed.

    ``kin`` are backups that hold the same secrets (re-encrypted) and are not asked for, ``unseen``
    and ``aside`` what could not be read; ``kept`` is how many backups the policy has left.
    """

    policy: str
    keys: tuple[MeantKey, ...]
    backups: tuple[MeantBackup, ...]
    kin: tuple[str, ...]
    unseen: dict[str, str]
    aside: tuple[UnbelievedEnvelope, ...]
    kept: int


def make_plan(
    services: Services,
    scope: ShredScope,
    *,
    policy: str,
    backups: Sequence[str] = (),
    before: str | None = None,
) -> ShredPlan:
    """Plan to shred backups of a policy: those named, or those made before a time (RFC 3339), or all.

    Raises:
        NotErasable, OnLegalHold: the policy does not allow it.
        NothingSelected: there is nothing to shred.
        KeyShared: a key version also opens what is not asked for.
        StrongroomError: a backup cannot be looked at on any target.
    """
    scope.require(policy)
    entries = _chosen(services, scope, policy, backups, before)
    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(lambda entry: survey(services, entry.backup, policy), entries))
    _require_no_hold(services, found)
    lying = {lying_object.manifest.backup_id: lying_object for lying_object in found}
    keys = _keys(lying.values(), scope)
    meant_backups = tuple(_meant(services, found, policy, keys) for found in lying.values())
    require_alone(services, scope, keys, policy=policy, asked=set(lying))
    others = [e.backup for e in services.store.backups(policy=policy) if e.backup not in lying]
    return ShredPlan(
        policy=policy,
        keys=tuple(sorted(keys.values(), key=lambda key: key.epoch)),
        backups=meant_backups,
        kin=tuple(
            other for other in others if base_of(other) in {base_of(backup_there) for backup_there in lying}
        ),
        unseen={name: why for found in lying.values() for name, why in found.unseen.items()},
        aside=tuple(envelope for found in lying.values() for envelope in found.aside),
        kept=len(others),
    )


def _require_no_hold(services: Services, found: Iterable[Lying]) -> None:
    held = read_holds(services, now=time.time())
    for lying_object in found:
        if why := held.why(HoldSubject.of(lying_object.manifest)):
            raise OnLegalHold(f"Backup {lying_object.manifest.backup_id} is not to be shredded: {why}")


def _chosen(
    services: Services, scope: ShredScope, policy: str, backups: Sequence[str], before: str | None
) -> list[CatalogEntry]:
    known = {entry.backup: entry for entry in services.store.backups(policy=policy)}
    done = {
        name for name, shredding in read(services.store, scope.confirmers).backups.items() if shredding.done
    }
    if missing := [name for name in backups if name not in known and name not in done]:
        raise MissingPiece(f"the catalog has no backup of policy '{policy}' named {missing[0]}", hint="")
    entries = [known[name] for name in dict.fromkeys(backups or known) if name in known]
    entries = [entry for entry in entries if before is None or entry.created_at < before]
    if not entries:
        raise NothingSelected(
            f"No backup of policy '{policy}' is to be shredded.",
            hint="See 'strongroom backups list' and 'strongroom keys shred --status'.",
        )
    return entries


# -- keys ----------------------------------------------------------------------


def _keys(lying: Iterable[Lying], scope: ShredScope) -> dict[Epoch, MeantKey]:
    """Return every key version that has to be destroyed, as its key service shows it now."""
    found: dict[Epoch, MeantKey] = {}
    for lying_object in lying:
        for record in lying_object.records:
            for stanza in record.stanzas:
                for epoch, under, destroyer in closing(stanza, scope):
                    if epoch not in found:
                        context = under.context + wrap_context(record.id).hex()
                        witness = msgspec.structs.replace(under, context=context)
                        found[epoch] = _shown(epoch, destroyer, witness)
    return found


def closing(stanza: Stanza, scope: ShredScope) -> Iterator[tuple[Epoch, Witness, Destroyer]]:
    """Yield what closes a stanza once destroyed: itself, or one leg's every spare.

    Nothing, if it cannot be closed from here. A witness lacks the record's own part of its context.
    """
    legs = legs_of(stanza)
    for number, leg in enumerate(legs):
        owners = [owner for sealed_way in leg if (owner := scope.owner(sealed_way)) is not None]
        if len(owners) == len(leg):
            prefix = allof.leg_context(number, len(legs), b"") if stanza.type == allof.TYPE else b""
            for way_in, owner in zip(leg, owners, strict=True):
                yield epoch_of(way_in), Witness(stanza=way_in, context=prefix.hex()), owner
            return


def _shown(epoch: Epoch, destroyer: Destroyer, witness: Witness) -> MeantKey:
    standing = destroyer.look(epoch.version)
    return MeantKey(
        epoch=epoch,
        name=destroyer.name,
        where=standing.where,
        seen=standing.fate is not Fate.GONE,
        doubts=standing.doubts,
        answer=standing.answer,
        witness=witness,
    )


def _meant(services: Services, found: Lying, policy: str, keys: Collection[Epoch]) -> MeantBackup:
    manifest = found.manifest
    stanzas = [stanza for record in found.own for stanza in record.stanzas]
    inside = {epoch for record in found.records for epoch in epochs_in(record)}
    return MeantBackup(
        backup=manifest.backup_id,
        created_at=manifest.created_at,
        secrets=manifest.counts.secrets,
        wrapping_keys=tuple(sorted({record.id for record in found.own})),
        epochs=tuple(sorted(inside & set(keys))),
        stays=tuple(dict.fromkeys(s.label or s.type for s in stanzas if not _closed_by(s, keys))),
        gaps=found.gaps,
        targets=tuple(places_of(services, manifest.backup_id, policy, manifest)),
        expected=tuple(sorted(_expected(services, manifest))),
    )


def _expected(services: Services, manifest: Manifest) -> set[str]:
    """Return the targets that had it: all that it was made for, but those known to have missed it."""
    replicas = services.store.replicas(manifest.backup_id)
    missed = {replica.target for replica in replicas if not replica.good and replica.verified is None}
    named = {target.name for target in manifest.targets} | {replica.target for replica in replicas}
    return named - missed


def _closed_by(stanza: Stanza, keys: Collection[Epoch]) -> bool:
    return any(all(epoch_of(way_in) in keys for way_in in leg) for leg in legs_of(stanza))


# -- what would be lost besides ------------------------------------------------


def require_alone(
    services: Services, scope: ShredScope, keys: dict[Epoch, MeantKey], *, policy: str, asked: Collection[str]
) -> None:
    """Refuse to destroy a key version that something else needs, or may come to need.

    Raises:
        KeyShared: with what that is.
    """
    going = [
        run.id
        for run in services.store.runs(RECENT)
        if not run.state.final and run.spec.policy == policy and job_of(run.spec.kind).seals
    ]
    if going:
        raise KeyShared(
            f"Run {going[0]} of policy '{policy}' is going on, and may be sealing under the key.",
            hint="Nothing was changed. Let it end, or cancel it, then repeat.",
        )
    for key in keys.values():
        if not scope.destroyers[key.name].renews and (sealing := scope.sealing(key.name)):
            raise KeyShared(
                f"Policy '{sealing[0]}' still seals to '{key.name}': nobody could open its next backup.",
                hint="Nothing was changed. Put the next key into the policy's recipients first, then repeat.",
            )
    needing, unread = _needing(services, scope, keys, asked)
    if needing:
        raise KeyShared(f"What would be destroyed also opens {_list(needing)}, which are not to be shredded.")
    if unread:
        backup, why = next(iter(unread.items()))
        raise KeyShared(
            f"{plural(len(unread), 'backup')} could not be read, and may need what would be destroyed; "
            f"{backup}: {why}",
            hint="Nothing was changed. Bring their targets back, or repair them, then repeat.",
        )


def _needing(
    services: Services, scope: ShredScope, keys: dict[Epoch, MeantKey], asked: Collection[str]
) -> tuple[list[str], dict[str, str]]:
    shredding = set(read(services.store, scope.confirmers).backups) | set(asked)
    others = [entry for entry in services.store.backups() if entry.backup not in shredding]
    looked = look_all(services, others)
    return sorted(opening.backup for opening in looked.found if _needs(opening, scope, keys)), looked.unread


def _needs(opens: Opens, scope: ShredScope, keys: dict[Epoch, MeantKey]) -> bool:
    inside = {epoch for record in opens.records for epoch in epochs_in(record)}
    return any(
        own_epoch.key == epoch.key
        and scope.destroyers[meant_key.name].takes(epoch.version, own_epoch.version)
        for own_epoch in inside
        for epoch, meant_key in keys.items()
    )


def _list(backups: Sequence[str]) -> str:
    more = f" and {len(backups) - SHOWN} more" if len(backups) > SHOWN else ""
    return ", ".join(backups[:SHOWN]) + more
