"""Keys, made from their settings: recipients to seal for, identities to open with.

A recipient needs what sealing needs, so a host that only makes backups names public halves.
Identities are all that the host was given besides: private keys, a token's PIN, a login.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.config import (
    AllOfKey,
    HpkeKey,
    KeyFileKey,
    PassphraseKey,
    Pkcs11Key,
    QuorumKey,
    Settings,
)
from strongroom.errors import ConfigError
from strongroom.keys import Opener, Recipient, passphrase, privatefile
from strongroom.keys.allof import LEAST_LEGS, AllOfIdentity, AllOfRecipient
from strongroom.keys.ec import EcPublicKey, EcRecipient
from strongroom.keys.hpke import HpkeIdentity, HpkeRecipient, PublicKey
from strongroom.keys.keyfile import KeyFileIdentity, KeyFileRecipient, load_key_file
from strongroom.keys.quorum import QuorumRecipient, record
from strongroom.operations.pins import pin_recipient
from strongroom.state.records import RecipientPin

if TYPE_CHECKING:
    from strongroom.keys.pkcs11.aes import HsmAesKey
    from strongroom.keys.pkcs11.ec import Pkcs11EcIdentity
    from strongroom.keys.pkcs11.session import Token


@dataclass(frozen=True, kw_only=True)
class Ask:
    """How a person is asked for what neither a file nor the environment gives.

    ``pin`` is shown which token it is for, and how many tries are left.
    """

    passphrase: Callable[[], str]
    pin: Callable[[str], str]


def recipient(name: str, settings: Settings, ask: Ask | None = None) -> Recipient:
    """Return the sealing side of a configured key. Raises ConfigError or KeyServiceError."""
    match settings.keys[name]:
        case PassphraseKey() as key:
            return passphrase.PassphraseRecipient(
                _passphrase(key, ask), label=name, iterations=key.iterations
            )
        case KeyFileKey() as key:
            return KeyFileRecipient(load_key_file(key.file), label=name)
        case HpkeKey() as key:
            return HpkeRecipient(public_key(key), label=name)
        case Pkcs11Key() as key:
            return _hsm_recipient(name, key, ask)
        case QuorumKey() as key:
            return QuorumRecipient(record.load(key.file), label=name)
        case AllOfKey() as key:
            legs = [[recipient(other, settings, ask) for other in leg] for leg in key.legs]
            return AllOfRecipient(legs, label=name)
        case key:
            raise ConfigError(f"keys.{name} is of a kind that this version cannot use: {key.kind}")


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
    return together(tuple(found for name in settings.keys for found in identity(name, settings, ask)))


def together(found: tuple[Opener, ...]) -> tuple[Opener, ...]:
    """Return identities, and last what all of them are together: some backups ask for several."""
    return (*found, AllOfIdentity(found)) if len(found) >= LEAST_LEGS else found


def identity(name: str, settings: Settings, ask: Ask | None = None) -> Iterator[Opener]:
    """Yield the opening side of a configured key, if this host has it."""
    match settings.keys[name]:
        case PassphraseKey() as key:
            yield passphrase.PassphraseIdentity(_passphrase(key, ask))
        case KeyFileKey() as key:
            yield KeyFileIdentity(load_key_file(key.file))
        case HpkeKey(identity_file=Path() as file):
            yield HpkeIdentity.load(file)
        case Pkcs11Key(module=Path()) as key:
            yield _hsm_identity(name, key, ask)


def public_key(key: HpkeKey) -> PublicKey:
    """Return the public key that settings name. Raises ConfigError."""
    if key.public_key is not None:
        return PublicKey.parse(key.public_key)
    assert key.public_key_file is not None  # the settings hold one of the two
    try:
        return PublicKey.parse(key.public_key_file.read_text())
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"the public key '{key.public_key_file}' cannot be read") from None


def _hsm_recipient(name: str, key: Pkcs11Key, ask: Ask | None) -> Recipient:
    from strongroom.keys.pkcs11.aes import Pkcs11AesRecipient  # noqa: PLC0415 - the PKCS#11 library

    if key.mechanism == "aes":
        return Pkcs11AesRecipient(_hsm_aes(name, key, ask), label=name)
    if key.public_key_file is not None:
        return EcRecipient(_hsm_public(key.public_key_file), key=key.label, version=key.version, label=name)
    public = _hsm_ec(name, key, ask).public
    return EcRecipient(public, key=key.label, version=key.version, label=name)


def _hsm_identity(name: str, key: Pkcs11Key, ask: Ask | None) -> Opener:
    from strongroom.keys.pkcs11.aes import Pkcs11AesIdentity  # noqa: PLC0415 - the PKCS#11 library

    return _hsm_ec(name, key, ask) if key.mechanism == "ec" else Pkcs11AesIdentity(_hsm_aes(name, key, ask))


def _hsm_ec(name: str, key: Pkcs11Key, ask: Ask | None) -> Pkcs11EcIdentity:
    from strongroom.keys.pkcs11.ec import Pkcs11EcIdentity  # noqa: PLC0415 - the PKCS#11 library

    public = _hsm_public(key.public_key_file) if key.public_key_file else None
    return Pkcs11EcIdentity(token(name, key, ask), key=key.label, version=key.version, public=public)


def _hsm_aes(name: str, key: Pkcs11Key, ask: Ask | None) -> HsmAesKey:
    from strongroom.keys.pkcs11.aes import HsmAesKey  # noqa: PLC0415 - the PKCS#11 library

    return HsmAesKey(token(name, key, ask), key=key.label, version=key.version, key_id=key.key_id)


def _hsm_public(file: Path) -> EcPublicKey:
    try:
        return EcPublicKey.parse(file.read_text())
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"the public key '{file}' cannot be read") from None


def token(name: str, key: Pkcs11Key, ask: Ask | None) -> Token:
    """Return the token that holds a key. Raises ConfigError if the settings do not lead to one."""
    from strongroom.keys.pkcs11.pin import PinFile, PinPrompt  # noqa: PLC0415 - the PKCS#11 library
    from strongroom.keys.pkcs11.session import Token  # noqa: PLC0415

    if key.module is None or key.token is None:
        raise ConfigError(f"keys.{name} needs 'module' and 'token': without them the key cannot be reached")
    if key.pin_file is not None:
        return Token(module=key.module, label=key.token, pin=PinFile(key.pin_file))
    if ask is None:
        raise ConfigError(f"keys.{name} needs 'pin_file' where nobody can be asked for a PIN")
    return Token(module=key.module, label=key.token, pin=PinPrompt(ask.pin))


def _passphrase(key: PassphraseKey, ask: Ask | None) -> str:
    file = key.file or os.environ.get("STRONGROOM_PASSPHRASE_FILE")
    if file:
        return privatefile.read_private(Path(file)).rstrip("\r\n")
    if "STRONGROOM_PASSPHRASE" in os.environ:
        return os.environ["STRONGROOM_PASSPHRASE"]
    if ask is not None:
        return ask.passphrase()
    raise ConfigError(
        "a passphrase is needed and none is at hand: set the key's 'file', STRONGROOM_PASSPHRASE_FILE or "
        "STRONGROOM_PASSPHRASE, for the cluster where 'strongroom up' starts it",
        hint="A key pair (strongroom keygen) needs no passphrase on the host that makes backups.",
    )
