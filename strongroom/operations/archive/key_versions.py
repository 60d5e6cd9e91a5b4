"""Which key versions a backup lies under, in every generation of its envelopes.

A stanza is *closed* once its key version is destroyed; an all-of one, once every spare of one leg
is. A record is closed if all its stanzas are, and a backup on a target if all records there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from strongroom.container.manifest import ContainerEntry, Manifest, parse_manifest
from strongroom.container.wrapping import Stanza, WrappingKeyRecord
from strongroom.errors import ConfigError, StrongroomError
from strongroom.keys import allof
from strongroom.keys.destroying import Destroyer
from strongroom.keys.errors import KeyAmbiguous
from strongroom.keys.kms import TYPE as KMS
from strongroom.keys.kms import arn_of
from strongroom.model import Role
from strongroom.operations.archive.envelopes import find_all, first_answer, wrapping_keys
from strongroom.operations.archive.open import carried_record, manifest_bytes
from strongroom.operations.engine.services import Services
from strongroom.operations.errors import NotErasable, OnLegalHold
from strongroom.state.errors import RecordRefused
from strongroom.targets import Target
from strongroom.words import nearest


class Epoch(Struct, frozen=True, order=True):
    """A key version: what stanzas call the key (``type:id``), and its version, 0 if it has none."""

    key: str
    version: int


Gone = Callable[[Epoch], bool]


def epoch_of(stanza: Stanza) -> Epoch:
    """Return what a stanza that is no all-of lies under."""
    if stanza.type == KMS:
        return Epoch(f"{KMS}:{arn_of(stanza)}", 0)
    version = stanza.args.get("version", 0)
    named = stanza.args.get("key", stanza.label)
    return Epoch(f"{stanza.type}:{named}", version if isinstance(version, int) else 0)


def legs_of(stanza: Stanza) -> tuple[tuple[Stanza, ...], ...]:
    """Return the groups of stanzas of which one whole group has to be closed."""
    return allof.inner(stanza) if stanza.type == allof.TYPE else ((stanza,),)


def is_closed(stanza: Stanza, gone: Gone) -> bool:
    """Say whether nobody opens a stanza any more."""
    return any(all(gone(epoch_of(way_in)) for way_in in leg) for leg in legs_of(stanza))


def epochs_in(record: WrappingKeyRecord) -> Iterator[Epoch]:
    """Yield every key version that a record names."""
    for stanza in record.stanzas:
        for leg in legs_of(stanza):
            yield from (epoch_of(way_in) for way_in in leg)


class UnbelievedEnvelope(Struct, frozen=True, kw_only=True):
    """An object among the envelopes of a target that cannot be read, or not believed."""

    target: str
    name: str
    code: str


class Lying(Struct, frozen=True, kw_only=True):
    """A backup as it lies on all targets that could be asked.

    Args:
        own: the records that its containers carry, one for each wrapping key.
        detached: those beside them, all generations of all targets.
        gaps: a generation was there once and is not now: where deletes only hide, it may come back.
        unseen: why a target could not be asked.
    """

    manifest: Manifest
    own: tuple[WrappingKeyRecord, ...]
    detached: dict[str, tuple[WrappingKeyRecord, ...]]
    aside: tuple[UnbelievedEnvelope, ...]
    unseen: dict[str, str]

    @property
    def records(self) -> tuple[WrappingKeyRecord, ...]:
        """Every record there is, the containers' own first."""
        return (
            *self.own,
            *(record for records in self.detached.values() for record in records),
        )

    @property
    def gaps(self) -> bool:
        """Whether a generation below the newest is on no target."""
        for own in self.own:
            seen = {record.generation for record in self.records if record.id == own.id}
            if seen != set(range(1, max(seen) + 1)):
                return True
        return False


def places_of(services: Services, backup: str, policy: str, manifest: Manifest | None) -> list[str]:
    """Return every target that may hold a backup: by its manifest, the catalog, and its policy today."""
    named = [manifest_target.name for manifest_target in manifest.targets] if manifest else []
    named += [replica.target for replica in services.store.replicas(backup)]
    named += [pin.name for pin in services.pinned(policy).spec.targets]
    return sorted(set(named))


def survey(services: Services, backup: str, policy: str) -> Lying:
    """Read every generation of a backup's envelopes on every target; no key is used.

    Raises:
        RecordRefused: it is a backup of another policy, which may be immutable.
        StrongroomError: no target gave the manifest, or the containers' own envelopes.
    """
    manifest = _manifest(services, backup, policy)
    if manifest.policy != policy:
        raise RecordRefused(f"backup {backup} is one of policy '{manifest.policy}', not of '{policy}'")
    detached: dict[str, tuple[WrappingKeyRecord, ...]] = {}
    aside: list[UnbelievedEnvelope] = []
    unseen: dict[str, str] = {}
    for name in places_of(services, backup, policy, manifest):
        try:
            target = services.target(name)
            detached[name], odd = envelopes_on(target, wrapping_keys(manifest), services)
            aside += odd
        except StrongroomError as error:
            unseen[name] = f"{error.code}: {error.message}"
    own = tuple(_own(services, manifest, list(detached)))
    return Lying(manifest=manifest, own=own, detached=detached, aside=tuple(aside), unseen=unseen)


def envelopes_on(
    target: Target, keys: Iterable[str], services: Services
) -> tuple[tuple[WrappingKeyRecord, ...], list[UnbelievedEnvelope]]:
    """Return the detached records of these wrapping keys on one target, and what is none."""
    records: list[WrappingKeyRecord] = []
    aside: list[UnbelievedEnvelope] = []
    for key in keys:
        placed_envelopes = find_all(target, key, trusted=services.signer_fingerprints)
        records += placed_envelopes.records.values()
        aside += [
            UnbelievedEnvelope(target=target.name, name=envelope.name, code=envelope.code)
            for envelope in placed_envelopes.aside
        ]
    return tuple(records), aside


def _manifest(services: Services, backup: str, policy: str) -> Manifest:
    trusted = services.signer_fingerprints

    def read(name: str) -> Manifest:
        return parse_manifest(manifest_bytes(services.target(name), backup, trusted=trusted), trusted=trusted)

    return first_answer(places_of(services, backup, policy, None), read, of=f"backup {backup}")


def _own(services: Services, manifest: Manifest, names: list[str]) -> Iterator[WrappingKeyRecord]:
    def read(place: tuple[str, ContainerEntry]) -> WrappingKeyRecord:
        name, entry = place
        return carried_record(services.target(name), manifest.backup_id, entry)

    for entry in wrapping_keys(manifest).values():
        yield first_answer([(name, entry) for name in names], read, of=f"backup {manifest.backup_id}")


# -- What may be shredded here: the policies' own word, and the keys that can be destroyed ------


CONFIRMER = Role.RECOVER
"""The role that a person confirms in: its key lies where people restore and rotate, on no pool that
always runs."""


class ErasurePolicy(Struct, frozen=True, kw_only=True):
    """What a policy says of shredding. ``seals_for`` names its keys, those inside an all-of too."""

    erasable: bool
    legal_hold: str = ""
    seals_for: frozenset[str] = frozenset()


class ShredScope(Struct, frozen=True, kw_only=True):
    """The policies of this process's own configuration, and what it can destroy, by key name.

    ``confirmers`` are the installations whose intents count, signed by the role that confirms.
    """

    confirmers: frozenset[str]
    policies: Mapping[str, ErasurePolicy]
    destroyers: Mapping[str, Destroyer]

    def require(self, policy: str) -> ErasurePolicy:
        """Return a policy whose backups may be shredded now.

        Raises:
            ConfigError: there is no such policy.
            NotErasable: it is immutable.
            OnLegalHold: somebody keeps it.
        """
        erasure_policy = self.policies.get(policy)
        if erasure_policy is None:
            raise ConfigError(f"there is no policy '{policy}'", hint=nearest(policy, self.policies))
        if not erasure_policy.erasable:
            raise NotErasable(f"Policy '{policy}' is immutable: its backups are kept for as long as it says.")
        if erasure_policy.legal_hold:
            raise OnLegalHold(f"Policy '{policy}' is under a legal hold: {erasure_policy.legal_hold}")
        return erasure_policy

    def owner(self, stanza: Stanza) -> Destroyer | None:
        """Return what can destroy the key that a stanza is for; ``None`` if nothing here can.

        Raises:
            KeyAmbiguous: several configured keys answer to it.
        """
        destroyers = [destroyer for destroyer in self.destroyers.values() if _owns(destroyer, stanza)]
        if len(destroyers) > 1:  # two servers may call their keys alike: the label has ours
            destroyers = [destroyer for destroyer in destroyers if destroyer.name == stanza.label]
            if len(destroyers) != 1:
                raise KeyAmbiguous(f"several configured keys may be the `{stanza.label}` of a backup")
        return destroyers[0] if destroyers else None

    def sealing(self, name: str) -> Sequence[str]:
        """Return the policies that still seal for a key."""
        return [
            policy for policy, erasure_policy in self.policies.items() if name in erasure_policy.seals_for
        ]


def _owns(destroyer: Destroyer, stanza: Stanza) -> bool:
    """A key that is gone already, or cannot be read, is none that we could destroy."""
    try:
        return destroyer.owns(stanza)
    except StrongroomError as error:
        if error.transient:
            raise
        return False
