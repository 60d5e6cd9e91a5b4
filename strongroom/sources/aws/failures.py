"""The SDK's errors as ours: what passes, what stays, what a person has to do.

Words of the server and of the SDK are not repeated, only the server's code: both quote what the
request held, and that can be a value.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from botocore import exceptions as sdk

from strongroom.errors import SourceError
from strongroom.sources.errors import SourceClosed, SourceUnavailable

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
    "Nothing of it is left out in silence: grant the right (ops/aws/secrets-manager), or exclude the secret."
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
    code = _printable(str(response.get("Error", {}).get("Code", "")))
    said = f"{what}: {code or status}"
    if "Throttl" in code or code in _THROTTLED or status == 429:
        return AwsThrottled(said)
    if code in _PASSING or status >= 500 or status == 408:
        return SourceUnavailable(said)
    if code in _CLOCK:
        return _of_signature(said, response)
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


def _of_signature(said: str, response: Mapping[str, Any]) -> SourceError:
    """A signature does not fit if the key is wrong, or if it is of another time than the server's."""
    ahead = _ahead(response)
    if abs(ahead) < SKEW_SECONDS:
        return AwsExpired(said, hint=_HINT_CREDENTIALS)
    side = "ahead of" if ahead > 0 else "behind"
    clock = f"this host's clock is {abs(ahead):,.0f} s {side} the server's"
    return SourceError(f"{said}; {clock}", hint=_HINT_CLOCK)


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


def _printable(code: str) -> str:
    """A code goes to terminals and logs, and comes from whoever answered."""
    return "".join(c for c in code if c.isascii() and c.isprintable())[:CODE_LIMIT]
