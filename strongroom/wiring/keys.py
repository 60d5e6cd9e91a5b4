"""Keys, made from their settings: recipients to seal for, identities to open with.

A recipient needs what sealing needs, so a host that only makes backups names public halves.
Identities are all that the host was given besides: private keys, a token's PIN, a login.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from strongroom.config import (
    AllOfKey,
    HpkeKey,
    KeyFileKey,
    KeySettings,
    KmsKey,
    PassphraseKey,
    Pkcs11Key,
    QuorumKey,
    Settings,
    TransitKeySettings,
)
from strongroom.container.signing import CertifiedSigner, Signers
from strongroom.errors import ConfigError
from strongroom.keys import Opener, Recipient, passphrase, roles
from strongroom.keys.allof import AllOfIdentity, AllOfRecipient
from strongroom.keys.destroying.services import is_destroyed
from strongroom.keys.hpke import HpkeRecipient, PublicKey
from strongroom.keys.identityfile import load_identity
from strongroom.keys.keyfile import KeyFileRecipient
from strongroom.keys.keyring import Keyring
from strongroom.keys.passphrase import Passphrases
from strongroom.keys.quorum import QuorumRecipient, record
from strongroom.keys.rolelist import ROLES
from strongroom.model import Role
from strongroom.operations.engine.integrity import pin_recipient
from strongroom.state.errors import RecordRefused
from strongroom.state.records import RecipientPin
from strongroom.system import files
from strongroom.system.lazy import lazy

# -- Asking a person: only where one sits, which a worker never does ----------------------------


@dataclass(frozen=True, kw_only=True)
class Ask:
    """How a person is asked for what neither a file nor the environment gives.

    ``pin`` is shown which token it is for, and how many tries are left. ``key_file`` gives the passphrases to
    try on the sealed file of a key.
    """

    passphrase: Callable[[], str]
    pin: Callable[[str], str]
    key_file: Passphrases


# -- Keys, made from their settings: recipients to seal for, identities to open with ------------
#
# A recipient needs what sealing needs, so a host that only makes backups names public halves.
# Identities are all that the host was given besides: private keys, a token's PIN, a login.


# Files need no client of a service, so what does is named by a string.
_KEPT_RECIPIENT = lazy("strongroom.wiring.key_services:recipient")
_KEPT_IDENTITY = lazy("strongroom.wiring.key_services:identity")

FileKey = PassphraseKey | KeyFileKey | HpkeKey | QuorumKey


def recipient(name: str, settings: Settings, ask: Ask | None = None) -> Recipient:
    """Return the sealing side of a configured key. Raises ConfigError or KeyServiceError."""
    match settings.keys[name]:
        case AllOfKey() as key:
            legs = [[recipient(other, settings, ask) for other in leg] for leg in key.legs]
            return AllOfRecipient(legs, label=name)
        case Pkcs11Key() | TransitKeySettings() | KmsKey() as key:
            made: Recipient = _KEPT_RECIPIENT(name, key, settings, ask)
            return made
        case key:
            return _of_file(name, key, ask)


def _of_file(name: str, key: FileKey, ask: Ask | None) -> Recipient:
    match key:
        case PassphraseKey():
            words = _passphrase(key, ask)
            return passphrase.PassphraseRecipient(words, label=name, iterations=key.iterations)
        case KeyFileKey():
            return KeyFileRecipient.load(key.file, label=name, passphrases=passphrases(ask))
        case HpkeKey():
            return HpkeRecipient(public_key(key), label=name)
        case QuorumKey():
            return QuorumRecipient(record.load(key.file), label=name)


def pin(name: str, settings: Settings, ask: Ask | None = None) -> RecipientPin:
    """Freeze a recipient. For a passphrase that needs only its name: no process that does
    not seal has to hold it."""
    if isinstance(settings.keys[name], PassphraseKey):
        return RecipientPin(
            name=name,
            type=passphrase.TYPE,
            fingerprint=passphrase.fingerprint(name),
            post_quantum=True,
            describes=passphrase.describe(name),
        )
    return pin_recipient(name, recipient(name, settings, ask))


def identities(settings: Settings, ask: Ask | None = None) -> tuple[Opener, ...]:
    """Return every identity this host is given; a key of which it has only the public half gives none."""
    return together(tuple(opener for name in settings.keys for opener in identity(name, settings, ask)))


def together(found: tuple[Opener, ...]) -> tuple[Opener, ...]:
    """Return identities, and last what all of them are together: some backups ask for several."""
    return (*found, AllOfIdentity(found)) if found else found


def identity(name: str, settings: Settings, ask: Ask | None = None) -> Iterator[Opener]:
    """Yield the opening side of a configured key, if this host has it."""
    match settings.keys[name]:
        case PassphraseKey() as key:
            yield passphrase.PassphraseIdentity(_passphrase(key, ask))
        case KeyFileKey(file=file) | HpkeKey(identity_file=Path() as file) if is_destroyed(file):
            return  # on purpose: whatever else is sealed still opens with the other keys
        case KeyFileKey(file=file) | HpkeKey(identity_file=Path() as file):
            yield load_identity(file, passphrases(ask))
        case Pkcs11Key() | TransitKeySettings() | KmsKey() as key:
            yield from _KEPT_IDENTITY(name, key, settings, ask)


def passphrases(ask: Ask | None) -> Passphrases:
    """Return what the sealed file of a key is tried with here: what is given, or what a person types."""
    return ask.key_file if ask is not None else _given_to_this_process


def _given_to_this_process(path: Path) -> Iterable[str]:
    words = _of_environment()
    return () if words is None else (words,)


def opening_file(key: KeySettings) -> Path | None:
    """Return the file on this host that a key opens with, ``None`` if the key has none here."""
    match key:
        case KeyFileKey(file=file) | HpkeKey(identity_file=Path() as file) if file.exists():
            return file
    return None


def sealed_file(key: KeySettings) -> Path | None:
    """Return the file of a key that a passphrase seals, ``None`` if the key has none."""
    file = opening_file(key)
    return file if file is not None and files.is_sealed(file) else None


_FILES = ("file", "identity_file", "public_key_file", "pin_file", "module")


def absent_files(settings: Settings) -> Iterator[str]:
    """Yield the files of keys that are configured and not on this host."""
    for name, key in settings.keys.items():
        for field in _FILES:
            file = getattr(key, field, None)
            if isinstance(file, Path) and not file.exists() and not is_destroyed(file):
                yield f"keys.{name}.{field}: {file} is not there. {_ABSENT}"
        given = os.environ.get("STRONGROOM_PASSPHRASE_FILE")
        if isinstance(key, PassphraseKey) and key.file is None and given and not Path(given).exists():
            yield f"keys.{name}: STRONGROOM_PASSPHRASE_FILE names {given}, which is not there. {_ABSENT}"


_ABSENT = "What needs it on this host fails until it is: a backup, or whatever opens one."


def public_key(key: HpkeKey) -> PublicKey:
    """Return the public key that settings name. Raises ConfigError."""
    if key.public_key is not None:
        return PublicKey.parse(key.public_key)
    assert key.public_key_file is not None  # the settings hold one of the two
    try:
        return PublicKey.parse(key.public_key_file.read_text())
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"the public key '{key.public_key_file}' cannot be read") from None


def without_passphrase(settings: Settings) -> Iterator[str]:
    """Yield what keeps scheduled backups from being made here: nobody is at hand to type a passphrase."""
    for name, key in settings.keys.items():
        sealed = [policy for policy, found in settings.policies.items() if name in found.recipients]
        if sealed and isinstance(key, PassphraseKey) and not _has_passphrase(key):
            yield (
                f"keys.{name}: this host has no passphrase, so no run by itself seals to it "
                f"({', '.join(sealed)}). Set its 'file' or STRONGROOM_PASSPHRASE_FILE where 'strongroom up' "
                "starts."
            )
        if (file := sealed_file(key)) is not None and _given_to_none():
            yield (
                f"keys.{name}: '{file}' is sealed by a passphrase, and this host has none, so nothing opens "
                "a backup with it by itself (verification, drills). Set STRONGROOM_PASSPHRASE_FILE where "
                "'strongroom up' starts, or open with it by hand."
            )


def _has_passphrase(key: PassphraseKey) -> bool:
    return key.file is not None or not _given_to_none()


def _given_to_none() -> bool:
    return not {"STRONGROOM_PASSPHRASE_FILE", "STRONGROOM_PASSPHRASE"} & os.environ.keys()


def _of_environment() -> str | None:
    if file := os.environ.get("STRONGROOM_PASSPHRASE_FILE"):
        return files.read_private(Path(file)).rstrip("\r\n")
    return os.environ.get("STRONGROOM_PASSPHRASE")


def _passphrase(key: PassphraseKey, ask: Ask | None) -> str:
    if key.file:
        return files.read_private(key.file).rstrip("\r\n")
    if (words := _of_environment()) is not None:
        return words
    if ask is not None:
        return ask.passphrase()
    raise ConfigError(
        "a passphrase is needed, and this host has none: set the key's 'file', STRONGROOM_PASSPHRASE_FILE or "
        "STRONGROOM_PASSPHRASE, for the cluster where 'strongroom up' starts it",
        hint="A key pair (strongroom keys new) needs no passphrase on the host that makes backups.",
    )


# -- Signing keys: which a process holds, and whose signatures it believes ----------------------


def signers(keyring: Keyring, role: Role) -> Callable[[Role], CertifiedSigner]:
    """Return the keys that a role may sign with: its own, or a person's own command line's all."""

    def signer(wanted: Role) -> CertifiedSigner:
        if role not in (wanted, Role.OPERATOR):
            raise ConfigError(f"a process of role '{role}' may not sign as '{wanted}'")
        return keyring.signer(wanted)

    if role == Role.OPERATOR:
        for needed in (*roles.MANIFEST_SIGNERS, Role.SEAL):
            signer(needed)
    return signer


def trusted(keyring: Keyring, role: Role) -> tuple[bytes, ...]:
    """Return a role's public keys whose new signatures count. Raises RecordRefused if there is none."""
    if not (known := keyring.accepted(role)):
        raise RecordRefused(f"no key of role '{role}' is trusted here")
    return known


def remarks_on_signers(settings: Settings) -> Iterator[str]:
    """Yield a remark on each signing key here that is not to be used, and on an installation key here."""
    folder = settings.state_dir / ROLES
    yield from (f"{refusal.message}. {refusal.hint}" for refusal in roles.refused(folder))
    path = folder / roles.INSTALLATION
    if path.exists():
        yield (
            f"'{path}' is the private installation key. Anyone who reads it passes for this installation, "
            "and that cannot be revoked at those who pinned it. Nothing needs it but new certificates: take "
            "it off with 'strongroom keys signers offline', onto paper or a medium."
        )


def fingerprints(settings: Settings, folder: Path) -> Signers:
    """Return the fingerprints of the installations whose backups are believed here."""
    return roles.believed(folder, settings.trust.signers)
