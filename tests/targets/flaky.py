"""A target in memory that fails when told to, and a clock that moves when somebody waits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from strongroom.errors import StrongroomError
from strongroom.model import ObjectInfo
from strongroom.targets.errors import TargetLocked, TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from strongroom.targets.resilient import Breaker, RetryWaits

START = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)


class Clock:
    """Seconds since the test began. Waiting is what makes them pass."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.waited: list[float] = []

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.seconds += seconds

    def waits(self) -> RetryWaits:
        """Return waits that are drawn as long as they can be."""
        return RetryWaits(uniform=lambda low, high: high, wait=self.wait, monotonic=self.monotonic)

    def breaker(self, *, failures: int = 3, pause: float = 30.0) -> Breaker:
        return Breaker(failures=failures, pause=pause, monotonic=self.monotonic, now=self.now)


class FlakyTarget(MemoryTarget):
    """Raises what is in ``failures`` first, one a call; counts the calls that reached it.

    Args:
        after_bytes: how much a read or a put handles before it fails.
        lose_replies: whether a put that fails had stored the object.
    """

    def __init__(self, *failures: StrongroomError, after_bytes: int = 0, lose_replies: bool = False) -> None:
        super().__init__(name="flaky")
        self.failures = list(failures)
        self.calls = 0
        self.offsets: list[int] = []
        self._after = after_bytes
        self._lose = lose_replies

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        failure = self._next()
        if failure is None:
            return super().put(name, chunks, size=size, sha256=sha256)
        if self._lose:
            super().put(name, chunks, size=size, sha256=sha256)
        elif self._after:
            taken = 0
            for chunk in chunks:
                taken += len(chunk)
                if taken >= self._after:
                    break
        raise failure

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        self.offsets.append(offset)
        failure = self._next()
        if failure is None:
            yield from super().read(name, offset=offset, length=length)
            return
        yield from super().read(name, offset=offset, length=self._after)
        raise failure

    def stat(self, name: str) -> ObjectInfo | None:
        self._fail()
        return super().stat(name)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        failure = self._next()
        for number, info in enumerate(super().list(prefix)):
            if failure is not None and number == self._after:
                raise failure
            yield info
        if failure is not None:
            raise failure

    def delete(self, name: str) -> None:
        self._fail()
        super().delete(name)

    def abort_incomplete(self, prefix: str) -> int:
        self._fail()
        return super().abort_incomplete(prefix)

    def _fail(self) -> None:
        if failure := self._next():
            raise failure

    def _next(self) -> StrongroomError | None:
        self.calls += 1
        return self.failures.pop(0) if self.failures else None


class LockingTarget(FlakyTarget):
    """A memory target that locks what it is told to, until the test says otherwise."""

    def __init__(self, *failures: StrongroomError, now: datetime = START) -> None:
        super().__init__(*failures)
        self.now = now
        self._locks: dict[str, datetime] = {}

    @property
    def locks(self) -> bool:
        return True

    def extend_lock(self, name: str, until: datetime) -> datetime:
        self._fail()
        self._locks[name] = max(until, self._locks.get(name, until))
        return self._locks[name]

    def locked_until(self, name: str) -> datetime | None:
        self._fail()
        return self._locks.get(name)

    def delete(self, name: str) -> None:
        if self._locks.get(name, self.now) > self.now:
            raise TargetLocked(f"target '{self.name}' keeps {name} locked")
        super().delete(name)


def gone(retry_after: float | None = None) -> TargetUnavailable:
    return TargetUnavailable("target 'flaky' did not answer", retry_after=retry_after)
