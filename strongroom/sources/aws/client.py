"""The service as the adapter uses it: ask, be answered, or get a typed error.

One client a process, made on first use after the fork; its connections are shared by threads.
Nearly every request may be repeated: reads change nothing, writes carry a token or come out the same.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import msgspec
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, InvalidRegionError, ProfileNotFound
from botocore.parsers import ResponseParserError
from botocore.session import Session

from strongroom.errors import ConfigError, SourceError
from strongroom.sources.aws import failures
from strongroom.sources.aws.options import AwsOptions
from strongroom.sources.errors import SourceUnavailable
from strongroom.system.private_file import read_private
from strongroom.system.retry import backoff
from strongroom.vault.pace import RequestPace
from strongroom.vault.process import PerProcess

A = TypeVar("A")
B = TypeVar("B")

ATTEMPTS = 6
"""Of one request. Being throttled does not count: that passes, so only time does."""
_ALWAYS = {
    "list_secrets": ("SecretList",),
    "describe_secret": ("ARN", "Name"),
    "list_secret_version_ids": ("ARN", "Versions"),
    "get_secret_value": ("ARN", "VersionId"),
    "batch_get_secret_value": ("SecretValues",),
    "get_resource_policy": ("ARN", "Name"),
}
"""What an answer always has: without it, nothing must be taken for "there is none"."""
_EACH = {
    "SecretList": ("ARN", "Name"),
    "Versions": ("VersionId",),
    "SecretValues": ("ARN", "VersionId"),
    "ReplicationStatus": ("Region",),
    "Tags": ("Key",),
}
"""What each item of a list always has."""
FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0


class Api:
    """Secrets Manager of one region."""

    def __init__(self, options: AwsOptions, *, source: str) -> None:
        self.options = options
        self._source = source
        self._process = PerProcess(lambda: _AwsProcess(options))

    def ask(self, operation: str, doing: str, **parameters: object) -> dict[str, Any]:
        """Call an operation, named as the SDK does; patiently, at the pace that all share.

        Args:
            doing: what it is for, as in "the source could not …".

        Raises:
            SourceError: see :mod:`strongroom.sources.aws.failures`.
        """
        return self._patiently(operation, doing, parameters, attempts=ATTEMPTS)

    def ask_once(self, operation: str, doing: str, **parameters: object) -> dict[str, Any]:
        """Call an operation that must not happen twice: a lost reply is an error, a throttle is not."""
        return self._patiently(operation, doing, parameters, attempts=1)

    def _patiently(
        self, operation: str, doing: str, parameters: Mapping[str, object], *, attempts: int
    ) -> dict[str, Any]:
        link = self._process.get()
        renewed = False
        what = f"source '{self._source}' could not {doing}"
        failed, tried, ends = 0, 0, time.monotonic() + self.options.patience
        while True:
            link.pace.wait()
            client = link.client
            answer = link.call(client, operation, what, parameters)
            if not isinstance(answer, SourceError):
                return answer
            if isinstance(answer, failures.AwsExpired) and not renewed:
                renewed = True
                link.renew(client)
                continue
            throttled = isinstance(answer, failures.AwsThrottled)
            failed, tried = failed + (not throttled), tried + 1
            delay = backoff(tried + 1, first=FIRST_DELAY, longest=LONGEST_DELAY)
            if not answer.transient or failed >= attempts or time.monotonic() + delay > ends:
                raise answer
            if throttled:
                link.pace.pause(delay)  # the quota is everybody's: so is the pause
            else:
                time.sleep(delay)

    def each(self, work: Callable[[A], B], items: Iterable[A]) -> list[B]:
        """Return ``work(item)`` for each item, many at once.

        If one fails, those not begun are left, and those under way are waited for: nothing is
        still being written when the error arrives.
        """
        running = [self.threads.submit(work, item) for item in items]
        try:
            return [future.result() for future in running]
        finally:
            for future in running:
                future.cancel()
            wait(running)

    @property
    def threads(self) -> ThreadPoolExecutor:
        """This process's threads for requests in flight."""
        return self._process.get().threads


class _AwsProcess:
    """What belongs to one process: client, pace, threads.

    The SDK reads keys from files and the environment once; a worker lives for weeks, and keys may
    not. So where they are refused, a new client is made, which reads them afresh.
    """

    def __init__(self, options: AwsOptions) -> None:
        self.pace = RequestPace(options.requests_per_second, shared=_ready(options.pace_file))
        self.threads = ThreadPoolExecutor(options.in_flight, thread_name_prefix="aws")
        self.client = _made(options)
        self._options = options
        self._renewing = Lock()

    def renew(self, client: Any) -> None:
        """Make a client in place of one whose credentials were refused, unless another thread has."""
        with self._renewing:
            if self.client is client:
                self.client = _made(self._options)

    def call(
        self, client: Any, operation: str, what: str, parameters: Mapping[str, object]
    ) -> dict[str, Any] | SourceError:
        """Return the answer, or the error: raised here, it would carry the SDK's, which quotes values."""
        try:
            return _whole(operation, what, getattr(client, operation)(**parameters))
        except _Garbled:
            return SourceUnavailable(f"{what}: its answer was cut or is not JSON")
        except ClientError as error:
            return failures.of_reply(error.response, what)
        except (BotoCoreError, ResponseParserError, OSError) as error:
            return failures.of_transport(error, what)


def _made(options: AwsOptions) -> Any:
    """Make a client; what is wrong with the settings shows only now."""
    try:
        return make_client(options)
    except ProfileNotFound:
        problem = f"there is no profile {options.profile!r} in the AWS configuration"
    except InvalidRegionError:
        problem = f"{options.region!r} cannot be a region"
    except (BotoCoreError, ValueError) as error:
        problem = f"the SDK does not take the settings ({type(error).__name__})"
    raise ConfigError(
        f"Secrets Manager in region {options.region!r}: {problem}",
        hint="Mend the source's settings, or the files of the AWS SDK.",
    )


def make_client(options: AwsOptions, **credentials: str) -> Any:
    """Make a client. ``credentials`` (as the SDK spells them) replace the configured ones.

    Raises:
        ConfigError: the credentials file is missing or open to others.
    """
    _quieten()
    config = Config(
        connect_timeout=options.connect_timeout,
        read_timeout=options.read_timeout,
        retries={"mode": "standard", "total_max_attempts": 1},  # ours know the shared pace
        max_pool_connections=options.in_flight,
        tcp_keepalive=True,
        user_agent_extra="strongroom",
    )
    client = _session(options).create_client(
        "secretsmanager",
        region_name=options.region,
        endpoint_url=options.endpoint_url,
        verify=str(options.ca_file) if options.ca_file else None,
        config=config,
        **credentials,
    )
    client.meta.events.register("before-parse.secrets-manager", _check_body)
    return client


def _session(options: AwsOptions) -> Any:
    """Return a session that finds the configured credentials.

    A file of credentials comes before the environment only if a profile is named on the session itself.
    """
    session = Session(profile=options.profile or ("default" if options.credentials_file else None))
    if options.credentials_file is not None:
        read_private(options.credentials_file)  # for its check of who may read it
        session.set_config_variable("credentials_file", str(options.credentials_file))
    return session


def _ready(pace_file: Path | None) -> Path | None:
    """Make the folder of the pace file: a first listing may come before there is any state."""
    if pace_file is not None:
        try:
            pace_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SourceError(
                f"'{pace_file}', through which processes share a rate, cannot be made: {error.strerror}",
                hint="Check the state directory's owner and mode.",
            ) from None
    return pace_file


class _Garbled(Exception):
    """The answer is not what the service sent."""


def _check_body(response_dict: Mapping[str, Any], **_: object) -> None:
    """Refuse a good answer that is not JSON: the SDK takes a cut one for an empty one, and a listing
    that was cut would be an empty source."""
    if response_dict["status_code"] >= 300:
        return
    try:
        msgspec.json.decode(response_dict["body"], type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = _Garbled()
    else:
        return
    raise problem


def _whole(operation: str, what: str, answer: dict[str, Any]) -> dict[str, Any] | SourceError:
    lacking = [name for name in _ALWAYS.get(operation, ()) if answer.get(name) is None]
    lacking += _lacking(answer)
    if lacking:
        return SourceUnavailable(f"{what}: its answer lacks {', '.join(lacking)}")
    return answer


def _lacking(answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield what items lack, whatever list they are in. The SDK leaves out what it was not given."""
    for name, items in answer.items():
        for item in (items or ()) if name in _EACH else ():
            yield from (f"{name}.{member}" for member in _EACH[name] if item.get(member) is None)
            yield from _lacking(item)


def _quieten() -> None:
    """At level DEBUG the SDK logs requests and answers whole, values included: never."""
    logger = logging.getLogger("botocore")
    if logger.level < logging.INFO:
        logger.setLevel(logging.INFO)
