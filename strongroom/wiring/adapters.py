"""Sources and targets, made from their settings. Nothing is connected before its first use.

What makes one is named by a string in its settings: an SDK costs up to a second, and only its users pay.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import cast

from strongroom.config import (
    DirectoryTargetSettings,
    FilesSourceSettings,
    LocalSourceSettings,
    Settings,
    TargetSettings,
)
from strongroom.errors import ConfigError, TargetError
from strongroom.sources import Destination, ScratchPlace, Source
from strongroom.sources.files import open_files
from strongroom.sources.local import LocalStore
from strongroom.system.lazy import resolve
from strongroom.targets import Target
from strongroom.targets.directory import DirectoryTarget
from strongroom.targets.resilient import Resilient
from strongroom.words import nearest


def stage(path: Path, *, prepare: bool = True) -> DirectoryTarget:
    """Return the directory where sealed containers wait for their upload."""
    made = DirectoryTarget(path, name="stage", region="local")
    if prepare:
        made.prepare()
    return made


# -- sources -------------------------------------------------------------------


def source(name: str, settings: Settings) -> Source:
    """Return a configured source."""
    found = settings.sources[name]
    made: Source = resolve(found.MADE_BY)(name, found, settings)
    return made


def destinations(settings: Settings) -> Mapping[str, Destination]:
    """Return the sources that can be restored into. Files cannot; a snapshot goes its own way."""
    return {name: destination(name, settings) for name, found in settings.sources.items() if found.WRITABLE}


def destination(name: str, settings: Settings) -> Destination:
    """Return a configured source that can be restored into."""
    if not settings.sources[name].WRITABLE:
        raise AssertionError(f"sources.{name} cannot be restored into")
    return cast("Destination", source(name, settings))


def local_source(name: str, found: LocalSourceSettings, settings: Settings) -> Destination:
    """Return a local store."""
    return LocalStore(found.path or settings.state_dir, name=name)


def files_source(name: str, found: FilesSourceSettings, settings: Settings) -> Source:
    """Return secrets in files."""
    return open_files(found.path, found.format, name=name)


def scratch(name: str, settings: Settings) -> ScratchPlace:
    """Return the server on which drills make mounts of their own. Raises as :func:`check_scratch` does."""
    check_scratch(name, settings)
    made: ScratchPlace = resolve("strongroom.wiring.vault_adapters:scratch_mounts")(name, settings)
    return made


def check_scratch(name: str, settings: Settings) -> None:
    """Refuse a server on which no drill may make a mount.

    Raises:
        ConfigError: there is none of that name, or its settings do not allow it.
    """
    if name not in settings.vaults:
        raise ConfigError(f"there is no vault '{name}' to drill on", hint=nearest(name, settings.vaults))
    if not settings.vaults[name].scratch:
        raise ConfigError(
            f"drills may make no mount on '{name}'",
            hint=f"Set vaults.{name}.scratch = true; ops/vault/drill-scratch.hcl has its login's rights.",
        )


# -- targets -------------------------------------------------------------------


def target(name: str, settings: Settings, *, prepare: bool) -> Target:
    """Return a configured target, with patience and a circuit breaker where a network is between.

    Args:
        prepare: whether this process may create a directory that is to be created.
    """
    made = _made(name, settings.targets[name], settings)
    if prepare and isinstance(made, DirectoryTarget) and getattr(settings.targets[name], "create", False):
        # One target that is full or read-only must not keep this process from the others;
        # its own calls say what is wrong with it.
        with suppress(TargetError):
            made.prepare()
    return made


def log_store(name: str, store: TargetSettings, settings: Settings) -> Target:
    """Return the bucket or container that the files of an access log are in."""
    return _made(name, store, settings)


def _made(name: str, found: TargetSettings, settings: Settings) -> Target:
    made: Target = resolve(found.MADE_BY)(name, found, settings)
    return Resilient(made) if found.REMOTE else made


def directory_target(name: str, found: DirectoryTargetSettings, settings: Settings) -> Target:
    """Return a directory."""
    return DirectoryTarget(found.path, name=name, region=found.region, provider=found.provider)
