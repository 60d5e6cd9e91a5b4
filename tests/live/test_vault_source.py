"""The Vault source against the suites, on a live OpenBao, and what only Vault has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.sources import Destination
from tests.live.openbao import OpenBao, dev_server
from tests.live.vault_parts import RESTORE, Within, source_of, with_policies
from tests.sources.conformance import RICH, DestinationConformance, _new, _read


@pytest.fixture(scope="module")
def policed() -> Iterator[OpenBao]:
    """A server with the shipped policies."""
    with dev_server() as server:
        with_policies(server)
        yield server


@pytest.fixture
def mount(policed: OpenBao) -> str:
    """An empty KV v2 mount at the place that the policies name."""
    policed.unmount("secret")
    return policed.mount("secret")


class TestVaultSource(DestinationConformance):
    """Under exactly the shipped policies."""

    many = 2_000

    @pytest.fixture
    def destination(self, policed: OpenBao, mount: str, tmp_path: Path) -> Destination:
        return Within(source_of(policed, tmp_path, *RESTORE, mounts=(mount,), system=False), mount)

    def test_everything_known_of_a_secret_comes_back(self, destination: Destination) -> None:
        """All but the times that the server sets itself."""
        assert destination.write(_new(RICH)) == 1
        versions = tuple(replace(version, created_at=None) for version in RICH.versions)
        wanted = replace(RICH, versions=versions, created_at=None, updated_at=None)
        found = _read(destination, RICH.name)
        assert found == destination.inner.kept(wanted)
        assert (found.tags, found.rotation, found.type) == (RICH.tags, RICH.rotation, RICH.type)
        assert found.metadata["description"] == "CANARY"
        assert any("version 5" in line for line in destination.losses())
