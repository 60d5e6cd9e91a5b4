"""Keys that never leave their service: an HSM, Vault or KMS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.config import KmsKey, Pkcs11Key, Settings, TransitKey
from strongroom.errors import ConfigError
from strongroom.keys import Opener, Recipient, transit
from strongroom.keys.ec import EcPublicKey, EcRecipient
from strongroom.keys.kms import KmsIdentity, KmsRecipient
from strongroom.keys.kms.service import Kms, KmsOptions
from strongroom.keys.transit import TransitIdentity, TransitRecipient
from strongroom.wiring.prompts import Ask
from strongroom.wiring.vaults import vault

if TYPE_CHECKING:
    from strongroom.keys.pkcs11.aes import HsmAesKey
    from strongroom.keys.pkcs11.ec import Pkcs11EcIdentity
    from strongroom.keys.pkcs11.session import Token

KeptKey = Pkcs11Key | TransitKey | KmsKey


def recipient(name: str, key: KeptKey, settings: Settings, ask: Ask | None) -> Recipient:
    """Return the sealing side."""
    match key:
        case Pkcs11Key():
            return _hsm_recipient(name, key, ask)
        case TransitKey():
            return TransitRecipient(transit_key(key, settings), label=name)
        case KmsKey():
            return KmsRecipient(kms(key), label=name)


def identity(name: str, key: KeptKey, settings: Settings, ask: Ask | None) -> Iterator[Opener]:
    """Yield the opening side. A host that has only an HSM key's public half has none."""
    match key:
        case Pkcs11Key():
            if key.module is not None:
                yield _hsm_identity(name, key, ask)
        case TransitKey():
            yield TransitIdentity(transit_key(key, settings))
        case KmsKey():
            yield KmsIdentity(kms(key))


def transit_key(key: TransitKey, settings: Settings) -> transit.TransitKey:
    """Return a transit key of a configured server."""
    server = vault(key.vault, settings)
    return transit.TransitKey(server, key=key.key, mount=key.mount, server=key.vault)


def kms(key: KmsKey) -> Kms:
    """Return a key of KMS."""
    return Kms(
        KmsOptions(key_id=key.key_id, region=key.region, endpoint_url=key.endpoint_url, profile=key.profile)
    )


def _hsm_recipient(name: str, key: Pkcs11Key, ask: Ask | None) -> Recipient:
    from strongroom.keys.pkcs11.aes import Pkcs11AesRecipient  # noqa: PLC0415 - the PKCS#11 library

    if key.mechanism == "aes":
        return Pkcs11AesRecipient(_hsm_aes(name, key, ask), label=name)
    public = _hsm_public(key.public_key_file) if key.public_key_file else _hsm_ec(name, key, ask).public
    return EcRecipient(public, key=key.label, version=key.version, label=name, token=key.token or "")


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
