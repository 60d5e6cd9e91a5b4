"""Keeps one token alive for all threads of a process: the one place where it is renewed."""

from __future__ import annotations

import math
import threading
import time

from msgspec import Struct

from strongroom.vault.failures import LoginRefused, Unavailable, VaultRefused
from strongroom.vault.login import Exchange, Lease, Login, alive, renewed

RENEW_AT = 2 / 3
SHRUNK = 0.9
SOON = 5.0  # seconds until a renewal that failed is tried again


class _HeldToken(Struct, frozen=True):
    lease: Lease
    renew_at: float
    ends_at: float


class Tokens:
    """A token that is renewed when two thirds of its life are over.

    The longest life of a token shows only when a renewal gives less than it used to: then we log in
    again, while the old token still works.
    """

    def __init__(self, login: Login, exchange: Exchange) -> None:
        self._login = login
        self._exchange = exchange
        self._held: _HeldToken | None = None
        self._lock = threading.Lock()
        self.logins = 0

    def current(self) -> str:
        """Return a token that is good now. Raises VaultError or ConfigError."""
        held = self._held
        if held is not None and time.monotonic() < held.renew_at:
            return held.lease.token
        with self._lock:
            return self._fresh().lease.token

    def recover(self, refused: str) -> bool:
        """Say whether a request that was refused with this token is worth repeating with another.

        A 403 means "not allowed" and "no such token" alike, so the token is asked about itself.
        """
        with self._lock:
            if self._held is not None and self._held.lease.token != refused:
                return True  # another thread was here first
            if alive(self._exchange, refused):
                return False
            return self._log_in().lease.token != refused

    def _fresh(self) -> _HeldToken:
        held = self._held
        if held is None:
            return self._log_in()
        if time.monotonic() < held.renew_at:
            return held
        return self._renew(held)

    def _renew(self, held: _HeldToken) -> _HeldToken:
        try:
            lease = renewed(self._exchange, held.lease) if held.lease.renewable else None
        except VaultRefused:
            lease = None
        except Unavailable:
            return self._later(held)
        if lease is None or lease.seconds < SHRUNK * lease.granted:
            return self._replace(held, lease)
        return self._hold(lease)

    def _replace(self, held: _HeldToken, renewed_to: Lease | None) -> _HeldToken:
        """Log in anew; if that fails, make do with what is left of the old token."""
        try:
            return self._log_in()
        except (LoginRefused, Unavailable):
            if renewed_to is not None:
                return self._hold(renewed_to)
            return self._later(held)

    def _later(self, held: _HeldToken) -> _HeldToken:
        if time.monotonic() >= held.ends_at:
            return self._log_in()
        self._held = _HeldToken(held.lease, time.monotonic() + SOON, held.ends_at)
        return self._held

    def _log_in(self) -> _HeldToken:
        self.logins += 1
        return self._hold(self._login.obtain(self._exchange))

    def _hold(self, lease: Lease) -> _HeldToken:
        now = time.monotonic()
        wait = lease.seconds * RENEW_AT if lease.seconds < math.inf else math.inf
        self._held = _HeldToken(lease, now + wait, now + lease.seconds)
        return self._held
