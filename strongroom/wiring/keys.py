"""Keys, made from their settings: recipients to seal for, identities to open with.

A recipient needs what sealing needs, so a host that only makes backups names public halves.
Identities are all that the host was given besides: private keys, a token's PIN, a login.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from strongroom.config import (
    AllOfKey,
    HpkeKey,
    KeyFileKey,
    PassphraseKey,
    QuorumKey,
    Settings,
)
from strongroom.config.kinds import KeyKind, UnusableKey
from strongroom.config.registry import guarded, guarded_call, maker, require_made
from strongroom.container.signing import CertifiedSigner, Signers
from strongroom.errors import ConfigError, KeyServiceError
from strongroom.keys import Opener, Recipient, Stanza, passphrase, roles
from strongroom.keys.allof import AllOfIdentity, AllOfRecipient
from strongroom.keys.destroying import is_destroyed
from strongroom.keys.errors import RoleNotHere
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
from strongroom.state.records import Pool, RecipientPin
from strongroom.system import files
from strongroom.system.errors import PluginBroken

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


# -- Recipients to seal for, identities to open with --------------------------------------------


def recipient(name: str, settings: Settings, ask: Ask | None = None) -> Recipient:
    """Return the sealing side of a configured key. Raises ConfigError or KeyServiceError."""
    key = settings.keys[name]
    made: Recipient = maker(key, key.MADE_BY)(name, key, settings, ask)
    require_made(made, ("type", "label", "fingerprint", "post_quantum", "describe", "wrap"), key)
    return guarded(made, key, Recipient, KeyServiceError)


def all_of_recipient(name: str, key: AllOfKey, settings: Settings, ask: Ask | None) -> Recipient:
    """Return what seals for several keys together."""
    legs = [[recipient(other, settings, ask) for other in leg] for leg in key.legs]
    return AllOfRecipient(legs, label=name)


def passphrase_recipient(name: str, key: PassphraseKey, settings: Settings, ask: Ask | None) -> Recipient:
    """Return what seals to a passphrase."""
    words = _passphrase(key, ask)
    return passphrase.PassphraseRecipient(words, label=name, iterations=key.iterations)


def keyfile_recipient(name: str, key: KeyFileKey, settings: Settings, ask: Ask | None) -> Recipient:
    """Return what seals to a key file."""
    return KeyFileRecipient.load(key.file, label=name, passphrases=passphrases(ask))


def pair_recipient(name: str, key: HpkeKey, settings: Settings, ask: Ask | None) -> Recipient:
    """Return what seals to a public key."""
    return HpkeRecipient(public_key(key), label=name)


def quorum_recipient(name: str, key: QuorumKey, settings: Settings, ask: Ask | None) -> Recipient:
    """Return what seals to a quorum."""
    return QuorumRecipient(record.load(key.file), label=name)


def broken_recipient(name: str, key: UnusableKey, settings: Settings, ask: Ask | None) -> NoReturn:
    """Refuse to seal for a key whose plug-in cannot be used."""
    raise PluginBroken(key.problem, hint=key.mend)


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
    key = settings.keys[name]
    if not key.OPENED_BY:
        return
    try:
        opening = guarded_call(maker(key, key.OPENED_BY), key, key.OPENED_BY, PluginBroken)
        for made in opening(name, key, settings, ask):
            require_made(made, ("describe", "unwrap", "recipient"), key)
            yield guarded(made, key, Opener, KeyServiceError)
    except PluginBroken as broken:
        yield _BrokenOpener(name, broken)


def passphrase_identity(
    name: str, key: PassphraseKey, settings: Settings, ask: Ask | None
) -> Iterator[Opener]:
    """Yield what opens with a passphrase."""
    yield passphrase.PassphraseIdentity(_passphrase(key, ask))


def file_identity(
    name: str, key: KeyFileKey | HpkeKey, settings: Settings, ask: Ask | None
) -> Iterator[Opener]:
    """Yield what opens with a key's file, if there is one here that was not destroyed on purpose: whatever
    else is sealed still opens with the other keys."""
    file = key.file if isinstance(key, KeyFileKey) else key.identity_file
    if file is not None and not is_destroyed(file):
        yield load_identity(file, passphrases(ask))


def broken_identity(name: str, key: UnusableKey, settings: Settings, ask: Ask | None) -> Iterator[Opener]:
    """Yield what says of each container why this key opens nothing."""
    yield _BrokenOpener(name, PluginBroken(key.problem, hint=key.mend))


class _BrokenOpener:
    """The opening side of a key whose plug-in cannot be used: where no other key opens, that is told."""

    def __init__(self, name: str, broken: PluginBroken) -> None:
        self._name, self._broken = name, broken

    def describe(self) -> str:
        return f"the key '{self._name}', whose plug-in cannot be used"

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        if stanza.label == self._name:
            raise self._broken
        return None

    def recipient(self) -> Recipient:
        raise self._broken


def passphrases(ask: Ask | None) -> Passphrases:
    """Return what the sealed file of a key is tried with here: what is given, or what a person types."""
    return ask.key_file if ask is not None else _given_to_this_process


def _given_to_this_process(path: Path) -> Iterable[str]:
    words = _of_environment()
    return () if words is None else (words,)


def opening_file(key: KeyKind) -> Path | None:
    """Return the file on this host that a key opens with, ``None`` if the key has none here."""
    match key:
        case KeyFileKey(file=file) | HpkeKey(identity_file=Path() as file) if file.exists():
            return file
    return None


def sealed_file(key: KeyKind) -> Path | None:
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

    if role == Role.OPERATOR:  # now, and not in the midst of what needs them
        for needed in (*roles.MANIFEST_SIGNERS, Role.SEAL):
            with suppress(RoleNotHere):
                signer(Role(needed))
    return signer


_SIGN = frozenset({Pool.CONTROL, Pool.SEAL, Pool.RECOVER, Pool.PRUNE})
"""Pools that sign what they make. Those of the others sign their messages alone."""


def require_roles(keyring: Keyring) -> Callable[[Iterable[Pool]], None]:
    """Return what refuses pools whose work this host may not sign. Raises RoleNotHere."""

    def require(pools: Iterable[Pool]) -> None:
        for pool in sorted(_SIGN.intersection(pools)):
            keyring.signer(pool.value)

    return require


def trusted(keyring: Keyring, role: Role, begun: float) -> tuple[bytes, ...]:
    """Return a role's public keys whose signatures in a run count that began then. Raises RecordRefused if
    there is none."""
    if not (known := keyring.accepted(role, begun=datetime.fromtimestamp(begun, UTC))):
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
