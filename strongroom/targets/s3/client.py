"""The SDK's client: made on first use, one a process, never shared over a fork."""

from __future__ import annotations

import os
from functools import cache
from threading import Lock
from typing import Any

import boto3
from botocore.config import Config
from botocore.handlers import _handle_200_error
from botocore.loaders import create_loader
from botocore.session import Session

from strongroom.system.private_file import read_private
from strongroom.targets.s3.failures import GARBLED
from strongroom.targets.s3.options import S3Options

CONNECTIONS = 32


class Clients:
    """Gives a process its own client.

    A connection that two processes share hands one the other's reply. The locks are a
    process's own too: one that a thread held during the fork would stay held.
    """

    def __init__(self, options: S3Options) -> None:
        self._options = options
        self._clients: dict[int, Any] = {}
        self._locks: dict[int, Lock] = {}

    def get(self) -> Any:
        """Return this process's client; the SDK's clients may be used by many threads."""
        pid = os.getpid()
        if pid not in self._clients:
            with self._locks.setdefault(pid, Lock()):
                if pid not in self._clients:
                    self._clients[pid] = make_client(self._options)
        return self._clients[pid]


def make_client(options: S3Options, **credentials: str) -> Any:
    """Make a client. ``credentials`` (as the SDK spells them) replace the configured ones.

    Raises:
        ConfigError: the credentials file is missing or open to others.
    """
    # Only a profile that is named on the session itself keeps the environment from coming first.
    profile = options.profile or ("default" if options.credentials_file else None)
    core = Session(profile=profile)
    core.register_component("data_loader", _loader())
    if options.credentials_file is not None:
        read_private(options.credentials_file)  # for its check of who may read it
        core.set_config_variable("credentials_file", str(options.credentials_file))
    client = boto3.Session(botocore_session=core).client(
        "s3",
        region_name=options.region,
        endpoint_url=options.endpoint_url,
        verify=str(options.ca_bundle) if options.ca_bundle else None,
        config=_config(options),
        **credentials,
    )
    client.meta.events.register("before-call.s3", _stay)
    client.meta.events.unregister("before-parse.s3.*", _handle_200_error)
    client.meta.events.register_first("before-parse.s3.*", _mark_garbled)
    return client


def _stay(*, context: dict[str, Any], **_: Any) -> None:
    """Keep the SDK from following a bucket to another region: a policy counts the one that is configured.

    It would not even end where a server redirects without naming a region.
    """
    context.setdefault("s3_redirect", {})["redirected"] = True


def _mark_garbled(*, operation_model: Any, response_dict: dict[str, Any], **more: Any) -> None:
    """Mark a good answer that is no whole XML, then let the SDK call it a 500, so that it asks again.

    A person who is told of a 500 would look for a fault of the server's, whose log shows a 200.
    """
    was = response_dict["status_code"]
    _handle_200_error(operation_model, response_dict, **more)
    if was == 200 and response_dict["status_code"] == 500 and b"<Error" not in response_dict["body"]:
        response_dict["headers"][GARBLED] = "yes"


@cache
def _loader() -> Any:
    """Return the reader of the SDK's own descriptions of services: one, since they are megabytes of
    JSON that each session would read and hold anew."""
    return create_loader()


def _config(options: S3Options) -> Any:
    return Config(
        signature_version="s3v4",
        connect_timeout=options.connect_timeout,
        read_timeout=options.read_timeout,
        retries={"mode": "standard", "total_max_attempts": options.max_attempts},
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
        s3={"addressing_style": "path" if options.endpoint_url else "virtual"},
        # Both ends are checked by SHA-256 here, which the SDK's CRC would only repeat.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        user_agent_extra="strongroom",
    )
