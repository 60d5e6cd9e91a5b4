"""What is built from the full configuration, for commands that need state."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from strongroom.cli.shared.passphrases import asking
from strongroom.cli.terminal.output import Output
from strongroom.config import AllOfKey, Settings, load_settings
from strongroom.errors import StrongroomError
from strongroom.keys import Identity
from strongroom.keys.allof import AllOfIdentity
from strongroom.model import Role
from strongroom.operations.engine.services import Services
from strongroom.operations.keys.trial import Diagnosed, diagnose
from strongroom.operations.keys.usage import pinned_key
from strongroom.state.store import RunStore
from strongroom.system.lazy import lazy
from strongroom.targets import Target
from strongroom.wiring import adapters, keys
from strongroom.wiring.database import database_url, existing_run_store
from strongroom.wiring.keys import Ask, opening_file, pin, sealed_file
from strongroom.wiring.services import build_services

if TYPE_CHECKING:
    from strongroom.operations.engine.findings import Finding
    from strongroom.operations.judge.inspection import KeyMetrics

_check_areas = lazy("strongroom.wiring.health_areas:check_areas")
_cluster_facts = lazy("workers.cluster_facts:cluster_facts")

__all__ = ["check_areas", "configured_targets", "existing_run_store", "open_services", "run_store"]


def open_services(settings: Settings | None = None, *, output: Output | None = None) -> Services:
    """Return everything that a person's own command line may use; for ``output`` see :func:`asking`."""
    return build_services(settings or load_settings(), role=Role.OPERATOR, ask=asking(output))


def check_areas(settings: Settings, *, days: int, now: float) -> tuple[list[Finding], KeyMetrics | None]:
    """Look at every area of the installation, with the broker and its workers; the metrics are missing where
    the record cannot be read."""
    found: tuple[list[Finding], KeyMetrics | None] = _check_areas(
        settings, days=days, now=now, cluster=partial(_cluster_facts, settings)
    )
    return found


def configured_targets() -> dict[str, Target]:
    """Return the configured targets; what is there is neither made nor marked."""
    settings = load_settings()
    return {name: adapters.target(name, settings, prepare=False) for name in settings.targets}


def run_store() -> RunStore:
    """Return the run store alone: looking needs no keys and no targets."""
    return RunStore(database_url(load_settings()))


# -- The keys of the configuration, as what they seal calls them ------------------------------------


class Configured(NamedTuple):
    """A key of the configuration: what stanzas call it, in words who opens, and for which policies.

    ``sealed``: whether a passphrase seals its file; ``None`` if this host has no file that it opens with.
    """

    key: str
    describes: str
    policies: tuple[str, ...]
    sealed: bool | None = None


def configured_keys(settings: Settings) -> tuple[dict[str, Configured], dict[str, str]]:
    """Return the configured keys by name; those that cannot be told, with why."""
    keys: dict[str, Configured] = {}
    broken: dict[str, str] = {}
    for name in settings.keys:
        try:
            recipient = pin(name, settings, asking())
        except StrongroomError as error:
            broken[name] = f"{error.code}: {error.message}"
            continue
        key = settings.keys[name]
        sealed = None if opening_file(key) is None else sealed_file(key) is not None
        keys[name] = Configured(pinned_key(recipient), recipient.describes, _policies(name, settings), sealed)
    return keys, broken


def _policies(name: str, settings: Settings) -> tuple[str, ...]:
    """Name the policies that seal for a key, alone or as a leg of a composition."""
    composed = {
        other for other, key in settings.keys.items() if any(name in leg for leg in getattr(key, "legs", ()))
    }
    return tuple(
        policy
        for policy, policy_settings in settings.policies.items()
        if not ({name} | composed).isdisjoint(policy_settings.recipients)
    )


# -- Trying one configured key with a real wrap and unwrap ------------------------------------------


def try_key(name: str, settings: Settings, ask: Ask | None) -> Diagnosed:
    """Try one configured key for real."""

    def identities() -> Sequence[Identity]:
        if settings.keys[name].kind == "all-of":
            return _together(name, settings, ask)
        return list(keys.identity(name, settings, ask))

    return diagnose(name, settings.keys[name].kind, lambda: keys.recipient(name, settings, ask), identities)


def _together(name: str, settings: Settings, ask: Ask | None) -> Sequence[Identity]:
    """Return what all legs' keys are together, if this host has one of every leg."""
    key = settings.keys[name]
    assert isinstance(key, AllOfKey)
    legs = [[each for other in leg for each in keys.identity(other, settings, ask)] for leg in key.legs]
    return [AllOfIdentity([each for leg in legs for each in leg])] if all(legs) else []
