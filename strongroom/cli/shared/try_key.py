"""Trying one configured key with a real wrap and unwrap."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.config import AllOfKey, Settings
from strongroom.keys import Identity
from strongroom.keys.allof import AllOfIdentity
from strongroom.operations.keys.trial import Diagnosed, diagnose
from strongroom.wiring import keys
from strongroom.wiring.keys import Ask


def try_key(name: str, settings: Settings, ask: Ask | None) -> Diagnosed:
    """Try one configured key for real."""

    def identities() -> Sequence[Identity]:
        if settings.keys[name].kind == "all-of":
            return _together(name, settings, ask)
        return list(keys.identity(name, settings, ask))

    return diagnose(name, settings.keys[name].kind, lambda: keys.recipient(name, settings, ask), identities)


def _together(name: str, settings: Settings, ask: Ask | None) -> Sequence[Identity]:
    """Return what all legs' keys are together, if this host has one of every leg."""
    key = settings.keys[name]
    assert isinstance(key, AllOfKey)
    legs = [[each for other in leg for each in keys.identity(other, settings, ask)] for leg in key.legs]
    return [AllOfIdentity([each for leg in legs for each in leg])] if all(legs) else []
