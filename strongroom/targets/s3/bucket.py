"""One bucket under one prefix: its options, names to keys, and ranges read and checked."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.errors import MissingPiece
from strongroom.errors import StrongroomError, TargetError
from strongroom.system.errors import TargetReadOnly
from strongroom.system.process import PerProcess
from strongroom.targets import ProbeCheck, ProbeResult
from strongroom.targets.errors import TargetAbsent, TargetLocked
from strongroom.targets.probing import DESTROYS, OBJECT_LOCK, UNUSED_LOCK, must_be_refused
from strongroom.targets.s3.client import (
    Contended,
    NotConfigured,
    ObjectExists,
    S3Options,
    Unexplained,
    make_client,
    translated,
)

# -- One bucket under one prefix: names to keys, calls with their errors translated -------------


class ObjectHead(Struct, frozen=True, kw_only=True):
    """What a bucket says of an object's current version.

    ``checksum`` is its SHA-256 in base64 where the server keeps one of the whole object.
    """

    size: int
    etag: str
    version: str | None
    checksum: str | None
    locked_until: datetime | None
    mode: str | None
    held: bool
    sse: str | None


class Bucket:
    """Calls on one bucket, every one with the owner check."""

    def __init__(self, options: S3Options, *, title: str) -> None:
        self.options = options
        self.title = title
        self._client = PerProcess(lambda: make_client(options))
        owner = options.expected_bucket_owner
        self._common = {"Bucket": options.bucket} | ({"ExpectedBucketOwner": owner} if owner else {})
        self._prefix = f"{options.prefix}/" if options.prefix else ""

    def key(self, name: str) -> str:
        """Return the key of an object, or of a prefix."""
        return self._prefix + name

    def name(self, key: str) -> str | None:
        """Return what a key is the object of, or ``None`` for another prefix's."""
        return key.removeprefix(self._prefix) if key.startswith(self._prefix) else None

    def call(self, operation: str, doing: str, *, writing: bool = False, **params: Any) -> dict[str, Any]:
        """Make one request; raises our errors."""
        with translated(self.title, doing, writing=writing):
            reply: dict[str, Any] = getattr(self._client.get(), operation)(**self._common, **params)
        return reply

    def pages(self, operation: str, doing: str, **params: Any) -> Iterator[dict[str, Any]]:
        """Yield a listing page by page."""
        with translated(self.title, doing):
            pages = iter(self._client.get().get_paginator(operation).paginate(**self._common, **params))
        while True:
            with translated(self.title, doing):
                page = next(pages, None)
            if page is None:
                return
            yield page

    def head(self, name: str) -> ObjectHead | None:
        """Return what is there; a delete marker is nothing."""
        doing = f"look at {name}"
        try:
            reply = self.call("head_object", doing, Key=self.key(name), ChecksumMode="ENABLED")
        except MissingPiece:
            return None
        except Unexplained:
            self.call("get_object", doing, Key=self.key(name), Range="bytes=0-0")["Body"].close()
            raise  # who may read and not look is refused all the same
        with translated(self.title, doing):
            return _head(reply)

    def check_there(self) -> None:
        """Raise if there is no such bucket: a reply to HEAD does not say which of the two is missing."""
        try:
            self.call("head_bucket", "find its bucket")
        except MissingPiece:
            raise TargetAbsent(f"{self.title} has no bucket of that name") from None


def _head(reply: dict[str, Any]) -> ObjectHead:
    # Of parts, servers give a checksum of checksums, which says nothing about the whole.
    whole = reply.get("ChecksumType") == "FULL_OBJECT"
    until = reply.get("ObjectLockRetainUntilDate")
    return ObjectHead(
        size=reply["ContentLength"],
        etag=reply.get("ETag", ""),
        version=reply.get("VersionId"),
        checksum=reply.get("ChecksumSHA256") if whole else None,
        locked_until=until.astimezone(UTC) if until else None,
        mode=reply.get("ObjectLockMode"),
        held=reply.get("ObjectLockLegalHoldStatus") == "ON",
        sse=reply.get("ServerSideEncryption"),
    )


# -- SHA-256 as S3 spells it --------------------------------------------------------------------


def checksum(data: bytes | bytearray) -> str:
    """Return a SHA-256 as S3 spells it."""
    return encoded(hashlib.sha256(data).digest())


def encoded(digest: bytes) -> str:
    """Return a digest in base64."""
    return base64.b64encode(digest).decode("ascii")


# -- Retention locks: looked at, extended, never shortened --------------------------------------


FOREVER = datetime.max.replace(tzinfo=UTC)
"""When a legal hold ends: not by itself."""


class Locks:
    """The locks of a bucket's objects. ``clock`` gives the time (UTC) that the maximum counts from."""

    def __init__(self, bucket: Bucket, *, clock: Callable[[], datetime]) -> None:
        self._bucket = bucket
        self._clock = clock

    def until(self, name: str) -> datetime | None:
        """Return when an object's lock ends, or ``None`` if nothing holds it now."""
        return self._end(self._head(name))

    def check_free(self, name: str, found: ObjectHead) -> None:
        """Raise TargetLocked while an object is held.

        A bucket would take the delete and hide the object under a marker, held or not.
        """
        end = self._end(found)
        if end is not None:
            when = "its legal hold is lifted" if end == FOREVER else f"{end:%Y-%m-%dT%H:%M:%SZ}"
            raise TargetLocked(f"{self._bucket.title} keeps {name} locked until {when}; it was not removed")

    def extend(self, name: str, until: datetime) -> datetime:
        """Lock until ``until``, or as far as the maximum; see :class:`strongroom.targets.Locking`."""
        lock = self._bucket.options.lock
        if until.tzinfo is None:
            raise ValueError("the end of a lock needs a time zone")
        if lock is None:
            raise TargetError(f"{self._bucket.title} is not configured to lock objects")
        head = self._head(name)
        wanted = _whole_second(min(until.astimezone(UTC), self._clock() + timedelta(days=lock.max_days)))
        if head.locked_until is not None and head.locked_until >= wanted:
            return head.locked_until
        # A compliance lock stays one: its mode is the object's, not the configuration's.
        mode = head.mode or lock.mode.upper()
        retain(self._bucket, name, head, mode=mode, until=wanted)
        return self._confirmed(name, wanted)

    def _confirmed(self, name: str, wanted: datetime) -> datetime:
        end = self._head(name).locked_until
        if end is None or end < wanted:
            raise TargetError(f"{self._bucket.title} was to lock {name} until {wanted:%Y-%m-%d} and does not")
        return end

    def _head(self, name: str) -> ObjectHead:
        head = self._bucket.head(name)
        if head is None:
            self._bucket.check_there()
            raise MissingPiece(f"{self._bucket.title} does not hold {name}")
        return head

    def _end(self, head: ObjectHead) -> datetime | None:
        if head.held:
            return FOREVER
        locked = head.locked_until is not None and head.locked_until > self._clock()
        return head.locked_until if locked else None


def retain(bucket: Bucket, name: str, found: ObjectHead, *, mode: str, until: datetime) -> None:
    """Lock one version of an object."""
    # By version: a marker or a version that came since must not be what is locked.
    version = {"VersionId": found.version} if found.version else {}
    bucket.call(
        "put_object_retention",
        f"lock {name}",
        writing=True,
        Key=bucket.key(name),
        Retention={"Mode": mode, "RetainUntilDate": until},
        **version,
    )


def _whole_second(moment: datetime) -> datetime:
    """Round up: servers keep whole seconds, and a lock must not end before it was asked to."""
    return moment.replace(microsecond=0) + timedelta(seconds=1 if moment.microsecond else 0)


# -- What a bucket has to refuse, asked of the server itself on an object of the caller's own ---
#
# Who can remove a version for good, end a lock early or bypass one can destroy backups. Changing
# the bucket (its lock, its versioning, its policy) cannot be tried harmlessly: that is not shown.


DENIED = (TargetReadOnly,)
"""403: by a lock, or because the credential has no right to."""


class Prober:
    """Tries things on a bucket. ``clock`` gives the time (UTC) that locks count from."""

    def __init__(self, bucket: Bucket, *, clock: Callable[[], datetime]) -> None:
        self._bucket = bucket
        self._clock = clock

    def refusals(self, name: str) -> Iterator[ProbeCheck]:
        """Write over an object; if it is locked, remove its version and end its lock early."""
        object_head = self._found(name)
        yield must_be_refused(
            "write over an object",
            lambda: self._call("put_object", name, Body=b"", IfNoneMatch="*", **self._lock_headers()),
            ObjectExists,
            Contended,
            otherwise=_OVERWRITTEN,
        )
        if self._bucket.options.lock is None:
            return
        yield must_be_refused(
            "shorten a lock", lambda: self._shorten(name, object_head), *DENIED, otherwise=_LOCK_IS_NONE
        )
        yield must_be_refused(
            "remove a locked version",
            lambda: self._remove(name, object_head),
            *DENIED,
            otherwise=_LOCK_IS_NONE,
        )

    def excess(self, name: str) -> Iterator[ProbeCheck]:
        """Remove a version for good, or with the right to bypass governance."""
        object_head = self._found(name)
        if self._bucket.options.lock is not None:
            yield must_be_refused(
                "shorten a lock with s3:BypassGovernanceRetention",
                lambda: self._shorten(name, object_head, BypassGovernanceRetention=True),
                *DENIED,
                otherwise=_BYPASS,
            )
            yield must_be_refused(
                "remove a locked version with s3:BypassGovernanceRetention",
                lambda: self._remove(name, object_head, BypassGovernanceRetention=True),
                *DENIED,
                otherwise=_BYPASS,
            )
        elif object_head.version not in (None, "null"):
            yield must_be_refused(
                f"{DESTROYS} (s3:DeleteObjectVersion)",
                lambda: self._remove(name, object_head),
                *DENIED,
                otherwise=_VERSIONS,
            )
        yield ProbeCheck(what="change the bucket itself", outcome=ProbeResult.NOT_SHOWN, detail=_BUCKET)

    def settings(self) -> Iterator[ProbeCheck]:
        """Look whether versions are kept and objects can be locked."""
        yield self._setting("the bucket keeps versions", self._keeps_versions, _UNVERSIONED)
        locks = self._setting(OBJECT_LOCK, self._has_lock, _UNLOCKED)
        unused = locks.outcome is ProbeResult.FINE and self._bucket.options.lock is None
        yield replace(locks, outcome=ProbeResult.ADVICE, detail=UNUSED_LOCK) if unused else locks

    # -- what is tried ---------------------------------------------------------

    def _shorten(self, name: str, object_head: ObjectHead, **how: Any) -> object:
        until = self._clock() + timedelta(minutes=1)
        mode = object_head.mode or "GOVERNANCE"
        retention = {"Mode": mode, "RetainUntilDate": until}
        return self._call("put_object_retention", name, Retention=retention, **_version(object_head), **how)

    def _remove(self, name: str, object_head: ObjectHead, **how: Any) -> object:
        return self._call("delete_object", name, **_version(object_head), **how)

    def _call(self, operation: str, name: str, **params: Any) -> object:
        key = self._bucket.key(name)
        return self._bucket.call(operation, f"probe {name}", writing=True, Key=key, **params)

    def _lock_headers(self) -> dict[str, Any]:
        # Where a bucket's policy demands a lock, its refusal must not pass for the condition's.
        lock = self._bucket.options.lock
        if lock is None:
            return {}
        until = self._clock() + timedelta(days=lock.days)
        return {"ObjectLockMode": lock.mode.upper(), "ObjectLockRetainUntilDate": until}

    def _found(self, name: str) -> ObjectHead:
        object_head = self._bucket.head(name)
        if object_head is None:
            raise TargetError(f"{self._bucket.title} does not show {name}, which was just put there")
        return object_head

    # -- what is looked up -----------------------------------------------------

    def _keeps_versions(self) -> bool:
        return self._bucket.call("get_bucket_versioning", "look at its versioning").get("Status") == "Enabled"

    def _has_lock(self) -> bool:
        reply = self._bucket.call("get_object_lock_configuration", "look at its lock")
        return bool(reply.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled")

    def _setting(self, what: str, look: Callable[[], bool], otherwise: str) -> ProbeCheck:
        wanted = ProbeResult.MISSING if self._bucket.options.lock is not None else ProbeResult.ADVICE
        try:
            there = look()
        except NotConfigured:
            there = False
        except StrongroomError as error:
            return ProbeCheck(what=what, outcome=ProbeResult.NOT_SHOWN, detail=error.message)
        return ProbeCheck(what=what) if there else ProbeCheck(what=what, outcome=wanted, detail=otherwise)


def _version(object_head: ObjectHead) -> dict[str, str]:
    return {"VersionId": object_head.version} if object_head.version else {}


_OVERWRITTEN = (
    "the server does not hold to If-None-Match: only reading back shows which of two writers of one name won"
)
_LOCK_IS_NONE = "the lock does not hold: anyone with this credential can destroy backups"
_BYPASS = "take s3:BypassGovernanceRetention away: anyone with this credential can destroy locked backups"
_VERSIONS = "take s3:DeleteObjectVersion away: anyone with this credential can destroy backups for good"
_BUCKET = "nobody can try that harmlessly; compare its policy with 'strongroom cluster rules aws'"
_UNVERSIONED = "turn versioning on: what is removed or covered now is gone"
_UNLOCKED = "turn Object Lock on: anyone who may delete can remove backups before their time"
