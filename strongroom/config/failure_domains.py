"""What would be lost together: targets with a source, keys with each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from strongroom.config.keys import AllOfKey, HpkeKey
from strongroom.config.kinds import KeyKind, server
from strongroom.config.model import Settings
from strongroom.config.targets import VaultTargetSettings
from strongroom.model import Depth

# -- Failure domains: which targets would be lost together with a source ------------------------


def home_of(settings: Settings, source: str) -> str | None:
    """Return the server that a source lives in, if it is one of ours to tell."""
    found = settings.sources.get(source)
    return server(settings.vaults, found.on_vault) if found and found.on_vault else None


def is_lost_with(settings: Settings, target: str, home: str | None) -> bool:
    """Say whether a target lies in the server ``home`` itself."""
    found = settings.targets.get(target)
    on_vault = found.on_vault if found else None
    return home is not None and on_vault is not None and server(settings.vaults, on_vault) == home


def own_mounts(settings: Settings, source: str) -> tuple[str, ...]:
    """Return the mounts of a source's server that are targets of this installation.

    ``namespace/mount``, as a source's settings name them. A backup of backups would grow
    with each run, and would seal into itself what it is to outlive.
    """
    home = home_of(settings, source)
    targets = [target for name, target in settings.targets.items() if is_lost_with(settings, name, home)]
    return tuple(_mount(settings, target) for target in targets if isinstance(target, VaultTargetSettings))


def _mount(settings: Settings, target: VaultTargetSettings) -> str:
    namespace = settings.vaults[target.vault].namespace.strip("/")
    return f"{namespace}/{target.mount.strip('/')}".lstrip("/")


# -- Whether one loss can close a backup for ever: what its ways in rest on, and what is left without


UnlockPath = Sequence[Sequence[str | None]]
"""One way in: its legs, of which every one is needed, each with the things of which any one will do.

A thing is whatever is lost at once: a key file, a token with all that is in it, a Vault with all of its
keys. ``None`` is not: a quorum still opens when one of its papers is gone.
"""


def outlive(ways: Sequence[UnlockPath], lost: str) -> bool:
    """Whether there is still a way in without one thing."""
    return any(all(any(thing != lost for thing in leg) for leg in way) for way in ways)


def single_points_of_failure(ways: Sequence[UnlockPath]) -> list[str]:
    """Return the things each of which is needed, whatever else there is; ordered, none twice."""
    things = dict.fromkeys(thing for way in ways for leg in way for thing in leg)
    return [thing for thing in things if thing is not None and not outlive(ways, thing)]


# -- What opens a policy's backups, as things that can be lost: two keys in one token are one thing ---


def unlock_paths_of(settings: Settings, names: Iterable[str]) -> list[UnlockPath]:
    """Return the ways in that these keys are; names of which nothing is known are left out."""
    return [_unlock_path(settings, settings.keys[name]) for name in names if name in settings.keys]


def server_of(settings: Settings, name: str) -> str:
    """Return what a Vault is called here as a thing that can be lost: its keys go with it."""
    return f"the Vault {server(settings.vaults, name) or name}"


def called(settings: Settings, thing: str) -> str:
    """Say which configured keys are, or lie in, a thing."""
    names = [
        name
        for name, key in settings.keys.items()
        if not isinstance(key, AllOfKey) and key.lost_with(settings.vaults) == thing
    ]
    return " and ".join(f"keys.{name}" for name in names) or thing


def _unlock_path(settings: Settings, key: KeyKind) -> UnlockPath:
    if not isinstance(key, AllOfKey):
        return ((key.lost_with(settings.vaults),),)
    legs = [[settings.keys[name] for name in leg if name in settings.keys] for leg in key.legs]
    return [[each.lost_with(settings.vaults) for each in leg] for leg in legs]


# -- What is right in a configuration, and will not do on this host alone -----------------------
#
# A host that only seals is how it should be, and its configuration says what is done elsewhere, too: so these
# are no problems, which would keep every command from running.


_OPENING = (Depth.OPENED, Depth.COMPARED, Depth.LIVE)


def remarks(settings: Settings) -> Iterator[str]:
    """Yield what needs a key that opens backups and has none here, and rules of one person alone."""
    for name, rule in settings.approvals.rules.items():
        if rule.k == 1:
            yield (
                f"approvals.rules.{name}.k = 1: an attacker with the account of one of its people can ask "
                "under another name and approve that alone."
            )
    for name, policy in settings.policies.items():
        if policy.sealed and policy.verify in _OPENING and not opens(settings, policy.recipients):
            yield (
                f"policies.{name}.verify = {policy.verify}, and this host opens none of its keys. A backup "
                f"made here is whole and degraded, as not verified. {_needed(settings, policy.recipients)}"
            )


def opens(settings: Settings, names: Sequence[str]) -> bool:
    """Tell whether this host opens what is sealed to these keys: any one is enough."""
    keys = (settings.keys[name] for name in names if name in settings.keys)
    return any(
        all(opens(settings, leg) for leg in key.legs) if isinstance(key, AllOfKey) else key.opens_here
        for key in keys
    )


def _needed(settings: Settings, names: Sequence[str]) -> str:
    pairs = [name for name in names if isinstance(settings.keys.get(name), HpkeKey)]
    setting = f"keys.{pairs[0]}.identity_file" if pairs else "its opening side"
    return f"It needs a host that has {setting}."
