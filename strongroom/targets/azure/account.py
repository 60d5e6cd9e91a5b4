"""Which account and container, how to sign requests, and what the service refuses, in this product's
words."""

from __future__ import annotations

import importlib
import logging
import re
import ssl
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError
from azure.storage.blob import ContainerClient, ExponentialRetry
from msgspec import Struct
from requests.exceptions import RequestException, SSLError

from strongroom.container.errors import MissingPiece
from strongroom.errors import ConfigError, StrongroomError, TargetError
from strongroom.system.errors import TargetFull, TargetReadOnly
from strongroom.system.files import read_private
from strongroom.system.process import is_loopback
from strongroom.targets.errors import TargetAbsent, TargetGarbled, TargetLocked, TargetUnavailable

# -- Which account and container, how to sign requests, and the client of this process ----------


CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
RETRIES = 0
"""By the library. Attempts are the business of :mod:`strongroom.targets.resilient`: two layers of them
multiply, and a dead region would cost minutes."""
BLOCK_BYTES = 4 * 1024 * 1024
"""Of one request that writes."""
READ_BYTES = 1024 * 1024
"""Of one request that reads: the library holds a dozen copies of it at once. The service
states a range's MD5 up to 4 MiB."""

_CONTAINER = re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_PORTS = {"https": 443, "http": 80}


class AzureAccount(Struct, frozen=True, kw_only=True):
    """One container of one storage account.

    Args:
        url: the account's blob endpoint, ``https://ACCOUNT.blob.core.windows.net``. Plain
            HTTP is taken on loopback only: a signature sent in the clear can be replayed.
        container: its name; it must be there.
        credential_file: a file of its owner's (0600) with a connection string, an account
            key or a SAS token. Left out: the default chain of ``azure-identity``.
        api_version: which version of the service's interface to speak; the library's own,
            if left out. An emulator or an older appliance may not know that one.
        ca_file: certificates to trust instead of the system's.
        connect_seconds: how long a connection may take.
        read_seconds: how long the service may be silent.
        retries: how often the library itself repeats one request.
    """

    url: str
    container: str
    credential_file: Path | None = None
    api_version: str | None = None
    ca_file: Path | None = None
    connect_seconds: float = CONNECT_SECONDS
    read_seconds: float = READ_SECONDS
    retries: int = RETRIES

    def endpoint(self) -> str:
        """Return the one way to write this account's address.

        Raises:
            ConfigError: it is no address of an account, or one that would leak.
        """
        return canonical_endpoint(self.url)

    def connect(self) -> ContainerClient:
        """Make a client. The credential is read now and kept nowhere else."""
        # At DEBUG, urllib3 writes every URL, and a SAS token is part of it.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)
        options: dict[str, Any] = {"connection_verify": str(self.ca_file)} if self.ca_file else {}
        if self.api_version:
            options["api_version"] = self.api_version
        if not _CONTAINER.fullmatch(self.container):
            raise ConfigError(f"{self.container!r} cannot be the name of an Azure container")
        return ContainerClient(
            self.endpoint(),
            self.container,
            credential=self.credential(),
            retry_policy=ExponentialRetry(
                initial_backoff=1, increment_base=2, random_jitter_range=1, retry_total=self.retries
            ),
            connection_timeout=self.connect_seconds,
            read_timeout=self.read_seconds,
            max_single_get_size=READ_BYTES,
            max_chunk_get_size=READ_BYTES,
            **options,
        )

    def credential(self) -> Any:
        """Read the credential: name and key of the account, a SAS token, or an identity."""
        if self.credential_file is None:
            try:
                identity = importlib.import_module("azure.identity")
            except ImportError:
                raise ConfigError(
                    "no credential for Azure Storage: no file is named, and azure-identity is not installed",
                    hint="Name a credential file, or install azure-identity to use a managed identity.",
                ) from None
            return identity.DefaultAzureCredential()
        return parse_credential(
            read_private(self.credential_file).strip(), self.endpoint(), place=str(self.credential_file)
        )


def canonical_endpoint(url: str) -> str:
    """Return an endpoint as scheme, host, other-than-default port and path, no slash at its end."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise ConfigError(f"{url!r} is no address of a storage account", hint=_ENDPOINT) from None
    if parts.scheme not in _PORTS or not host or parts.query or parts.fragment or parts.username:
        # Not the address itself: somebody may have pasted a SAS token with it.
        raise ConfigError("the address of the storage account is not one", hint=_ENDPOINT)
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigError(f"'{host}' would be reached without TLS", hint="Use an https:// address.")
    shown = f"[{host}]" if ":" in host else host
    suffix = "" if port in (None, _PORTS[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{shown}{suffix}{parts.path.rstrip('/')}"


def parse_credential(text: str, endpoint: str, *, place: str) -> Any:
    """Tell a connection string, a SAS token and an account key apart.

    Raises:
        ConfigError: it is none of them, or a connection string of another account: a file
            that was exchanged must not send backups elsewhere. Never quotes the content.
    """
    if ";" in text:
        return _from_connection_string(text, endpoint, place)
    if "sig=" in text:
        return text.lstrip("?")
    if not re.fullmatch(r"[A-Za-z0-9+/]{16,}={0,2}", text):
        raise ConfigError(
            f"'{place}' holds no credential of Azure Storage",
            hint="Put a connection string, an account key or a SAS token into it, and nothing else.",
        )
    return {"account_name": account_name(endpoint), "account_key": text}


def account_name(endpoint: str) -> str:
    """Return the account's name: the host's first label, or the path on an emulator."""
    parts = urlsplit(endpoint)
    path = parts.path.strip("/")
    return path or (parts.hostname or "").split(".")[0]


def _from_connection_string(text: str, endpoint: str, place: str) -> Any:
    fields = dict(field.strip().split("=", 1) for field in text.split(";") if "=" in field)
    named = fields.get("AccountName") or account_name(endpoint)
    stated = (
        fields.get("BlobEndpoint")
        or f"https://{named}.blob.{fields.get('EndpointSuffix', 'core.windows.net')}"
    )
    if canonical_endpoint(stated) != endpoint:
        raise ConfigError(f"the connection string in '{place}' is for another account than {endpoint}")
    if key := fields.get("AccountKey"):
        return {"account_name": named, "account_key": key}
    if token := fields.get("SharedAccessSignature"):
        return token.lstrip("?")
    raise ConfigError(f"the connection string in '{place}' holds no key and no SAS token")


_ENDPOINT = "Write it as https://ACCOUNT.blob.core.windows.net."


# -- What Azure Storage refuses, in this product's words ----------------------------------------
#
# Nothing of the library's own texts is repeated: a failed connection quotes the whole URL, and
# with it a SAS token; a failed authentication quotes what was signed.


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
    "See docs/how-to/store-backups.md."
)
_FEATURE = "See docs/how-to/store-backups.md for what an account needs."
