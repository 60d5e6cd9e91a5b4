"""What a secret has beside its versions: tags, description, policy, replicas, rotation, an end.

Every step looks at what is there or may be done twice, so an unfinished restore goes on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from strongroom.errors import SourceError
from strongroom.model import Secret
from strongroom.sources.aws.client import ATTEMPTS, Api
from strongroom.sources.aws.convention import RESERVED
from strongroom.sources.aws.described import Described, SecretReplica, Turning
from strongroom.sources.aws.failures import AwsInvalid
from strongroom.sources.aws.losses import AwsLosses
from strongroom.sources.aws.options import LONGEST_WINDOW, SHORTEST_WINDOW
from strongroom.sources.aws.secrets import AwsFacts, description_of
from strongroom.sources.errors import SourceUnavailable

DEFAULT_KEY = "alias/aws/secretsmanager"
ASLEEP = "rotation is not switched on again (rearm_rotation = true in the source's settings does that)"
UNSET = "the settings of a rotation that was switched off are not made again"
FAILED = (
    "rotation could not be switched on again (look at its function and its role, and at the right in "
    "ops/aws/secrets-manager/rearm.json, then restore once more)"
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
        given: dict[str, Any] = {"RotateImmediately": False, "RotationRules": _rules(turning.rules)}
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
            self._ask("delete_secret", doing, name, RecoveryWindowInDays=_window(day))
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


def _rules(rules: Mapping[str, Any]) -> dict[str, Any]:
    """A schedule and a number of days exclude each other, though the service reports both."""
    return {
        key: v
        for key, v in rules.items()
        if key != "AutomaticallyAfterDays" or "ScheduleExpression" not in rules
    }


def _window(day: str) -> int:
    """Return the days until then, as far as the service takes them."""
    span = datetime.fromisoformat(day) - datetime.now(UTC)
    return max(SHORTEST_WINDOW, min(LONGEST_WINDOW, math.ceil(span.total_seconds() / 86_400)))
