"""When a bucket's own rules remove what is hidden in it (NoncurrentVersionExpiration)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from strongroom.errors import TargetError
from strongroom.targets.s3.bucket import Bucket
from strongroom.targets.s3.failures import NotConfigured, translated

_DOING = "read its lifecycle"


class LifecycleRule(Struct, frozen=True, kw_only=True):
    """A rule that removes old versions.

    Args:
        days: after a version was covered or deleted.
        newer: how many newer old versions are left alone, whatever their age.
        above, below: bytes; only what is larger, and smaller.
    """

    prefix: str
    days: int
    newer: int = 0
    above: int = -1
    below: int | None = None

    def end(self, key: str, size: int, *, since: datetime, newer: int) -> datetime | None:
        """Return when this rule removes a version; ``None`` if it is not about it.

        Args:
            since: when it became an old one.
            newer: how many old versions of the same key are newer.
        """
        fits = key.startswith(self.prefix) and size > self.above and (self.below is None or size < self.below)
        if not fits or newer < self.newer:
            return None
        # S3 counts whole days and then goes to the next midnight UTC (User Guide, "Lifecycle rules based
        # on an object's age").
        later = since + timedelta(days=self.days)
        midnight = later.replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight if midnight == later else midnight + timedelta(days=1)


def read_rules(bucket: Bucket) -> Sequence[LifecycleRule] | None:
    """Return the rules of a bucket that remove old versions; ``None`` if they may not be read.

    A rule for objects of a tag is passed over: nothing of ours has tags.
    """
    try:
        reply = lifecycle_of(bucket)
    except TargetError as error:
        if error.transient:
            raise
        return None
    with translated(bucket.title, _DOING):
        rules = [_rule(rule) for rule in reply.get("Rules", ()) if rule["Status"] == "Enabled"]
    return [rule for rule in rules if rule is not None]


def lifecycle_of(bucket: Bucket) -> Mapping[str, Any]:
    """Return a bucket's lifecycle as it says it; raises TargetError if it may not be read."""
    try:
        return bucket.call("get_bucket_lifecycle_configuration", _DOING)
    except NotConfigured:
        return {}


def _rule(rule: Mapping[str, Any]) -> LifecycleRule | None:
    expiration = rule.get("NoncurrentVersionExpiration", {})
    scope = rule.get("Filter", {})
    scope = scope.get("And", scope)
    if "NoncurrentDays" not in expiration or scope.get("Tag") or scope.get("Tags"):
        return None
    return LifecycleRule(
        prefix=scope.get("Prefix", rule.get("Prefix", "")),
        days=int(expiration["NoncurrentDays"]),
        newer=int(expiration.get("NewerNoncurrentVersions", 0)),
        above=int(scope.get("ObjectSizeGreaterThan", -1)),
        below=int(scope["ObjectSizeLessThan"]) if "ObjectSizeLessThan" in scope else None,
    )
