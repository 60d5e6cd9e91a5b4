"""Sources and targets, made from their settings. Nothing is connected before its first use."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from strongroom.config import (
    AwsSource,
    AzureTargetSettings,
    DirectoryTargetSettings,
    FilesSource,
    LocalSource,
    RaftSource,
    S3TargetSettings,
    Settings,
    VaultSource,
    VaultTargetSettings,
)
from strongroom.errors import ConfigError, TargetError
from strongroom.sources import Destination, ScratchPlace, Source
from strongroom.sources.files import open_files
from strongroom.sources.local import LocalStore
from strongroom.system.lazy import lazy
from strongroom.targets import Target
from strongroom.targets.directory import DirectoryTarget
from strongroom.targets.resilient import resilient
from strongroom.words import nearest

READ_ONLY = (FilesSource, RaftSource)
"""Settings of sources that a restore cannot write into."""

# What needs a service's client is named by a string: an SDK costs up to a second, and only its users pay.
_SCRATCH = lazy("strongroom.wiring.vault_adapters:scratch_mounts")
_RAFT_SOURCE = lazy("strongroom.wiring.vault_adapters:raft_source")
_WRITABLE: Final = {
    VaultSource: lazy("strongroom.wiring.vault_adapters:vault_source"),
    AwsSource: lazy("strongroom.wiring.aws_adapters:aws_source"),
}
_REMOTE: Final = {
    S3TargetSettings: lazy("strongroom.wiring.aws_adapters:s3_target"),
    AzureTargetSettings: lazy("strongroom.wiring.azure_adapters:azure_target"),
    VaultTargetSettings: lazy("strongroom.wiring.vault_adapters:vault_target"),
}


def stage(path: Path, *, prepare: bool = True) -> DirectoryTarget:
    """Return the directory where sealed containers wait for their upload."""
    made = DirectoryTarget(path, name="stage", region="local")
    if prepare:
        made.prepare()
    return made


# -- sources -------------------------------------------------------------------


def source(name: str, settings: Settings) -> Source:
    """Return a configured source."""
    match settings.sources[name]:
        case FilesSource() as source_settings:
            return open_files(source_settings.path, source_settings.format, name=name)
        case RaftSource() as source_settings:
            made: Source = _RAFT_SOURCE(name, source_settings, settings)
            return made
        case _:
            return destination(name, settings)


def destinations(settings: Settings) -> Mapping[str, Destination]:
    """Return the sources that can be restored into. Files cannot; a snapshot goes its own way."""
    return {
        name: destination(name, settings)
        for name, source_settings in settings.sources.items()
        if not isinstance(source_settings, READ_ONLY)
    }


def destination(name: str, settings: Settings) -> Destination:
    """Return a configured source that can be restored into."""
    match settings.sources[name]:
        case LocalSource() as source_settings:
            return LocalStore(source_settings.path or settings.state_dir, name=name)
        case VaultSource() | AwsSource() as source_settings:
            made: Destination = _WRITABLE[type(source_settings)](name, source_settings, settings)
            return made
        case _:
            raise AssertionError(f"sources.{name} cannot be restored into")


def scratch(name: str, settings: Settings) -> ScratchPlace:
    """Return the server on which drills make mounts of their own. Raises as :func:`check_scratch` does."""
    check_scratch(name, settings)
    made: ScratchPlace = _SCRATCH(name, settings)
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
    match settings.targets[name]:
        case DirectoryTargetSettings() as target_settings:
            return _directory(name, target_settings, prepare=prepare)
        case target_settings:
            return resilient(_remote(name, target_settings, settings))


def log_store(name: str, store: S3TargetSettings | AzureTargetSettings, settings: Settings) -> Target:
    """Return the bucket or container that the files of an access log are in."""
    return resilient(_remote(name, store, settings))


def _directory(name: str, settings: DirectoryTargetSettings, *, prepare: bool) -> DirectoryTarget:
    made = DirectoryTarget(settings.path, name=name, region=settings.region, provider=settings.provider)
    if settings.create and prepare:
        # One target that is full or read-only must not keep this process from the others;
        # its own calls say what is wrong with it.
        with suppress(TargetError):
            made.prepare()
    return made


def _remote(
    name: str,
    target_settings: S3TargetSettings | AzureTargetSettings | VaultTargetSettings,
    settings: Settings,
) -> Target:
    made: Target = _REMOTE[type(target_settings)](name, target_settings, settings)
    return made
