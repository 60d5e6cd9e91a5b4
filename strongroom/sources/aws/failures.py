"""The SDK's errors as ours: what passes, what stays, what a person has to do.

Words of the server and of the SDK are not repeated, only the server's code: both quote what the
request held, and that can be a value.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from typing import Any

from strongroom.errors import SourceError, SourceUnavailable

CODE_LIMIT = 60


class Missing(SourceError):
    """There is no such secret, or no such version of it."""


class Exists(SourceError):
    """There is such a secret, or a version of that id with another value."""


class Denied(SourceError):
    """The credentials lack a right."""


class Invalid(SourceError):
    """The request does not fit the secret's state."""

    default_hint = "Look at the secret at AWS, then repeat: what was done stays done. Or exclude it."


class Throttled(SourceUnavailable):
    """The service wants fewer requests."""


_THROTTLED = frozenset({"RequestLimitExceeded", "TooManyRequestsException", "SlowDown"})
_PASSING = frozenset({"InternalServiceError", "InternalFailure", "ServiceUnavailable", "RequestTimeout"})
_DENIED = frozenset({"AccessDeniedException", "AccessDenied", "UnauthorizedOperation"})
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
_CLOCK = frozenset({"InvalidSignatureException", "RequestExpired", "RequestTimeTooSkewed"})

_HINT_RIGHTS = (
    "Nothing of it is left out in silence: grant the right (ops/aws/secrets-manager), or exclude the secret."
)
_HINT_KMS = "Look at the secret's KMS key: it may be disabled, pending deletion, or not allowed to us."
_HINT_CREDENTIALS = "Nothing was read or written. Renew the credentials, or name the right profile."
_HINT_CLOCK = "Nothing was read or written. Check this host's clock (NTP), then the credentials."
_HINT_CERTIFICATE = "Nothing was sent. The server's certificate is not valid for that address."
_HINT_LIMIT = "A quota of the account is used up. Ask AWS to raise it, or remove what is not needed."


def of_reply(response: Mapping[str, Any], what: str) -> SourceError:
    """Class an error that the service answered with. ``what`` says what could not be done."""
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = _printable(str(response.get("Error", {}).get("Code", "")))
    said = f"{what}: {code or status}"
    if "Throttl" in code or code in _THROTTLED or status == 429:
        return Throttled(said)
    if code in _PASSING or status >= 500 or status == 408:
        return SourceUnavailable(said)
    return _lasting(code, status, said)


def _lasting(code: str, status: int, said: str) -> SourceError:
    if code == "ResourceNotFoundException":
        return Missing(said)
    if code == "ResourceExistsException":
        return Exists(said)
    if code in _INVALID:
        return Invalid(said)
    for codes, hint in ((_KMS, _HINT_KMS), (_CREDENTIALS, _HINT_CREDENTIALS), (_CLOCK, _HINT_CLOCK)):
        if code in codes:
            return SourceError(said, hint=hint)
    if code in _DENIED or status == 403:
        return Denied(said, hint=_HINT_RIGHTS)
    return SourceError(said, hint=_HINT_LIMIT if code == "LimitExceededException" else None)


def of_transport(error: Exception, what: str) -> SourceError:
    """Class an error that came from here or from in between, with no answer of the service's."""
    from botocore import exceptions as sdk  # noqa: PLC0415 - see client.py

    kind = type(error).__name__
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in _causes(error)):
        return SourceError(f"{what}: the server's certificate is not valid", hint=_HINT_CERTIFICATE)
    if isinstance(error, sdk.NoCredentialsError | sdk.PartialCredentialsError | sdk.ProfileNotFound):
        return SourceError(f"{what}: no usable credentials ({kind})", hint=_HINT_CREDENTIALS)
    if isinstance(error, sdk.ParamValidationError):
        return Invalid(f"{what}: the service does not take such a request", hint="Compare with its limits.")
    return SourceUnavailable(f"{what}: {kind}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it came of, wherever the SDK put them."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
            waiting += getattr(one, "kwargs", {}).values()
            yield one


def _printable(code: str) -> str:
    """A code goes to terminals and logs, and comes from whoever answered."""
    return "".join(c for c in code if c.isascii() and c.isprintable())[:CODE_LIMIT]
