"""How custom metadata of a KV v2 key means type, tags, expiry and rotation, and back.

========================  ==============================================
custom metadata           means
========================  ==============================================
``type``                  the secret's type
``expires_at``            its expiry, an RFC 3339 date or time
``rotation_days``         rotate every so many days
``rotation_enabled``      ``true`` or ``false``, beside ``rotation_days``
``tag.<key>``             the tag ``<key>``
any key named by the      a tag of that name; it also stays as it is
setting ``tag_metadata``
========================  ==============================================

Everything else stays in ``metadata["vault"]["custom_metadata"]``. What would not come back spelled
as it was (``rotation_days = 090``) is left there too, so that restoring gives the same custom
metadata, letter for letter.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from msgspec import Struct

from strongroom.model import RotationSchedule, Secret

GENERIC = "generic"
TAG = "tag."
EVERY = "*"
_DATE = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)?)?")
_DAYS = re.compile(r"[1-9]\d{0,5}")
_YES_NO = {"true": True, "false": False}


class MetadataMeaning(Struct, frozen=True):
    """What custom metadata says, and the rest that it says to somebody else."""

    type: str = GENERIC
    tags: dict[str, str] = {}
    expires_at: str | None = None
    rotation: RotationSchedule | None = None
    rest: dict[str, str] = {}


def understood(custom: Mapping[str, str], *, tag_metadata: Collection[str] = ()) -> MetadataMeaning:
    """Take custom metadata apart."""
    if not custom:
        return MetadataMeaning()
    rest = dict(custom)
    kind = rest.pop("type", GENERIC) if custom.get("type") != GENERIC else GENERIC
    expires = rest.pop("expires_at") if _DATE.fullmatch(custom.get("expires_at", "")) else None
    rotation = _rotation(rest)
    tags = {key.removeprefix(TAG): rest.pop(key) for key in custom if key.startswith(TAG) and key != TAG}
    plain = {key: value for key, value in rest.items() if key in tag_metadata or EVERY in tag_metadata}
    # A tag spelled both ways stays in both places, and its own spelling wins.
    for key in plain.keys() & tags.keys():
        rest[TAG + key] = tags[key]
    return MetadataMeaning(kind, plain | tags, expires, rotation, rest)


def spelled(secret: Secret, rest: Mapping[str, str]) -> dict[str, str]:
    """Put custom metadata together: the inverse of :func:`understood`."""
    custom = {} if secret.type == GENERIC else {"type": secret.type}
    if secret.expires_at is not None:
        custom["expires_at"] = secret.expires_at
    if secret.rotation is not None:
        custom["rotation_days"] = str(secret.rotation.days)
        if not secret.rotation.enabled:
            custom["rotation_enabled"] = "false"
    custom |= {TAG + key: value for key, value in secret.tags.items() if rest.get(key) != value}
    return custom | dict(rest)


def _rotation(rest: dict[str, str]) -> RotationSchedule | None:
    """Take the rotation out. An ``enabled`` that need not be said stays, as it would not come back."""
    days = rest.get("rotation_days", "")
    enabled = _YES_NO.get(rest.get("rotation_enabled", "true"))
    if not _DAYS.fullmatch(days) or enabled is None:
        return None
    del rest["rotation_days"]
    if not enabled:
        del rest["rotation_enabled"]
    return RotationSchedule(days=int(days), enabled=enabled)
