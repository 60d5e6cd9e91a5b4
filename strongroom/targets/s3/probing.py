"""What a bucket has to refuse, asked of the server itself on an object of the caller's own.

Who can remove a version for good, end a lock early or bypass one can destroy backups. Changing
the bucket (its lock, its versioning, its policy) cannot be tried harmlessly: that is not shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from strongroom.errors import StrongroomError, TargetError
from strongroom.system.errors import TargetReadOnly
from strongroom.targets.probing import (
    DESTROYS,
    OBJECT_LOCK,
    UNUSED_LOCK,
    ProbeCheck,
    ProbeResult,
    must_be_refused,
)
from strongroom.targets.s3.bucket import Bucket, ObjectHead
from strongroom.targets.s3.failures import Contended, NotConfigured, ObjectExists

DENIED = (TargetReadOnly,)
"""403: by a lock, or because the credential has no right to."""


class Prober:
    """Tries things on a bucket. ``clock`` gives the time (UTC) that locks count from."""

    def __init__(self, bucket: Bucket, *, clock: Callable[[], datetime]) -> None:
        self._bucket = bucket
        self._clock = clock

    def refusals(self, name: str) -> Iterator[ProbeCheck]:
        """Write over an object; if it is locked, remove its version and end its lock early."""
        found = self._found(name)
        yield must_be_refused(
            "write over an object",
            lambda: self._overwrite(name),
            ObjectExists,
            Contended,
            otherwise=_OVERWRITTEN,
        )
        if self._bucket.options.lock is None:
            return
        yield must_be_refused(
            "shorten a lock", lambda: self._shorten(name, found), *DENIED, otherwise=_LOCK_IS_NONE
        )
        yield must_be_refused(
            "remove a locked version", lambda: self._remove(name, found), *DENIED, otherwise=_LOCK_IS_NONE
        )

    def excess(self, name: str) -> Iterator[ProbeCheck]:
        """Remove a version for good, or with the right to bypass governance."""
        found = self._found(name)
        if self._bucket.options.lock is not None:
            yield must_be_refused(
                "shorten a lock with s3:BypassGovernanceRetention",
                lambda: self._shorten(name, found, BypassGovernanceRetention=True),
                *DENIED,
                otherwise=_BYPASS,
            )
            yield must_be_refused(
                "remove a locked version with s3:BypassGovernanceRetention",
                lambda: self._remove(name, found, BypassGovernanceRetention=True),
                *DENIED,
                otherwise=_BYPASS,
            )
        elif found.version not in (None, "null"):
            yield must_be_refused(
                f"{DESTROYS} (s3:DeleteObjectVersion)",
                lambda: self._remove(name, found),
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

    def _overwrite(self, name: str) -> object:
        return self._call("put_object", name, Body=b"", IfNoneMatch="*", **self._lock_headers())

    def _shorten(self, name: str, found: ObjectHead, **how: Any) -> object:
        until = self._clock() + timedelta(minutes=1)
        mode = found.mode or "GOVERNANCE"
        retention = {"Mode": mode, "RetainUntilDate": until}
        return self._call("put_object_retention", name, Retention=retention, **_version(found), **how)

    def _remove(self, name: str, found: ObjectHead, **how: Any) -> object:
        return self._call("delete_object", name, **_version(found), **how)

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
        found = self._bucket.head(name)
        if found is None:
            raise TargetError(f"{self._bucket.title} does not show {name}, which was just put there")
        return found

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


def _version(found: ObjectHead) -> dict[str, str]:
    return {"VersionId": found.version} if found.version else {}


_OVERWRITTEN = (
    "the server does not hold to If-None-Match: only reading back shows which of two writers of one name won"
)
_LOCK_IS_NONE = "the lock does not hold: anyone with this credential can destroy backups"
_BYPASS = "take s3:BypassGovernanceRetention away: anyone with this credential can destroy locked backups"
_VERSIONS = "take s3:DeleteObjectVersion away: anyone with this credential can destroy backups for good"
_BUCKET = "nobody can try that harmlessly; compare the policy of the credential with ops/aws"
_UNVERSIONED = "turn versioning on: what is removed or covered now is gone"
_UNLOCKED = "turn Object Lock on: anyone who may delete can remove backups before their time"
