"""Who may see the page: one user with a password, a session a login, and few guesses."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

LASTS: Final = 12 * 3600.0
"""Seconds that a session lasts."""
SESSIONS: Final = 100
"""Sessions at once; the oldest ends when there are more."""
GUESSES: Final = 5
PER: Final = 60.0
"""So many wrong logins from an address are answered in so many seconds; a right one is not tried either."""
ADDRESSES: Final = 1000
"""Addresses that are counted apart. Whoever comes from more is counted together with the others."""


class Login:
    """Sessions and wrong guesses, in memory: whoever starts the process again logs everybody out.

    Of a session only a digest is kept. Safe to use from threads at once.
    """

    def __init__(self, user: str, password: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._wanted = _digest(user), _digest(password)
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[bytes, float] = {}
        self._wrong: dict[str, deque[float]] = {}

    def try_login(self, user: str, password: str, address: str) -> str | HTTPStatus:
        """Return a new session for the right login; else how it is refused."""
        with self._lock:
            if self._is_guessing(address):
                return HTTPStatus.TOO_MANY_REQUESTS
            # Both are compared, as digests: no time tells which one was wrong, or how long it is.
            right = [
                hmac.compare_digest(_digest(said), wanted)
                for said, wanted in zip((user, password), self._wanted, strict=True)
            ]
            if not all(right):
                self._count(address)
                return HTTPStatus.FORBIDDEN
            return self._begin()

    def holds(self, session: str) -> bool:
        """Tell whether a session was begun here and has not ended."""
        with self._lock:
            ends = self._sessions.get(_digest(session))
            return ends is not None and self._clock() < ends

    def end(self, session: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(_digest(session), None)

    def _begin(self) -> str:
        now = self._clock()
        self._sessions = {key: ends for key, ends in self._sessions.items() if now < ends}
        while len(self._sessions) >= SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        session = secrets.token_urlsafe(32)
        self._sessions[_digest(session)] = now + LASTS
        return session

    def _is_guessing(self, address: str) -> bool:
        since = self._clock() - PER
        self._wrong = {who: times for who, times in self._wrong.items() if times[-1] > since}
        times = self._wrong.get(self._counted(address), ())
        return sum(at > since for at in times) >= GUESSES

    def _count(self, address: str) -> None:
        self._wrong.setdefault(self._counted(address), deque(maxlen=GUESSES)).append(self._clock())

    def _counted(self, address: str) -> str:
        return address if address in self._wrong or len(self._wrong) < ADDRESSES else ""


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()
