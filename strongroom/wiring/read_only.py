"""Services for a look: they make no key, folder, mark or database, and sign nothing.

An installation's own commands make on first use what there is not. A look at its health would then call
well what it has just made.
"""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path

from msgspec.structs import replace

from strongroom.config import Settings
from strongroom.container.signing import CertifiedSigner
from strongroom.errors import ConfigError, StrongroomError
from strongroom.keys import keywrap, roles
from strongroom.keys.keyring import Keyring
from strongroom.operations.engine.services import ConfiguredPolicy, Pinned, Services
from strongroom.state import engine
from strongroom.state.engine import StateDatabase
from strongroom.state.records import RecipientPin
from strongroom.state.store import RunStore
from strongroom.wiring import adapters, jobs, keys
from strongroom.wiring.database import database_url
from strongroom.wiring.keys import Ask


def looking_services(settings: Settings, *, ask: Ask | None = None) -> Services:
    """Return what a look may use.

    Raises:
        StateError: there is no state database, or none of this version's schema.
        ConfigError: a key file is damaged or open to others.
    """
    url = database_url(settings)
    engine.require(StateDatabase(url))
    folder = settings.state_dir / "keys"
    keyring = Keyring(folder / "roles")
    targets = {name: adapters.target(name, settings, prepare=False) for name in settings.targets}
    stages = adapters.stages(settings, prepare=False)
    terms = jobs.pinned(_without_recipients(settings), targets, stages, seals=False, ask=None)
    return Services(
        owner=f"{socket.gethostname()}:{os.getpid()}:look",
        state_dir=settings.state_dir,
        store=RunStore(url),
        stage=adapters.local_stage(settings, prepare=False),
        stages=stages,
        targets=targets,
        sources={},
        pinned=lambda name: Pinned(spec=terms(name).spec),
        signers=_signs_nothing,
        trusted=lambda role, begun: keys.trusted(keyring, role, begun),
        signer_fingerprints=keys.fingerprints(settings, folder / "roles"),
        span=settings.verification.span_days * 86_400.0,
        installation=lambda: roles.installation_fingerprint(folder / "roles"),
        retention=cache(lambda: jobs.configured(settings, targets)),
        identities=cache(lambda: keys.identities(settings, ask)),
        work_key=b"",
        digest_key=_if_there(folder, "digest"),
    )


def policies_now(settings: Settings, services: Services) -> dict[str, ConfiguredPolicy]:
    """Return the policies as they are configured now, each with its recipients as far as their key services
    tell: an HSM that is away hides nothing but its own key."""
    found = jobs.configured(settings, services.targets)
    return {name: _with_recipients(policy, settings) for name, policy in found.items()}


def _with_recipients(policy: ConfiguredPolicy, settings: Settings) -> ConfiguredPolicy:
    found = settings.policies[policy.name]
    pins: list[RecipientPin] = []
    away: dict[str, StrongroomError] = {}
    for key in found.recipients if found.sealed else ():
        try:
            pins.append(keys.pin(key, settings))
        except StrongroomError as error:
            away[key] = error
    return replace(policy, spec=replace(policy.spec, recipients=tuple(pins)), unpinned=away)


def lock_caps(settings: Settings) -> dict[str, int]:
    """Return for each target that locks for so many days at most, how many: its administrator's word."""
    most = {name: found.longest_lock for name, found in settings.targets.items()}
    return {name: days for name, days in most.items() if days is not None}


def _without_recipients(settings: Settings) -> Settings:
    """Return the configuration without what only a key service can tell."""
    plain = {name: replace(policy, recipients=()) for name, policy in settings.policies.items()}
    return replace(settings, policies=plain)


def _if_there(folder: Path, name: str) -> bytes:
    return keywrap.load_or_create(folder, name) if (folder / f"{name}.key").exists() else b""


def _signs_nothing(role: str) -> CertifiedSigner:
    raise ConfigError(f"a look does not sign as '{role}'")
