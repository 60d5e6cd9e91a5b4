"""A secret of the service as ours: how tags are understood, how versions are numbered, what only AWS
knows."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from strongroom.errors import SourceError
from strongroom.model import Media, RotationSchedule, Secret, SecretVersion, VersionState, prepare
from strongroom.sources.aws.client import (
    ATTEMPTS,
    LONGEST_WINDOW,
    SHORTEST_WINDOW,
    Api,
    AwsInvalid,
    AwsLosses,
)
from strongroom.sources.convention import Meaning, spelled, understood
from strongroom.sources.errors import SourceUnavailable

# -- Tags: those of the convention (:mod:`strongroom.sources.convention`), each with a prefix, and all others
#
# ``strongroom:restoring`` is the mark of an unfinished restore, and no tag of the secret. All other tags are
# tags.


PREFIX = "strongroom:"
MARK = PREFIX + "restoring"
"""The tag of a secret that a restore has not finished. It says nothing of the secret itself."""
RESERVED = "aws:"
"""Tags that only AWS itself can set."""


def meaning_of(tags: Mapping[str, str]) -> Meaning:
    """Return what tags say; the rest are tags."""
    return understood({key: value for key, value in tags.items() if key != MARK}, prefix=PREFIX)


def tags_for(secret: Secret, *, rotation: RotationSchedule | None) -> dict[str, str]:
    """Return the tags of a secret there. Its own rotation, the service's, needs none."""
    kept = {key: value for key, value in secret.tags.items() if not key.startswith(RESERVED)}
    kept.pop(MARK, None)  # a backup of before the mark was left out may have it
    return spelled(secret, rotation=rotation, prefix=PREFIX) | kept


# -- Version ids, which AWS has, and version numbers, which Strongroom has ----------------------
#
# AWS knows a version by an id of 32 to 64 characters that whoever wrote it chose (a UUID, mostly).
# Numbers come from the order: by the moment of creation, and the one labelled AWSCURRENT last, since
# that is what a reader gets. The metadata keeps each number's id and labels, so nothing is lost.
#
# Versions that Strongroom itself writes for want of an id carry their number, and how the value is to
# be read, in an id of its own::
#
#     strongroom-<number, 16 digits>-<t, j or b>-<32 hex digits>


CURRENT, PREVIOUS, PENDING = "AWSCURRENT", "AWSPREVIOUS", "AWSPENDING"
_LETTERS = {Media.TEXT: "t", Media.JSON: "j", Media.BINARY: "b"}
_MEDIA = {letter: media for media, letter in _LETTERS.items()}
_OWN = re.compile(r"strongroom-(\d{16})-([tjb])-[0-9a-f]{32}")


class ListedVersion(Struct, frozen=True, gc=False):
    """A version as the service lists it. ``created`` is RFC 3339 in UTC, so it sorts as text."""

    id: str
    stages: tuple[str, ...] = ()
    created: str | None = None
    valued: bool = True


def own_id(name: str, number: int, media: Media, *, salt: str = "") -> str:
    """Make an id; the same one for the same arguments.

    Nothing of the value goes in: a digest of a weak one could be guessed from the id.
    """
    place = "\0".join((name, str(number), salt)).encode()
    return f"strongroom-{number:016d}-{_LETTERS[media]}-{hashlib.sha256(place).hexdigest()[:32]}"


def media_of(id_: str) -> Media | None:
    """Return how a value is to be read, if its id says so."""
    match = _OWN.fullmatch(id_)
    return _MEDIA[match[2]] if match else None


def in_order(held: Iterable[ListedVersion]) -> list[ListedVersion]:
    """Sort versions: older first, what is current last. Of one moment, as the service listed them."""
    return sorted(held, key=lambda version: (CURRENT in version.stages, version.created or ""))


def numbered(ids: Sequence[str]) -> list[int]:
    """Give ascending numbers to ids in order: their own where they carry one that ascends."""
    numbers: list[int] = []
    for id_ in ids:
        match = _OWN.fullmatch(id_)
        last = numbers[-1] if numbers else 0
        numbers.append(max(last + 1, int(match[1]) if match else 0))
    return numbers


def holders(stages: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Turn labels by id into ids by label: a label is on one version at a time."""
    return {stage: id_ for id_, labels in stages.items() for stage in labels}


# -- What the service says of a secret, as far as we look at it ---------------------------------


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


# -- A secret of the service as ours, and what of it only the service understands ---------------


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
    meaning = meaning_of(found.tags)
    turning = found.turning.meaning() if found.turning else None
    facts = _facts(found, dict(zip(numbers, ordered, strict=True)), policy)
    said = {DESCRIPTION: found.description} if found.description else {}
    return Secret(
        name=found.name,
        versions=versions or (EMPTY,),
        type=meaning.type,
        tags=meaning.rest,
        created_at=found.created,
        updated_at=found.changed,
        expires_at=meaning.expires_at,
        rotation=turning or meaning.rotation,
        metadata=said | {AWS: msgspec.to_builtins(facts)},
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


# -- What a secret has beside its versions: tags, description, policy, replicas, rotation, an end ---
#
# Every step looks at what is there or may be done twice, so an unfinished restore goes on.


DEFAULT_KEY = "alias/aws/secretsmanager"
ASLEEP = "rotation is not switched on again (rearm_rotation = true in the source's settings does that)"
UNSET = "the settings of a rotation that was switched off are not made again"
FAILED = (
    "rotation could not be switched on again (look at its function and its role, and at the right in "
    "'strongroom cluster rules aws --role rearm', then restore once more)"
)
_HINT_POLICY = (
    "It names people or roles that are not there. Make them, or restore without resource policies: "
    "resource_policies = false in the source's settings."
)


class Attributes:
    """Puts them back."""

    def __init__(self, api: Api, losses: AwsLosses) -> None:
        self._api = api
        self._losses = losses

    def finish(self, secret: Secret, facts: AwsFacts | None, *, mark: str) -> None:
        """Complete a new secret and take its mark off."""
        name = secret.name
        if facts is not None and facts.policy:
            self._put_policy(name, facts.policy)
        if facts is not None and facts.replicas:
            self._replicate(name, facts.replicas)
        self._ask("untag_resource", f"take the mark off secret '{name}'", name, TagKeys=[mark])
        if facts is not None and facts.turning is not None and not self._is_rearmed(facts.turning):
            self._losses.add(ASLEEP if facts.turning.enabled else UNSET, name)
        if facts is not None and facts.deleted:
            self._schedule_deletion(name, facts.deleted)

    def replace(
        self, secret: Secret, facts: AwsFacts | None, found: Described, tags: Mapping[str, str]
    ) -> None:
        """Make an existing secret's own what the backup says. Its key and rotation stay as they are."""
        name = secret.name
        foreign = [key for key in found.tags if key not in tags and not key.startswith(RESERVED)]
        if foreign:
            self._ask("untag_resource", f"remove tags of secret '{name}'", name, TagKeys=foreign)
        fresh = {key: value for key, value in tags.items() if found.tags.get(key) != value}
        if fresh:
            self._ask("tag_resource", f"tag secret '{name}'", name, Tags=listed(fresh))
        if (description := description_of(secret)) != found.description:
            self._ask("update_secret", f"describe secret '{name}'", name, Description=description)
        if facts is not None:
            self._replace_policy(name, facts.policy)
            if facts.kms_key_id != found.kms_key_id:
                self._losses.add("secrets that exist stay under the key that seals them now", name)
            if facts.turning != found.turning and not self._is_rearmed(facts.turning):
                self._losses.add("secrets that exist keep the rotation settings that they have now", name)

    def _is_rearmed(self, turning: Turning | None) -> bool:
        """Say whether :meth:`rearm` will see to it."""
        return self._api.options.rearm_rotation and turning is not None and turning.enabled

    def _replace_policy(self, name: str, policy: str | None) -> None:
        answer = self._ask("get_resource_policy", f"read the resource policy of secret '{name}'", name)
        if policy and answer.get("ResourcePolicy") != policy:
            self._put_policy(name, policy)
        elif not policy and answer.get("ResourcePolicy") and self._api.options.resource_policies:
            self._ask("delete_resource_policy", f"remove the resource policy of secret '{name}'", name)

    def _put_policy(self, name: str, policy: str) -> None:
        if not self._api.options.resource_policies:
            self._losses.add("resource policies were not put back, as the settings say", name)
            return
        doing = f"put the resource policy of secret '{name}'"
        try:
            self._ask("put_resource_policy", doing, name, ResourcePolicy=policy)
        except AwsInvalid as error:
            raise AwsInvalid(error.message, hint=_HINT_POLICY) from None

    def _replicate(self, name: str, replicas: list[SecretReplica]) -> None:
        """Replicate into regions that have no replica yet. Asked for twice, one would be refused."""
        doing = f"replicate secret '{name}'"
        for left in reversed(range(ATTEMPTS)):
            missing = self._missing_regions(name, replicas)
            if not missing:
                return
            try:
                answer = self._api.ask_once(
                    "replicate_secret_to_regions", doing, SecretId=name, AddReplicaRegions=missing
                )
            except SourceUnavailable:  # it may have been done, and the reply lost
                if not left:
                    raise
                continue
            if any(status.get("Status") == "Failed" for status in answer.get("ReplicationStatus") or ()):
                self._losses.add("a region refused the replica: it may hold one of that name still", name)
            return

    def _missing_regions(self, name: str, replicas: list[SecretReplica]) -> list[dict[str, str]]:
        answer = self._ask("describe_secret", f"look for the replicas of secret '{name}'", name)
        there = {status["Region"] for status in answer.get("ReplicationStatus") or ()}
        there.add(self._api.options.region)
        return [_region(replica) for replica in replicas if replica.region not in there]

    def rearm(self, name: str, turning: Turning) -> None:
        """Switch rotation on again; the service calls its function, to test it.

        The values are back and compared by now: what is wrong with a function must not end a
        restore of thousands half-way, so it is noted and the restore goes on.
        """
        # A schedule and a number of days exclude each other, though the service reports both.
        given: dict[str, Any] = {
            "RotateImmediately": False,
            "RotationRules": {
                key: v
                for key, v in turning.rules.items()
                if key != "AutomaticallyAfterDays" or "ScheduleExpression" not in turning.rules
            },
        }
        if turning.lambda_arn:
            given["RotationLambdaARN"] = turning.lambda_arn
        try:
            self._ask("rotate_secret", f"switch on the rotation of secret '{name}'", name, **given)
        except SourceUnavailable:
            raise
        except SourceError:
            self._losses.add(FAILED, name)

    def _schedule_deletion(self, name: str, day: str) -> None:
        self._losses.add("secrets that were scheduled for deletion came back without values, and so", name)
        doing = f"schedule the deletion of secret '{name}'"
        try:
            # The days until then, as far as the service takes them.
            span = datetime.fromisoformat(day) - datetime.now(UTC)
            self._ask(
                "delete_secret",
                doing,
                name,
                RecoveryWindowInDays=max(
                    SHORTEST_WINDOW, min(LONGEST_WINDOW, math.ceil(span.total_seconds() / 86_400))
                ),
            )
        except AwsInvalid:  # it was done, and the reply was lost
            if not self._ask("describe_secret", doing, name).get("DeletedDate"):
                raise

    def _ask(self, operation: str, doing: str, name: str, **parameters: object) -> dict[str, Any]:
        return self._api.ask(operation, doing, SecretId=name, **parameters)


def listed(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tags as the service takes them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _region(replica: SecretReplica) -> dict[str, str]:
    key = replica.kms_key_id
    return {"Region": replica.region} | ({"KmsKeyId": key} if key and key != DEFAULT_KEY else {})
