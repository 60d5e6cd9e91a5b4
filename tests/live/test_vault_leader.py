"""A Vault of three nodes that loses its leader: backups and restores wait, and go on."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from strongroom.model import Media, Secret, SecretBytes, SecretVersion
from strongroom.operations.restore.journal import RestoreAccount
from strongroom.operations.restore.restore import restore
from strongroom.sources import SecretChange
from strongroom.sources.errors import SourceUnavailable
from strongroom.sources.vault import VaultSource
from strongroom.system.attempts import Clock
from strongroom.system.errors import Conflict
from strongroom.vault.answers import Unavailable
from strongroom.vault.client import Vault
from strongroom.vault.patience import ATTEMPTS
from tests.live.openbao import OpenBao, RaftCluster, RaftServer
from tests.live.proxy import Answer, Call, Fault, FaultyProxy, LoseReply, Reset, method
from tests.live.vault_parts import Time
from tests.live.vault_parts import own as own  # noqa: PLC0414  # a fixture is found by name
from tests.live.vault_parts import site as site  # noqa: PLC0414  # as above

COUNT = 60
NOT_ACTIVE = b'{"errors":["local node not active but active cluster node not found"]}'
WRITES = method("POST", path="/data/")
READS = method("GET", path="/data/")
pytestmark = pytest.mark.timeout(900)


def wanted(prefix: str, *, count: int = COUNT) -> list[Secret]:
    """Secrets of three versions each."""
    return [
        Secret(name=f"{prefix}app/{number:03}", versions=tuple(_version(number, v) for v in (1, 2, 3)))
        for number in range(count)
    ]


def _version(number: int, version: int) -> SecretVersion:
    value = SecretBytes(b'{"value":"CANARY-%d-%d"}' % (number, version))
    return SecretVersion(number=version, value=value, media=Media.JSON)


def at(node: RaftServer, cluster: RaftCluster, folder: Path, *, port: int | None = None) -> VaultSource:
    """Return a source that is configured with the address of one node."""
    address = node.address if port is None else f"http://127.0.0.1:{port}"
    connection = replace(node.connection(folder), address=address, redirect_hosts=cluster.hosts)
    return VaultSource(Vault(connection), mounts=("secret",), system=False)


def values_at(node: RaftServer, secrets: list[Secret]) -> list[Any]:
    return [node.data(secret.name.replace("secret/", "secret/data/"))["data"]["value"] for secret in secrets]


NEWEST = [f"CANARY-{number}-3" for number in range(COUNT)]


# -- three real nodes --------------------------------------------------------------


@pytest.mark.parametrize("where", [pytest.param("leader", marks=pytest.mark.long), "standby"])
def test_a_restore_goes_on_through_two_changes_of_the_leader(
    raft_cluster: RaftCluster, tmp_path: Path, where: str
) -> None:
    node = raft_cluster.leader if where == "leader" else raft_cluster.standby
    with FaultyProxy(node.process.port) as proxy:
        away = Call(lambda _: raft_cluster.step_down())
        source = at(node, raft_cluster, tmp_path, port=proxy.port)
        for when in (20, 100):
            proxy.fail(away, when=_nth(WRITES, when))
        account = RestoreAccount()
        secrets = wanted("secret/")
        done = restore(lambda: iter(secrets), source, account=account)
    assert (done.created, account.not_done) == (COUNT, [])
    assert values_at(raft_cluster.leader, secrets) == NEWEST


def test_a_backup_goes_on_through_a_change_of_the_leader(raft_cluster: RaftCluster, tmp_path: Path) -> None:
    node = raft_cluster.leader
    for secret in wanted("secret/"):
        at(node, raft_cluster, tmp_path).write([SecretChange(secret=secret, expected=None)])
    with FaultyProxy(node.process.port) as proxy:
        proxy.fail(Call(lambda _: raft_cluster.step_down()), when=_nth(READS, 20))
        source = at(node, raft_cluster, tmp_path, port=proxy.port)
        found = [secret for secret in source.read(list(source.list())) if secret]
    assert [secret.current.value for secret in found] == [s.current.value for s in wanted("secret/")]


def test_what_is_written_through_a_standby_reads_back_as_written(
    raft_cluster: RaftCluster, tmp_path: Path
) -> None:
    """A standby answers reads itself, a moment late: a fifth of them were wrong."""
    source = at(raft_cluster.standby, raft_cluster, tmp_path)
    secrets = wanted("secret/", count=200)
    account = RestoreAccount()
    done = restore(lambda: iter(secrets), source, account=account)
    assert (done.created, account.not_done) == (200, [])


def test_a_lost_reply_is_looked_up_where_a_standby_reads_late(
    raft_cluster: RaftCluster, tmp_path: Path
) -> None:
    node = raft_cluster.standby
    with FaultyProxy(node.process.port) as proxy:
        proxy.fail(LoseReply(), when=_every(WRITES, 3), times=None)
        proxy.fail(LoseReply(), when=_every(method("POST", path="/metadata/"), 2), times=None)
        source = at(node, raft_cluster, tmp_path, port=proxy.port)
        secrets = wanted("secret/")
        account = RestoreAccount()
        done = restore(lambda: iter(secrets), source, account=account)
    assert (done.created, account.not_done) == (COUNT, [])
    assert {len(node.data(f"secret/metadata/app/{number:03}")["versions"]) for number in range(COUNT)} == {3}


# -- one node, and a way there that fails on purpose ---------------------------------


def source_at(proxy: FaultyProxy, server: OpenBao, folder: Path, mount: str, clock: Clock) -> VaultSource:
    """Return a source that waits as long as a configured one does, by a clock of our own."""
    vault = Vault(replace(server.connection(folder, in_flight=1), address=proxy.url), clock=clock)
    return VaultSource(vault, mounts=(mount,), system=False)


LEADERLESS = [
    pytest.param(Answer(503), id="503"),
    pytest.param(Answer(500, {}, NOT_ACTIVE), id="500"),
    pytest.param(Answer(429), id="429 without a time"),
    pytest.param(Answer(429, {"Retry-After": "7"}), id="429 with a time"),
    pytest.param(Answer(307, {"Location": "http://192.0.2.1:8200/v1/x"}), id="the leader of before"),
    pytest.param(Reset(), id="no connection"),
]


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("fault", LEADERLESS)
@pytest.mark.parametrize("begins", [1, 5])
def test_half_a_minute_without_a_leader_is_waited_for(
    openbao: OpenBao, own: str, tmp_path: Path, fault: Fault, begins: int
) -> None:
    secrets = wanted(own, count=6)
    with FaultyProxy(openbao.process.port) as proxy:
        time_passes = Time(lambda now: now >= 30 and proxy.heal())
        source = source_at(proxy, openbao, tmp_path, own, time_passes.clock)
        assert list(source.list()) == []
        away = _from(begins)
        proxy.fail(fault, when=lambda request: _is_of(own, request) and away(request), times=None)
        account = RestoreAccount()
        done = restore(lambda: iter(secrets), source, account=account)
    assert (done.created, account.not_done) == (6, [])
    assert 30 <= time_passes.now < 60


def test_an_undo_waits_for_a_leader_too(openbao: OpenBao, own: str, tmp_path: Path) -> None:
    secrets = wanted(own, count=3)
    with FaultyProxy(openbao.process.port) as proxy:
        time_passes = Time(lambda now: now >= 30 and proxy.heal())
        source = source_at(proxy, openbao, tmp_path, own, time_passes.clock)
        restore(lambda: iter(secrets), source)
        proxy.fail(Answer(500, {}, NOT_ACTIVE), when=method("DELETE"), times=None)
        assert source.delete([secret.name for secret in secrets]) == 3
        assert list(source.list()) == []
    assert time_passes.now >= 30


def test_a_server_that_is_away_for_good_costs_a_minute_once(
    openbao: OpenBao, own: str, tmp_path: Path
) -> None:
    with FaultyProxy(openbao.process.port) as proxy:
        passing = Time()
        vault = Vault(
            replace(openbao.connection(tmp_path), address=proxy.url, patience_seconds=60.0),
            clock=passing.clock,
        )
        vault.get("sys", "mounts")
        proxy.fail(Answer(503), when=method("GET", path="/data/"), times=None)
        took = []
        for _ in range(3):
            began, requests = passing.now, vault.requests
            with pytest.raises(Unavailable):
                vault.get(own, "data", "a")
            took.append((passing.now - began, vault.requests - requests))
        proxy.heal()
        vault.get(own, "data", "a")
    assert 50 < took[0][0] <= 60
    assert all(seconds < 10 and requests == ATTEMPTS for seconds, requests in took[1:])


def test_one_write_that_never_arrives_keeps_no_other_from_being_written(
    openbao: OpenBao, own: str, tmp_path: Path
) -> None:
    secrets = wanted(own, count=6)
    with FaultyProxy(openbao.process.port) as proxy:
        proxy.fail(Answer(503), when=method("POST", path="/data/app/002"), times=None)
        account = RestoreAccount()
        source = source_at(proxy, openbao, tmp_path, own, Time().clock)
        done = restore(lambda: iter(secrets), source, account=account)
    assert (done.created, [one.name for one in account.not_done]) == (5, [f"{own}app/002"])


@pytest.mark.parametrize("path", ["sys/mounts/lost", "sys/auth/lost"])
def test_the_making_of_a_mount_whose_reply_is_lost_is_looked_up(
    own_openbao: OpenBao, tmp_path: Path, path: str
) -> None:
    kind = "kv" if "mounts" in path else "userpass"
    made = Secret(
        name=path,
        type="vault_mount" if "mounts" in path else "vault_auth",
        versions=(
            SecretVersion(number=1, value=SecretBytes(b'{"type":"%b"}' % kind.encode()), media=Media.JSON),
        ),
    )
    with FaultyProxy(own_openbao.process.port) as proxy:
        proxy.fail(LoseReply(), when=method("POST", path=f"/v1/{path}"))
        source = VaultSource(Vault(replace(own_openbao.connection(tmp_path), address=proxy.url)))
        assert source.write([SecretChange(secret=made, expected=None)]) == 1
        assert len(proxy.seen(method("POST", path=f"/v1/{path}"))) == 1
    assert own_openbao.data(path.rsplit("/", 1)[0])["lost/"]["type"] == kind


def test_a_mount_that_another_made_meanwhile_is_a_conflict(own_openbao: OpenBao, tmp_path: Path) -> None:
    value = SecretBytes(b'{"type":"kv"}')
    made = Secret(
        name="sys/mounts/theirs",
        type="vault_mount",
        versions=(SecretVersion(number=1, value=value, media=Media.JSON),),
    )
    with FaultyProxy(own_openbao.process.port) as proxy:
        first = Call(lambda _: own_openbao.call("POST", "sys/mounts/theirs", {"type": "transit"}))
        proxy.fail(first, when=method("POST", path="/v1/sys/mounts/theirs"))
        source = VaultSource(Vault(replace(own_openbao.connection(tmp_path), address=proxy.url)))
        with pytest.raises(Conflict, match="somebody else made"):
            source.write([SecretChange(secret=made, expected=None)])


def test_a_login_waits_for_a_leader_too(openbao: OpenBao, own: str, tmp_path: Path) -> None:
    login = openbao.app_role(tmp_path, "late", ["default"])
    with FaultyProxy(openbao.process.port) as proxy:
        time_passes = Time(lambda now: now >= 30 and proxy.heal())
        connection = replace(openbao.connection(tmp_path, login=login), address=proxy.url)
        vault = Vault(connection, clock=time_passes.clock)
        proxy.fail(Answer(503), when=method("POST", path="/login"), times=None)
        assert vault.get("auth/token/lookup-self").status == 200
    assert time_passes.now >= 30


def test_a_leaders_loss_is_told_in_its_own_words(openbao: OpenBao, own: str, tmp_path: Path) -> None:
    with FaultyProxy(openbao.process.port) as proxy:
        proxy.fail(Answer(500, {}, NOT_ACTIVE), when=method("GET", path="/v1/sys/mounts"), times=None)
        source = source_at(proxy, openbao, tmp_path, own, Time().clock)
        with pytest.raises(SourceUnavailable, match="its cluster has no leader"):
            list(source.list())


def _is_of(mount: str, request: Any) -> bool:
    return f"/v1/{mount}" in request.path


def _from(number: int) -> Callable[[Any], bool]:
    """Fit every request from the n-th that is asked about on."""
    asked = itertools.count(1)
    return lambda request: next(asked) >= number


def _nth(when: Callable[[Any], bool], number: int) -> Callable[[Any], bool]:
    met = itertools.count(1)
    return lambda request: when(request) and next(met) == number


def _every(when: Callable[[Any], bool], number: int) -> Callable[[Any], bool]:
    met = itertools.count(1)
    return lambda request: when(request) and next(met) % number == 0
