"""Vaults as sources and targets, made from their settings."""

from __future__ import annotations

from strongroom.config import (
    RaftSourceSettings,
    Settings,
    VaultEngineRotator,
    VaultSourceSettings,
    VaultTargetSettings,
)
from strongroom.config.failure_domains import own_mounts
from strongroom.keys import clusterkeys
from strongroom.sources import Destination, Source
from strongroom.sources.raft import RaftSource as RaftReader
from strongroom.sources.vault import VaultSource as VaultReader
from strongroom.sources.vault.engine import SecretsEngine
from strongroom.sources.vault.scratch import ScratchMounts
from strongroom.targets import Target
from strongroom.targets.vault import VaultTarget
from strongroom.wiring.adapters import stage
from strongroom.wiring.vaults import vault


def vault_source(name: str, source: VaultSourceSettings, settings: Settings) -> Destination:
    """Return a Vault as a source."""
    return VaultReader(
        vault(source.vault, settings),
        name=name,
        mounts=source.mounts,
        exclude_mounts=source.exclude_mounts,
        leave_out=own_mounts(settings, name),
        system=source.system,
        tag_metadata=source.tag_metadata,
    )


def scratch_mounts(name: str, settings: Settings) -> ScratchMounts:
    """Return the mounts that drills make on a Vault."""
    return ScratchMounts(vault(name, settings), name=name)


def raft_source(name: str, source: RaftSourceSettings, settings: Settings) -> Source:
    """Return the snapshots of a Vault as a source."""
    return RaftReader(
        vault(source.vault, settings),
        name=name,
        spool=stage(settings.stage_path),
        key=clusterkeys.load_or_create(settings.state_dir / "keys", "work"),
    )


def secrets_engine(rotator: VaultEngineRotator, settings: Settings, *, last: str) -> SecretsEngine:
    """Return a secrets engine's endpoints for the secret whose name ends with ``last``."""
    return SecretsEngine(
        vault(rotator.vault, settings),
        rotate=rotator.rotate.replace("{last}", last),
        read=rotator.read.replace("{last}", last),
        field=rotator.read_field,
    )


def vault_target(name: str, target: VaultTargetSettings, settings: Settings) -> Target:
    """Return a path in a Vault as a target."""
    return VaultTarget(
        vault(target.vault, settings),
        name=name,
        mount=target.mount,
        prefix=target.prefix,
        region=target.region,
        provider=target.provider,
        chunk_bytes=target.chunk_bytes,
        transit=target.transit_key,
    )
