"""Keys that never leave their service, and keys that can be destroyed there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from strongroom.config import AllOfKey, HpkeKey, KeyFileKey, KmsKey, Pkcs11Key, Settings, TransitKeySettings
from strongroom.errors import ConfigError
from strongroom.keys import Opener, Recipient, hpke, keyfile, roles, transit
from strongroom.keys.destroying import Destroyer
from strongroom.keys.destroying.services import FileDestroyer, KmsDestroyer, TransitDestroyer
from strongroom.keys.hpke import HpkeRecipient
from strongroom.keys.identityfile import load_identity
from strongroom.keys.keyfile import KeyFileRecipient
from strongroom.keys.kms import Kms, KmsIdentity, KmsOptions, KmsRecipient
from strongroom.keys.transit import TransitIdentity, TransitRecipient
from strongroom.operations.archive.key_versions import ErasurePolicy, ShredScope
from strongroom.system.lazy import lazy
from strongroom.wiring.keys import Ask, passphrases, public_key

vault = lazy("strongroom.wiring.vault_adapters:vault")

# -- Keys that never leave their service: an HSM, Vault or KMS ----------------------------------


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


# -- What this installation may shred, and the keys that it can destroy, by its settings --------


_HSM_DESTROYER = lazy("strongroom.wiring.hsm:destroyer")


def scope(settings: Settings, ask: Ask | None = None) -> ShredScope:
    """Return the policies' word on shredding, and the destroyers. Calls no key service."""
    policies = {
        name: ErasurePolicy(
            erasable=policy.erasable,
            legal_hold=policy.legal_hold or "",
            seals_for=frozenset(
                key for recipient in policy.recipients for key in _parts(recipient, settings)
            ),
        )
        for name, policy in settings.policies.items()
    }
    made = {name: _reached(name, settings, ask) for name in settings.keys}
    return ShredScope(
        confirmers=roles.believed(settings.state_dir / "keys" / "roles"),
        policies=policies,
        destroyers={name: key_destroyer for name, key_destroyer in made.items() if key_destroyer is not None},
    )


def _parts(name: str, settings: Settings) -> Iterator[str]:
    yield name
    key = settings.keys.get(name)
    if isinstance(key, AllOfKey):
        yield from (other for leg in key.legs for other in leg)


def _reached(name: str, settings: Settings, ask: Ask | None) -> Destroyer | None:
    """A key that needs a person here must not keep the others from being finished."""
    try:
        return destroyer(name, settings, ask)
    except ConfigError:
        return None


def destroyer(name: str, settings: Settings, ask: Ask | None) -> Destroyer | None:
    """Return what destroys a configured key; ``None`` if this host cannot."""

    def load(file: Path) -> Opener:
        return load_identity(file, passphrases(ask))

    match settings.keys[name]:
        case KeyFileKey(file=file):
            return FileDestroyer(name, file, type=keyfile.TYPE, public=lambda: _file_id(file), load=load)
        case HpkeKey(identity_file=Path() as file) as pair:
            return FileDestroyer(
                name,
                file,
                type=hpke.TYPE,
                public=lambda: HpkeRecipient(public_key(pair)).fingerprint,
                load=load,
            )
        case TransitKeySettings() as key:
            return TransitDestroyer(name, transit_key(key, settings))
        case KmsKey(key_id=key_id) as key if "alias/" not in key_id:
            return KmsDestroyer(name, kms(key))
        case Pkcs11Key(module=Path()) as key:
            made: Destroyer = _HSM_DESTROYER(name, key, ask)
            return made
    return None


def _file_id(file: Path) -> str:
    return KeyFileRecipient.load(file).fingerprint
