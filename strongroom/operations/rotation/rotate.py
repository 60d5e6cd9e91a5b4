"""rotate: all backups of a policy for the recipients that it names now.

A plan lists the backups. What is sealed anew takes one step a backup; what is re-wrapped, which is
little work, goes in slices of the plan (:mod:`~strongroom.operations.rotation.job`). Every step stands
alone: it may run twice, late, or die half-way, and whoever does it again finds what is done
already. The run's rows are the report of what each backup was and is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from strongroom.container.errors import MissingPiece, Tampered, WrongKey
from strongroom.container.manifest import Manifest, check_receipts, parse_manifest
from strongroom.errors import ConfigError, StrongroomError
from strongroom.model import Role, prepare
from strongroom.operations.archive import shredding as shredded
from strongroom.operations.archive.envelopes import most_telling
from strongroom.operations.archive.index_files import IndexKeys
from strongroom.operations.archive.removal import lock_until
from strongroom.operations.backup.verify import PlannedPieces
from strongroom.operations.engine import integrity
from strongroom.operations.engine.approving import require_known_index_recipients, require_known_recipients
from strongroom.operations.engine.jobs import read_facts
from strongroom.operations.engine.layout import manifest_name
from strongroom.operations.engine.services import Pinned, Services, openers
from strongroom.operations.keys.usage import StillOpens, still_opens
from strongroom.operations.rotation.reencrypt import away_from, reencrypt_backup
from strongroom.operations.rotation.rewrap import (
    KeyRotated,
    RewrapOrder,
    names_still_open,
    rewrap_backup,
    rewrap_index,
)
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run, RunStep
from strongroom.system.attempts import RequestPace
from strongroom.targets import Target
from strongroom.targets.reading import sound_copy

# -- What the steps of a rotation return, and what is known of one ------------------------------


class BackupRotationPlan(Struct, frozen=True, kw_only=True):
    """The facts that a rotation begins with: the backups, by their place in the plan."""

    plan: PlannedPieces
    backups: tuple[str, ...]


class BackupRotated(Struct, frozen=True, kw_only=True):
    """What a backup was and is. ``missed`` says why a target was not reached.

    ``keys`` are those that were re-wrapped, ``indexes`` those of its indexes of names, and ``unopened`` why
    one of these was not. ``new`` is the backup that it was re-encrypted to,
    ``verified`` how deep that was read back. ``still`` says where keys that were rotated away still open it.
    """

    backup: str
    sealed: bool
    missed: Mapping[str, str]
    keys: tuple[KeyRotated, ...] | UnsetType = UNSET
    indexes: tuple[KeyRotated, ...] | UnsetType = UNSET
    unopened: str | UnsetType = UNSET
    new: str | UnsetType = UNSET
    verified: str | UnsetType = UNSET
    still: tuple[StillOpens, ...] | UnsetType = UNSET


class SliceRewrapped(Struct, frozen=True, kw_only=True):
    """What became of a slice: its backups, and the places in the plan of those that go ``alone``. ``rest`` is
    where the next slice begins: at this one's end, if nothing is left."""

    backups: tuple[BackupRotated, ...]
    alone: tuple[int, ...]
    rest: int


prepare(BackupRotationPlan, SliceRewrapped)


def backups_of(run: Run) -> tuple[str, ...]:
    """Return the backups that a rotation is about, in the order of its plan."""
    return read_facts(run, BackupRotationPlan).backups


# -- rotate: all backups of a policy for the recipients that it names now -----------------------
#
# A plan lists the backups. What is sealed anew takes one step a backup; what is re-wrapped, which is
# little work, goes in slices of the plan (:mod:`~strongroom.operations.rotation.job`). Every step stands
# alone: it may run twice, late, or die half-way, and whoever does it again finds what is done
# already. The run's rows are the report of what each backup was and is.


class RotateOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a rotation is asked for, as its run's options keep it.

    ``reencrypt`` seals again under new keys, for a key that leaked; else envelopes are
    re-wrapped. ``backups`` names some instead of all. ``rate`` bounds the wrapping keys a
    second, over the processes of a host. ``renew`` and ``keep_older`` are those of
    :class:`~strongroom.operations.rotation.rewrap.RewrapOrder`.
    """

    reencrypt: bool = False
    backups: tuple[str, ...] = ()
    rate: float | None = None
    renew: bool = False
    keep_older: bool = False


prepare(RotateOptions)


def options_of(run: Run) -> RotateOptions:
    """Return what a rotation is asked for."""
    return msgspec.convert(run.spec.options, RotateOptions)


def plan(run: Run, step: RunStep, services: Services) -> BackupRotationPlan:
    """List the backups that are to be rotated: those named, in their order; else all, the oldest first."""
    named = options_of(run).backups
    shredding = shredded.shredded_backups(
        services.store, services.signer_fingerprints
    )  # under a new key it could be brought back
    candidates = [backup for backup in services.store.names(run.spec.policy) if backup not in shredding]
    for backup in shredding & set(named):
        shredded.check(services.store, backup, services.signer_fingerprints)
    if missing := sorted(set(named) - set(candidates)):
        raise MissingPiece(f"the catalog has no backup of policy '{run.spec.policy}' named {missing[0]}")
    backups = tuple(dict.fromkeys(named or reversed(candidates)))
    return BackupRotationPlan(plan=PlannedPieces(pieces=len(backups)), backups=backups)


def rotate(run: Run, step: RunStep, services: Services) -> BackupRotated:
    """Rotate one backup of the plan; the result says what it was and what it is now."""
    backup = backups_of(run)[step.piece]
    return BackupRotator(run, services, [backup]).rotate(backup)


class BackupRotator:
    """Rotates some backups of one run, and looks up once what is the same for all of them.

    Raises:
        RecordRefused: the run is not this process's own policy's; see :func:`check_rotating`.
    """

    def __init__(self, run: Run, services: Services, backups: Sequence[str]) -> None:
        self._run = run
        self._services = services
        self._pinned = check_rotating(run, services)
        self._options = options_of(run)
        self._pace = RequestPace(self._options.rate, shared=services.state_dir / "rotate.pace").wait
        self._digests = services.store.digests(backups)
        self._replicas = services.store.replicas_of(backups)
        # Now, whatever the first backup is: a process that is forked off later must not ask a person again.
        # What an identity lacks is said with each backup that needs it.
        with suppress(StrongroomError):
            services.identities()

    def rotate(self, backup: str) -> BackupRotated:
        """Rotate one of the backups; return what it was and what it is now."""
        manifest, targets, missed = find_manifest(
            self._run, backup, self._digests.get(backup), self._services
        )
        result = BackupRotated(backup=backup, sealed=manifest.sealed, missed=missed)
        if not manifest.sealed:
            return result
        rotation = self._rotation(manifest)
        if self._options.reencrypt:
            check_receipts(manifest)
            reencrypted = reencrypt_backup(self._run, manifest, targets, rotation, self._services)
            result = replace(result, missed={**missed, **reencrypted.missed}, still=reencrypted.still)
            return (
                replace(result, new=reencrypted.new, verified=reencrypted.verified)
                if reencrypted.new
                else result
            )
        keys = tuple(rewrap_backup(manifest, targets, rotation))
        away = away_from(self._replicas[backup], targets)
        still = still_opens(manifest, targets, self._pinned.recipients, away=away)
        result = replace(result, keys=keys, still=tuple(still))
        result = self._with_indexes(result, manifest, targets, rotation)
        for key in (*keys, *(result.indexes or ())):
            missed |= key.missed
        return replace(result, missed={**result.missed, **missed})

    def _with_indexes(
        self, result: BackupRotated, manifest: Manifest, targets: Sequence[Target], rotation: RewrapOrder
    ) -> BackupRotated:
        """Rotate the keys of a backup's indexes of names, for those who may learn names now.

        A key that is for names alone need not be here. Then the backup is rotated all the same.
        """
        rotation = replace(rotation, recipients=self._pinned.index_recipients or rotation.recipients)
        done: list[KeyRotated] = []
        still = list(result.still or ())
        unopened = ""
        for index_key in self._indexes.of(manifest, kept=self._kept):
            try:
                done.append(rewrap_index(index_key, targets, rotation))
            except WrongKey as error:
                unopened = f"{error.code}: {error.message}"
            else:
                still += names_still_open(index_key, rotation.recipients, result.still or ())
        away = {name: f"{error.code}: {error.message}" for name, error in self._indexes.away.items()}
        result = replace(result, missed={**away, **result.missed}, indexes=tuple(done), still=tuple(still))
        return replace(result, unopened=unopened) if unopened else result

    @cached_property
    def _indexes(self) -> IndexKeys:
        targets = {pin.name: self._services.target(pin.name) for pin in self._run.spec.targets}
        return IndexKeys(targets, trusted=self._services.signer_fingerprints)

    @cached_property
    def _kept(self) -> frozenset[str]:
        return frozenset(self._services.store.names(self._run.spec.policy))

    def _rotation(self, manifest: Manifest) -> RewrapOrder:
        services = self._services
        return RewrapOrder(
            recipients=self._pinned.recipients,
            identities=openers(self._run.spec, services),
            signer=services.signers(Role.RECOVER),
            trusted=services.signer_fingerprints,
            until=lock_until(manifest, self._pinned.spec.minimum_retention_days),
            pace=self._pace,
            renew=self._options.renew,
            keep_older=self._options.keep_older,
        )


def check_rotating(run: Run, services: Services) -> Pinned:
    """Return the policy to rotate by, refusing a run whose recipients are not the policy's own.

    Rotating adds readers, so no more is taken from the record than sealing takes.
    """
    pinned = services.pinned(run.spec.policy)
    for field in ("recipients", "targets", "source"):
        if getattr(run.spec, field) != getattr(pinned.spec, field):
            raise RecordRefused(f"run {run.id} disagrees with this worker's own policy in '{field}'")
    if pinned.spec.sealed and not pinned.recipients:
        raise ConfigError(f"this process does not know the recipients of policy '{run.spec.policy}'")
    require_known_recipients(services, run.spec.policy, pinned.spec.recipients)
    require_known_index_recipients(services, run.spec.policy, pinned.index_recipients)
    return pinned


def find_manifest(
    run: Run, backup: str, recorded: str | None, services: Services
) -> tuple[Manifest, list[Target], dict[str, str]]:
    """Return a backup's manifest, the targets that hold it, and what is wrong with the others.

    Args:
        recorded: the SHA-256 of its manifest that the catalog knows, in hex.

    Raises:
        MissingPiece: no target gave the manifest that the catalog knows.
        RecordRefused: it is a backup of another policy, whose readers are not ours to add.
    """
    parsed: dict[bytes, Manifest] = {}
    manifests: dict[str, Manifest] = {}
    missed: dict[str, StrongroomError] = {}
    for pin in run.spec.targets:
        try:
            target = integrity.check_target(run, pin.name, services)
            manifests[pin.name] = _parse_once(target, backup, recorded, parsed, services)
        except StrongroomError as error:
            missed[pin.name] = error
    if not manifests:
        none = MissingPiece(f"no target gave the manifest of {backup} that the catalog knows")
        raise most_telling([none, *missed.values()])
    manifest = next(iter(manifests.values()))
    if manifest.policy != run.spec.policy or manifest.backup_id != backup:
        raise RecordRefused(f"backup {backup} is not one of policy '{run.spec.policy}'")
    reasons = {name: f"{error.code}: {error.message}" for name, error in missed.items()}
    return manifest, [services.target(name) for name in manifests], reasons


def _parse_once(
    target: Target,
    backup: str,
    recorded: str | None,
    parsed_before: dict[bytes, Manifest],
    services: Services,
) -> Manifest:
    """Return a target's manifest. Equal bytes from several targets are parsed once."""

    def parsed(content: bytes) -> Manifest:
        digest = hashlib.sha256(content)
        if recorded is not None and digest.hexdigest() != recorded:
            raise Tampered(f"target '{target.name}' holds another manifest of {backup} than was recorded")
        key = digest.digest()
        if key not in parsed_before:
            trusted = services.signer_fingerprints
            parsed_before[key] = parse_manifest(content, trusted=trusted, receipts=False)
        return parsed_before[key]

    return sound_copy(target, manifest_name(backup), parsed)
