"""Erasable policies: can every key that opens their backups be destroyed, and nothing else with it?"""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.config.checks.context import Context, Misfit
from strongroom.config.keys import (
    AllOfKey,
    HpkeKey,
    KeySettings,
    KmsKey,
    PassphraseKey,
    Pkcs11Key,
    QuorumKey,
)
from strongroom.config.model import Settings
from strongroom.config.policies import PolicySettings

LEG = "Take a transit, KMS or HSM key, or put it into an all-of beside one that can be destroyed."


def check(context: Context) -> Iterator[Misfit]:
    """Yield what would keep an erasable policy from being shredded."""
    for name, policy in context.settings.policies.items():
        if policy.erasable and not context.is_bad("policies", name):
            yield from _erasable(context, name, policy)


def _erasable(context: Context, name: str, policy: PolicySettings) -> Iterator[Misfit]:
    at = ("policies", name, "erasable")
    if not policy.sealed:
        yield Misfit(at, "this policy seals nothing, so no key can be destroyed", "Add encrypt = true.")
    for other in policy.targets:
        target = context.settings.targets.get(other)
        if target is not None and getattr(target, "lock", "none") != "none":
            yield Misfit(
                at,
                f"target '{other}' locks what is put on it, so nothing could be removed there",
                "A policy is immutable or erasable: take a target without a lock, or leave erasable out.",
            )
    for key in policy.recipients:
        if key in context.settings.keys and (why := undestroyable(context.settings, key, name)):
            yield Misfit(at, f"'{key}' cannot be destroyed for this policy alone: {why}", LEG)


def undestroyable(settings: Settings, name: str, policy: str) -> str:
    """Return why a key's destruction would not shred a policy's backups; nothing if it would.

    All-of needs one leg whose every spare can be destroyed: whoever lacks a leg has nothing.
    """
    key = settings.keys[name]
    if not isinstance(key, AllOfKey):
        return _why(settings, name, key, policy)
    said = []
    for leg in key.legs:
        whys = [
            _why(settings, stanza, settings.keys[stanza], policy) for stanza in leg if stanza in settings.keys
        ]
        if not any(whys):
            return ""
        said += [why for why in whys if why]
    return "of no leg can every key be destroyed: " + "; ".join(dict.fromkeys(said))


def _why(settings: Settings, name: str, key: KeySettings, policy: str) -> str:
    for other, policy_settings in settings.policies.items():
        if other != policy and _uses(settings, policy_settings, name):
            return f"policy '{other}' also seals to '{name}'"
    return _kept(name, key)


def _kept(name: str, key: KeySettings) -> str:
    """Return why a key of that kind, or as it is configured, stays whatever we do."""
    why = ""
    match key:
        case PassphraseKey():
            why = "a passphrase cannot be made forgotten"
        case QuorumKey():
            why = "shares on paper are with their custodians, and nobody can prove that they were burnt"
        case HpkeKey(identity_file=None):
            why = f"the private half of '{name}' is not on this host (identity_file)"
        case Pkcs11Key(module=None):
            why = f"this host does not reach the token of '{name}' (module)"
        case KmsKey(key_id=key_id) if "alias/" in key_id:
            why = f"'{name}' is an alias, which can be moved to another key: name the key"
        case AllOfKey():
            why = "an all-of inside another cannot be destroyed"
    return why


def _uses(settings: Settings, policy: PolicySettings, name: str) -> bool:
    keys = [settings.keys.get(recipient) for recipient in policy.recipients]
    return name in policy.recipients or any(
        name in leg for key in keys if isinstance(key, AllOfKey) for leg in key.legs
    )
