"""Retention locks: looked at, extended, never shortened."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from strongroom.container.errors import MissingPiece
from strongroom.errors import TargetError
from strongroom.targets.errors import TargetLocked
from strongroom.targets.s3.bucket import Bucket, ObjectHead

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
