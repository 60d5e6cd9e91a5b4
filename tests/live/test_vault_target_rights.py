"""The Vault target under exactly the shipped policies, with one right less, and with transit on top."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from strongroom.errors import TargetError
from strongroom.operations.checks.probe import probe_rights, probe_storage
from strongroom.plugins.conformance.targets import get, names, put
from strongroom.system.errors import TargetReadOnly
from strongroom.targets import ProbeResult
from strongroom.targets.vault import VaultTarget
from tests.live.openbao import Answered, OpenBao
from tests.live.vault_parts import shipped, without
from tests.live.vault_target_parts import keys, make, small


@pytest.fixture
def target(bao: OpenBao, mount: str, tmp_path: Path) -> VaultTarget:
    return make(bao, tmp_path, "kv-target")


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
    bao.policy("less", without("kv-target", path, f'"{capability}"'))
    target = make(bao, tmp_path, "less", transit="strongroom")

    with pytest.raises(TargetError, match="may not") as caught:
        fails(target)
    assert "cluster rules vault" in caught.value.hint
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
    policy = shipped("kv-target").replace("transit/encrypt/strongroom", "transit/encrypt/new")
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
    bao.policy("just", shipped(policy))
    probe = probe_rights(make(bao, tmp_path, "just", transit="strongroom"), role=role)

    assert [check for check in probe.checks if check.failed] == []


def test_what_a_token_has_too_much_of_is_named(bao: OpenBao, mount: str, tmp_path: Path) -> None:
    bao.policy("more", shipped("kv-target").replace('["create", "read"]', '["create", "read", "update"]'))

    found = probe_rights(make(bao, tmp_path, "more"), role="control")
    assert [(check.what, check.detail) for check in found.checks if check.failed] == [
        ("rights of the token: strongroom/data/*", "update")
    ]
    root = probe_rights(make(bao, tmp_path), role="control")
    assert {check.detail for check in root.checks if check.failed} == {"root"}


def test_storage_is_proven_and_an_overwrite_has_to_be_refused(
    bao: OpenBao, mount: str, tmp_path: Path
) -> None:
    bao.policy("more", shipped("kv-target").replace('["create", "read"]', '["create", "read", "update"]'))
    bao.policy("sees", shipped("kv-target") + 'path "strongroom/config" { capabilities = ["read"] }')

    found = {check.what: check.outcome for check in probe_storage(make(bao, tmp_path, "sees")).checks}
    assert found["write over an object"] is ProbeResult.FINE
    assert found["the mount keeps what it holds"] is ProbeResult.FINE
    assert found["the mount demands check-and-set"] is ProbeResult.ADVICE
    assert set(found.values()) == {ProbeResult.FINE, ProbeResult.ADVICE}
    more = {check.what: check.outcome for check in probe_storage(make(bao, tmp_path, "more")).checks}
    assert more["write over an object"] is ProbeResult.EXCESS
    assert more["the mount keeps what it holds"] is ProbeResult.NOT_SHOWN
    bao.call("POST", "strongroom/config", {"delete_version_after": "1h"})
    (forgets, _) = make(bao, tmp_path, "sees").settings()
    assert forgets.outcome is ProbeResult.EXCESS


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
