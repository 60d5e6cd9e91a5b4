"""Vault servers, made from their settings. Nothing is connected before its first use."""

from __future__ import annotations

from pathlib import Path

from strongroom.config import Settings, VaultSettings
from strongroom.vault.client import Vault
from strongroom.vault.connection import VaultConnection
from strongroom.vault.login import AppRole, Kubernetes, Login, TokenFile

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
        case _:
            raise AssertionError("the settings' checks let no login without its files through")
