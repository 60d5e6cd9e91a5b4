"""Failure domains: which targets would be lost together with a source."""

from __future__ import annotations

from strongroom.config.model import Settings
from strongroom.config.sources import RaftSource, VaultSource
from strongroom.config.targets import VaultTargetSettings


def server(settings: Settings, vault: str) -> str | None:
    """Return the one spelling of a server's address: two names for one server are one server."""
    vault_settings = settings.vaults.get(vault)
    return vault_settings.address.rstrip("/").lower() if vault_settings else None


def home_of(settings: Settings, source: str) -> str | None:
    """Return the server that a source lives in, if it is one of ours to tell."""
    source_settings = settings.sources.get(source)
    return (
        server(settings, source_settings.vault)
        if isinstance(source_settings, (VaultSource, RaftSource))
        else None
    )


def is_lost_with(settings: Settings, target: str, home: str | None) -> bool:
    """Say whether a target lies in the server ``home`` itself."""
    target_settings = settings.targets.get(target)
    return (
        home is not None
        and isinstance(target_settings, VaultTargetSettings)
        and server(settings, target_settings.vault) == home
    )


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
