"""Old files: a 16-byte salt, then a Fernet token under PBKDF2-HMAC-SHA256, 100,000 rounds.

Read on an explicit request only, never as a fallback. Nothing here writes them.
"""

from __future__ import annotations

import base64
import hashlib

from strongroom.container.errors import Malformed, NotABackup, Truncated, WrongKey

SALT = 16
ITERATIONS = 100_000
MARK = b"gAAAA"

_VERSION, _IV, _MAC, _BLOCK = 1 + 8, 16, 32, 16


def is_legacy(head: bytes) -> bool:
    """Tell by the first 21 bytes: a Fernet token begins after the salt."""
    return head[SALT : SALT + len(MARK)] == MARK


def open_legacy(data: bytes, passphrase: str | bytes) -> bytes:
    """Return the plaintext of an old file.

    Raises:
        NotABackup: there is no token after a salt.
        Truncated, Malformed: the token's length or alphabet is impossible.
        WrongKey: it does not authenticate. The old format cannot tell a wrong
            passphrase from a damaged file.
    """
    if not is_legacy(data):
        raise NotABackup("This is not an old backup: no token follows the salt.")
    token = data[SALT:]
    _check_shape(token)
    secret = passphrase.encode() if isinstance(passphrase, str) else passphrase
    key = hashlib.pbkdf2_hmac("sha256", secret, data[:SALT], ITERATIONS, 32)
    # Every reader knows an old file by its mark; almost none has to open one.
    from cryptography.fernet import Fernet, InvalidToken

    try:
        return Fernet(base64.urlsafe_b64encode(key)).decrypt(token)
    except InvalidToken:
        raise WrongKey(
            "The old file does not open: another passphrase, or damage (its format cannot tell which).",
            hint="Try another passphrase, then another copy.",
        ) from None


def _check_shape(token: bytes) -> None:
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
    except ValueError:
        if len(token) % 4:
            raise Truncated("The old file ends too early.") from None
        raise Malformed("The old file's token is not base64.") from None
    if len(raw) < _VERSION + _IV + _BLOCK + _MAC or (len(raw) - _VERSION) % _BLOCK:
        raise Truncated("The old file ends too early.")
