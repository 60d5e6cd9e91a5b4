"""The SDK's errors as ours: what passes, what stays, what a person has to do.

What is not known to last may pass, so it is transient. Words of the server are not
repeated, only its code: they can hold what the request held.
"""

from __future__ import annotations

import contextlib
import math
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from botocore import exceptions as sdk
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from strongroom.container.errors import MissingPiece
from strongroom.errors import StrongroomError, TargetError
from strongroom.system.errors import TargetFull, TargetReadOnly
from strongroom.targets.errors import TargetAbsent, TargetGarbled
from strongroom.targets.errors import TargetUnavailable as Unavailable

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
_HINT_CLOCK = "No backup is affected. Set this host's clock (NTP), then run 'strongroom runs retry'."
_HINT_CERTIFICATE = (
    "Nothing was sent. Have the server's certificate renewed, or give its authority as 'ca_bundle'."
)
_HINT_RIGHTS = "See what is missing with 'strongroom check rights', and ops/aws for the policies."
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
        "(see ops/aws/bucket), or set 'lock' to none."
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
    found = _conditional(code, status, said) or _elsewhere(code, status, said, headers)
    found = found or _lasting(code, status, said, headers)
    if found is not None:
        return found
    if _passes(code, status):
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


def _passes(code: str, status: int) -> bool:
    return status >= 500 or status in {408, 429} or code in _PASSING or "Throttl" in code


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
