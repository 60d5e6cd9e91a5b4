"""A circuit breaker: a dead target costs its first callers seconds, and all others nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Lock

from strongroom.targets.errors import TargetUnavailable

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
