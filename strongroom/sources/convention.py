"""How words beside a secret mean its type, expiry and rotation: tags in AWS, custom metadata in Vault.

========================  ==============================================
word                      means
========================  ==============================================
``type``                  the secret's type
``expires_at``            its expiry, an RFC 3339 date or time
``rotation_days``         rotate every so many days
``rotation_enabled``      ``true`` or ``false``, beside ``rotation_days``
========================  ==============================================

What would not come back spelled as it was (``rotation_days = 090``) is left where it stands, so that a
restore gives the same words, letter for letter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from strongroom.model import RotationSchedule, Secret

GENERIC = "generic"
_DATE = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)?)?")
_DAYS = re.compile(r"[1-9]\d{0,5}")
_YES_NO = {"true": True, "false": False}


class Meaning(Struct, frozen=True):
    """What the words say, and the rest that they say to somebody else."""

    rest: dict[str, str]
    type: str = GENERIC
    expires_at: str | None = None
    rotation: RotationSchedule | None = None


def understood(words: Mapping[str, str], *, prefix: str = "") -> Meaning:
    """Take the convention's words, each after ``prefix``, out of all."""
    rest = dict(words)
    kind = rest.pop(prefix + "type", GENERIC) if words.get(prefix + "type") not in ("", GENERIC) else GENERIC
    date = words.get(prefix + "expires_at", "")
    expires = rest.pop(prefix + "expires_at") if _DATE.fullmatch(date) else None
    days = words.get(prefix + "rotation_days", "")
    enabled = _YES_NO.get(words.get(prefix + "rotation_enabled", "true"))
    if enabled is None or not _DAYS.fullmatch(days):
        return Meaning(rest, kind, expires)
    del rest[prefix + "rotation_days"]
    if not enabled:  # an "enabled" that need not be said stays, as it would not come back
        del rest[prefix + "rotation_enabled"]
    return Meaning(rest, kind, expires, RotationSchedule(days=int(days), enabled=enabled))


def spelled(secret: Secret, *, rotation: RotationSchedule | None, prefix: str = "") -> dict[str, str]:
    """Return the words that say it: the inverse of :func:`understood`.

    Args:
        rotation: what is to be said of it; a service's own rotation needs no words.
    """
    said = {} if secret.type == GENERIC else {prefix + "type": secret.type}
    if secret.expires_at is not None:
        said[prefix + "expires_at"] = secret.expires_at
    if rotation is not None:
        said[prefix + "rotation_days"] = str(rotation.days)
        if not rotation.enabled:
            said[prefix + "rotation_enabled"] = "false"
    return said
