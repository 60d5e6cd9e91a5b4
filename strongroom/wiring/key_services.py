"""Keys that never leave their service, and keys that can be destroyed there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from strongroom.config import AllOfKey, HpkeKey, KeyFileKey, KmsKey, Settings, TransitKeySettings
from strongroom.config.registry import maker
from strongroom.errors import ConfigError
from strongroom.keys import Opener, hpke, keyfile, roles, transit
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

# -- Keys that never leave their service: Vault or KMS; those in an HSM are in strongroom.wiring.hsm ------


def transit_recipient(
    name: str, key: TransitKeySettings, settings: Settings, ask: Ask | None
) -> TransitRecipient:
    """Return what seals by a Vault."""
    return TransitRecipient(transit_key(key, settings), label=name)


def transit_identity(
    name: str, key: TransitKeySettings, settings: Settings, ask: Ask | None
) -> Iterator[Opener]:
    """Yield what opens by a Vault."""
    yield TransitIdentity(transit_key(key, settings))


def kms_recipient(name: str, key: KmsKey, settings: Settings, ask: Ask | None) -> KmsRecipient:
    """Return what seals by KMS."""
    return KmsRecipient(kms(key), label=name)


def kms_identity(name: str, key: KmsKey, settings: Settings, ask: Ask | None) -> Iterator[Opener]:
    """Yield what opens by KMS."""
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
    key = settings.keys[name]
    if not key.DESTROYED_BY or key.outlives(name):
        return None
    made: Destroyer = maker(key, key.DESTROYED_BY)(name, key, settings, ask)
    return made


def file_destroyer(name: str, key: KeyFileKey, settings: Settings, ask: Ask | None) -> Destroyer:
    """Return what destroys a key file."""
    return FileDestroyer(
        name,
        key.file,
        type=keyfile.TYPE,
        public=lambda: KeyFileRecipient.load(key.file).fingerprint,
        load=partial(load_identity, passphrases=passphrases(ask)),
    )


def pair_destroyer(name: str, key: HpkeKey, settings: Settings, ask: Ask | None) -> Destroyer:
    """Return what destroys the private half of a pair."""
    assert key.identity_file is not None  # else it outlives
    return FileDestroyer(
        name,
        key.identity_file,
        type=hpke.TYPE,
        public=lambda: HpkeRecipient(public_key(key)).fingerprint,
        load=partial(load_identity, passphrases=passphrases(ask)),
    )


def transit_destroyer(name: str, key: TransitKeySettings, settings: Settings, ask: Ask | None) -> Destroyer:
    """Return what destroys a key of Vault's transit engine."""
    return TransitDestroyer(name, transit_key(key, settings))


def kms_destroyer(name: str, key: KmsKey, settings: Settings, ask: Ask | None) -> Destroyer:
    """Return what destroys a key of KMS."""
    return KmsDestroyer(name, kms(key))
