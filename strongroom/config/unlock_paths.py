"""What opens a policy's backups, as things that can be lost: two keys in one token are one thing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from strongroom.config.keys import (
    AllOfKey,
    HpkeKey,
    KeyFileKey,
    KeySettings,
    KmsKey,
    PassphraseKey,
    Pkcs11Key,
    QuorumKey,
    TransitKeySettings,
)
from strongroom.config.kinds import server
from strongroom.config.model import Settings
from strongroom.key_redundancy import UnlockPath


def unlock_paths_of(settings: Settings, names: Iterable[str]) -> list[UnlockPath]:
    """Return the ways in that these keys are; names of which nothing is known are left out."""
    return [_unlock_path(settings, settings.keys[name]) for name in names if name in settings.keys]


def server_of(settings: Settings, name: str) -> str:
    """Return what a Vault is called here as a thing that can be lost: its keys go with it."""
    return f"the Vault {server(settings.vaults, name) or name}"


def called(settings: Settings, thing: str) -> str:
    """Say which configured keys are, or lie in, a thing."""
    names = [
        name
        for name, key in settings.keys.items()
        if not isinstance(key, AllOfKey) and _thing(settings, key) == thing
    ]
    return " and ".join(f"keys.{name}" for name in names) or thing


def _unlock_path(settings: Settings, key: KeySettings) -> UnlockPath:
    if not isinstance(key, AllOfKey):
        return ((_thing(settings, key),),)
    legs = [[settings.keys[name] for name in leg if name in settings.keys] for leg in key.legs]
    return [[_thing(settings, each) for each in leg] for leg in legs]


def _thing(settings: Settings, key: KeySettings) -> str | None:
    match key:
        case QuorumKey():
            return f"a share of the quorum {_real(key.file)}" if _needs_all(key.file) else None
        case Pkcs11Key() | TransitKeySettings() | KmsKey():
            return _kept(settings, key)
        case PassphraseKey():
            return f"the passphrase in {_real(key.file)}" if key.file else "the environment's passphrase"
        case KeyFileKey():
            return f"the key file {_real(key.file)}"
        case HpkeKey():
            return f"the private key of {_public(key)}"
        case AllOfKey():
            return None  # its legs are


def _kept(settings: Settings, key: Pkcs11Key | TransitKeySettings | KmsKey) -> str:
    match key:
        case Pkcs11Key():
            return f"the token `{key.token}`" if key.token else f"the HSM key `{key.label}` v{key.version}"
        case TransitKeySettings():
            return server_of(settings, key.vault)
        case KmsKey():
            return f"the KMS key {key.key_id} in {key.region}"


def _public(key: HpkeKey) -> str:
    """Name a key pair by its public half, wherever that is written."""
    if key.public_key is not None or key.public_key_file is None:
        return str(key.public_key)
    try:
        return key.public_key_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return str(_real(key.public_key_file))


def _needs_all(file: Path) -> bool:
    """Whether every custodian of a quorum is needed; of a file that cannot be read, others tell."""
    try:
        quorum = json.loads(file.read_bytes())
        return int(quorum["threshold"]) >= len(quorum["custodians"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False


def _real(path: Path) -> str:
    return os.path.realpath(path)
