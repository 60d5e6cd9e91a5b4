"""The Vault source against the suites, on a live OpenBao, and what only Vault has."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.sources import Destination
from tests.live.openbao import OpenBao
from tests.live.vault_parts import Within, source_of
from tests.sources.conformance import RICH, DestinationConformance, _new, _read

_numbers = itertools.count()


@pytest.fixture
def mount(openbao: OpenBao) -> Iterator[str]:
    """A KV v2 mount of the test's own."""
    path = openbao.mount(f"own-{next(_numbers)}")
    yield path
    openbao.unmount(path)


class TestVaultSource(DestinationConformance):
    @pytest.fixture
    def destination(self, openbao: OpenBao, mount: str, tmp_path: Path) -> Destination:
        return Within(source_of(openbao, tmp_path, mounts=(mount,), system=False), mount)

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
