"""Ceph's gateway as a host has it: the commands, a clock that is off, encryption by a live Vault's key."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strongroom.container.errors import MissingPiece
from strongroom.errors import TargetError
from strongroom.operations.errors import RefusalMissing, RightMissing
from strongroom.plugins.conformance.targets import MIB, get, put
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.s3 import LockMode, S3Target
from tests.cli.program import Machine
from tests.live.openbao import OpenBao
from tests.live.proxy import FaultyProxy, method
from tests.live.regions import credentials_file, s3_region
from tests.live.rgw import KEY, TRANSIT, Gateway, library
from tests.live.rgw_parts import bucket_of
from tests.live.test_probe_cli import outcomes

pytestmark = pytest.mark.long


# -- the commands, and a clock that is off -----------------------------------------------


def machine(gateway: Gateway, folder: Path, *, lock: LockMode | None = None) -> Machine:
    """Return a host that is configured for a bucket of its own."""
    made = bucket_of(gateway, folder, locking=lock is not None)
    config = folder / "strongroom.toml"
    config.write_text(
        f"""
[sources.local]
kind = "local"

[targets.ceph]
kind = "s3"
bucket = "{made.bucket.options.bucket}"
region = "{gateway.region}"
endpoint_url = "{gateway.endpoint}"
credentials_file = "{credentials_file(folder / "s3")}"
lock = "{lock or "none"}"
"""
    )
    return Machine(folder / "machine", {"STRONGROOM_CONFIG": str(config)})


def test_a_plain_bucket_is_proved(gateway: Gateway, tmp_path: Path) -> None:
    found = outcomes(machine(gateway, tmp_path).ok("check", "storage", "--json").document)

    assert found["ceph", "write over an object"] == "fine"
    assert found["ceph", "delete an object"] == "fine"


@pytest.mark.parametrize("mode", list(LockMode))
def test_a_locked_bucket_is_proved_but_for_the_condition_that_it_ignores(
    gateway: Gateway, tmp_path: Path, mode: LockMode
) -> None:
    done = machine(gateway, tmp_path, lock=mode).run("check", "storage", "--json")

    found = outcomes(done.document)
    assert done.failed_with(RefusalMissing)
    assert {what for (_, what), outcome in found.items() if outcome != "fine"} == {"write over an object"}
    assert {what for _, what in found} >= {
        "shorten a lock",
        "remove a locked version",
        "delete a locked object",
        "the bucket has Object Lock",
    }


def clock_off(by: str) -> dict[str, str]:
    """Return the environment of a host whose clock is off."""
    return {"LD_PRELOAD": str(library("faketime", "libfaketime.so.1")), "FAKETIME": by}


@pytest.mark.parametrize("by", ["-10m", "+10m"])
def test_a_clock_that_is_ten_minutes_off_is_taken(gateway: Gateway, tmp_path: Path, by: str) -> None:
    host = machine(gateway, tmp_path)

    assert host.run("check", "storage", "--json", **clock_off(by)).code == 0


@pytest.mark.parametrize(("by", "said"), [("-20m", "behind"), ("+20m", "ahead of")])
def test_a_clock_that_is_twenty_minutes_off_is_refused_and_named(
    gateway: Gateway, tmp_path: Path, by: str, said: str
) -> None:
    done = machine(gateway, tmp_path).run("check", "storage", "--json", **clock_off(by))

    assert done.failed_with(RightMissing)
    assert "RequestTimeTooSkewed" in done.out
    assert f"s {said} the server" in done.out


# -- encryption at rest ------------------------------------------------------------------


def encrypted(gateway: Gateway, folder: Path, **options: Any) -> S3Target:
    return bucket_of(gateway, folder, sse="aws:kms", kms_key_id=KEY, part_bytes=5 * MIB, **options)


@pytest.mark.parametrize("size", [1000, 6 * MIB], ids=["whole", "in parts"])
def test_what_is_put_is_encrypted_by_the_key_that_is_configured(
    gateway: Gateway, tmp_path: Path, size: int
) -> None:
    target, content = encrypted(gateway, tmp_path), b"CANARY" + bytes(size)

    assert put(target, "a", content) is True
    assert get(target, "a") == content
    head = gateway.client().head_object(Bucket=target.bucket.options.bucket, Key="a")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", KEY)


def test_without_its_key_an_object_is_neither_given_nor_called_missing_or_damaged(
    gateway: Gateway, openbao: OpenBao, tmp_path: Path
) -> None:
    key = f"CANARY-{secrets.token_hex(4)}"
    openbao.call("POST", f"{TRANSIT}/keys/{key}", {})
    target = bucket_of(gateway, tmp_path, sse="aws:kms", kms_key_id=key)
    put(target, "a", b"content")
    openbao.call("POST", f"{TRANSIT}/keys/{key}/config", {"deletion_allowed": True})
    openbao.call("DELETE", f"{TRANSIT}/keys/{key}")

    with pytest.raises(TargetError) as caught:
        get(target, "a")
    assert not isinstance(caught.value, MissingPiece)
    with pytest.raises(TargetError) as looked:
        target.stat("a")  # it gives no word to HEAD, and no object without its key
    assert not isinstance(looked.value, MissingPiece)
    with pytest.raises(TargetError):
        put(target, "b", b"content")
    assert target.stat("b") is None


# -- a gateway that is killed ------------------------------------------------------------


def test_a_gateway_that_is_killed_during_an_upload_and_back_later_goes_on_with_it(
    gateway: Gateway, tmp_path: Path
) -> None:
    region = s3_region(gateway, tmp_path, name="eu", part_bytes=5 * MIB)
    content = os.urandom(12 * MIB)
    digest = hashlib.sha256(content).digest()

    def dying() -> Iterator[bytes]:
        yield content[: 6 * MIB]
        gateway.gateway.kill()
        yield content[6 * MIB :]

    with pytest.raises(TargetUnavailable):
        region.target().put("a", dying(), size=len(content), sha256=digest)
    gateway.gateway.start()

    with FaultyProxy(region.port) as proxy:
        target = region.target(proxy.url)
        assert target.stat("a") is None
        assert put(target, "a", content) is True
        assert len(proxy.seen(method("PUT", query="partNumber"))) == 2
        assert get(target, "a") == content
