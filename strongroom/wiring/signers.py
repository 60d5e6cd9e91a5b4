"""Signing keys: which a process holds, and whose signatures it believes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from strongroom.config import Settings
from strongroom.container.signing import Signer, fingerprint
from strongroom.errors import ConfigError, RecordRefused
from strongroom.keys import roles

OPERATOR = "operator"
MANIFEST_SIGNERS = ("control", "recover")
"""Whose signature makes a manifest: a backup's, and an undo file's."""


def signers(folder: Path, role: str) -> Callable[[str], Signer]:
    """Return the keys that a role may sign with: its own, or a person's own command line's all."""

    @cache
    def signer(wanted: str) -> Signer:
        if role not in (wanted, OPERATOR):
            raise ConfigError(f"a process of role '{role}' may not sign as '{wanted}'")
        return roles.load_or_create_role(folder, wanted)

    if role == OPERATOR:
        for needed in (*MANIFEST_SIGNERS, "seal"):
            signer(needed)
    return signer


def trusted(folder: Path, role: str) -> bytes:
    """Return a role's public key. Raises RecordRefused if none is trusted here."""
    known = roles.trusted(folder)
    if role not in known:
        raise RecordRefused(f"no key of role '{role}' is trusted here")
    return known[role]


def fingerprints(settings: Settings, folder: Path) -> frozenset[str]:
    """Return the fingerprints of whoever may have signed a manifest that is believed here."""
    known = roles.trusted(folder)
    own = {fingerprint(known[role]) for role in MANIFEST_SIGNERS if role in known}
    return frozenset(own | set(settings.trust.signers))
