"""Measuring live targets: nothing is left on them, and what would be kept there is not begun."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from strongroom.errors import UsageError
from strongroom.operations.checks.benchmark import measure
from strongroom.targets.errors import TargetLocked
from strongroom.targets.resilient import Resilient
from tests.cli.program import Machine
from tests.live.ministack import MiniStack
from tests.live.test_hidden import Bucket, make  # noqa: F401 - a fixture
from tests.live.test_probe_cli import machine  # noqa: F401 - a fixture
from tests.operations.world import made_up


def versions(bucket: Bucket) -> list[str]:
    """Return what the bucket's owner sees of objects and of what hides them."""
    found = bucket.client.list_object_versions(Bucket=bucket.name)
    return [one["Key"] for kind in ("Versions", "DeleteMarkers") for one in found.get(kind, [])]


def test_a_bucket_that_keeps_versions_keeps_none(make: Callable[..., Bucket]) -> None:  # noqa: F811
    bucket = make()
    [carried] = measure(made_up(40), [Resilient(bucket.target)], container_bytes=700).targets
    assert (carried.error, carried.hidden) == (None, 0)
    assert carried.pace.secrets == 40
    assert versions(bucket) == []


def test_a_bucket_in_which_what_is_put_is_locked_gets_something_small_alone(
    ministack: MiniStack, tmp_path: Path
) -> None:
    bucket = Bucket(ministack, tmp_path, locking=True)
    [carried] = measure(made_up(40), [Resilient(bucket.target)], container_bytes=700).targets
    assert isinstance(carried.error, TargetLocked)
    assert carried.pace.size == 0
    assert len(set(versions(bucket))) == 1


def test_of_two_clouds_the_one_that_locks_is_refused_and_the_other_measured(
    machine: Machine,  # noqa: F811
) -> None:
    refused = machine.run("bench", "--secret-count", "20")
    assert refused.failed_with(UsageError)
    assert "What is put on 'eu' is locked there" in " ".join(refused.err.split())
    done = machine.ok("bench", "--secret-count", "20", "--target", "west", "--json")
    [west] = done.document["targets"]
    assert (west["target"], west["error"], west["hidden"]) == ("west", None, None)
    assert "CANARY" not in done.out
