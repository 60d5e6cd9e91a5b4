"""The Vault target meets the contract on a live server, and what only that store does."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from msgspec.structs import replace

from strongroom.errors import (
    MissingPiece,
    TargetError,
    TargetFull,
    TargetGarbled,
    TargetReadOnly,
    TargetUnavailable,
)
from strongroom.operations.probe import probe_rights, probe_storage
from strongroom.targets.probing import Outcome
from strongroom.targets.vault import VaultTarget
from strongroom.targets.vault.inflight import in_order
from strongroom.vault.client import Vault
from tests.live.openbao import Answered, OpenBao, RaftServer, dev_server
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
from tests.targets.conformance import MIB, SharedConformance, get, killed_putter, names, put
from tests.targets.disks import small_disk

POLICY = Path(__file__).resolve().parents[2] / "ops" / "vault" / "kv-target.hcl"


@pytest.fixture(scope="module")
def bao() -> Iterator[OpenBao]:
    with dev_server() as server:
        for name in ("kv-target", "kv-target-write", "kv-target-read"):
            server.policy(name, (POLICY.parent / f"{name}.hcl").read_text())
        server.call("POST", "sys/mounts/transit", {"type": "transit"})
        server.call("POST", "transit/keys/strongroom", {})
        yield server


@pytest.fixture
def mount(bao: OpenBao) -> Iterator[str]:
    """An empty mount of the path that the policy names."""
    yield new_mount(bao)
    bao.unmount("strongroom")


def new_mount(server: OpenBao, **settings: Any) -> str:
    """Make the mount; it refuses requests until its upgrade from nothing is over."""
    path = server.mount("strongroom", **settings)
    deadline = time.monotonic() + 30
    while True:
        try:
            server.call("GET", f"{path}config")
        except Answered:
            assert time.monotonic() < deadline
        else:
            return path


def make(server: OpenBao, folder: Path, *policies: str, **options: Any) -> VaultTarget:
    vault = Vault(server.connection(folder, *policies))
    return VaultTarget(vault, **{"mount": "strongroom", "name": "vault-a", "region": "eu-central"} | options)


@pytest.fixture
def target(bao: OpenBao, mount: str, tmp_path: Path) -> VaultTarget:
    return make(bao, tmp_path, "kv-target")


class TestVault(SharedConformance):
    """As the policy that is shipped allows it, and not as root."""

    @pytest.fixture
    def target(self, target: VaultTarget) -> VaultTarget:
        return target


@pytest.mark.usefixtures("mount")
class TestVaultUnderTransitWithAPrefix(SharedConformance):
    @pytest.fixture
    def target(self, bao: OpenBao, tmp_path: Path) -> VaultTarget:
        return make(
            bao, tmp_path, "kv-target", prefix="prod/eu", transit="strongroom", chunk_bytes=700 * 1024
        )


# -- chunks and heads --------------------------------------------------------


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


def test_an_object_lies_in_chunks_below_one_head(bao: OpenBao, mount: str, tmp_path: Path) -> None:
    target = small(bao, tmp_path)
    put(target, "d/a", os.urandom(2500))

    head, *chunks = sorted(keys(bao, ""), reverse=True)
    assert head == "objects/d/a"
    assert [path.rpartition("/")[2] for path in chunks] == ["00002", "00001", "00000"]
    assert all(path.startswith("chunks/d/a/~") for path in chunks)


def test_a_range_is_read_with_the_head_and_its_chunks_alone(bao: OpenBao, mount: str, tmp_path: Path) -> None:
    content = os.urandom(100_000)
    vault = Vault(bao.connection(tmp_path, "kv-target"))
    target = VaultTarget(vault, mount="strongroom", name="a", region="r", chunk_bytes=1000)
    put(target, "a", content)
    before = vault.requests

    assert b"".join(target.read("a", offset=50_500, length=1000)) == content[50_500:51_500]
    assert vault.requests - before == 3


def test_nothing_of_a_deleted_object_stays_in_any_version(bao: OpenBao, mount: str, tmp_path: Path) -> None:
    target = small(bao, tmp_path)
    put(target, "a", os.urandom(5000))
    put(target, "b", b"stays")
    target.delete("a")

    assert {path.split("/")[1] for path in keys(bao, "")} == {"b"}


def test_two_attempts_share_no_chunk_and_the_second_leaves_none(
    bao: OpenBao, mount: str, tmp_path: Path
) -> None:
    target = small(bao, tmp_path)
    content = os.urandom(3000)

    def while_writing() -> Iterator[bytes]:
        yield content[:2000]
        assert put(target, "a", content) is True
        yield content[2000:]

    created = target.put("a", while_writing(), size=3000, sha256=hashlib.sha256(content).digest())

    assert created is False
    assert get(target, "a") == content
    assert len(keys(bao, "chunks/")) == 3


def test_nothing_is_under_way_any_more_when_a_put_has_failed() -> None:
    """What is written after the failed put was taken back would stay for ever."""
    begun, ended, go_on, order = Event(), Event(), Event(), list[str]()

    def work(number: int) -> None:
        begun.set()
        go_on.wait()
        order.append("written")

    def items() -> Iterator[int]:
        yield 1
        begun.wait()
        releasing.start()
        raise InterruptedError

    def release() -> None:
        ended.wait(0.2)  # which comes only if nobody waits for the work
        go_on.set()

    releasing = Thread(target=release)
    with ThreadPoolExecutor(2) as threads:
        with pytest.raises(InterruptedError):
            list(in_order(threads, work, items(), ahead=4))
        order.append("taken back")
        ended.set()
    releasing.join()

    assert order == ["written", "taken back"]


def test_a_sweep_removes_the_chunks_of_a_killed_put(bao: OpenBao, mount: str, tmp_path: Path) -> None:
    target = make(bao, tmp_path, "kv-target", chunk_bytes=100_000)
    with killed_putter(target, "containers/r/a", sent=3 * MIB):
        assert keys(bao, "chunks/")
    put(target, "containers/r/b", b"whole")

    assert target.abort_incomplete("containers/other/") == 0
    assert target.abort_incomplete("containers/r/") == 1
    assert [path.split("/")[3] for path in keys(bao, "chunks/")] == ["b"]


def test_a_put_whose_chunks_a_sweep_took_fails_and_can_be_tried_again(
    bao: OpenBao, mount: str, tmp_path: Path
) -> None:
    target = small(bao, tmp_path)
    content = os.urandom(3500)

    def swept() -> Iterator[bytes]:
        yield content[:3000]
        while len(keys(bao, "chunks/")) < 2:
            pass
        assert small(bao, tmp_path).abort_incomplete("") == 1
        yield content[3000:]

    with pytest.raises(TargetUnavailable, match="abandoned"):
        target.put("a", swept(), size=3500, sha256=hashlib.sha256(content).digest())

    assert keys(bao, "") == []
    assert put(target, "a", content) is True


def test_a_head_that_appears_during_a_sweep_goes_with_its_chunks(
    bao: OpenBao, mount: str, tmp_path: Path
) -> None:
    """Its writer died between head and last look: the sweep looks again, and leaves nothing broken."""
    target = small(bao, tmp_path)
    put(target, "a", os.urandom(2500))
    head = bao.call("GET", "strongroom/data/objects/a")["data"]["data"]
    bao.call("DELETE", "strongroom/metadata/objects/a")
    destroy = target._chunks.destroy

    def head_in_between(name: str, attempt: str) -> None:
        destroy(name, attempt)
        bao.call("POST", "strongroom/data/objects/a", {"data": head})

    target._chunks.destroy = head_in_between  # type: ignore[method-assign]

    assert target.abort_incomplete("") == 1
    assert keys(bao, "") == []


def test_an_object_that_lost_a_chunk_is_put_anew(bao: OpenBao, mount: str, tmp_path: Path) -> None:
    target = small(bao, tmp_path)
    content = os.urandom(2500)
    put(target, "a", content)
    bao.call("DELETE", f"strongroom/metadata/{keys(bao, 'chunks/')[1]}")

    with pytest.raises(MissingPiece, match="chunk 1"):
        get(target, "a")
    assert put(target, "a", content) is True
    assert get(target, "a") == content
    assert len(keys(bao, "chunks/")) == 3


@pytest.mark.parametrize("transit", [None, "strongroom"])
def test_a_chunk_that_lies_damaged_is_given_as_it_lies(
    bao: OpenBao, mount: str, tmp_path: Path, transit: str | None
) -> None:
    target = small(bao, tmp_path, transit=transit)
    content = os.urandom(2500)
    put(target, "a", content)
    path = f"strongroom/data/{sorted(keys(bao, 'chunks/'))[1]}"
    bao.call("POST", path, {"data": {"chunk": base64.b64encode(bytes(1000)).decode()}})

    found = get(target, "a")
    assert found != content
    assert found.startswith(content[:1000])
    assert b"".join(target.read("a", offset=2000)) == content[2000:]


# -- what the mount has to be ------------------------------------------------


def test_a_mount_of_version_1_is_refused_since_it_would_overwrite(bao: OpenBao, tmp_path: Path) -> None:
    bao.mount("strongroom", version=1)
    try:
        with pytest.raises(TargetError, match="by version"):
            put(make(bao, tmp_path), "a", b"content")
    finally:
        bao.unmount("strongroom")


def test_a_mount_that_forgets_is_refused_and_nothing_stays(bao: OpenBao, mount: str, tmp_path: Path) -> None:
    bao.call("POST", "strongroom/config", {"delete_version_after": "1h"})

    with pytest.raises(TargetError, match="deletes entries after a while"):
        put(make(bao, tmp_path), "a", b"content")
    assert keys(bao, "") == []


def test_an_object_that_somebody_deleted_by_hand_is_no_object_and_in_the_way(
    bao: OpenBao, target: VaultTarget
) -> None:
    put(target, "a", b"content")
    bao.call("DELETE", "strongroom/data/objects/a")

    assert target.stat("a") is None
    assert names(target) == []
    with pytest.raises(TargetError, match="a deleted entry is there") as caught:
        put(target, "a", b"content")
    assert "metadata delete" in caught.value.hint
    assert len(keys(bao, "chunks/")) == 1, "undeleting it by hand still brings the object back"


@pytest.mark.parametrize(
    "change",
    [
        {"size": "-1"},
        {"size": "1e3"},
        {"size": "5"},
        {"chunk_bytes": "0"},
        {"digests": "!!"},
        {"attempt": "../../x"},
        {"format": "strongroom-object-9"},
        {"more": "x"},
    ],
    ids=str,
)
def test_a_head_that_is_none_is_refused_and_can_be_removed(
    bao: OpenBao, mount: str, tmp_path: Path, change: dict[str, str]
) -> None:
    target = small(bao, tmp_path)
    put(target, "a", b"x" * 1500)
    head = bao.call("GET", "strongroom/data/objects/a")["data"]["data"]
    changed = {"size": "1500"} | head | change
    if change == {"size": "5"}:
        changed["size"] = "5000"
    bao.call("POST", "strongroom/data/objects/a", {"data": changed})

    for call in (lambda: get(target, "a"), lambda: target.stat("a"), lambda: put(target, "a", b"y")):
        with pytest.raises(TargetError, match="not one that Strongroom wrote"):
            call()
    target.delete("a")
    assert target.stat("a") is None


def test_an_object_of_too_many_chunks_is_refused_before_anything_is_written(
    bao: OpenBao, target: VaultTarget, tmp_path: Path
) -> None:
    tiny = make(bao, tmp_path, "kv-target", chunk_bytes=1)
    with pytest.raises(TargetError, match="chunks") as caught:
        tiny.put("a", iter([]), size=8001, sha256=bytes(32))
    assert "chunk_bytes" in caught.value.hint


# -- rights: under exactly the policy, and with one right less ----------------


def without(server: OpenBao, capability: str, path: str) -> str:
    """Write the policy without one capability of one path; return its name."""
    before, at, rest = POLICY.read_text().partition(f'path "{path}"')
    block, _, after = rest.partition("}")
    assert f'"{capability}"' in block
    words = [word for word in ("create", "read", "list", "delete", "update") if f'"{word}"' in block]
    left = ", ".join(f'"{word}"' for word in words if word != capability)
    name = f"without-{capability}"
    server.policy(name, f"{before}{at} {{ capabilities = [{left}] }}{after}")
    return name


@pytest.mark.parametrize(
    ("path", "capability", "fails"),
    [
        ("strongroom/data/*", "create", lambda target: put(target, "b", b"x")),
        ("strongroom/data/*", "read", lambda target: get(target, "a")),
        ("strongroom/metadata/*", "list", names),
        ("strongroom/metadata/*", "delete", lambda target: target.delete("a")),
        ("transit/encrypt/strongroom", "update", lambda target: put(target, "b", b"x")),
        ("transit/decrypt/strongroom", "update", lambda target: get(target, "a")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.usefixtures("mount")
def test_each_right_that_the_policy_grants_is_needed(
    bao: OpenBao, tmp_path: Path, path: str, capability: str, fails: Callable[[VaultTarget], object]
) -> None:
    put(make(bao, tmp_path, transit="strongroom"), "a", b"content")
    target = make(bao, tmp_path, without(bao, capability, path), transit="strongroom")

    with pytest.raises(TargetError, match="may not") as caught:
        fails(target)
    assert "kv-target.hcl" in caught.value.hint
    assert isinstance(caught.value, TargetReadOnly) is (
        capability in ("create", "delete") or "encrypt" in path
    )
    assert not caught.value.transient


def test_the_policys_token_cannot_overwrite_what_is_there(
    bao: OpenBao, target: VaultTarget, tmp_path: Path
) -> None:
    put(target, "a", b"content")
    token = bao.new_token("kv-target")

    with pytest.raises(Answered) as caught:
        bao.call("POST", "strongroom/data/objects/a", {"data": {}}, token=token)
    assert caught.value.status == 403


def test_the_policys_token_cannot_make_a_transit_key(bao: OpenBao, mount: str, tmp_path: Path) -> None:
    policy = POLICY.read_text().replace("transit/encrypt/strongroom", "transit/encrypt/new")
    bao.policy("other-key", policy)

    with pytest.raises(TargetError):
        put(make(bao, tmp_path, "other-key", transit="new"), "a", b"content")
    with pytest.raises(Answered):
        bao.call("GET", "transit/keys/new")


def test_a_pool_that_never_removes_puts_and_reads_without_the_right_to(
    bao: OpenBao, mount: str, tmp_path: Path
) -> None:
    target = make(bao, tmp_path, "kv-target-write", transit="strongroom", chunk_bytes=1000)
    content = os.urandom(3000)

    assert put(target, "a", content) is True
    assert put(target, "a", content) is False
    with pytest.raises(TargetReadOnly):
        target.delete("a")
    with pytest.raises(InterruptedError):
        target.put("b", _interrupted(bytes(9000)), size=9000, sha256=bytes(32))
    assert names(target) == ["a"]
    assert make(bao, tmp_path, "kv-target").abort_incomplete("") == 1, "another pool sweeps"


def _interrupted(content: bytes) -> Iterator[bytes]:
    yield content[:8000]
    raise InterruptedError


def test_a_pool_that_only_reads_reads(bao: OpenBao, mount: str, tmp_path: Path) -> None:
    put(make(bao, tmp_path, transit="strongroom"), "a", b"content")
    target = make(bao, tmp_path, "kv-target-read", transit="strongroom")

    assert get(target, "a") == b"content"
    assert names(target) == ["a"]
    for refused in (lambda: put(target, "b", b"x"), lambda: target.delete("a")):
        with pytest.raises(TargetReadOnly):
            refused()


@pytest.mark.parametrize(
    ("policy", "role"),
    [("kv-target", "control"), ("kv-target-write", "transfer"), ("kv-target-read", "verify")],
)
def test_each_pools_policy_is_just_right_for_it(
    bao: OpenBao, mount: str, tmp_path: Path, policy: str, role: str
) -> None:
    bao.policy("just", (POLICY.parent / f"{policy}.hcl").read_text())
    probe = probe_rights(make(bao, tmp_path, "just", transit="strongroom"), role=role)

    assert [check for check in probe.checks if check.failed] == []


def test_what_a_token_has_too_much_of_is_named(bao: OpenBao, mount: str, tmp_path: Path) -> None:
    bao.policy("more", POLICY.read_text().replace('["create", "read"]', '["create", "read", "update"]'))

    found = probe_rights(make(bao, tmp_path, "more"), role="control")
    assert [(check.what, check.detail) for check in found.checks if check.failed] == [
        ("rights of the token: strongroom/data/*", "update")
    ]
    root = probe_rights(make(bao, tmp_path), role="control")
    assert {check.detail for check in root.checks if check.failed} == {"root"}


def test_storage_is_proven_and_an_overwrite_has_to_be_refused(
    bao: OpenBao, mount: str, tmp_path: Path
) -> None:
    bao.policy("more", POLICY.read_text().replace('["create", "read"]', '["create", "read", "update"]'))
    bao.policy("sees", POLICY.read_text() + 'path "strongroom/config" { capabilities = ["read"] }')

    found = {check.what: check.outcome for check in probe_storage(make(bao, tmp_path, "sees")).checks}
    assert found["write over an object"] is Outcome.FINE
    assert found["the mount keeps what it holds"] is Outcome.FINE
    assert found["the mount demands check-and-set"] is Outcome.ADVICE
    assert set(found.values()) == {Outcome.FINE, Outcome.ADVICE}
    more = {check.what: check.outcome for check in probe_storage(make(bao, tmp_path, "more")).checks}
    assert more["write over an object"] is Outcome.EXCESS
    assert more["the mount keeps what it holds"] is Outcome.NOT_SHOWN
    bao.call("POST", "strongroom/config", {"delete_version_after": "1h"})
    (forgets, _) = make(bao, tmp_path, "sees").settings()
    assert forgets.outcome is Outcome.EXCESS


# -- transit -----------------------------------------------------------------


def test_chunks_lie_encrypted_under_the_transit_key_and_follow_its_rotation(
    bao: OpenBao, mount: str, tmp_path: Path
) -> None:
    bao.call("POST", "transit/keys/strongroom/rotate", {})
    target = small(bao, tmp_path, transit="strongroom")
    content = b"CANARY" * 300
    put(target, "a", content)
    bao.call("POST", "transit/keys/strongroom/rotate", {})
    put(target, "b", content)

    lies = {
        path.split("/")[1]: bao.call("GET", f"strongroom/data/{path}")["data"]["data"]["chunk"]
        for path in keys(bao, "chunks/")
    }
    assert lies["a"].split(":")[:2] == ["vault", "v2"]
    assert lies["b"].split(":")[:2] == ["vault", "v3"]
    assert base64.b64encode(content[:30]).decode() not in lies["a"]
    assert get(target, "a") == get(target, "b") == content


def test_an_object_is_read_as_its_head_says_whatever_the_settings_say(
    bao: OpenBao, mount: str, tmp_path: Path
) -> None:
    put(small(bao, tmp_path, transit="strongroom"), "a", b"a" * 1500)
    put(make(bao, tmp_path, "kv-target"), "b", b"b" * 1500)

    assert get(make(bao, tmp_path, "kv-target"), "a") == b"a" * 1500
    assert get(small(bao, tmp_path, transit="strongroom"), "b") == b"b" * 1500


def test_a_raised_minimum_version_is_named_and_not_taken_for_damage(
    bao: OpenBao, mount: str, tmp_path: Path
) -> None:
    bao.call("POST", "transit/keys/other", {})
    target = make(bao, tmp_path, transit="transit/other")
    put(target, "a", b"content")
    bao.call("POST", "transit/keys/other/rotate", {})
    bao.call("POST", "transit/keys/other/config", {"min_decryption_version": 2})

    with pytest.raises(TargetError, match="no longer opens") as caught:
        get(target, "a")
    assert "min_decryption_version" in caught.value.hint
    bao.call("POST", "transit/keys/other/config", {"min_decryption_version": 1})
    assert get(target, "a") == b"content"


# -- faults ------------------------------------------------------------------


@pytest.fixture
def proxy(bao: OpenBao, mount: str) -> Iterator[FaultyProxy]:
    """A proxy in front of the server, that fails as it is told."""
    assert bao.process.port is not None
    with FaultyProxy(bao.process.port) as running:
        yield running


def behind(proxy: FaultyProxy, server: OpenBao, folder: Path, **options: Any) -> VaultTarget:
    connection = replace(server.connection(folder, "kv-target"), address=proxy.url, patience_seconds=1.0)
    given = {"mount": "strongroom", "name": "vault-a", "region": "r", "chunk_bytes": 1000}
    return VaultTarget(Vault(connection), **given | options)


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
        server.policy("kv-target", POLICY.read_text())
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

        target.abort_incomplete("")
        assert 0 < len(held) < 20
        assert names(target) == held
        assert all(get(target, name) == content for name in held)
        assert put(target, f"c/{len(held):02}", content) is True
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
