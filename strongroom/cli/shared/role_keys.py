"""The keys that sign for each role on this host, and the installation's fingerprint that certifies them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from strongroom.cli.terminal import place
from strongroom.keys.rolelist import RoleKey, read

_YEAR = timedelta(days=365)


class RoleKeyStatus(NamedTuple):
    """A role's key, and how it stands."""

    role: str
    key: RoleKey
    state: str
    old: bool


def list_role_keys(now: datetime) -> list[RoleKeyStatus]:
    """Return every version of every role's key that this host knows."""
    listed = read(place.find().role_keys)
    return [
        RoleKeyStatus(role, key, _state(key), _old(key, now))
        for role, keys in sorted(listed.roles.items())
        for key in keys
    ]


def _state(key: RoleKey) -> str:
    if key.distrusted:
        return f"distrusted since {key.distrusted}: {key.reason}"
    if key.announced:
        return "announced, does not sign yet"
    return f"retired, counts for what was made until {key.until}" if key.until else "signs"


def _old(key: RoleKey, now: datetime) -> bool:
    return key.signs and bool(key.since) and now - datetime.fromisoformat(key.since) > _YEAR


def installation_fingerprints(keys: Iterable[RoleKeyStatus]) -> list[str]:
    """Return what a recovery elsewhere has to pin: this installation's fingerprint, once it has one, and
    after it those of installation keys that were handed over."""
    now_first = sorted(keys, key=lambda role_key: not role_key.key.signs)
    return list(dict.fromkeys(role_key.key.certificate.fingerprint for role_key in now_first))
