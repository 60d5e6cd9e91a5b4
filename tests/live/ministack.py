"""An S3 server of one region: ministack, one process a region, so that a test can end one.

What it does not enforce (credentials, bucket policies, the owner check, the order of part
sizes) no test may claim to have shown with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from strongroom.targets.s3 import S3Options
from strongroom.targets.s3.client import make_client
from tests.process import HasServer, ServerProcess, free_port, installed

MISSING = "no ministack under build/live; 'make live' installs it"
CREDENTIALS = {"aws_access_key_id": "CANARY-key", "aws_secret_access_key": "CANARY-secret"}


class MiniStack(HasServer):
    """One region's S3. With ``persist`` its objects survive :meth:`kill` and :meth:`start`."""

    def __init__(self, region: str, *, persist: bool = False) -> None:
        program = installed("ministack", "bin", "ministack")
        if program is None:
            pytest.skip(MISSING)
        self.region = region
        self._persist = persist
        self._program = program
        self.server = ServerProcess(self._command, port=free_port(), prefix="sr-ministack-")

    def _command(self, folder: Path) -> Sequence[str | Path]:
        settings = {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.server.port),
            "IOT_MTLS_ENABLED": "0",
            "MINISTACK_REGION": self.region,
            "S3_DATA_DIR": str(folder / "s3"),
            "STATE_DIR": str(folder / "state"),
        }
        if self._persist:
            settings |= {"PERSIST_STATE": "1", "S3_PERSIST": "1"}
        return ["env", *(f"{name}={value}" for name, value in settings.items()), self._program]

    def options(self, bucket: str, **options: Any) -> S3Options:
        """Return a target's options for one of its buckets."""
        given = {"region": self.region, "endpoint_url": self.endpoint} | options
        return S3Options(bucket=bucket, **given)

    def client(self) -> Any:
        """Return a client of an administrator's."""
        return make_client(self.options("any-bucket"), **CREDENTIALS)

    def make_bucket(self, name: str, *, versioned: bool = False, locking: bool = False) -> str:
        """Create a bucket; one with Object Lock is versioned, as in S3."""
        make_bucket(self.client(), name, self.region, versioned=versioned, locking=locking)
        return name


def make_bucket(
    client: Any, name: str, region: str, *, versioned: bool = False, locking: bool = False
) -> None:
    """Create a bucket on any S3 server."""
    client.create_bucket(
        Bucket=name,
        ObjectLockEnabledForBucket=locking,
        CreateBucketConfiguration={"LocationConstraint": region},
    )
    if versioned:
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
