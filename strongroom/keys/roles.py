"""The roles' signing keys: Ed25519, one a role, and the public halves that are trusted.

On one host all lie in one folder. On several, each host has the private keys of its own
roles and a copy of ``trusted.json``.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from strongroom.container.signing import PUBLIC, Signer, fingerprint
from strongroom.errors import ConfigError, UsageError
from strongroom.keys import privatefile

ROLES = ("submit", "beat", "control", "seal", "transfer", "verify", "drill", "recover", "watch")
KIND = "strongroom-role-key-1"
TRUSTED = "trusted.json"
_VARIETY = "Ed25519"


def load_or_create_role(folder: Path, role: str) -> Signer:
    """Return a role's key, making it, and trusting its public half, if there is none.

    Raises:
        ConfigError: there is no such role, or the key's file is damaged or open to others.
    """
    if role not in ROLES:
        raise ConfigError(f"there is no role '{role}'", hint=f"The roles: {', '.join(ROLES)}.")
    path = folder / f"{role}.key"
    with privatefile.locked(folder):
        if not path.exists():
            _create(folder, path, role)
        signer = load_role(folder, role)
        _trust(folder, role, signer)
        return signer


def load_role(folder: Path, role: str) -> Signer:
    """Return a role's key. Raises ConfigError if this host does not have it."""
    variety, private = privatefile.read_line(folder / f"{role}.key", kind=KIND)
    if variety != _VARIETY or len(private) != 32:
        raise ConfigError(f"the key of role '{role}' is of an unknown kind")
    return Signer.from_private(private)


def trusted(folder: Path) -> dict[str, bytes]:
    """Return the public half of every role that is trusted here.

    Raises:
        ConfigError: the list is damaged, or others may change it: whoever can adds a signer.
    """
    path = folder / TRUSTED
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            mode, text = os.fstat(file.fileno()).st_mode, file.read(privatefile.LIMIT)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"'{path}' cannot be read: {error.strerror}") from None
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"others may change '{path}'", hint=f"Run: chmod go-w '{path}'")
    return _parse(path, text)


def fingerprints(folder: Path) -> frozenset[str]:
    """Return the fingerprints of all roles that are trusted here."""
    return frozenset(fingerprint(public) for public in trusted(folder).values())


def _create(folder: Path, path: Path, role: str) -> None:
    if role in trusted(folder):
        raise ConfigError(
            f"the private key of role '{role}' is gone, its public half is still trusted",
            hint=f"Bring '{path}' back from its escrow; a new one would not be believed.",
        )
    try:
        private = Signer.generate().private_bytes()
        privatefile.install_line(path, kind=KIND, variety=_VARIETY, content=private)
    except UsageError as error:
        raise ConfigError(error.message) from None


def _parse(path: Path, text: str) -> dict[str, bytes]:
    try:
        keys = {str(role): bytes.fromhex(public) for role, public in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError):
        raise ConfigError(f"'{path}' is damaged", hint="Bring it back from another host.") from None
    if any(len(public) != PUBLIC for public in keys.values()):
        raise ConfigError(f"'{path}' holds something that is not a public key")
    return keys


def _trust(folder: Path, role: str, signer: Signer) -> None:
    """Trust a role's key that is new, or whose making was interrupted; never another one."""
    known = trusted(folder)
    if role not in known:
        _write_trusted(folder, {**known, role: signer.public})
    elif known[role] != signer.public:
        raise ConfigError(
            f"the private key of role '{role}' is not the one that is trusted here",
            hint="Somebody replaced one of the two. Compare with another host before going on.",
        )


def _write_trusted(folder: Path, keys: Mapping[str, bytes]) -> None:
    provisional = folder / f".{TRUSTED}.new"
    text = json.dumps({role: public.hex() for role, public in sorted(keys.items())}, indent=2)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(provisional, flags, 0o644), "w", encoding="ascii") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    provisional.replace(folder / TRUSTED)
    privatefile.sync(folder)
