"""The Vault source against the suites, on a live OpenBao, and what only Vault has."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.plugins.conformance.sources import RICH, DestinationConformance, _new, _read
from strongroom.sources import Destination
from strongroom.sources.vault import records
from strongroom.sources.vault.reading import _held
from strongroom.sources.vault.records import Folder, KeyInfo, KeyVersion
from tests.live.openbao import OpenBao, dev_server
from tests.live.vault_parts import RESTORE, Within, source_of, with_policies


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

    many = 250

    @pytest.fixture
    def destination(
        self, policed: OpenBao, mount: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Destination:
        monkeypatch.setattr(records, "PAGE", 100)
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


def test_what_is_known_of_a_large_folder_takes_few_bytes_a_key() -> None:
    """A container of small secrets holds 100,000 of them, and as many may be known beforehand."""
    times = {"created_time": "2026-11-26T08:00:00.123456789Z", "updated_time": "2026-11-26T08:00:00.1Z"}
    keys = [f"app-{number:06}" for number in range(10_000)]
    tracemalloc.start()
    held, _ = _held(_pages(keys, times), 20_000)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(held.info) == len(keys)
    assert used < 350 * len(keys)


def _pages(keys: list[str], times: dict[str, str]) -> Iterator[Folder]:
    for start in range(0, len(keys), 1_000):
        info = {
            key: KeyInfo(versions={1: KeyVersion(created_time=f"{key}-{times['created_time']}")}, **times)
            for key in keys[start : start + 1_000]
        }
        yield Folder(list(info), info, datetime.now(UTC))
