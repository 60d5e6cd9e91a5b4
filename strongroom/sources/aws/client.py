"""The service as the adapter uses it: ask, be answered, or get a typed error."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from botocore import exceptions as sdk
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, InvalidRegionError, ProfileNotFound
from botocore.parsers import ResponseParserError
from botocore.session import Session
from msgspec import Struct

from strongroom.errors import ConfigError, SourceError
from strongroom.sources.errors import SourceClosed, SourceUnavailable
from strongroom.system.attempts import RequestPace, backoff
from strongroom.system.files import read_private
from strongroom.system.process import PerProcess, is_loopback

# -- The SDK's errors as ours: what passes, what stays, what a person has to do -----------------
#
# Words of the server and of the SDK are not repeated, only the server's code: both quote what the
# request held, and that can be a value.


CODE_LIMIT = 60
SKEW_SECONDS = 240.0
"""AWS refuses signatures that are 300 s off; a clock is suspected earlier."""


class AwsMissing(SourceError):
    """There is no such secret, or no such version of it."""


class AwsExists(SourceError):
    """There is such a secret, or a version of that id with another value."""


class AwsDenied(SourceError):
    """The credentials lack a right."""


class AwsInvalid(SourceError):
    """The request does not fit the secret's state."""

    default_hint = "Look at the secret at AWS, then repeat: what was done stays done. Or exclude it."


class AwsExpired(SourceClosed):
    """The credentials are not taken: they may have been renewed where they come from."""


class AwsThrottled(SourceUnavailable):
    """The service wants fewer requests."""


_THROTTLED = frozenset({"RequestLimitExceeded", "TooManyRequestsException", "SlowDown"})
_PASSING = frozenset({"InternalServiceError", "InternalFailure", "ServiceUnavailable", "RequestTimeout"})
_DENIED = frozenset({"AccessDeniedException", "AccessDenied", "UnauthorizedOperation"})
_MISSING = frozenset({"ResourceNotFoundException"})
_EXISTS = frozenset({"ResourceExistsException"})
_INVALID = frozenset(
    {
        *("InvalidParameterException", "InvalidRequestException", "ValidationException"),
        *("MalformedPolicyDocumentException", "PublicPolicyException", "PreconditionNotMetException"),
    }
)
_KMS = frozenset({"DecryptionFailure", "EncryptionFailure"})
_CREDENTIALS = frozenset(
    {
        *("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"),
        *("InvalidAccessKeyId", "SignatureDoesNotMatch", "MissingAuthenticationToken", "InvalidToken"),
        *("IncompleteSignature", "OptInRequired", "NotAuthorized"),
    }
)
_UNUSABLE = frozenset(
    {
        *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "NoAuthTokenError"),
        *("SSOError", "SSOTokenLoadError", "UnauthorizedSSOTokenError", "TokenRetrievalError"),
        *("LoginError", "LoginRefreshRequired", "LoginTokenLoadError", "LoginInsufficientPermissions"),
    }
)
"""What the SDK says when it finds no keys, or a person has to log in again."""
_CLOCK = frozenset({"InvalidSignatureException", "RequestExpired", "RequestTimeTooSkewed"})

_HINT_RIGHTS = (
    "Nothing of it is left out in silence: grant the right ('strongroom cluster rules aws'), or exclude the "
    "secret."
)
_HINT_KMS = (
    "Look at the secret's KMS key: it may be disabled, pending deletion, or not allowed to us. "
    "For a restore, kms_key_id in the source's settings names another."
)
_HINT_CREDENTIALS = (
    "Renew the credentials, or name the right profile; then repeat. What was written so far stays."
)
_HINT_CLOCK = "Set this host's clock (NTP), then repeat."
_HINT_CERTIFICATE = "Nothing was sent. The server's certificate is not valid for that address."
_HINT_LIMIT = "A quota of the account is used up. Ask AWS to raise it, or remove what is not needed."


def of_reply(response: Mapping[str, Any], what: str) -> SourceError:
    """Class an error that the service answered with. ``what`` says what could not be done."""
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    # A code goes to terminals and logs, and comes from whoever answered.
    code = "".join(
        c for c in str(response.get("Error", {}).get("Code", "")) if c.isascii() and c.isprintable()
    )[:CODE_LIMIT]
    said = f"{what}: {code or status}"
    if "Throttl" in code or code in _THROTTLED or status == 429:
        return AwsThrottled(said)
    if code in _PASSING or status >= 500 or status == 408:
        return SourceUnavailable(said)
    if code in _CLOCK:
        # A signature does not fit if the key is wrong, or if it is of another time than the server's.
        ahead = _ahead(response)
        if abs(ahead) < SKEW_SECONDS:
            return AwsExpired(said, hint=_HINT_CREDENTIALS)
        side = "ahead of" if ahead > 0 else "behind"
        clock = f"this host's clock is {abs(ahead):,.0f} s {side} the server's"
        return SourceError(f"{said}; {clock}", hint=_HINT_CLOCK)
    return _lasting(code, status, said)


def _lasting(code: str, status: int, said: str) -> SourceError:
    for codes, kind in ((_MISSING, AwsMissing), (_EXISTS, AwsExists), (_INVALID, AwsInvalid)):
        if code in codes:
            return kind(said)
    if code in _CREDENTIALS:
        return AwsExpired(said, hint=_HINT_CREDENTIALS)
    if code in _KMS:
        return SourceError(said, hint=_HINT_KMS)
    if code in _DENIED or status == 403:
        return AwsDenied(said, hint=_HINT_RIGHTS)
    return SourceError(said, hint=_HINT_LIMIT if code == "LimitExceededException" else None)


def _ahead(response: Mapping[str, Any]) -> float:
    """Return by how many seconds our clock is ahead of the server's; 0 if that says no time."""
    said = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return (datetime.now(UTC) - parsedate_to_datetime(said)).total_seconds()
    except (TypeError, ValueError):
        return 0.0


def of_transport(error: Exception, what: str) -> SourceError:
    """Class an error that came from here or from in between, with no answer of the service's."""
    kind = type(error).__name__
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
        return SourceError(f"{what}: the server's certificate is not valid", hint=_HINT_CERTIFICATE)
    if kind in _UNUSABLE:
        return AwsExpired(f"{what}: no usable credentials ({kind})", hint=_HINT_CREDENTIALS)
    if isinstance(error, sdk.ParamValidationError):
        return AwsInvalid(
            f"{what}: the service does not take such a request", hint="Compare with its limits."
        )
    return SourceUnavailable(f"{what}: {kind}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it came of, wherever the SDK put them."""
    errors: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop()
        if isinstance(cause, BaseException) and cause not in errors:
            errors.append(cause)
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
            waiting += getattr(cause, "kwargs", {}).values()
            yield cause


# -- What a configuration says of one region's Secrets Manager; checked when made, frozen afterwards


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


# -- The service as the adapter uses it: ask, be answered, or get a typed error -----------------
#
# One client a process, made on first use after the fork; its connections are shared by threads.
# Nearly every request may be repeated: reads change nothing, writes carry a token or come out the same.


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
            SourceError: see :mod:`strongroom.sources.aws.client`.
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
            if isinstance(answer, AwsExpired) and not renewed:
                renewed = True
                link.renew(client)
                continue
            throttled = isinstance(answer, AwsThrottled)
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
            answer: dict[str, Any] = getattr(client, operation)(**parameters)
            lacking = [name for name in _ALWAYS.get(operation, ()) if answer.get(name) is None]
            lacking += _lacking(answer)
            if lacking:
                return SourceUnavailable(f"{what}: its answer lacks {', '.join(lacking)}")
            return answer
        except _Garbled:
            return SourceUnavailable(f"{what}: its answer was cut or is not JSON")
        except ClientError as error:
            return of_reply(error.response, what)
        except (BotoCoreError, ResponseParserError, OSError) as error:
            return of_transport(error, what)


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
    # At level DEBUG the SDK logs requests and answers whole, values included: never.
    logger = logging.getLogger("botocore")
    if logger.level < logging.INFO:
        logger.setLevel(logging.INFO)
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


def _lacking(answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield what items lack, whatever list they are in. The SDK leaves out what it was not given."""
    for name, items in answer.items():
        for item in (items or ()) if name in _EACH else ():
            yield from (f"{name}.{member}" for member in _EACH[name] if item.get(member) is None)
            yield from _lacking(item)


# -- Counts what writes could not reproduce, so that a restore can say it -----------------------


SHOWN = 5


class AwsLosses:
    """A count for each kind of loss, with the first few names."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, tuple[int, tuple[str, ...]]] = {}

    def add(self, what: str, name: str) -> None:
        """Note that a secret lost something."""
        with self._lock:
            count, names = self._found.get(what, (0, ()))
            self._found[what] = (count + 1, names if len(names) == SHOWN else (*names, name))

    def lines(self) -> tuple[str, ...]:
        """Return a line for each kind."""
        with self._lock:
            return tuple(_line(what, *found) for what, found in sorted(self._found.items()))


def _line(what: str, count: int, names: tuple[str, ...]) -> str:
    more = ", …" if count > len(names) else ""
    return f"{what}: {count} ({', '.join(names)}{more})"
