"""The Vault target meets the contract on a live server, and what only that store does."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import pytest

from strongroom.container.errors import MissingPiece
from strongroom.errors import TargetError
from strongroom.plugins.conformance.targets import MIB, SharedConformance, get, killed_putter, names, put
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.vault import VaultTarget
from strongroom.targets.vault.chunks import in_order
from strongroom.vault.client import Vault
from tests.live.openbao import OpenBao
from tests.live.vault_target_parts import keys, make, small


@pytest.fixture
def target(bao: OpenBao, mount: str, tmp_path: Path) -> VaultTarget:
    return make(bao, tmp_path, "kv-target")


class TestVault(SharedConformance):
    """As the policy that is shipped allows it, and not as root."""

    page = 100  # the server lists any number at once
    streamed = 32

    @pytest.fixture
    def target(self, target: VaultTarget) -> VaultTarget:
        return target


@pytest.mark.sampled(every=4)
@pytest.mark.usefixtures("mount")
class TestVaultUnderTransitWithAPrefix(SharedConformance):
    page = 100
    streamed = 32

    @pytest.fixture
    def target(self, bao: OpenBao, tmp_path: Path) -> VaultTarget:
        return make(
            bao, tmp_path, "kv-target", prefix="prod/eu", transit="strongroom", chunk_bytes=700 * 1024
        )


# -- chunks and heads --------------------------------------------------------


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
