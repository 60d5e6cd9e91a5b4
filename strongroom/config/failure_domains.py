"""Failure domains: which targets would be lost together with a source."""

from __future__ import annotations

from strongroom.config.kinds import server
from strongroom.config.model import Settings
from strongroom.config.targets import VaultTargetSettings


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
