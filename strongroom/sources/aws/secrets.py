"""A secret of the service as ours, and what of it only the service understands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from strongroom.model import RotationSchedule, Secret, SecretVersion, VersionState, prepare
from strongroom.sources.aws.convention import MARK, understood
from strongroom.sources.aws.described import Described, SecretReplica, Turning
from strongroom.sources.aws.versions import CURRENT, ListedVersion, in_order, numbered

AWS = "aws"
"""The member of a secret's metadata that holds its :class:`Facts`."""
DESCRIPTION = "description"
EMPTY = SecretVersion(number=0, state=VersionState.DESTROYED)
"""Stands for a secret that has no version, or none that could be read."""


class VersionLabels(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A version's id and labels."""

    id: str
    stages: list[str] = []


class AwsFacts(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What restoring needs to know beyond the secret itself. ``versions`` are by number.

    ``policy`` is the resource policy's JSON, as the service wrote it. ``deleted`` is the day on
    which a secret that is scheduled for deletion goes. ``restoring`` is the mark of a restore that
    has not finished it.
    """

    arn: str
    versions: dict[str, VersionLabels] = {}
    kms_key_id: str | None = None
    policy: str | None = None
    turning: Turning | None = None
    replicas: list[SecretReplica] = []
    deleted: str | None = None
    primary_region: str | None = None
    owner: str | None = None
    kind: str | None = None
    restoring: str | None = None

    @property
    def has_current(self) -> bool:
        """Whether a version was what everybody reads."""
        return any(CURRENT in version.stages for version in self.versions.values())

    @property
    def is_replica(self) -> bool:
        """Whether it was a copy of another region's secret."""
        return self.primary_region not in (None, region_of(self.arn))


prepare(AwsFacts)


def secret_of(
    found: Described, held: Sequence[ListedVersion], values: Mapping[str, SecretVersion], policy: str | None
) -> Secret:
    """Make a secret of what was read.

    Args:
        values: by id, of each version that has one; numbers are given here.
    """
    ordered = in_order(held)
    numbers = numbered([version.id for version in ordered])
    gone = VersionState.DELETED if found.deleted else VersionState.DESTROYED
    versions = tuple(
        replace(values[version.id], number=number)
        if version.id in values
        else SecretVersion(number=number, state=gone, created_at=version.created)
        for number, version in zip(numbers, ordered, strict=True)
    )
    meaning = understood(found.tags)
    turning = found.turning.meaning() if found.turning else None
    facts = _facts(found, dict(zip(numbers, ordered, strict=True)), policy)
    return Secret(
        name=found.name,
        versions=versions or (EMPTY,),
        type=meaning.type,
        tags=meaning.tags,
        created_at=found.created,
        updated_at=found.changed,
        expires_at=meaning.expires_at,
        rotation=turning or meaning.rotation,
        metadata=_metadata(found.description, facts),
    )


def head_of(held: Sequence[ListedVersion]) -> tuple[int, str]:
    """Return the number and id of what is current; an empty id if there is no version."""
    ids = [version.id for version in in_order(held)]
    return (numbered(ids)[-1], ids[-1]) if ids else (EMPTY.number, "")


def facts_of(secret: Secret) -> AwsFacts | None:
    """Return what a secret knows of the service that it comes from; ``None`` if it comes from elsewhere."""
    found = secret.metadata.get(AWS)
    try:
        return msgspec.convert(found, AwsFacts) if isinstance(found, dict) else None
    except msgspec.ValidationError:
        return None


def region_of(arn: str) -> str | None:
    """Return the region that a name of AWS's has in it; an alias or a bare id has none."""
    parts = arn.split(":")
    return parts[3] if parts[0] == "arn" and len(parts) > 5 else None


def description_of(secret: Secret) -> str:
    """Return a secret's description."""
    found = secret.metadata.get(DESCRIPTION)
    return found if isinstance(found, str) else ""


def live(secret: Secret) -> tuple[SecretVersion, ...]:
    """Return the versions that have a value."""
    return tuple(version for version in secret.versions if version.value is not None)


def own_rotation(secret: Secret, facts: AwsFacts | None) -> RotationSchedule | None:
    """Return a rotation that is not the service's doing, so that tags have to say it."""
    turned = facts is not None and facts.turning is not None and facts.turning.meaning() is not None
    return None if turned else secret.rotation


def kept(secret: Secret, *, policies: bool) -> Secret:
    """Return what of a secret comes back from a restore, alike for backup and for what was read back.

    Left out are times, ids and labels (an existing secret's are its own), replicas and the key that it
    is sealed under, versions without a value, metadata that the service has no place for, tags that
    only AWS can set, the service's own rotation, which a restore leaves switched off, and resource
    policies unless they are put back.
    """
    facts = facts_of(secret)
    versions = tuple(replace(version, created_at=None) for version in live(secret))
    said = {DESCRIPTION: description_of(secret)}
    if facts is not None:
        said["deletion"] = "scheduled" if facts.deleted else ""
        said["policy"] = (policies and facts.policy) or ""
    return replace(
        secret,
        versions=versions or (EMPTY,),
        tags={k: v for k, v in secret.tags.items() if k != MARK and not k.startswith("aws:")},
        created_at=None,
        updated_at=None,
        rotation=own_rotation(secret, facts),
        metadata={name: value for name, value in said.items() if value},
    )


def _facts(found: Described, held: Mapping[int, ListedVersion], policy: str | None) -> AwsFacts:
    return AwsFacts(
        arn=found.arn,
        versions={
            str(number): VersionLabels(id=version.id, stages=sorted(version.stages))
            for number, version in held.items()
        },
        kms_key_id=found.kms_key_id,
        policy=policy,
        turning=found.turning,
        replicas=list(found.replicas),
        deleted=found.deleted,
        primary_region=found.primary_region,
        owner=found.owner,
        kind=found.kind,
        restoring=found.tags.get(MARK),
    )


def _metadata(description: str, facts: AwsFacts) -> dict[str, Any]:
    said = {DESCRIPTION: description} if description else {}
    return said | {AWS: msgspec.to_builtins(facts)}
