"""Keys that never leave their service: an HSM, Vault or KMS."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.config import KmsKey, Pkcs11Key, Settings, TransitKeySettings
from strongroom.keys import Opener, Recipient, transit
from strongroom.keys.kms import KmsIdentity, KmsRecipient
from strongroom.keys.kms.service import Kms, KmsOptions
from strongroom.keys.transit import TransitIdentity, TransitRecipient
from strongroom.system.lazy import lazy
from strongroom.wiring.prompts import Ask
from strongroom.wiring.vaults import vault

# The library of PKCS#11 is loaded where a key in an HSM is used, and never before a fork.
_HSM_RECIPIENT = lazy("strongroom.wiring.hsm:recipient")
_HSM_IDENTITY = lazy("strongroom.wiring.hsm:identity")

KeptKey = Pkcs11Key | TransitKeySettings | KmsKey


def recipient(name: str, key: KeptKey, settings: Settings, ask: Ask | None) -> Recipient:
    """Return the sealing side."""
    match key:
        case Pkcs11Key():
            made: Recipient = _HSM_RECIPIENT(name, key, ask)
            return made
        case TransitKeySettings():
            return TransitRecipient(transit_key(key, settings), label=name)
        case KmsKey():
            return KmsRecipient(kms(key), label=name)


def identity(name: str, key: KeptKey, settings: Settings, ask: Ask | None) -> Iterator[Opener]:
    """Yield the opening side. A host that has only an HSM key's public half has none."""
    match key:
        case Pkcs11Key():
            if key.module is not None:
                yield _HSM_IDENTITY(name, key, ask)
        case TransitKeySettings():
            yield TransitIdentity(transit_key(key, settings))
        case KmsKey():
            yield KmsIdentity(kms(key))


def transit_key(key: TransitKeySettings, settings: Settings) -> transit.TransitKey:
    """Return a transit key of a configured server."""
    server = vault(key.vault, settings)
    return transit.TransitKey(server, key=key.key, mount=key.mount, server=key.vault)


def kms(key: KmsKey) -> Kms:
    """Return a key of KMS."""
    return Kms(
        KmsOptions(key_id=key.key_id, region=key.region, endpoint_url=key.endpoint_url, profile=key.profile)
    )
