"""The Vault target when the way there, the server or its disk fails."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from strongroom.errors import TargetError
from strongroom.plugins.conformance.targets import MIB, get, names, put
from strongroom.system.errors import TargetFull
from strongroom.targets.errors import TargetGarbled, TargetUnavailable
from strongroom.targets.vault import VaultTarget
from strongroom.vault.client import Vault
from tests.live.openbao import OpenBao, RaftServer
from tests.live.proxy import (
    Answer,
    Fault,
    FaultyProxy,
    FlipRequest,
    LoseReply,
    Reply,
    Reset,
    Truncate,
    When,
    flipped,
    method,
)
from tests.live.vault_parts import Time, shipped
from tests.live.vault_target_parts import keys, make, new_mount
from tests.targets.disks import small_disk


@pytest.fixture
def proxy(bao: OpenBao, mount: str) -> Iterator[FaultyProxy]:
    """A proxy in front of the server, that fails as it is told."""
    assert bao.process.port is not None
    with FaultyProxy(bao.process.port) as running:
        yield running


def behind(proxy: FaultyProxy, server: OpenBao, folder: Path, **options: Any) -> VaultTarget:
    connection = replace(server.connection(folder, "kv-target"), address=proxy.url, patience_seconds=5.0)
    given = {"mount": "strongroom", "name": "vault-a", "region": "r", "chunk_bytes": 1000}
    return VaultTarget(Vault(connection, clock=Time().clock), **given | options)


@dataclass(frozen=True)
class FlipChunk(Fault):
    """Flip a bit of the chunk in a reply, and leave the JSON round it whole."""

    offset: int = 0

    def after(self, reply: Reply) -> Reply:
        start = reply.body.index(b'"chunk":"') + len(b'"chunk":"')
        # Base64 letters whose neighbour by that bit is one too.
        body = flipped(reply.body, start + self.offset)
        return Reply(status=reply.status, reason=reply.reason, headers=reply.headers, body=body)


HEADS = method("POST", path="/data/objects/")
CHUNKS = method("POST", path="/data/chunks/")


@pytest.mark.parametrize("when", [HEADS, CHUNKS], ids=["head", "chunk"])
def test_a_lost_reply_to_a_write_that_succeeded_is_compared_and_not_failed(
    bao: OpenBao, proxy: FaultyProxy, tmp_path: Path, when: When
) -> None:
    target = behind(proxy, bao, tmp_path)
    lost = proxy.fail(LoseReply(), when=when)
    content = os.urandom(2500)

    assert put(target, "a", content) is True
    assert lost.met == 1
    assert get(target, "a") == content
    assert len(keys(bao, "")) == 4


@pytest.mark.parametrize("when", [HEADS, CHUNKS], ids=["head", "chunk"])
@pytest.mark.parametrize(
    "fault", [Reset(), Answer(500), Answer(502), Answer(503), Answer(429), Answer(472)], ids=str
)
def test_a_write_that_fails_once_is_written_after_all(
    bao: OpenBao, proxy: FaultyProxy, tmp_path: Path, when: When, fault: Fault
) -> None:
    target = behind(proxy, bao, tmp_path)
    failed = proxy.fail(fault, when=when)
    content = os.urandom(2500)

    assert put(target, "a", content) is True
    assert failed.met == 1
    assert get(target, "a") == content


def test_a_server_that_stays_away_fails_the_put_for_now_and_what_it_left_is_swept(
    bao: OpenBao, proxy: FaultyProxy, tmp_path: Path
) -> None:
    target = behind(proxy, bao, tmp_path)
    proxy.fail(Answer(503, {"Retry-After": "7"}), when=HEADS, times=None)

    with pytest.raises(TargetUnavailable) as caught:
        put(target, "a", os.urandom(2500))
    assert caught.value.retry_after == 7
    assert names(target) == []
    proxy.heal()
    assert target.abort_incomplete("") == 1
    assert keys(bao, "") == []


def test_a_bit_flipped_on_the_way_is_read_again(bao: OpenBao, proxy: FaultyProxy, tmp_path: Path) -> None:
    target = behind(proxy, bao, tmp_path)
    content = b"x" * 900
    put(target, "a", content)
    changed = proxy.fail(FlipChunk(), when=method("GET", path="/data/chunks/"))

    assert get(target, "a") == content
    assert changed.met == 1


def test_bits_flipped_on_each_way_are_called_garbled_and_not_damaged(
    bao: OpenBao, proxy: FaultyProxy, tmp_path: Path
) -> None:
    target = behind(proxy, bao, tmp_path)
    put(target, "a", b"x" * 900)
    for offset in (0, 4):
        proxy.fail(FlipChunk(offset), when=method("GET", path="/data/chunks/"))

    with pytest.raises(TargetGarbled):
        get(target, "a")


def test_a_flipped_bit_of_a_chunk_that_is_written_is_noticed_when_it_is_read_back(
    bao: OpenBao, proxy: FaultyProxy, tmp_path: Path
) -> None:
    target = behind(proxy, bao, tmp_path)
    proxy.fail(FlipRequest(offset=40), when=CHUNKS)

    put(target, "a", b"x" * 900)
    assert get(target, "a") != b"x" * 900


def test_a_body_that_is_cut_short_is_asked_for_again(
    bao: OpenBao, proxy: FaultyProxy, tmp_path: Path
) -> None:
    target = behind(proxy, bao, tmp_path)
    content = os.urandom(2500)
    put(target, "a", content)
    cut = proxy.fail(Truncate(100), when=method("GET", path="/data/"))

    assert get(target, "a") == content
    assert cut.met == 1


def test_a_request_or_an_entry_over_the_servers_limit_names_the_setting_and_leaves_nothing(
    bao: OpenBao, proxy: FaultyProxy, tmp_path: Path
) -> None:
    target = behind(proxy, bao, tmp_path)
    for answer in (Answer(413), Answer(500, body=b'{"errors":["put failed due to value being too large"]}')):
        refused = proxy.fail(answer, when=CHUNKS)
        with pytest.raises(TargetError, match="too large") as caught:
            put(target, "a", b"content")
        assert "chunk_bytes" in caught.value.hint
        assert not caught.value.transient
        assert refused.met == 1
    assert keys(bao, "") == []


def test_a_server_without_room_is_full(bao: OpenBao, proxy: FaultyProxy, tmp_path: Path) -> None:
    target = behind(proxy, bao, tmp_path)
    body = b'{"errors":["1 error occurred: write raft.db: no space left on device"]}'
    proxy.fail(Answer(500, body=body), when=CHUNKS, times=None)

    with pytest.raises(TargetFull):
        put(target, "a", b"content")
    assert keys(bao, "") == []


# -- a server that is sealed, killed, or limits its entries -------------------


@pytest.fixture(scope="module")
def raft() -> Iterator[RaftServer]:
    with RaftServer() as server:
        server.initialise()
        server.policy("kv-target", shipped("kv-target"))
        new_mount(server)
        yield server


def test_a_sealed_server_is_said_to_be_sealed_and_keeps_what_it_has(raft: RaftServer, tmp_path: Path) -> None:
    target = make(raft, tmp_path, "kv-target")
    put(target, "sealed/a", b"content")
    raft.seal()
    try:
        for call in (
            lambda: get(target, "sealed/a"),
            lambda: put(target, "sealed/b", b"x"),
            lambda: names(target),
        ):
            with pytest.raises(TargetUnavailable, match="sealed") as caught:
                call()
            assert "Unseal" in caught.value.hint
    finally:
        raft.unseal()
    assert get(target, "sealed/a") == b"content"


def test_a_server_killed_during_a_put_and_back_later_holds_nothing_half_made(
    raft: RaftServer, tmp_path: Path
) -> None:
    connection = replace(raft.connection(tmp_path, "kv-target"), patience_seconds=0.5)
    target = VaultTarget(Vault(connection), mount="strongroom", name="a", region="r", chunk_bytes=1000)
    content = os.urandom(50_000)

    def killing() -> Iterator[bytes]:
        yield content[:40_000]
        raft.kill()
        yield content[40_000:]

    with pytest.raises(TargetUnavailable):
        target.put("killed/a", killing(), size=len(content), sha256=hashlib.sha256(content).digest())
    raft.start()
    raft.unseal()

    target = make(raft, tmp_path, "kv-target", chunk_bytes=1000)  # its mount may take a while to be there
    assert target.stat("killed/a") is None
    assert target.abort_incomplete("killed/") == 1
    assert put(target, "killed/a", content) is True
    assert get(target, "killed/a") == content


def test_chunks_over_the_real_entry_limit_are_refused_by_name(raft: RaftServer, tmp_path: Path) -> None:
    target = make(raft, tmp_path, "kv-target", chunk_bytes=MIB)

    with pytest.raises(TargetError, match="too large") as caught:
        put(target, "large/a", bytes(MIB))
    assert "chunk_bytes" in caught.value.hint
    assert target.abort_incomplete("large/") == 0


def test_chunks_of_the_largest_size_that_the_settings_allow_fit(raft: RaftServer, tmp_path: Path) -> None:
    target = make(raft, tmp_path, "kv-target", chunk_bytes=700 * 1024)
    content = os.urandom(3 * MIB)

    assert put(target, "fits/a", content) is True
    assert get(target, "fits/a") == content


@pytest.mark.platform
def test_a_full_disk_takes_nothing_half_and_goes_on_once_there_is_room(tmp_path: Path) -> None:
    server = RaftServer()
    data = server.process.folder / "data"
    data.mkdir()
    with small_disk(data, size=20 * MIB) as mounted, server:
        if not mounted:
            pytest.skip("no right to mount a small disk")
        server.initialise()
        new_mount(server)
        connection = replace(server.connection(tmp_path), patience_seconds=1.0)
        target = VaultTarget(Vault(connection), mount="strongroom", name="small", region="r")
        content = os.urandom(MIB)

        held = until_full(target, content)
        subprocess.run(["mount", "-o", "remount,size=128m", str(data)], check=True)
        server.kill()
        server.start()
        server.unseal()

        target = VaultTarget(Vault(server.connection(tmp_path)), mount="strongroom", name="small", region="r")
        target.abort_incomplete("")
        assert 0 < len(held) < 20
        found = names(target)
        # The server may have had room for its log and none to do what stands in it: then it did so by now,
        # and the last one is there after all.
        assert found in (held, [*held, f"c/{len(held):02}"])
        assert all(get(target, name) == content for name in found)
        assert put(target, f"c/{len(found):02}", content) is True
        assert target.abort_incomplete("") == 0


def until_full(target: VaultTarget, content: bytes) -> list[str]:
    """Put until there is no room; return the names of what was put. Raft has its own words for that."""
    held: list[str] = []
    try:
        while True:
            name = f"c/{len(held):02}"
            assert put(target, name, content) is True
            held.append(name)
    except (TargetFull, TargetUnavailable):
        return held
