"""The S3 target meets the contract on a live server: plain, versioned, under a prefix, locked."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import pytest

from strongroom.plugins.conformance.targets import SharedConformance
from strongroom.targets.s3 import S3Target
from tests.live.ministack import CREDENTIALS, MiniStack

MakeTarget = Callable[..., S3Target]


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's own chain finds these, and no file of the person who runs the tests."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name.upper(), value)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def target_on(
    server: MiniStack, *, versioned: bool = False, locking: bool = False, **options: Any
) -> S3Target:
    """Return a target in a bucket of its own."""
    bucket = server.make_bucket(f"sr-{secrets.token_hex(6)}", versioned=versioned, locking=locking)
    return S3Target(server.options(bucket, **options), name=f"s3-{server.region}")


class TestPlainBucket(SharedConformance):
    @pytest.fixture
    def target(self, ministack: MiniStack) -> S3Target:
        return target_on(ministack)


@pytest.mark.sampled(every=4)
class TestVersionedBucketUnderAPrefix(SharedConformance):
    @pytest.fixture
    def target(self, ministack: MiniStack) -> S3Target:
        return target_on(ministack, versioned=True, prefix="backups/main")
