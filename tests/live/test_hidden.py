"""Old versions on live servers: how many, until when they are locked, when a rule removes them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from strongroom.plugins.conformance.targets import put
from strongroom.targets import HiddenVersion
from strongroom.targets.memory import MemoryTarget
from strongroom.targets.resilient import Resilient
from strongroom.targets.s3 import LockMode, ObjectLock, S3Options, S3Target
from tests.live.ministack import MiniStack
from tests.live.moto import Moto
from tests.live.regions import credentials_file
from tests.live.test_policies import Account, account, moto  # noqa: F401 - fixtures

DAY = timedelta(days=1)


class Bucket:
    """A bucket that keeps versions, as its owner sees it."""

    def __init__(self, server: MiniStack | Moto, folder: Path, *, locking: bool = False) -> None:
        self.client: Any = server.client() if isinstance(server, MiniStack) else server.client("s3")
        self.name = f"sr-{secrets.token_hex(6)}"
        region = server.region if isinstance(server, MiniStack) else "eu-central-1"
        where = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        self.client.create_bucket(Bucket=self.name, ObjectLockEnabledForBucket=locking, **where)
        self.client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": "Enabled"})
        options = S3Options(
            bucket=self.name,
            region=region,
            prefix="backups",
            endpoint_url=server.endpoint,
            credentials_file=credentials_file(folder / f"{self.name}.aws"),
            lock=ObjectLock(mode=LockMode.GOVERNANCE, days=1) if locking else None,
            max_attempts=1,
        )
        self.target = S3Target(options, name="eu")

    def cover(self, name: str, *contents: bytes) -> None:
        """Write over an object, as somebody with the right to does."""
        for content in contents:
            self.client.put_object(Bucket=self.name, Key=f"backups/{name}", Body=content)

    def rules(self, *rules: dict[str, Any]) -> None:
        whole = [{"ID": f"r{n}", "Status": "Enabled", **rule} for n, rule in enumerate(rules)]
        self.client.put_bucket_lifecycle_configuration(
            Bucket=self.name, LifecycleConfiguration={"Rules": whole}
        )


def removes_after(days: int, *, prefix: str = "", **more: Any) -> dict[str, Any]:
    return {
        "Filter": {"Prefix": prefix},
        "NoncurrentVersionExpiration": {"NoncurrentDays": days, **more},
    }


def midnight_after(days: int) -> datetime:
    """Return when what is hidden today goes by a rule of so many days."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + (days + 1) * DAY


@pytest.fixture(params=["ministack", "moto"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Bucket]:
    """Return what makes a bucket on one server and on the other."""
    server = request.getfixturevalue(request.param)
    if isinstance(server, Moto):
        server.enforce(after="inf")
    return lambda **options: Bucket(server, tmp_path, **options)


def test_what_is_not_covered_and_not_deleted_is_no_old_version(make: Callable[..., Bucket]) -> None:
    bucket = make()
    put(bucket.target, "containers/a/1", b"x")
    assert list(bucket.target.hidden("containers/a/")) == []


def test_what_was_deleted_and_what_was_covered_is_told_and_markers_are_not(
    make: Callable[..., Bucket],
) -> None:
    bucket = make()
    for name in ("containers/a/1", "containers/a/2", "containers/b/1"):
        put(bucket.target, name, b"four")
    bucket.target.delete("containers/a/1")
    put(bucket.target, "containers/a/1", b"again")
    bucket.target.delete("containers/a/1")
    bucket.cover("containers/a/2", b"others")
    found = bucket.target.hidden("containers/a/")
    assert [(one.name, one.size) for one in found] == [
        ("containers/a/1", 5),
        ("containers/a/1", 4),
        ("containers/a/2", 4),
    ]
    assert {(one.expires, one.locked_until, one.lock_known, one.rule_known) for one in found} == {
        (None, None, True, True)
    }, "no rule removes them"


def test_a_rule_s_day_is_counted_from_when_it_was_hidden_to_the_midnight_after(
    make: Callable[..., Bucket],
) -> None:
    bucket = make()
    put(bucket.target, "containers/a/1", b"four")
    bucket.target.delete("containers/a/1")
    bucket.rules(
        removes_after(30), removes_after(7, prefix="backups/containers/"), removes_after(1, prefix="x")
    )
    [one] = bucket.target.hidden("containers/a/")
    assert one.expires == midnight_after(7)


def test_rules_that_do_not_fit_end_nothing(ministack: MiniStack, tmp_path: Path) -> None:
    """On the server that keeps all of a rule: moto forgets ``NewerNoncurrentVersions``."""
    bucket = Bucket(ministack, tmp_path)
    put(bucket.target, "containers/a/1", b"four")
    bucket.cover("containers/a/1", b"five!", b"sixsix")
    bucket.target.delete("containers/a/1")
    bucket.rules(
        {"Status": "Disabled", **removes_after(1)},
        {**removes_after(1), "Filter": {"Tag": {"Key": "a", "Value": "b"}}},
        removes_after(3, NewerNoncurrentVersions=2),
    )
    found = bucket.target.hidden("containers/a/")
    assert [(one.size, one.expires) for one in found] == [
        (6, None),
        (5, None),
        (4, midnight_after(3)),
    ], "two newer ones are kept"


def test_a_lock_of_its_own_is_told_and_outlasts_the_rule(ministack: MiniStack, tmp_path: Path) -> None:
    bucket = Bucket(ministack, tmp_path, locking=True)
    until = (datetime.now(UTC) + 90 * DAY).replace(microsecond=0)
    put(bucket.target, "containers/a/1", b"four")
    put(bucket.target, "containers/a/2", b"four")
    bucket.target.extend_lock("containers/a/1", until)
    for name in ("1", "2"):  # somebody else hides them: this product refuses to, under a lock
        bucket.client.delete_object(Bucket=bucket.name, Key=f"backups/containers/a/{name}")
    bucket.rules(removes_after(30))
    first, second = bucket.target.hidden("containers/a/")
    assert (first.locked_until, first.expires) == (until, until)
    assert second.locked_until is not None
    assert second.expires == midnight_after(30)


def test_a_target_that_keeps_nothing_has_none_and_a_wrapped_one_answers_as_the_bare_one(
    ministack: MiniStack, tmp_path: Path
) -> None:
    assert list(MemoryTarget(name="m", region="m").hidden("containers/a/")) == []
    bucket = Bucket(ministack, tmp_path)
    put(bucket.target, "containers/a/1", b"four")
    bucket.target.delete("containers/a/1")
    assert _names(Resilient(bucket.target).hidden("containers/")) == ["containers/a/1"]


def _names(found: Sequence[HiddenVersion]) -> list[str]:
    return [one.name for one in found]
