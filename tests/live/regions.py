"""A region as the fault tests need it: a live S3 or Azure server, reached through any address.

Each kind names the requests that matter in its own protocol, and how its service says that it
is full or that a clock is off, in the words of its documentation.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from azure.storage.blob import ContainerClient

from strongroom.targets import Target
from strongroom.targets.azure import AzureAccount, AzureTarget
from strongroom.targets.resilient import Breaker, Resilient, RetryWaits
from strongroom.targets.s3 import S3Options, S3Target
from tests.live.azurite import ACCOUNT, Azurite
from tests.live.ministack import CREDENTIALS, MiniStack
from tests.live.proxy import Answer, Fault, OtherClock, When, method
from tests.patience import PATIENCE

Make = Callable[..., Target]
SLOW_SECONDS = 0.4
"""How long a client waits for a server that answers nothing at all: one that answers may need longer."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """One region.

    Args:
        make: given an address, and ``seconds`` that an answer may take, returns the target.
        sends: the requests that carry an object's content there.
        makes_visible: the request that makes an object visible, if there is none of its name.
        reads: the requests that bring an object's content back.
        full: how the service says that it has no room.
        skewed: how it refuses a client whose clock is 10 minutes ahead.
    """

    kind: str
    port: int
    make: Make
    sends: When
    makes_visible: When
    reads: When
    full: Fault
    skewed: Fault

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def target(self, url: str | None = None, *, pause: float = 30.0, **options: Any) -> Resilient:
        """Return the target that a fresh process would have, impatient so that tests are quick.

        Args:
            pause: seconds for which it is left alone after three failures in a row.
        """
        inner = self.make(url or self.url, **options)
        waits = RetryWaits(first=0.0)
        return Resilient(inner, breaker=Breaker(failures=3, pause=pause), waits=waits)


def s3_region(server: MiniStack, folder: Path, *, name: str, locking: bool = False, **fixed: Any) -> Region:
    """Return a bucket of its own on a server, which is nowhere else known."""
    bucket = server.make_bucket(f"sr-{secrets.token_hex(6)}", locking=locking)
    file = credentials_file(folder / f"{bucket}.aws")

    def make(url: str, *, seconds: float = PATIENCE, **options: Any) -> Target:
        given = {"max_attempts": 1, "read_timeout": seconds, "credentials_file": file} | fixed | options
        made = S3Options(bucket=bucket, region=server.region, endpoint_url=url, **given)
        return S3Target(made, name=name, region=name)

    return Region(
        kind="s3",
        port=server.port,
        make=make,
        sends=method("PUT"),
        makes_visible=method("PUT"),
        reads=method("GET", path=f"/{bucket}/"),
        full=Answer(507, body=_s3_error("InsufficientStorage")),
        skewed=OtherClock(403, body=_s3_error("RequestTimeTooSkewed"), ahead=timedelta(minutes=-10)),
    )


def azure_region(server: Azurite, folder: Path, *, name: str) -> Region:
    """Return a container of its own on a server."""
    container = f"sr-{secrets.token_hex(6)}"
    with ContainerClient.from_connection_string(server.connection_string(), container) as client:
        client.create_container()
    file = server.key_file(folder / f"{container}.key")

    def make(url: str, *, seconds: float = PATIENCE, ca_bundle: Path | None = None) -> Target:
        account = AzureAccount(
            url=f"{url}/{ACCOUNT}",
            container=container,
            credential_file=file,
            ca_file=ca_bundle,
            read_seconds=seconds,
            retries=0,
        )
        return AzureTarget(account, name=name, region=name)

    return Region(
        kind="azure",
        port=server.server.port,
        make=make,
        sends=method("PUT", query="comp=block&"),
        makes_visible=method("PUT", query="comp=blocklist"),
        reads=method("GET", path=f"/{container}/"),
        full=Answer(507, {"x-ms-error-code": "InsufficientStorage"}),
        skewed=OtherClock(403, {"x-ms-error-code": "AuthenticationFailed"}, ahead=timedelta(minutes=-10)),
    )


def credentials_file(path: Path, *, key: str | None = None, secret: str | None = None) -> Path:
    """Write a credential as the AWS SDK reads it: a file of its owner's."""
    path.write_text(
        "[default]\n"
        f"aws_access_key_id = {key or CREDENTIALS['aws_access_key_id']}\n"
        f"aws_secret_access_key = {secret or CREDENTIALS['aws_secret_access_key']}\n"
    )
    path.chmod(0o600)
    return path


def _s3_error(code: str) -> bytes:
    return (
        f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>CANARY-message</Message></Error>".encode()
    )
