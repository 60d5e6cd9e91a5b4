"""The keys of the configuration, as what they seal calls them."""

from __future__ import annotations

from typing import NamedTuple

from strongroom.cli.shared.settings import asking
from strongroom.config import Settings
from strongroom.errors import StrongroomError
from strongroom.operations.keys.usage import pinned_key
from strongroom.wiring.keys import opening_file, pin, sealed_file


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
