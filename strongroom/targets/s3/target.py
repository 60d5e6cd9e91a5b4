"""A bucket of S3 as a target, and what deleting leaves in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from msgspec import Struct

from strongroom.errors import TargetError
from strongroom.model import ObjectInfo
from strongroom.targets import (
    HiddenVersion,
    ProbeCheck,
    Target,
    TargetIdentity,
    check_name,
    check_prefix,
    is_name,
)
from strongroom.targets.probing import may, stamped
from strongroom.targets.s3.bucket import FOREVER, Bucket, Locks, Prober
from strongroom.targets.s3.client import NotConfigured, S3Options, translated
from strongroom.targets.s3.putting import BucketReader, Putter, abort_all

# -- What deleting leaves in a bucket that keeps versions, and when the bucket's own rules remove it


# -- When a bucket's own rules remove what is hidden in it (NoncurrentVersionExpiration) --------


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


# -- What deleting and covering leave in a bucket that keeps versions: hidden ones, which a purge removes


ASKING = 16
"""Locks asked for at once: a bucket tells them one version at a time."""


class ObjectVersion(Struct, frozen=True, kw_only=True):
    """An entry of a bucket's listing of versions. ``since`` is when it was made."""

    key: str
    id: str
    since: datetime
    latest: bool
    marker: bool
    size: int


class Old(Struct, frozen=True, kw_only=True):
    """A version that is not the object's current one.

    ``since`` is when another one, or a marker, came over it; ``newer`` old versions came later.
    """

    version: ObjectVersion
    since: datetime
    newer: int


def purge(bucket: Bucket, prefix: str) -> int:
    """Remove every version under ``prefix`` that may be removed; return how many stay.

    Whoever may only hide objects removes none, and one under a lock stays: that is no error,
    for what stays is what was asked for.
    """
    for version in list(_versions(bucket, prefix)):
        try:
            bucket.call(
                "delete_object", "purge versions", writing=True, Key=version.key, VersionId=version.id
            )
        except TargetError as error:
            if error.transient:
                raise
    return sum(1 for _ in _versions(bucket, prefix))


def hidden(bucket: Bucket, prefix: str, *, clock: Callable[[], datetime]) -> list[HiddenVersion]:
    """Return the old versions under ``prefix``.

    The bucket's rules and locks are asked for only if there are any.
    """
    old = list(old_of(_versions(bucket, prefix)))
    named = [
        (name, old_version)
        for old_version in old
        if is_name(name := bucket.name(old_version.version.key) or "")
    ]
    if not named:
        return []
    rules, lock_of = read_rules(bucket), _Locks(bucket, clock=clock).until
    with ThreadPoolExecutor(ASKING) as threads:
        locks = list(threads.map(lambda pair: lock_of(pair[1].version), named))
    return [_hidden(name, version, rules, lock) for (name, version), lock in zip(named, locks, strict=True)]


def telling(bucket: Bucket) -> Iterator[ProbeCheck]:
    """Try what that asks for."""
    yield may("list old versions", lambda: next(_versions(bucket, ""), None))
    yield may("read the rules that remove old versions", lambda: lifecycle_of(bucket))


def _versions(bucket: Bucket, prefix: str) -> Iterator[ObjectVersion]:
    doing = f"list versions of {prefix}"
    for page in bucket.pages("list_object_versions", doing, Prefix=bucket.key(prefix)):
        with translated(bucket.title, doing):
            versions = [_version(entry, marker=False) for entry in page.get("Versions", ())]
            versions += [_version(entry, marker=True) for entry in page.get("DeleteMarkers", ())]
        yield from versions


def _version(entry: dict[str, Any], *, marker: bool) -> ObjectVersion:
    return ObjectVersion(
        key=entry["Key"],
        id=entry["VersionId"],
        since=entry["LastModified"].astimezone(UTC),
        latest=bool(entry["IsLatest"]),
        marker=marker,
        size=int(entry.get("Size", 0)),
    )


def old_of(versions: Iterable[ObjectVersion]) -> Iterator[Old]:
    """Yield those that are hidden. A version's successor says since when."""
    newest_first = sorted(versions, key=lambda version: (version.latest, version.since), reverse=True)
    for _, of_key in groupby(
        sorted(newest_first, key=lambda version: version.key), lambda version: version.key
    ):
        newer, successor = 0, None
        for version in of_key:
            if successor is not None and not version.marker:
                yield Old(version=version, since=successor.since, newer=newer)
            newer += successor is not None
            successor = version


class _Locks:
    """The locks of single versions, as far as this credential may see them."""

    def __init__(self, bucket: Bucket, *, clock: Callable[[], datetime]) -> None:
        self._bucket = bucket
        self._clock = clock
        self._kept = self._bucket_locks()

    def until(self, version: ObjectVersion) -> tuple[datetime | None, bool]:
        """Return when a version's lock ends, and whether that is known."""
        if not self._kept:
            return None, True
        try:
            if self._told("get_object_legal_hold", version, "LegalHold").get("Status") == "ON":
                return FOREVER, True
            end = self._told("get_object_retention", version, "Retention").get("RetainUntilDate")
        except TargetError as error:
            if error.transient:
                raise
            return None, False
        return (end.astimezone(UTC), True) if end is not None and end > self._clock() else (None, True)

    def _told(self, operation: str, version: ObjectVersion, part: str) -> dict[str, Any]:
        doing = f"look at the lock of an old version of {version.key}"
        try:
            reply = self._bucket.call(operation, doing, Key=version.key, VersionId=version.id)
        except NotConfigured:
            return {}
        found: dict[str, Any] = reply.get(part, {})
        return found

    def _bucket_locks(self) -> bool:
        """Ask whether anything here can be locked; who may not know that asks each version."""
        try:
            reply = self._bucket.call("get_object_lock_configuration", "look at its lock")
        except NotConfigured:
            return False
        except TargetError as error:
            if error.transient:
                raise
            return True
        return bool(reply.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled")


def _hidden(
    name: str, old: Old, rules: Sequence[LifecycleRule] | None, lock: tuple[datetime | None, bool]
) -> HiddenVersion:
    version, (locked, known) = old.version, lock
    ends = [rule.end(version.key, version.size, since=old.since, newer=old.newer) for rule in rules or ()]
    first = min((end for end in ends if end is not None), default=None)
    return HiddenVersion(
        name=name,
        size=version.size,
        locked_until=locked,
        expires=max(first, locked) if first and locked else first,
        lock_known=known,
        rule_known=rules is not None,
    )


# -- A bucket as a target: put only if absent, checked at both ends, locked where asked ---------


class S3Target(Target):
    """A :class:`~strongroom.targets.Target` in an S3 bucket.

    In a versioned bucket the current version is the object, and a delete marker is not an object:
    :meth:`delete` adds such a marker, and what it hides stays until the bucket's lifecycle
    or an administrator removes it.

    Args:
        name: what the configuration calls this target.
        region: where it lies, as policies count it; the bucket's own region if left out.
        provider: who runs it.
        clock: gives the time (UTC) that locks count from.
    """

    def __init__(
        self,
        options: S3Options,
        *,
        name: str,
        region: str | None = None,
        provider: str = "aws",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        region = region or options.region
        super().__init__(TargetIdentity(name=name, region=region, provider=provider, address=options.address))
        self.bucket = Bucket(options, title=str(self.place))
        self._putter = Putter(self.bucket, clock=clock)
        self._reader = BucketReader(self.bucket)
        self._locks = Locks(self.bucket, clock=clock)
        self._prober = Prober(self.bucket, clock=clock)
        self._clock = clock

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        return self._putter.put(check_name(name), chunks, size=size, sha256=sha256)

    def _read(self, name: str, offset: int, length: int | None) -> Iterator[bytes]:
        """Stream a range in chunks of at most 1 MiB."""
        return self._reader.read(name, offset=offset, length=length)

    def stat(self, name: str) -> ObjectInfo | None:
        """Return what is there, or ``None``; raises if the bucket itself is not there."""
        head = self.bucket.head(check_name(name))
        if head is None:
            self.bucket.check_there()
            return None
        return ObjectInfo(name=name, size=head.size)

    def delete(self, name: str) -> None:
        """Remove an object; TargetLocked while a lock or a legal hold keeps it."""
        head = self.bucket.head(check_name(name))
        if head is None:
            self.bucket.check_there()
            return
        self._locks.check_free(name, head)
        self.bucket.call("delete_object", f"delete {name}", writing=True, Key=self.bucket.key(name))

    def purge(self, prefix: str) -> int:
        """Remove every version under a prefix for good."""
        return purge(self.bucket, check_prefix(prefix))

    def hidden(self, prefix: str) -> Sequence[HiddenVersion]:
        return hidden(self.bucket, check_prefix(prefix), clock=self._clock)

    def telling(self) -> Iterator[ProbeCheck]:
        return telling(self.bucket)

    def time(self) -> float:
        reply = self.bucket.call("head_bucket", "ask for the time there")
        return stamped(reply["ResponseMetadata"]["HTTPHeaders"].get("date"), self.bucket.title)

    def abort_incomplete(self, prefix: str) -> int:
        """Remove multipart uploads under ``prefix``; return how many there were.

        A bucket does not say whether an upload's writer still lives. One that does fails
        as transient, and starts over.
        """
        return abort_all(self.bucket, check_prefix(prefix))

    @property
    def locks(self) -> bool:
        return self.bucket.options.lock is not None

    def extend_lock(self, name: str, until: datetime) -> datetime:
        return self._locks.extend(check_name(name), until)

    def locked_until(self, name: str) -> datetime | None:
        return self._locks.until(check_name(name))

    def reader_log(self) -> str:
        enabled = self.bucket.call("get_bucket_logging", "look at its access log").get("LoggingEnabled")
        return f"s3://{enabled['TargetBucket']}/{enabled.get('TargetPrefix', '')}" if enabled else ""

    def refusals(self, name: str) -> Iterator[ProbeCheck]:
        return self._prober.refusals(check_name(name))

    def excess(self, name: str) -> Iterator[ProbeCheck]:
        return self._prober.excess(check_name(name))

    def settings(self) -> Iterator[ProbeCheck]:
        return self._prober.settings()

    def _list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield objects ascending by name; keys that are no names are passed over."""
        last = ""
        for key, size in self._listed(prefix):
            name = self.bucket.name(key)
            if name is None or not is_name(name) or not name.startswith(prefix):
                continue
            if name <= last:
                raise TargetError(f"{self.bucket.title} does not list in order of names")
            last = name
            yield ObjectInfo(name=name, size=size)

    def _listed(self, prefix: str) -> Iterator[tuple[str, int]]:
        doing = f"list {prefix or 'everything'}"
        for page in self.bucket.pages("list_objects_v2", doing, Prefix=self.bucket.key(prefix)):
            with translated(self.bucket.title, doing):
                found = [(entry["Key"], entry["Size"]) for entry in page.get("Contents", ())]
                # Raise ValueError for what is no listing of S3's: a web page has no entries either, and a
                # page that says there are more, and not where, would end the listing without a word.
                if "Name" not in page or (page.get("IsTruncated") and not page.get("NextContinuationToken")):
                    raise ValueError("this is no page of a listing")
            yield from found
