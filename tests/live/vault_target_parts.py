"""What the tests of the Vault target share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strongroom.targets.vault import VaultTarget
from strongroom.vault.client import Vault
from tests.live.openbao import Answered, OpenBao, dev_server
from tests.live.vault_parts import shipped


@pytest.fixture(scope="module")
def bao() -> Iterator[OpenBao]:
    """A server with the policies of targets and a transit key."""
    with dev_server() as server:
        for name in ("kv-target", "kv-target-write", "kv-target-read"):
            server.policy(name, shipped(name))
        server.call("POST", "sys/mounts/transit", {"type": "transit"})
        server.call("POST", "transit/keys/strongroom", {})
        yield server


@pytest.fixture
def mount(bao: OpenBao) -> Iterator[str]:
    """An empty mount of the path that the policies name."""
    yield new_mount(bao)
    bao.unmount("strongroom")


def new_mount(server: OpenBao, **settings: Any) -> str:
    """Make the mount."""
    return server.mount("strongroom", **settings)


def make(server: OpenBao, folder: Path, *policies: str, **options: Any) -> VaultTarget:
    vault = Vault(server.connection(folder, *policies))
    return VaultTarget(vault, **{"mount": "strongroom", "name": "vault-a", "region": "eu-central"} | options)


def keys(server: OpenBao, folder: str) -> list[str]:
    """All entries below a folder of the mount."""
    try:
        listed = server.call("GET", f"strongroom/metadata/{folder}?list=true")["data"]["keys"]
    except Answered:
        return []
    return [
        path
        for key in listed
        for path in (keys(server, folder + key) if key.endswith("/") else [folder + key])
    ]


def small(server: OpenBao, folder: Path, **options: Any) -> VaultTarget:
    return make(server, folder, "kv-target", chunk_bytes=1000, **options)
