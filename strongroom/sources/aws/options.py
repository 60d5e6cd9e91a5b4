"""What a configuration says of one region's Secrets Manager; checked when made, frozen afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from strongroom.errors import ConfigError
from strongroom.system.host import is_loopback

SHORTEST_WINDOW, LONGEST_WINDOW = 7, 30
"""Days that a deleted secret can be taken back, as the API allows them."""


class AwsOptions(Struct, frozen=True, kw_only=True):
    """Where and how. Times in seconds.

    Args:
        endpoint_url: another address than the region's public one; HTTPS, or HTTP on loopback.
        profile: of the AWS configuration; ``None`` leaves it to the SDK's own chain.
        credentials_file: in the SDK's format, for this source alone.
        ca_file: certificates (PEM) that may sign the server's; ``None`` leaves it to the SDK.
        requests_per_second: what this process, or with ``pace_file`` this host, asks for at most.
        pace_file: a file through which the processes of one host share that rate.
        in_flight: requests at once.
        patience: how long one request is tried again before it counts as failed.
        kms_key_id: seals what is restored, in place of each secret's own key: for another account.
        resource_policies: whether resource policies are put back. They name people and roles, and are
            refused where those are not: in another account.
        rearm_rotation: whether rotation that was on is switched on again, after the compare.
        rotates: whether secrets are rotated by their own functions, for which a right is needed.
        recovery_days: how long what is deleted can be taken back; ``None`` deletes for good.
    """

    region: str
    endpoint_url: str | None = None
    profile: str | None = None
    credentials_file: Path | None = None
    ca_file: Path | None = None
    requests_per_second: float | None = 40
    pace_file: Path | None = None
    in_flight: int = 16
    patience: float = 60.0
    connect_timeout: float = 5.0
    read_timeout: float = 30.0
    kms_key_id: str | None = None
    resource_policies: bool = True
    rearm_rotation: bool = False
    rotates: bool = False
    recovery_days: int | None = LONGEST_WINDOW

    def __post_init__(self) -> None:
        if problems := list(_problems(self)):
            raise ConfigError(f"Secrets Manager in region {self.region!r}: {'; '.join(problems)}")


def _problems(options: AwsOptions) -> Iterator[str]:
    if not options.region:
        yield "a region is needed"
    if options.endpoint_url is not None:
        yield from _endpoint_problems(options.endpoint_url)
    if options.requests_per_second is not None and options.requests_per_second <= 0:
        yield "'requests_per_second' has to be above 0"
    if options.in_flight < 1:
        yield "'in_flight' is at least 1"
    days = options.recovery_days
    if days is not None and not SHORTEST_WINDOW <= days <= LONGEST_WINDOW:
        yield f"'recovery_days' is {SHORTEST_WINDOW} to {LONGEST_WINDOW}"


def _endpoint_problems(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        yield "the endpoint has to be an http(s) address"
    elif parts.username is not None or parts.password is not None:
        yield "the endpoint must not hold credentials"
    elif parts.scheme == "http" and not is_loopback(parts.hostname):
        yield "values go to no other host without TLS: the endpoint has to be https"
