"""A signing keyring, and a real cluster in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.keys.keyring import Keyring
from tests.workers.cluster import RunningCluster
from workers import names


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    """Keys for every role."""
    ring = Keyring(tmp_path / "roles")
    for role in names.ROLES:
        ring.signer(role)
    return ring


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RunningCluster]:
    """A cluster on an embedded broker, not yet started."""
    running = RunningCluster(tmp_path / "state")
    try:
        yield running
    finally:
        running.close()


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """A cluster with all its pools that a module's tests share, ready."""
    running = RunningCluster(tmp_path_factory.mktemp("cluster") / "state")
    try:
        running.start()
        yield running
    finally:
        running.close()
