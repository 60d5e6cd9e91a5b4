"""How tags mean type, expiry and rotation, and back.

===============================  ==========================================
tag                              means
===============================  ==========================================
``strongroom:type``              the secret's type
``strongroom:expires_at``        its expiry, an RFC 3339 date or time
``strongroom:rotation_days``     rotate every so many days
``strongroom:rotation_enabled``  ``false``, beside ``strongroom:rotation_days``
===============================  ==========================================

``strongroom:restoring`` is the mark of an unfinished restore, and no tag of the secret. All other tags are
tags. What would not come back spelled as it was stays a tag, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from strongroom.model import RotationSchedule, Secret

GENERIC = "generic"
PREFIX = "strongroom:"
TYPE, EXPIRES, DAYS, ENABLED = (
    PREFIX + word for word in ("type", "expires_at", "rotation_days", "rotation_enabled")
)
MARK = PREFIX + "restoring"
"""The tag of a secret that a restore has not finished. It says nothing of the secret itself."""
RESERVED = "aws:"
"""Tags that only AWS itself can set."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)?)?")
_NUMBER = re.compile(r"[1-9]\d{0,5}")


class TagMeaning(Struct, frozen=True):
    """What tags say."""

    tags: dict[str, str] = {}
    type: str = GENERIC
    expires_at: str | None = None
    rotation: RotationSchedule | None = None


def understood(tags: Mapping[str, str]) -> TagMeaning:
    """Take the convention's tags out of all."""
    rest = {key: value for key, value in tags.items() if key != MARK}
    kind = rest.pop(TYPE, GENERIC) if tags.get(TYPE, "") not in ("", GENERIC) else GENERIC
    expires = rest.pop(EXPIRES) if _DATE.fullmatch(tags.get(EXPIRES, "")) else None
    rotation = None
    if _NUMBER.fullmatch(tags.get(DAYS, "")) and tags.get(ENABLED, "false") == "false":
        rotation = RotationSchedule(days=int(rest.pop(DAYS)), enabled=rest.pop(ENABLED, None) is None)
    return TagMeaning(rest, kind, expires, rotation)


def spelled(secret: Secret, *, rotation: RotationSchedule | None) -> dict[str, str]:
    """Return the tags that say it: the inverse of :func:`understood`.

    Args:
        rotation: what is to be said of it; the service's own rotation needs no tags.
    """
    said = {} if secret.type == GENERIC else {TYPE: secret.type}
    if secret.expires_at is not None:
        said[EXPIRES] = secret.expires_at
    if rotation is not None:
        said[DAYS] = str(rotation.days)
        if not rotation.enabled:
            said[ENABLED] = "false"
    kept = {key: value for key, value in secret.tags.items() if not key.startswith(RESERVED)}
    kept.pop(MARK, None)  # a backup of before the mark was left out may have it
    return said | kept
