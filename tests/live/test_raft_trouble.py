"""A whole server as a source, where the server lies, breaks off, or grants too little."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.errors import ConfigError, SourceError
from strongroom.operations.checks.probe import probe_source
from strongroom.sources.errors import SourceUnavailable
from strongroom.sources.raft import RaftSource
from strongroom.targets.memory import MemoryTarget
from strongroom.vault.answers import NotVault
from strongroom.vault.client import Vault
from tests.live.openbao import Answered, OpenBao, RaftServer
from tests.live.proxy import Answer, Fault, FaultyProxy, Reply, Reset, Truncate, method
from tests.live.raft_parts import about_of, running_server, shipped, source_of

SNAPSHOT = method("GET", path="/sys/storage/raft/snapshot")


@pytest.fixture(scope="module")
def server() -> Iterator[RaftServer]:
    with running_server() as running:
        yield running


# -- a server that lies or breaks off ------------------------------------------


@dataclass(frozen=True)
class Shorten(Fault):
    """Give a shorter body, and announce it as what it is: a 200 that looks whole."""

    keep: float

    def after(self, reply: Reply) -> Reply:
        body = reply.body[: int(len(reply.body) * self.keep)]
        return Reply(status=reply.status, reason=reply.reason, headers=reply.headers, body=body)


@pytest.fixture
def proxy(server: RaftServer) -> Iterator[FaultyProxy]:
    with FaultyProxy(server.process.port) as running:
        yield running


def behind(
    proxy: FaultyProxy, server: OpenBao, folder: Path, stage: MemoryTarget, **changed: object
) -> RaftSource:
    connection = replace(server.connection(folder, "raft-snapshot"), address=proxy.url, **changed)
    return RaftSource(Vault(connection), name="raft", spool=stage, key=os.urandom(32))


@pytest.mark.parametrize(
    "fault",
    [Shorten(0.5), Shorten(0.999), Shorten(0.0), Truncate(200_000), Reset(), Answer(503), Answer(500)],
    ids=str,
)
def test_a_snapshot_that_breaks_off_is_no_backup_and_can_be_tried_again(
    proxy: FaultyProxy, server: RaftServer, tmp_path: Path, fault: Fault
) -> None:
    stage = MemoryTarget()
    source = behind(proxy, server, tmp_path, stage)
    proxy.fail(fault, when=SNAPSHOT)

    with pytest.raises(SourceUnavailable):
        list(source.list())
    assert stage._objects == {}
    assert len(list(source.list())) > 2


def test_a_redirect_to_the_active_node_is_followed_where_it_is_allowed_and_only_there(
    proxy: FaultyProxy, server: RaftServer, tmp_path: Path
) -> None:
    active = f"{server.address}/v1/sys/storage/raft/snapshot"
    proxy.fail(Answer(307, {"Location": active}), when=SNAPSHOT, times=None)
    there = server.address.removeprefix("http://")

    allowed = behind(proxy, server, tmp_path, MemoryTarget(), redirect_hosts=frozenset({there}))
    assert len(list(allowed.list())) > 2
    with pytest.raises(SourceError, match="not allowed") as caught:
        list(behind(proxy, server, tmp_path, MemoryTarget()).list())
    assert "redirect_hosts" in caught.value.hint


def test_redirects_without_end_are_not_followed_for_ever(
    proxy: FaultyProxy, server: RaftServer, tmp_path: Path
) -> None:
    proxy.fail(
        Answer(307, {"Location": f"{proxy.url}/v1/sys/storage/raft/snapshot"}), when=SNAPSHOT, times=None
    )
    vault = Vault(replace(server.connection(tmp_path), address=proxy.url))
    with pytest.raises(NotVault, match="without end"), vault.download("sys/storage/raft/snapshot"):
        pass


def test_a_token_that_ended_is_replaced_once(proxy: FaultyProxy, server: RaftServer, tmp_path: Path) -> None:
    login = server.app_role(tmp_path, "snapshots", ["raft-snapshot"])
    vault = Vault(server.connection(tmp_path, login=login))
    source = RaftSource(vault, name="raft", spool=MemoryTarget(), key=os.urandom(32))
    list(source.list())
    server.call("POST", "auth/token/revoke", {"token": vault._process.get().tokens.current()})

    assert len(list(source.list())) > 2
    assert vault.logins == 2


def test_a_sealed_server_gives_no_snapshot_and_says_why(server: RaftServer, tmp_path: Path) -> None:
    source = source_of(server, tmp_path, "raft-snapshot")
    list(source.list())
    server.seal()
    try:
        with pytest.raises(SourceUnavailable, match="sealed"):
            list(source.list())
    finally:
        server.unseal()


# -- rights ------------------------------------------------------------------


def test_without_the_right_to_snapshots_it_says_which_policy_has_it(
    server: RaftServer, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match="may not") as caught:
        list(source_of(server, tmp_path, "default").list())
    assert "cluster rules vault --role control" in caught.value.hint


def test_without_the_right_to_see_rotations_their_number_is_unknown(
    server: RaftServer, tmp_path: Path
) -> None:
    server.policy("bare", 'path "sys/storage/raft/snapshot" { capabilities = ["read"] }')
    source = source_of(server, tmp_path, "bare")
    assert about_of(source, list(source.list())).key_term is None


def test_a_token_is_just_right_or_told_what_it_has_too_much_of(server: RaftServer, tmp_path: Path) -> None:
    shipped(server, "raft-restore")
    right = probe_source(source_of(server, tmp_path, "raft-snapshot", "default"))
    more = probe_source(source_of(server, tmp_path, "raft-restore", "default"))

    assert [check for check in right.checks if check.failed] == []
    assert [(check.what, check.detail) for check in more.checks if check.failed] == [
        ("sys/storage/raft/snapshot", "update"),
        ("sys/storage/raft/snapshot-force", "update"),
    ]


@pytest.mark.parametrize(
    ("call", "path"),
    [("POST", "sys/storage/raft/snapshot"), ("GET", "secret/data/app/CANARY-name-0"), ("PUT", "sys/rotate")],
)
def test_the_policy_allows_nothing_else(server: RaftServer, call: str, path: str) -> None:
    with pytest.raises(Answered) as caught:
        server.call(call, path, {} if call != "GET" else None, token=server.new_token("raft-snapshot"))
    assert caught.value.status == 403


def test_a_namespace_is_refused_since_a_snapshot_is_of_the_whole_server(
    server: RaftServer, tmp_path: Path
) -> None:
    vault = Vault(replace(server.connection(tmp_path), namespace="team"))
    with pytest.raises(ConfigError, match="whole server"):
        list(RaftSource(vault, name="raft", spool=MemoryTarget(), key=os.urandom(32)).list())
