"""The servers, each started when the first test asks for it and shared by all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.azurite import Azurite
from tests.live.ministack import MiniStack
from tests.live.openbao import OpenBao, RaftServer, dev_server


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """A running Azurite, shared: use a container of your own."""
    made = Azurite()
    with made.server:
        yield made


@pytest.fixture
def own_azurite() -> Iterator[Azurite]:
    """A running Azurite that one test may kill."""
    made = Azurite()
    with made.server:
        yield made


@pytest.fixture(scope="session")
def ministack() -> Iterator[MiniStack]:
    """A running S3 server of one region, shared: use a bucket of your own."""
    with MiniStack("eu-central-1") as server:
        yield server


@pytest.fixture(scope="session")
def other_ministack() -> Iterator[MiniStack]:
    """A running S3 server of another region, shared."""
    with MiniStack("eu-west-1") as server:
        yield server


@pytest.fixture
def own_ministack() -> Iterator[MiniStack]:
    """A running S3 server that one test may kill and start again; its objects stay."""
    with MiniStack("eu-north-1", persist=True) as server:
        yield server


@pytest.fixture(scope="session")
def openbao() -> Iterator[OpenBao]:
    """A running OpenBao, shared: use a mount, a namespace or a key of your own."""
    with dev_server() as server:
        yield server


@pytest.fixture
def own_openbao() -> Iterator[OpenBao]:
    """A running OpenBao of one test's own."""
    with dev_server() as server:
        yield server


@pytest.fixture
def raft_server() -> Iterator[RaftServer]:
    """A running and unsealed OpenBao on raft storage, which one test may seal, kill and start again."""
    with RaftServer() as server:
        yield server.initialise()
