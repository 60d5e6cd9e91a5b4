"""What Azure Storage refuses, in this product's words.

Nothing of the library's own texts is repeated: a failed connection quotes the whole URL, and
with it a SAS token; a failed authentication quotes what was signed.
"""

from __future__ import annotations

import ssl
from http import HTTPStatus
from typing import Any

from azure.core.exceptions import AzureError
from requests.exceptions import RequestException, SSLError

from strongroom.container.errors import MissingPiece
from strongroom.errors import StrongroomError, TargetError
from strongroom.system.errors import TargetFull, TargetReadOnly
from strongroom.targets.errors import TargetAbsent, TargetGarbled, TargetLocked, TargetUnavailable

NOT_AZURE = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What the library raises at a reply that lacks what the service always says, or says it in another way."""
RAISED = (AzureError, RequestException, *NOT_AZURE)
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_DAMAGED = frozenset({"Md5Mismatch", "Crc64Mismatch"})
_DAMAGED_EMULATED = (400, "InvalidOperation")
"""What Azurite answers where the service says Md5Mismatch. Mistaken, it costs a few attempts."""
_LOCKED = frozenset({"BlobImmutableDueToPolicy", "BlobImmutableDueToLegalHold", "LeaseIdMissing"})
_AGAIN = frozenset({"ContainerBeingDeleted", "InvalidBlockList", "OperationTimedOut", "ServerBusy"})
_SIGNED_WRONG = frozenset(
    {"AuthenticationFailed", "InvalidAuthenticationInfo", "NoAuthenticationInformation"}
)


def code_of(error: Exception) -> str:
    """Return the service's own name of a failure, or an empty string."""
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")


def status_of(error: Exception) -> int | None:
    """Return the HTTP status, or ``None`` if there was no answer."""
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def typed(error: Exception, *, titled: str, doing: str, writing: bool) -> StrongroomError:
    """Return the error of ours, for one of :data:`RAISED`, that says what happened and what to do next."""
    start = f"{titled} could not {doing}"
    if isinstance(error, RequestException):  # where the library itself does not catch that
        return TargetUnavailable(f"{start}: the answer broke off ({type(error).__name__})")
    if not isinstance(error, AzureError):
        return _strange(start)
    return _of_service(error, titled, doing, writing=writing)


def _of_service(error: AzureError, titled: str, doing: str, *, writing: bool) -> StrongroomError:
    start = f"{titled} could not {doing}"
    status, code = status_of(error), code_of(error)
    if status is None:
        return _no_answer(error, start)
    if status < HTTPStatus.BAD_REQUEST:
        return _strange(start)
    if status == HTTPStatus.NOT_FOUND:
        return _not_found(code, titled, doing) if code else _strange(start)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return _denied(code, start, writing=writing)
    return _passing(error, status, code, start) or _lasting(status, code, start)


def _strange(start: str) -> TargetError:
    return TargetError(f"{start}: what answers there does not speak Azure Storage", hint=_PLACE)


def _no_answer(error: AzureError, start: str) -> TargetError:
    inner = getattr(error, "inner_exception", None)
    if isinstance(inner, SSLError | ssl.SSLError):
        return TargetError(f"{start}: its certificate is not accepted", hint=_CERTIFICATE)
    if "MD5 mismatch" in str(error):  # the library has no type for it; the text holds two digests
        return TargetGarbled(f"{start}: the bytes arrived damaged")
    return TargetUnavailable(f"{start}: no answer, or a broken one ({type(inner or error).__name__})")


def _not_found(code: str, titled: str, doing: str) -> StrongroomError:
    if code == "ContainerNotFound":
        return TargetAbsent(f"{titled}: its container does not exist")
    return MissingPiece(f"{titled} does not hold {doing.rpartition(' ')[2]}")


def _denied(code: str, start: str, *, writing: bool) -> TargetError:
    if code in _SIGNED_WRONG:
        return TargetError(f"{start}: the credential was not accepted ({code})", hint=_CREDENTIAL)
    if writing:
        return TargetReadOnly(f"{start}: the credential may not write there ({code or 403})", hint=_RIGHTS)
    return TargetError(f"{start}: access denied ({code or 403})", hint=_RIGHTS)


def _passing(error: AzureError, status: int, code: str, start: str) -> TargetError | None:
    """Class what will be over by itself, or once there is room."""
    if status == HTTPStatus.INSUFFICIENT_STORAGE or "Quota" in code or "LimitExceeded" in code:
        return TargetFull(f"{start}: the account has no room left ({_words(status, code)})")
    if code in _DAMAGED or (status, code) == _DAMAGED_EMULATED:
        return TargetGarbled(f"{start}: the bytes arrived damaged, and were not kept")
    if status in _PASSING or code in _AGAIN:
        said = _words(status, code)
        return TargetUnavailable(f"{start}: the service answered {said}", retry_after=_retry_after(error))
    return None


def _lasting(status: int, code: str, start: str) -> TargetError:
    if code in _LOCKED:
        return TargetLocked(f"{start}: it is locked ({code})")
    if status == HTTPStatus.NOT_IMPLEMENTED:
        return TargetError(f"{start}: this account cannot do that ({status})", hint=_FEATURE)
    return TargetError(f"{start}: refused ({_words(status, code)})")


def _words(status: int, code: str) -> str:
    return f"{status} {code}".rstrip()


def _retry_after(error: Any) -> float | None:
    """Read a wait in whole seconds; a date there would need both clocks to agree."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    said = str(headers.get("Retry-After", ""))
    return float(said) if said.isdecimal() else None


_CERTIFICATE = "Nothing was sent. Renew the certificate, or check this host's clock and 'ca_file'."
_PLACE = "Nothing was read or written. Check the account's 'url'."
_CREDENTIAL = "Check the credential file and this host's clock: the service refuses one 15 minutes off."
_RIGHTS = (
    "A SAS token needs c and w to put, d to delete, i to lock, r and l for all else, and a clock that agrees "
    "on its time; or the account's network rules keep this host out. "
    "See docs/how-to/store-backups-in-s3-or-azure.md."
)
_FEATURE = "See docs/how-to/store-backups-in-s3-or-azure.md for what an account needs."
