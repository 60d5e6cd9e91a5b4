"""What a configuration says of an S3 target; checked when made, frozen afterwards."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from strongroom.errors import ConfigError
from strongroom.system.host import is_loopback
from strongroom.targets.names import is_name

MIB = 1024 * 1024
PREFIX_LIMIT = 120
"""Bytes: with a name's 900 it stays under the 1,024 that S3 takes for a key."""

LEAST_PART = 5 * MIB
"""S3 refuses smaller parts, the last one apart (EntityTooSmall)."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_OWNER = re.compile(r"[0-9]{12}")


class LockMode(StrEnum):
    """Who may end a lock early: those with a right of their own, or nobody at all."""

    GOVERNANCE = "governance"
    COMPLIANCE = "compliance"


class ObjectLock(Struct, frozen=True, kw_only=True):
    """How objects are locked. ``days`` at put; ``max_days`` from now is as far as a lock is extended.

    Short at put, since nobody can remove what a failed run left before it ends; capped,
    since nobody can undo a compliance lock that a wrong date made a hundred years long.
    """

    mode: LockMode
    days: int = 1
    max_days: int = 400


class S3Options(Struct, frozen=True, kw_only=True):
    """Where and how. Times in seconds, sizes in bytes.

    Args:
        prefix: put in front of every name, without slashes at its ends.
        endpoint_url: another server than AWS; HTTPS, or HTTP on loopback.
        profile: of the AWS configuration; ``None`` leaves it to the SDK's own chain.
        credentials_file: in AWS's form (``[default] aws_access_key_id = …``), mode 0600;
            the environment does not come before it.
        expected_bucket_owner: 12 digits; sent with every request, so that a bucket which
            somebody else owns under the same name now gets nothing.
        sse: ``AES256`` or ``aws:kms`` (then with ``kms_key_id``); ``None`` leaves it to the bucket.
        read_timeout: how long the server may be silent.
        max_attempts: of one request, by the SDK, the first included. More attempts are the
            business of :mod:`strongroom.targets.resilient`: two layers of them multiply, and a dead
            region would cost minutes.
        part_bytes: what is larger goes up in parts of this size, each held in memory.
    """

    bucket: str
    region: str
    prefix: str = ""
    endpoint_url: str | None = None
    profile: str | None = None
    credentials_file: Path | None = None
    expected_bucket_owner: str | None = None
    sse: str | None = None
    kms_key_id: str | None = None
    lock: ObjectLock | None = None
    ca_bundle: Path | None = None
    connect_timeout: float = 5.0
    read_timeout: float = 10.0
    max_attempts: int = 1
    part_bytes: int = 8 * MIB

    def __post_init__(self) -> None:
        if problems := list(_problems(self)):
            raise ConfigError(f"S3 bucket {self.bucket[:63]!r}: {'; '.join(problems)}")

    @property
    def address(self) -> str:
        """The canonical place: ``s3://bucket/prefix@endpoint-or-region``."""
        path = f"{self.bucket}/{self.prefix}" if self.prefix else self.bucket
        return f"s3://{path}@{_origin(self.endpoint_url) if self.endpoint_url else self.region}"


def _problems(options: S3Options) -> Iterator[str]:
    if not _BUCKET.fullmatch(options.bucket):
        yield "this is not the name of a bucket"
    if options.prefix and not (len(options.prefix) <= PREFIX_LIMIT and is_name(options.prefix)):
        yield f"the prefix has to be of names between slashes, at most {PREFIX_LIMIT} characters"
    if not options.region:
        yield "a region is needed ('us-east-1' where a server has none)"
    if options.endpoint_url is not None:
        yield from _endpoint_problems(options.endpoint_url)
    if options.expected_bucket_owner is not None and not _OWNER.fullmatch(options.expected_bucket_owner):
        yield "the owner of a bucket is an account of 12 digits"
    yield from _sealing_problems(options)
    yield from _number_problems(options)


def _endpoint_problems(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        yield "the endpoint has to be an http(s) address"
    elif parts.username is not None or parts.password is not None:
        yield "the endpoint must not hold credentials"
    elif parts.scheme == "http" and not is_loopback(parts.hostname):
        yield "without TLS only a server on this host is reached: the endpoint has to be https"


def _sealing_problems(options: S3Options) -> Iterator[str]:
    if options.sse not in {None, "AES256", "aws:kms"}:
        yield "'sse' is AES256 or aws:kms"
    if options.kms_key_id is not None and options.sse != "aws:kms":
        yield "a KMS key needs 'sse' aws:kms"
    if options.lock is not None and not 1 <= options.lock.days <= options.lock.max_days:
        yield "a lock lasts at least a day at put, and at most 'max_days'"


def _number_problems(options: S3Options) -> Iterator[str]:
    if not (options.connect_timeout > 0 and options.read_timeout > 0):
        yield "timeouts have to be above 0 seconds"
    if options.max_attempts < 1:
        yield "at least one attempt is needed"
    if not LEAST_PART <= options.part_bytes <= 64 * MIB:
        yield "parts have 5 to 64 MiB"


def _origin(url: str) -> str:
    """Spell an endpoint one way: two spellings of one place would count as two targets."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    usual = {"http": 80, "https": 443}[parts.scheme]
    port = "" if parts.port in (None, usual) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"
