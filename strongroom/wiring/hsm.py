"""Keys in an HSM, made from their settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from strongroom.config import Pkcs11Key, Settings
from strongroom.errors import ConfigError
from strongroom.keys import Opener, Recipient
from strongroom.keys.destroying import Destroyer
from strongroom.keys.destroying.services import HsmDestroyer
from strongroom.keys.ec import EcPublicKey, EcRecipient
from strongroom.keys.pkcs11.session import PinFile, PinPrompt, Token
from strongroom.keys.pkcs11.token_keys import (
    HsmAesKey,
    Pkcs11AesIdentity,
    Pkcs11AesRecipient,
    Pkcs11EcIdentity,
)
from strongroom.wiring.keys import Ask


def recipient(name: str, key: Pkcs11Key, settings: Settings, ask: Ask | None) -> Recipient:
    """Return the sealing side of a key in an HSM."""
    if key.mechanism == "aes":
        return Pkcs11AesRecipient(_aes(name, key, ask), label=name)
    public = _public(key.public_key_file) if key.public_key_file else _ec(name, key, ask).public
    return EcRecipient(public, key=key.label, version=key.version, label=name, token=key.token or "")


def identity(name: str, key: Pkcs11Key, settings: Settings, ask: Ask | None) -> Iterator[Opener]:
    """Yield the opening side, which asks for the PIN. A host that has only the public half has none."""
    if key.module is not None:
        yield _opener(name, key, ask)


def _opener(name: str, key: Pkcs11Key, ask: Ask | None) -> Opener:
    return _ec(name, key, ask) if key.mechanism == "ec" else Pkcs11AesIdentity(_aes(name, key, ask))


def _ec(name: str, key: Pkcs11Key, ask: Ask | None) -> Pkcs11EcIdentity:
    public = _public(key.public_key_file) if key.public_key_file else None
    return Pkcs11EcIdentity(token(name, key, ask), key=key.label, version=key.version, public=public)


def _aes(name: str, key: Pkcs11Key, ask: Ask | None) -> HsmAesKey:
    return HsmAesKey(token(name, key, ask), key=key.label, version=key.version, key_id=key.key_id)


def _public(file: Path) -> EcPublicKey:
    try:
        return EcPublicKey.parse(file.read_text())
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"the public key '{file}' cannot be read") from None


def token(name: str, key: Pkcs11Key, ask: Ask | None) -> Token:
    """Return the token that holds a key. Raises ConfigError if the settings do not lead to one."""
    if key.module is None or key.token is None:
        raise ConfigError(f"keys.{name} needs 'module' and 'token': without them the key cannot be reached")
    if key.pin_file is not None:
        return Token(module=key.module, label=key.token, pin=PinFile(key.pin_file))
    if ask is None:
        raise ConfigError(f"keys.{name} needs 'pin_file' where nobody can be asked for a PIN")
    return Token(module=key.module, label=key.token, pin=PinPrompt(ask.pin))


def destroyer(name: str, key: Pkcs11Key, settings: Settings, ask: Ask | None) -> Destroyer:
    """Return what destroys a key in an HSM."""
    opener = _opener(name, key, ask)
    return HsmDestroyer(
        name,
        token(name, key, ask),
        label=key.label,
        public=lambda: opener.recipient().fingerprint,
        opener=opener,
    )
