"""What the service says of a secret, as far as we look at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from strongroom.model import RotationSchedule, prepare
from strongroom.sources.aws.versions import ListedVersion, holders


class SecretReplica(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A region that the secret is replicated to."""

    region: str
    kms_key_id: str | None = None


class Turning(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Rotation as the service does it: by which function, and when."""

    enabled: bool = False
    lambda_arn: str | None = None
    rules: dict[str, Any] = {}

    def meaning(self) -> RotationSchedule | None:
        """Return what of it anybody understands. A schedule's days are the service's own count."""
        days = self.rules.get("AutomaticallyAfterDays")
        return (
            RotationSchedule(days=days, enabled=self.enabled) if isinstance(days, int) and days > 0 else None
        )


prepare(SecretReplica, Turning)


class Described(Struct, frozen=True, kw_only=True):
    """A secret without its values, as of one moment."""

    name: str
    arn: str
    description: str = ""
    kms_key_id: str | None = None
    tags: dict[str, str] = {}
    stages: dict[str, tuple[str, ...]] = {}
    created: str | None = None
    changed: str | None = None
    deleted: str | None = None
    turning: Turning | None = None
    replicas: tuple[SecretReplica, ...] = ()
    primary_region: str | None = None
    owner: str | None = None
    kind: str | None = None

    def holder(self, stage: str) -> str | None:
        """Return the id of the version that has a label."""
        return holders(self.stages).get(stage)


def described(answer: Mapping[str, Any]) -> Described:
    """Read an answer of DescribeSecret, or an item of ListSecrets, which lacks the replicas."""
    stages = answer.get("VersionIdsToStages") or answer.get("SecretVersionsToStages") or {}
    return Described(
        name=answer["Name"],
        arn=answer["ARN"],
        description=answer.get("Description") or "",
        kms_key_id=answer.get("KmsKeyId"),
        tags=tags_of(answer.get("Tags") or ()),
        stages={id_: tuple(labels) for id_, labels in stages.items()},
        created=moment(answer.get("CreatedDate")),
        changed=moment(answer.get("LastChangedDate")),
        deleted=moment(answer.get("DeletedDate")),
        turning=_turning(answer),
        replicas=tuple(map(_replica, answer.get("ReplicationStatus") or ())),
        primary_region=answer.get("PrimaryRegion"),
        owner=answer.get("OwningService"),
        kind=answer.get("Type"),
    )


def held(version: Mapping[str, Any]) -> ListedVersion:
    """Read an item of ListSecretVersionIds."""
    stages = tuple(version.get("VersionStages") or ())
    return ListedVersion(version["VersionId"], stages, moment(version.get("CreatedDate")))


def tags_of(listed: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return tags, which the service lists in any order, by key."""
    return {tag["Key"]: tag.get("Value", "") for tag in listed}


def moment(found: datetime | None) -> str | None:
    """Return a time as RFC 3339 in UTC, to the millisecond, which is what the service keeps."""
    if found is None:
        return None
    return found.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _turning(answer: Mapping[str, Any]) -> Turning | None:
    """A secret that never was to be rotated has none of the three."""
    names = ("RotationEnabled", "RotationLambdaARN", "RotationRules")
    if all(answer.get(name) is None for name in names):
        return None
    return Turning(
        enabled=bool(answer.get("RotationEnabled")),
        lambda_arn=answer.get("RotationLambdaARN") or None,
        rules={key: value for key, value in (answer.get("RotationRules") or {}).items() if value is not None},
    )


def _replica(status: Mapping[str, Any]) -> SecretReplica:
    return SecretReplica(region=status["Region"], kms_key_id=status.get("KmsKeyId"))
