"""What a token says of its PIN. PKCS#11 gives flags, not a number of tries (v2.40, CK_TOKEN_INFO)."""

from __future__ import annotations

from typing import Any

LOGIN_REQUIRED = 0x00000004
COUNT_LOW = 0x00010000
FINAL_TRY = 0x00020000
LOCKED = 0x00040000


def needs_login(token: Any) -> bool:
    """Whether private keys are seen after a login only."""
    return bool(token.flags & LOGIN_REQUIRED)


def is_locked(token: Any) -> bool:
    """Whether no PIN is taken any more."""
    return bool(token.flags & LOCKED)


def has_wrong_try(token: Any) -> bool:
    """Whether a wrong PIN was given since the last good login."""
    return bool(token.flags & (COUNT_LOW | FINAL_TRY))


def counter(token: Any) -> str:
    """Say how the counter stands: nothing while no wrong PIN is known."""
    if is_locked(token):
        return "; the PIN is locked now"
    if token.flags & FINAL_TRY:
        return "; one try is left, after a wrong one the token is locked"
    if token.flags & COUNT_LOW:
        return "; the token has counted a wrong PIN since the last good login"
    return ""
