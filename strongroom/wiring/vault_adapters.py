"""Vaults as sources and targets, made from their settings."""

from __future__ import annotations

from pathlib import Path

from strongroom.config import (
    RaftSourceSettings,
    Settings,
    VaultEngineRotator,
    VaultSettings,
    VaultSourceSettings,
    VaultTargetSettings,
)
from strongroom.config.failure_domains import own_mounts
from strongroom.keys import keywrap
from strongroom.sources import Destination, Source
from strongroom.sources.raft import RaftSource as RaftReader
from strongroom.sources.vault import VaultSource as VaultReader
from strongroom.sources.vault.scratch import ScratchMounts, SecretsEngine
from strongroom.targets import Target
from strongroom.targets.vault import VaultTarget
from strongroom.vault.client import Vault
from strongroom.vault.tokens import (
    AppRole,
    AwsLogin,
    CertificateLogin,
    JwtLogin,
    Kubernetes,
    Login,
    TokenFile,
)
from strongroom.vault.transport import VaultConnection
from strongroom.wiring.adapters import stage

# -- Vault servers, made from their settings. Nothing is connected before its first use ---------


LEAST_PATIENCE, MOST_PATIENCE = 5, 60
"""Seconds that one request waits for a server without a leader, or that asks for fewer requests. Another
leader is there within half a minute; longer than this only a run of the cluster waits."""


def vault(name: str, settings: Settings) -> Vault:
    """Return a configured Vault server."""
    return Vault(connection(name, settings))


def connection(name: str, settings: Settings) -> VaultConnection:
    """Return how a configured Vault server is reached."""
    found = settings.vaults[name]
    return VaultConnection(
        address=found.address,
        login=_login(found),
        namespace=found.namespace,
        ca_file=found.ca_file,
        certificate_file=found.certificate_file,
        certificate_key_file=found.key_file,
        in_flight=found.in_flight,
        requests_per_second=found.requests_per_second,
        pace_file=settings.state_dir / f"{name}.pace",
        redirect_hosts=frozenset(found.redirect_hosts),
        patience_seconds=max(LEAST_PATIENCE, min(settings.limits.patience_seconds, MOST_PATIENCE)),
    )


def _login(settings: VaultSettings) -> Login:
    match settings:
        case VaultSettings(login="token", token_file=Path() as path):
            return TokenFile(path=path)
        case VaultSettings(login="approle", role_id=str() as role, secret_id_file=Path() as path):
            return AppRole(role_id=role, secret_id_file=path, mount=settings.login_mount or "approle")
        case VaultSettings(login="kubernetes", role=str() as role, jwt_file=Path() as path):
            return Kubernetes(role=role, jwt_file=path, mount=settings.login_mount or "kubernetes")
        case VaultSettings(login="jwt", role=str() as role, jwt_file=Path() as path):
            return JwtLogin(role=role, jwt_file=path, mount=settings.login_mount or "jwt")
        case VaultSettings(login="cert"):
            return CertificateLogin(role=settings.role or "", mount=settings.login_mount or "cert")
        case VaultSettings(login="aws", role=str() as role):
            return AwsLogin(
                role=role,
                region=settings.aws_region,
                server_id=settings.aws_server_id or "",
                mount=settings.login_mount or "aws",
            )
        case _:
            raise AssertionError("the settings' checks let no login without its files through")


# -- Vaults as sources and targets, made from their settings ------------------------------------


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
    """Return the snapshots of a Vault as a source. Their parts wait on the stage of its first policy."""
    own = (settings.stage_of(policy) for policy, of in settings.policies.items() if of.source == name)
    return RaftReader(
        vault(source.vault, settings),
        name=name,
        spool=stage(next(own, settings.stage_of("")), settings),
        key=keywrap.load_or_create(settings.state_dir / "keys", "work"),
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
