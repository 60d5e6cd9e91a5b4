"""What passes by itself, and how long it is waited for."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from strongroom.system.attempts import Clock, backoff
from strongroom.vault.answers import (
    REASONS,
    Ambiguous,
    ServerAnswer,
    Throttled,
    Unavailable,
    Unconfirmed,
    VaultError,
    VaultSealed,
)

# -- What passes by itself, and how long it is waited for: decided here and nowhere else --------
#
# A cluster that has lost its leader says so in many ways for ten seconds, or for half a minute: 500 "local
# node not active", 503, a redirect to the node that led before, a refused connection. A request waits
# through all of them, for as long as the connection's patience lasts. What has no such reason gets a few
# quick attempts.


ATTEMPTS = 6
"""Attempts of a request that nothing promises to be answered later: three seconds in all."""
FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0
_UNHANDLED = frozenset({412, 429, 472, 473})
"""Statuses that say that nothing was done: a stale replica, a quota, a node that is no active one."""
_AWAY = frozenset({502, 503, 504})
_NOT_ACTIVE = (b"local node not active", b"please forward to the active node")
"""What a standby says with 500 while its cluster has no leader. Nothing was done."""
_UPGRADING = b"from non-versioned to versioned"
"""A KV v2 mount that was just made refuses everything for a moment (400), and says so: the active node and
its standbys in other words."""


class Passing(Struct, frozen=True):
    """An answer that is none yet. ``unhandled``: the server did nothing of what was asked for certain.
    ``lasts``: such trouble takes its time, so it is worth the whole patience."""

    unhandled: bool
    lasts: bool = True


def passing(answer: ServerAnswer) -> Passing | None:
    """Say whether asking again can help, and how certain it is that nothing has happened."""
    status = answer.status
    if status in _UNHANDLED or (status == 400 and _UPGRADING in answer.body):
        return Passing(unhandled=True)
    if status in _AWAY:
        return Passing(unhandled=False)
    if status == 500 and any(words in answer.body for words in _NOT_ACTIVE):
        return Passing(unhandled=True)
    if status == 500 and reason_of(answer) is None:
        return Passing(unhandled=False, lasts=False)
    return None


def reason_of(answer: ServerAnswer) -> str | None:
    """Return what the server says of its refusal, if it is one of the things that we take over."""
    return next((words for words in REASONS if words.encode() in answer.body), None)


class RequestPatience:
    """How long the requests of one process wait for a server.

    A request that waited in vain takes the patience from those that follow, until one is answered: a server
    that is gone for good costs a minute once, and not a minute a secret. Reads and writes lose it apart, for
    a way there may let reads pass and no writes.

    Args:
        seconds: for one request, all its attempts together.
    """

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lost: set[bool] = set()
        self.was_served = False

    def trial(self, *, writes: bool) -> Trial:
        """Begin a request."""
        return Trial(self, self._clock, seconds=self._seconds, writes=writes)

    def answered(self, *, writes: bool) -> None:
        """Note that the server does what it is asked."""
        self.was_served = True
        self._lost.discard(writes)

    def lasts(self, *, writes: bool) -> bool:
        """Whether requests of that kind are still waited for."""
        return writes not in self._lost

    def lose(self, *, writes: bool) -> None:
        """Note that a request waited in vain."""
        self._lost.add(writes)


class Trial:
    """The attempts of one request, and the waits between them."""

    def __init__(self, patience: RequestPatience, clock: Clock, *, seconds: float, writes: bool) -> None:
        self._patience = patience
        self._clock = clock
        self._ends = clock.monotonic() + seconds
        self._writes = writes
        self._attempts = self._quick = 0

    def after_error(self, error: VaultError, *, repeatable: bool) -> None:
        """Wait, or raise if no further attempt is due.

        A server that answered before is worth the wait. One that never did may be a wrong address.
        """
        if not repeatable:
            raise Ambiguous(error.message) from None
        self._wait(error, lasts=self._patience.was_served)

    def after_answer(self, answer: ServerAnswer, found: Passing, *, repeatable: bool) -> float:
        """Wait, or raise; return for how many seconds it waited."""
        failure = failure_of(answer)
        if not repeatable and not found.unhandled:
            raise Ambiguous(failure.message, status=answer.status, headers=answer.headers)
        return self._wait(failure, lasts=found.lasts, asked=_asked_for(answer.headers))

    def after_lost(self, lost: Ambiguous) -> None:
        """Wait before a write that has not happened is sent again.

        Raises :class:`Unconfirmed`: the server was just read from, so it is this write that does not arrive.
        """
        words = f"it answers, and the replies to this write get lost again and again: {lost.message}"
        failure = Unconfirmed(words, status=lost.status, headers=lost.headers)
        self._wait(failure, lasts=True, asked=_asked_for(lost.headers))

    def after_late_read(self) -> None:
        """Wait before something is read again that a standby does not have yet."""
        self._wait(Unavailable("its standby does not show yet what was written"), lasts=True)

    def _wait(self, failure: VaultError, *, lasts: bool, asked: float | None = None) -> float:
        self._attempts += 1
        self._quick += not (lasts and self._patience.lasts(writes=self._writes))
        if self._quick >= ATTEMPTS:
            raise failure from None
        delay = backoff(self._attempts, first=FIRST_DELAY, longest=LONGEST_DELAY) if asked is None else asked
        if self._clock.monotonic() + delay > self._ends:
            self._patience.lose(writes=self._writes)
            raise failure from None
        self._clock.wait(delay)
        return delay


def failure_of(answer: ServerAnswer) -> Unavailable:
    """Return what an answer says that is none."""
    kind = Throttled if answer.status == 429 else Unavailable
    words = {429: "it asks for fewer requests", 412: "its replica is behind"}
    message = words.get(answer.status, f"it gives no service (status {answer.status})")
    if answer.status == 500:
        leaderless = any(said in answer.body for said in _NOT_ACTIVE)
        message = "its cluster has no leader (status 500)" if leaderless else "it failed (status 500)"
    return kind(message, status=answer.status, headers=answer.headers, reason=reason_of(answer))


def sealed() -> VaultSealed:
    """Return what is raised at once: what is sealed stays so until a person comes."""
    return VaultSealed("it is sealed", status=503, hint="Unseal it, then run 'strongroom runs retry RUN'.")


def _asked_for(headers: Mapping[str, str]) -> float | None:
    """Return the pause that the server asks for. It truncates: "0" means less than a second."""
    value = headers.get("retry-after", "")
    return float(value) + backoff(1, first=1.0) if value.isdigit() else None
