"""What the tests of Ceph's gateway share: buckets of their own, and other servers' suites on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError

from strongroom.targets.s3 import S3Target
from tests.live.regions import s3_region
from tests.live.rgw import Gateway


def repeated(module: ModuleType, *only: str) -> Callable[[type], type]:
    """Give a class the tests of a module that it does not have in a form of its own."""

    def add(suite: type) -> type:
        for name in only or [name for name in vars(module) if name.startswith("test_")]:
            if not hasattr(suite, name):
                setattr(suite, name, staticmethod(getattr(module, name)))
        return suite

    return add


def bucket_of(gateway: Gateway, folder: Path, **options: Any) -> S3Target:
    """Return a target in a bucket of its own, as its owner."""
    versioned = options.pop("versioned", False)
    region = s3_region(gateway, folder, name="ceph", **options)
    made = region.make(region.url)
    assert isinstance(made, S3Target)
    if versioned:
        gateway.client().put_bucket_versioning(
            Bucket=made.bucket.options.bucket, VersioningConfiguration={"Status": "Enabled"}
        )
    return made


def code_of(call: Callable[[], object]) -> str:
    """Return the code of what the server refuses."""
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])
