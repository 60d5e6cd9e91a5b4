"""The servers, each started when the first test asks for it and shared by all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.azurite import Azurite
from tests.live.key_services import furnished, hsm, site  # noqa: F401 - fixtures, which a module may have its own of
from tests.live.ministack import MiniStack
from tests.live.moto import CREDENTIALS, Moto
from tests.live.openbao import OpenBao, RaftCluster, RaftServer, dev_server
from tests.live.proxy import FaultyProxy
from tests.live.raft_parts import seeded_raft  # noqa: F401 - a fixture
from tests.live.regions import Region, azure_region, s3_region
from tests.live.rgw import Gateway, keys_of
from tests.live.vault_target_parts import bao, mount  # noqa: F401 - fixtures
from tests.once_a_run import once_a_run


@pytest.fixture(scope="session")
def azurite() -> Azurite:
    """The run's Azurite: use a container of your own."""
    made = Azurite()
    made.key = once_a_run("azurite", made.server, key=made.key)["key"]
    return made


@pytest.fixture
def own_azurite() -> Iterator[Azurite]:
    """A running Azurite that one test may kill."""
    made = Azurite()
    with made.server:
        yield made


@pytest.fixture(scope="session")
def ministack() -> MiniStack:
    """The run's S3 server of one region: use a bucket of your own."""
    return s3_server("eu-central-1")


@pytest.fixture(scope="session")
def other_ministack() -> MiniStack:
    """The run's S3 server of another region."""
    return s3_server("eu-west-1")


@pytest.fixture(scope="session")
def third_ministack() -> MiniStack:
    """The run's S3 server of a third region."""
    return s3_server("us-east-2")


def s3_server(region: str) -> MiniStack:
    made = MiniStack(region)
    once_a_run(f"s3-{region}", made.server)
    return made


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


@pytest.fixture(scope="session")
def gateway(openbao: OpenBao, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A running Ceph cluster with an S3 gateway, whose keys are OpenBao's: use a bucket of your own."""
    with Gateway(keys_of(openbao, tmp_path_factory.mktemp("gateway"))) as server:
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


@pytest.fixture
def raft_cluster() -> Iterator[RaftCluster]:
    """Three running OpenBao servers that are one cluster, whose leader one test may take away."""
    with RaftCluster() as servers:
        yield servers


@pytest.fixture
def aws_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """See :func:`use_credentials`."""
    use_credentials(monkeypatch)


def use_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the SDK's own chain find made-up ones, and no file of the person who runs the tests."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name.upper(), value)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def shared_moto() -> Iterator[Moto]:
    """A running moto: see :func:`moto`."""
    with Moto() as server:
        yield server


@pytest.fixture
def moto(shared_moto: Moto, aws_credentials: None) -> Moto:
    """A running moto that holds nothing, and enforces no rights."""
    shared_moto.reset()
    return shared_moto


@pytest.fixture
def own_moto(aws_credentials: None) -> Iterator[Moto]:
    """A running moto that one test may kill."""
    with Moto() as server:
        yield server


@pytest.fixture(params=["s3", "azure"])
def region(request: pytest.FixtureRequest, tmp_path: Path) -> Region:
    """A bucket or a container of its own, once on each kind of server."""
    if request.param == "s3":
        return s3_region(request.getfixturevalue("ministack"), tmp_path, name="eu")
    return azure_region(request.getfixturevalue("azurite"), tmp_path, name="eu")


@pytest.fixture
def proxy(region: Region) -> Iterator[FaultyProxy]:
    """A proxy in front of it, that fails as it is told."""
    with FaultyProxy(region.port) as made:
        yield made
