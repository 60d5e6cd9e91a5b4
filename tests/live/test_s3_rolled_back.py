"""A versioned bucket in which somebody hid or rolled back objects: noticed, on record, and mended."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from strongroom.container.errors import MissingPiece, Stale
from strongroom.container.marks import HEAD
from strongroom.errors import StrongroomError
from strongroom.operations.engine.layout import INDEXES
from tests.cli.program import Machine
from tests.live.ministack import MiniStack
from tests.live.regions import credentials_file

CONFIG = """
[targets.us]
kind = "s3"
bucket = "{bucket}"
region = "{region}"
endpoint_url = "{endpoint}"
credentials_file = "{folder}/aws"

[targets.west]
kind = "directory"
path = "{folder}/west"
region = "west"
create = true

[keys.recovery]
kind = "hpke"
public_key_file = "{folder}/recovery.key.pub"

[policies.everything]
kind = "full"
targets = ["us", "west"]
recipients = ["recovery"]
"""


class Bucket:
    """A versioned bucket, as somebody with the rights of its owner may change it."""

    def __init__(self, server: MiniStack) -> None:
        self._client: Any = server.client()
        self.name = server.make_bucket(f"sr-{secrets.token_hex(6)}", versioned=True)

    def names(self, prefix: str = "") -> list[str]:
        found = self._client.list_objects_v2(Bucket=self.name, Prefix=prefix)
        return [one["Key"] for one in found.get("Contents", ())]

    def hide(self, *names: str) -> None:
        """Put a delete marker on each object."""
        for name in names:
            self._client.delete_object(Bucket=self.name, Key=name)

    def put(self, name: str, content: bytes) -> None:
        self._client.put_object(Bucket=self.name, Key=name, Body=content)

    def read(self, name: str) -> bytes:
        return bytes(self._client.get_object(Bucket=self.name, Key=name)["Body"].read())


@pytest.fixture
def bucket(ministack: MiniStack) -> Bucket:
    return Bucket(ministack)


@pytest.fixture
def machine(ministack: MiniStack, bucket: Bucket, tmp_path: Path) -> Machine:
    """A machine with two backups on a versioned bucket and in a directory."""
    made = Machine(tmp_path / "machine")
    made.home.mkdir(exist_ok=True)
    made.ok("keys", "new", "--output", "recovery.key")
    credentials_file(made.path("aws"))
    made.path("strongroom.toml").write_text(
        CONFIG.format(
            bucket=bucket.name, region=ministack.region, endpoint=ministack.endpoint, folder=made.home
        )
    )
    made.set("APP_TOKEN", "CANARY-token")
    for _ in range(2):
        made.ok("backup", "--policy", "everything", "--force")
    return made


def good_there(machine: Machine) -> list[bool]:
    """Whether each backup is on record as good in the bucket, the oldest first."""
    found = machine.ok("backups", "replicas", "--json").document["replicas"]
    return [one["good"] for one in sorted(found, key=lambda one: one["backup"]) if one["target"] == "us"]


def hide_all(bucket: Bucket) -> None:
    bucket.hide(*bucket.names())


def hide_the_newest_manifest(bucket: Bucket) -> None:
    bucket.hide(bucket.names("manifests/")[-1])


def put_an_older_manifest_over_the_newest(bucket: Bucket) -> None:
    older, newest = bucket.names("manifests/")
    bucket.put(newest, bucket.read(older))


@pytest.mark.parametrize(
    ("change", "error", "good"),
    [
        pytest.param(hide_all, MissingPiece, [False, False], marks=pytest.mark.long),
        pytest.param(hide_the_newest_manifest, Stale, [True, False], marks=pytest.mark.long),
        (put_an_older_manifest_over_the_newest, Stale, [True, False]),
    ],
)
def test_what_a_bucket_no_longer_shows_is_told_put_on_record_and_mended_by_one_command(
    machine: Machine,
    bucket: Bucket,
    change: Callable[[Bucket], None],
    error: type[StrongroomError],
    good: list[bool],
) -> None:
    """backups verify told it and kept no record, and repair said "Nothing to repair"."""
    before = bucket.names()
    change(bucket)
    done = machine.run("backups", "verify", "us")
    assert done.failed_with(error), done
    assert good_there(machine) == good
    repaired = machine.ok("backups", "repair", "--all")
    assert "Nothing to repair" not in repaired.out
    assert good_there(machine) == [True, True]
    # The next backup brings indexes of names, and heads: what is missing of them costs time alone.
    assert {name for name in before if not name.startswith((INDEXES, HEAD.prefix))} <= set(bucket.names())
    machine.ok("backups", "verify", "us", "--depth", "digest")
    assert "Nothing to repair" in machine.ok("backups", "repair", "--all").out
