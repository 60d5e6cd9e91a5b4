"""The SDK's client, one a process, and its errors as ours."""

from __future__ import annotations

import contextlib
import math
import re
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore import exceptions as sdk
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.handlers import _handle_200_error
from botocore.loaders import create_loader
from botocore.parsers import ResponseParserError
from botocore.session import Session
from msgspec import Struct

from strongroom.container.errors import MissingPiece
from strongroom.errors import ConfigError, StrongroomError, TargetError
from strongroom.system.errors import TargetFull, TargetReadOnly
from strongroom.system.files import read_private
from strongroom.system.process import is_loopback
from strongroom.targets import is_name
from strongroom.targets.errors import TargetAbsent, TargetGarbled
from strongroom.targets.errors import TargetUnavailable as Unavailable

# -- The SDK's errors as ours: what passes, what stays, what a person has to do -----------------
#
# What is not known to last may pass, so it is transient. Words of the server are not
# repeated, only its code: they can hold what the request held.


FORBIDDEN = 403
CODE_LIMIT = 60
BUCKET_REGION = "x-amz-bucket-region"
GARBLED = "x-strongroom-garbled"
"""A header of our own, on an answer that came with 200 and could not be parsed."""
RETRY_AFTER_LIMIT = 3600.0
SKEW_SECONDS = 240.0
"""S3 refuses 900 s; a clock is suspected earlier."""


class ObjectExists(TargetError):
    """A conditional write was refused: there is an object (412)."""


class Contended(Unavailable):
    """Another conditional write or a delete is under way (409)."""


class PastEnd(TargetError):
    """A range begins at or after the object's end (416)."""


class NotConfigured(TargetError):
    """The bucket, or the object, has no such configuration (404)."""


class UploadGone(Unavailable):
    """A multipart upload, or a part of it, is not what this writer left there."""


_NOWHERE = frozenset({"404", "NotFound"})
"""Said to HEAD, which has no body for a code; to a put it is no word of S3's."""
_MISSING = frozenset({"NoSuchKey", "NoSuchVersion"}) | _NOWHERE
_NOT_CONFIGURED = frozenset(
    {
        *("NoSuchLifecycleConfiguration", "NoSuchObjectLockConfiguration"),
        *("ObjectLockConfigurationNotFound", "ObjectLockConfigurationNotFoundError"),
    }
)
_PASSING = frozenset(
    {
        *("SlowDown", "RequestTimeout", "RequestTimeoutException", "RequestLimitExceeded", "InternalError"),
        *("ServiceUnavailable", "OperationAborted", "BandwidthLimitExceeded", "EC2ThrottledException"),
        # The bytes were right when they were handed over (that is checked first): changed on the way.
        *("BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "IncompleteBody"),
    }
)
_FULL = frozenset(
    {
        *("QuotaExceeded", "InsufficientStorage", "ServiceQuotaExceeded", "XMinioStorageFull"),
        *("XMinioAdminBucketQuotaExceeded", "StorageFull", "InsufficientCapacity"),
    }
)
_CREDENTIALS = frozenset(
    {
        *("ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidToken", "InvalidSecurity"),
        *("SignatureDoesNotMatch", "TokenRefreshRequired", "UnrecognizedClientException", "NotSignedUp"),
        *("InvalidClientTokenId", "AuthFailure", "RequestExpired"),
    }
)
_ELSEWHERE = frozenset(
    {
        *("AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "InvalidBucketName"),
    }
)


class Unexplained(TargetError):
    """Refused (403) without a word on why: a reply to HEAD has no body."""


_NOT_S3 = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What comes of a reply that lacks what every S3 server says, or says it in another way."""

_RIGHTS = {
    "HeadObject": "GetObject",
    "HeadBucket": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListObjectVersions": "ListBucketVersions",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListParts": "ListMultipartUploadParts",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "GetObjectLockConfiguration": "GetBucketObjectLockConfiguration",
}
"""IAM actions that are not called as their operation is (Service Authorization Reference, Amazon S3)."""

_HINT_CREDENTIALS = "Nothing on the target changed. Renew its credentials, or name the right profile."
_HINT_PLACE = "Nothing was read or written. Check the target's bucket, region and endpoint."
_STRANGE = "what answers there does not speak S3"
_HINT_CLOCK = "No backup is affected. Set this host's clock (NTP), then run 'strongroom runs retry RUN'."
_HINT_CERTIFICATE = (
    "Nothing was sent. Have the server's certificate renewed, or give its authority as 'ca_bundle'."
)
_HINT_RIGHTS = (
    "See what is missing with 'strongroom check rights'; 'strongroom cluster rules aws' prints the policies."
)
_HINT_REACH = (
    "Check the endpoint, and the network between. 'strongroom backups repair' then copies the missing "
    "replicas."
)
_HINTS = {
    "InvalidObjectState": (
        "It lies in an archive class. Restore it there first, and keep backups out of such classes."
    ),
    "InvalidRequest": (
        "The target's settings ask for what the bucket does not have: Object Lock, most likely. Turn it on "
        "('strongroom cluster rules aws --target NAME' has how), or set 'lock' to none."
    ),
}
_CAUSES = {"InvalidRequest": ": the bucket has no Object Lock any more, most likely"}
"""What a code comes of, beside what to do about it: a run and an alert show the message alone."""
_WORDS = {
    "EndpointConnectionError": "it cannot be reached",
    "ConnectTimeoutError": "it cannot be reached in time",
    "ReadTimeoutError": "it did not answer in time",
    "ConnectionClosedError": "it broke off the connection",
}


@contextlib.contextmanager
def translated(title: str, doing: str, *, writing: bool = False) -> Iterator[None]:
    """Turn what the SDK raises into ours, and what comes of reading a reply; wrap only what the
    target itself does."""
    try:
        yield
    except ClientError as error:
        what = f"{title} could not {doing}"
        raise of_reply(error.response, what, writing=writing, operation=error.operation_name) from error
    except ResponseParserError as error:  # it may be the half of a reply
        raise Unavailable(f"{title} could not {doing}: {_STRANGE}", hint=_HINT_PLACE) from error
    except (BotoCoreError, OSError) as error:
        raise of_transport(error, f"{title} could not {doing}") from error
    except _NOT_S3 as error:
        raise TargetError(f"{title} could not {doing}: {_STRANGE}", hint=_HINT_PLACE) from error


def of_reply(
    response: Mapping[str, Any], what: str, *, writing: bool, operation: str = ""
) -> StrongroomError:
    """Class an error that the server answered with, to an operation as the SDK calls it."""
    meta = response.get("ResponseMetadata", {})
    status = int(meta.get("HTTPStatusCode", 0))
    code = _printable(str(response.get("Error", {}).get("Code", "")))
    headers = meta.get("HTTPHeaders", {})
    said = f"{what}: {code or status}" + (f" ({status})" if code and code != str(status) else "")
    if GARBLED in headers:
        return TargetGarbled(f"{what}: its answer was cut, or changed on the way")
    if writing and code in _NOWHERE:
        return TargetError(f"{said}; {_STRANGE}", hint=_HINT_PLACE)
    refusal = _conditional(code, status, said) or _elsewhere(code, status, said, headers)
    refusal = refusal or _lasting(code, status, said, headers)
    if refusal is not None:
        return refusal
    if status >= 500 or status in {408, 429} or code in _PASSING or "Throttl" in code:
        return Unavailable(said, retry_after=_retry_after(headers))
    if status == FORBIDDEN:
        return _forbidden(code, f"{said}; it needs {right_for(operation)}", headers, writing=writing)
    return TargetError(said)


def _conditional(code: str, status: int, said: str) -> StrongroomError | None:
    if code == "PreconditionFailed" or status == 412:
        return ObjectExists(said)
    if code == "ConditionalRequestConflict":
        return Contended(said)
    if code == "InvalidRange":
        return PastEnd(said)
    if code in _NOT_CONFIGURED:
        return NotConfigured(said)
    if code in {"NoSuchUpload", "InvalidPart", "InvalidPartOrder"}:
        return UploadGone(said)
    return MissingPiece(said) if code in _MISSING else None


def _lasting(code: str, status: int, said: str, headers: Mapping[str, str]) -> StrongroomError | None:
    if code in _FULL or status == 507:
        return TargetFull(said)
    if code == "RequestTimeTooSkewed":
        return TargetError(f"{said}; {_skew(headers)}", hint=_HINT_CLOCK)
    if code in _CREDENTIALS:
        return TargetError(said, hint=_HINT_CREDENTIALS)
    if code in _HINTS:
        return TargetError(f"{said}{_CAUSES.get(code, '')}", hint=_HINTS[code])
    return None


def _elsewhere(code: str, status: int, said: str, headers: Mapping[str, str]) -> StrongroomError | None:
    """Class the answer of a server that this bucket is not at. To HEAD it gives no code, but the region."""
    if code == "NoSuchBucket":
        return TargetAbsent(f"{said}; the bucket does not exist there")
    region = _printable(headers.get(BUCKET_REGION, ""))
    redirects = 300 <= status < 400
    if code not in _ELSEWHERE and not redirects and not (status == 400 and region):
        return None
    where = f"; the bucket lies in {region}" if region else "; it points elsewhere" if redirects else ""
    return TargetError(f"{said}{where}", hint=_HINT_PLACE)


def right_for(operation: str) -> str:
    """Return the IAM action that an operation needs."""
    return f"s3:{_RIGHTS.get(operation, operation)}"


def _forbidden(code: str, said: str, headers: Mapping[str, str], *, writing: bool) -> StrongroomError:
    # To HEAD there is no body, and so no word on why. A clock that is far off is a reason.
    if code not in {"", str(FORBIDDEN)}:
        return (TargetReadOnly if writing else TargetError)(said, hint=_HINT_RIGHTS)
    if abs(_ahead(headers)) > SKEW_SECONDS:
        hint = f"{_HINT_CLOCK} If that is not it: {_HINT_RIGHTS}"
        return Unexplained(f"{said}; {_skew(headers)}", hint=hint)
    return (TargetReadOnly if writing else Unexplained)(said, hint=_HINT_RIGHTS)


def of_transport(error: Exception, what: str) -> StrongroomError:
    """Class an error that came from here or from in between, with no answer of the server's."""
    kind = type(error).__name__
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
        return TargetError(f"{what}: the server's certificate is not valid", hint=_HINT_CERTIFICATE)
    lasting = (sdk.NoCredentialsError, sdk.PartialCredentialsError, sdk.ProfileNotFound)
    if isinstance(error, lasting) or kind in {"ConfigParseError", "ConfigNotFound", "NoAuthTokenError"}:
        return TargetError(f"{what}: no usable credentials ({kind})", hint=_HINT_CREDENTIALS)
    if isinstance(error, (sdk.ParamValidationError, sdk.InvalidEndpointConfigurationError)):
        return TargetError(f"{what}: the SDK refused the request ({kind})", hint=_HINT_PLACE)
    return Unavailable(f"{what}: {_WORDS.get(kind, 'no whole answer')} ({kind})", hint=_HINT_REACH)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that it came of, wherever the SDK put them."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop()
        if isinstance(cause, BaseException) and cause not in seen:
            seen.append(cause)
            inner = getattr(cause, "kwargs", None)
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
            waiting += inner.values() if isinstance(inner, dict) else ()
            yield cause


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a ``Retry-After`` (RFC 9110, 10.2.3): a number, or a date."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        then = _date(value)
        seconds = -1.0 if then is None else (then - _server_time(headers)).total_seconds()
    # A server is not believed without bounds: a wrong date must not stop a target for years.
    return min(seconds, RETRY_AFTER_LIMIT) if math.isfinite(seconds) and seconds >= 0 else None


def _skew(headers: Mapping[str, str]) -> str:
    then = _date(headers.get("date", ""))
    if then is None:
        return "this host's clock is off"
    seconds = _ahead(headers)
    return (
        f"this host's clock is {abs(seconds):,.0f} s {'ahead of' if seconds > 0 else 'behind'} the server's"
    )


def _ahead(headers: Mapping[str, str]) -> float:
    """Return by how many seconds this host's clock is ahead of the server's; 0 if that says no time."""
    then = _date(headers.get("date", ""))
    return 0.0 if then is None else (datetime.now(UTC) - then).total_seconds()


def _server_time(headers: Mapping[str, str]) -> datetime:
    return _date(headers.get("date", "")) or datetime.now(UTC)


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _printable(code: str) -> str:
    """A code goes to terminals and logs, and comes from whoever answered."""
    return "".join(c for c in code if c.isascii() and c.isprintable())[:CODE_LIMIT]


# -- What a configuration says of an S3 target; checked when made, frozen afterwards ------------


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


# -- The SDK's client: made on first use, one a process, never shared over a fork ---------------


CONNECTIONS = 32


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
