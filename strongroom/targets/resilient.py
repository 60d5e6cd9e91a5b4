"""Any target, with transient failures tried again, and a dead one left alone by a circuit breaker."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Lock
from types import TracebackType
from typing import Self, TypeVar

from strongroom.container.errors import MissingPiece, VerificationFailed
from strongroom.errors import TargetError
from strongroom.model import ObjectInfo
from strongroom.system.attempts import backoff
from strongroom.targets import HiddenVersion, ProbeCheck, Target
from strongroom.targets.errors import TargetGarbled, TargetUnavailable

# -- A circuit breaker: a dead target costs its first callers seconds, and all others nothing ---


SILENCE = 4.0
"""Seconds after which a call that fails has waited for an answer, and for as long as it may."""
WHEN = "%Y-%m-%dT%H:%M:%SZ"


@dataclass
class _Circuit:
    """What one process knows. ``open_until`` is ``None`` while the circuit is closed."""

    lock: Lock = field(default_factory=Lock)
    failures: int = 0
    turn: int = 0
    since: datetime | None = None
    last: str = ""
    open_until: float | None = None
    probing: bool = False


def _inherited(parent: _Circuit | None) -> _Circuit:
    """Return a child's circuit: open if its parent's is, so that no child finds that out anew."""
    if parent is None:
        return _Circuit()
    return replace(parent, lock=Lock(), probing=False)


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A call that was let through.

    ``turn`` counts the failures that were counted before it began; ``probe`` tells whether it is
    the one that tries an open circuit; ``began`` is when it was let through.
    """

    turn: int
    probe: bool
    began: float


class Breaker:
    """Opens after so many transient failures in a row, and lets one call try after a while.

    While it is open, and while that one call is under way, all others are refused at once.
    Failures of calls that ran side by side count once: eight threads that meet the same
    hiccup, or the same request to slow down, are no dead target. One that came of waiting for an
    answer in vain counts twice: it costs a caller ten seconds, not the blink of an eye.
    Threads share what it knows; a forked child starts with what its parent knew, under a lock of
    its own, since one that a thread held during the fork would stay held.

    Args:
        failures: how many in a row open it.
        pause: seconds from the last failure until one call may try.
        monotonic: a clock in seconds that never goes back.
        now: the time (UTC) for what people read.
    """

    def __init__(
        self,
        *,
        failures: int = 3,
        pause: float = 30.0,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if failures < 1 or pause < 0:
            raise ValueError("a breaker opens after at least one failure, for no less than 0 seconds")
        self._limit = failures
        self._pause = pause
        self._monotonic = monotonic
        self._now = now
        self._circuits: dict[int, _Circuit] = {}

    def enter(self, title: str) -> Passage:
        """Let a call pass, or refuse it.

        Every call that passes must be followed by exactly one of :meth:`succeeded`,
        :meth:`failed` and :meth:`left`.

        Raises:
            TargetUnavailable: the circuit is open. ``retry_after`` says for how long.
        """
        circuit, now = self._circuit(), self._monotonic()
        with circuit.lock:
            if circuit.open_until is None:
                return Passage(turn=circuit.turn, probe=False, began=now)
            left = circuit.open_until - now
            if left > 0 or circuit.probing:
                raise self._refusal(title, circuit, max(left, 0.0))
            circuit.probing = True
            return Passage(turn=circuit.turn, probe=True, began=now)

    def succeeded(self) -> None:
        """Note that the target answered, be it with a refusal."""
        circuit = self._circuit()
        with circuit.lock:
            circuit.failures, circuit.since = 0, None
            circuit.open_until, circuit.probing = None, False

    def failed(self, passage: Passage, why: str, *, retry_after: float | None = None) -> None:
        """Note a transient failure, and what it was; the target may ask for a longer pause than ours."""
        circuit = self._circuit()
        silent = self._monotonic() - passage.began >= SILENCE
        with circuit.lock:
            if passage.turn == circuit.turn:
                circuit.failures += 2 if silent else 1
                circuit.turn += 1
            circuit.since = circuit.since or self._now()
            circuit.last = why
            if passage.probe:
                circuit.probing = False
            if circuit.failures >= self._limit:
                circuit.open_until = self._monotonic() + max(self._pause, retry_after or 0.0)

    def left(self, passage: Passage) -> None:
        """Note that a call ended without showing anything of the target."""
        circuit = self._circuit()
        with circuit.lock:
            if passage.probe:
                circuit.probing = False

    @property
    def is_open(self) -> bool:
        """Whether a call would be refused, or be the one that tries."""
        return self._circuit().open_until is not None

    def _circuit(self) -> _Circuit:
        pid = os.getpid()
        circuit = self._circuits.get(pid)
        return circuit or self._circuits.setdefault(pid, _inherited(self._circuits.get(os.getppid())))

    def _refusal(self, title: str, circuit: _Circuit, left: float) -> TargetUnavailable:
        since = circuit.since or self._now()
        again = "is being tried again now"
        if not circuit.probing:
            with suppress(OverflowError):
                again = f"will be tried again at {self._now() + timedelta(seconds=left):{WHEN}}"
        return TargetUnavailable(
            f"{title} has been failing since {since:{WHEN}} and {again}; it was not asked."
            f" The last time: {circuit.last}",
            hint="It is tried again by itself. 'strongroom backups repair' then copies the missing replicas.",
            retry_after=left,
        )


# -- Any target, with transient failures tried again and a dead one left alone ------------------
#
# What may be repeated: looking, listing and deleting always; reading goes on where it
# stopped, unless the bytes themselves were called wrong; a put only if its chunks can be had
# again (see :class:`Afresh`). Every put is checked by size and SHA-256 below, so a wrong guess
# about that can fail a put and never store wrong content.


T = TypeVar("T")
Chunk = bytes | memoryview


class Afresh:
    """Chunks that can be had again: each iteration calls ``make`` again.

    ``target.put(name, Afresh(lambda: stage.read(staged)), …)`` can be tried again;
    ``target.put(name, stage.read(staged), …)`` cannot, once a chunk was taken.
    """

    def __init__(self, make: Callable[[], Iterable[Chunk]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[Chunk]:
        return iter(self._make())


@dataclass(frozen=True, kw_only=True)
class RetryWaits:
    """How long to wait between attempts, in seconds; see :func:`~strongroom.system.attempts.backoff`.

    A target that says when to come back is taken at its word, and then some of our own so that
    not all come at once.
    """

    first: float = 0.25
    longest: float = 20.0
    uniform: Callable[[float, float], float] = random.uniform
    wait: Callable[[float], object] = time.sleep
    monotonic: Callable[[], float] = time.monotonic

    def delay(self, failures: int, retry_after: float | None) -> float:
        """Return how long to wait after so many failures in a row."""
        drawn = backoff(failures, first=self.first, longest=self.longest, draw=self.uniform)
        return drawn + (retry_after or 0.0)


class Resilient(Target):
    """A :class:`~strongroom.targets.Target` round another one.

    What a probe asks is asked once: it shows the first failure as it is.

    Args:
        attempts: of one call, the first included.
        progress: bytes that an attempt of a read must bring for the count to begin again: a
            region that gives a little and breaks off, time after time, is a dead one.
        deadline: seconds from a call's first failure; no attempt begins after it.
        breaker: this target's own, never shared between targets.
    """

    def __init__(
        self,
        target: Target,
        *,
        attempts: int = 3,
        deadline: float = 60.0,
        progress: int = 64 * 1024,
        breaker: Breaker | None = None,
        waits: RetryWaits | None = None,
    ) -> None:
        if attempts < 1:
            raise ValueError("at least one attempt is needed")
        super().__init__(target.place)
        self.target = target
        self._attempts = attempts
        self._deadline = deadline
        self._progress = progress
        self._breaker = breaker or Breaker()
        self._waits = waits or RetryWaits()

    def put(self, name: str, chunks: Iterable[Chunk], *, size: int, sha256: bytes) -> bool:
        """Store an object once; see :meth:`strongroom.targets.Target.put`.

        Tried again only while the chunks can be had whole: they are no iterator, or none
        was taken yet. ``False`` may mean that an attempt whose reply was lost had stored it:
        the caller reads back either way. A failure of the chunks is not the target's: it
        is raised as it is, and not held against the target.
        """
        series = self._series()
        lost: TargetUnavailable | None = None
        while True:
            taken = _Taken(chunks)
            attempt = self._attempt(taken)
            try:
                with attempt:
                    return self.target.put(name, taken, size=size, sha256=sha256)
            except TargetUnavailable as error:
                if error is taken.error or not taken.can_be_had_again:
                    raise
                lost = error
                series.wait_after(error)
            except VerificationFailed:
                if lost is not None and taken.ended and taken.bytes < size:
                    raise lost from None  # the chunks were not to be had again: the first failure counts
                raise

    def stat(self, name: str) -> ObjectInfo | None:
        return self.tried(lambda: self.target.stat(name))

    def delete(self, name: str) -> None:
        self.tried(lambda: self.target.delete(name))

    def abort_incomplete(self, prefix: str) -> int:
        """Remove what interrupted puts left; the count is that of the last attempt."""
        return self.tried(lambda: self.target.abort_incomplete(prefix))

    def require_room(self, size: int) -> None:
        self.target.require_room(size)

    def home(self) -> str:
        return self.target.home()

    def time(self) -> float | None:
        return self.tried(self.target.time) if self._answers("time") else None

    def reader_log(self) -> str | None:
        return self.target.reader_log()

    @property
    def locks(self) -> bool:
        return self.target.locks

    def extend_lock(self, name: str, until: datetime) -> datetime:
        """Lock an object for longer; repeating it is harmless, for a lock is never shortened."""
        return self.tried(lambda: self.target.extend_lock(name, until))

    def locked_until(self, name: str) -> datetime | None:
        return self.tried(lambda: self.target.locked_until(name)) if self._answers("locked_until") else None

    def hidden(self, prefix: str) -> Sequence[HiddenVersion]:
        return self.tried(lambda: self.target.hidden(prefix)) if self._answers("hidden") else ()

    def telling(self) -> Iterator[ProbeCheck]:
        return self.target.telling()

    def purge(self, prefix: str) -> int | None:
        """Remove for good all under a prefix, once: an interrupted purge is the next one's."""
        return self.target.purge(prefix)

    def refusals(self, name: str) -> Iterator[ProbeCheck]:
        return self.target.refusals(name)

    def excess(self, name: str) -> Iterator[ProbeCheck]:
        return self.target.excess(name)

    def settings(self) -> Iterator[ProbeCheck]:
        return self.target.settings()

    def _answers(self, method: str) -> bool:
        """Tell whether the target asks its server this: what it leaves out shows no breaker that it lives."""
        return getattr(type(self.target), method) is not getattr(Target, method)

    def _read(self, name: str, offset: int, length: int | None) -> Iterator[bytes]:
        """Stream a range, going on where an attempt stopped.

        Not after :class:`~strongroom.targets.errors.TargetGarbled`: chunks that were given already
        are not right, and only the caller can start anew.
        """
        series = self._series()
        given = 0
        while True:
            attempt = self._attempt()
            left = None if length is None else length - given
            start = given
            try:
                with attempt:
                    for chunk in self.target.read(name, offset=offset + given, length=left):
                        given += len(chunk)
                        if given - start >= self._progress:
                            attempt.answered()
                            series.went_on()
                        yield chunk
                return
            except TargetGarbled:
                raise
            except TargetUnavailable as error:
                series.wait_after(error)

    def _list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield objects ascending by name, going on after the last one given."""
        series = self._series()
        last = ""
        while True:
            attempt = self._attempt()
            try:
                with attempt:
                    for info in self.target.list(prefix):
                        attempt.answered()
                        if info.name > last:
                            series.went_on()
                            last = info.name
                            yield info
                return
            except TargetUnavailable as error:
                series.wait_after(error)

    def tried(self, work: Callable[[], T]) -> T:
        """Do what may be repeated and has no method here, as patiently as the rest."""
        series = self._series()
        while True:
            attempt = self._attempt()
            try:
                with attempt:
                    return work()
            except TargetUnavailable as error:
                series.wait_after(error)

    def _series(self) -> _Series:
        return _Series(self._attempts, self._deadline, self._waits, self._breaker)

    def _attempt(self, taken: _Taken | None = None) -> _BreakerAttempt:
        """Enter the breaker. Called outside of the blocks that try again: a refusal is final."""
        return _BreakerAttempt(self._breaker, f"target '{self.name}'", taken)


def bare(target: Target) -> Target:
    """Return what a resilient target is round: for a probe, which shows the first failure as it is."""
    return target.target if isinstance(target, Resilient) else target


class _Series:
    """The attempts of one call: failures in a row, and the time since the first of them."""

    def __init__(self, attempts: int, deadline: float, waits: RetryWaits, breaker: Breaker) -> None:
        self._attempts = attempts
        self._deadline = deadline
        self._waits = waits
        self._breaker = breaker
        self._failures = 0
        self._since = 0.0

    def went_on(self) -> None:
        """Note progress: what was got does not have to be got again."""
        self._failures = 0

    def wait_after(self, error: TargetUnavailable) -> None:
        """Wait for the next attempt; raise ``error`` if there is none to come, or no time for it."""
        now = self._waits.monotonic()
        self._since = self._since if self._failures else now
        self._failures += 1
        delay = self._waits.delay(self._failures, error.retry_after)
        late = now + delay > self._since + self._deadline
        if self._failures >= self._attempts or late or self._breaker.is_open:
            raise error
        self._waits.wait(delay)


class _BreakerAttempt:
    """One attempt's passage through the breaker."""

    def __init__(self, breaker: Breaker, title: str, taken: _Taken | None) -> None:
        self._breaker = breaker
        self._taken = taken
        self._settled = False
        self._passage = breaker.enter(title)

    def answered(self) -> None:
        """Note that the target answered, as soon as it did: a slow reader holds nobody up."""
        if not self._settled:
            self._settled = True
            self._breaker.succeeded()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        passage = replace(self._passage, probe=self._passage.probe and not self._settled)
        if error is None:
            self.answered()
        elif self._taken is not None and error is self._taken.error:
            self._breaker.left(passage)
        elif isinstance(error, TargetUnavailable):
            self._breaker.failed(passage, error.message, retry_after=error.retry_after)
        elif isinstance(error, TargetError | MissingPiece):
            self.answered()
        else:
            self._breaker.left(passage)


class _Taken:
    """A put's chunks, watched: what was taken of them, and whether an error is theirs."""

    def __init__(self, chunks: Iterable[Chunk]) -> None:
        self._chunks = chunks
        self._begun = False
        self.bytes = 0
        self.ended = False
        self.error: Exception | None = None

    @property
    def can_be_had_again(self) -> bool:
        """Whether the next attempt would get them whole."""
        return not self._begun or not isinstance(self._chunks, Iterator)

    def __iter__(self) -> Iterator[Chunk]:
        self._begun = True
        try:
            for chunk in self._chunks:
                self.bytes += memoryview(chunk).nbytes
                yield chunk
            self.ended = True
        except Exception as error:
            self.error = error
            raise
