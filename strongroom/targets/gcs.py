"""A bucket of Google Cloud Storage.

An object is made in one upload that succeeds only if there is none of that name (``ifGenerationMatch=0``),
and is visible once its last byte was taken. An upload that was begun and not ended is no object: nothing
lists it, and the service drops it after a week.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.auth.transport.requests import AuthorizedSession
from google.cloud.storage import Blob, Client
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.oauth2 import service_account
from msgspec import Struct
from requests.exceptions import RequestException, SSLError

from strongroom.config import GcsTargetSettings, Settings
from strongroom.container.errors import MissingPiece
from strongroom.errors import ConfigError, StrongroomError, TargetError
from strongroom.model import ObjectInfo
from strongroom.system.errors import TargetFull, TargetReadOnly
from strongroom.system.files import read_private
from strongroom.system.process import PerProcess, is_loopback
from strongroom.targets import (
    ProbeCheck,
    ProbeResult,
    Target,
    TargetIdentity,
    canonical_prefix,
    check_name,
    check_prefix,
    is_name,
)
from strongroom.targets.errors import TargetAbsent, TargetGarbled, TargetLocked, TargetUnavailable
from strongroom.targets.reading import checked

# -- Which bucket, as whom, and the client of this process ---------------------------------------


SERVICE = "https://storage.googleapis.com"
PIECE = 8 * 1024 * 1024
"""Of one request that writes. The service wants a multiple of 256 KiB."""
READ = 1024 * 1024
"""Of one request that reads."""
PAGE = 1000
_SCOPE = "https://www.googleapis.com/auth/devstorage.full_control"
_SECONDS = (5.0, 20.0)
"""How long a connection may take, and how long the service may be silent."""
_REFRESH_SECONDS = 20.0
"""How long a new access token may take."""

T = TypeVar("T")


class GcsBucket(Struct, frozen=True, kw_only=True):
    """One bucket, and how it is reached.

    Args:
        credentials_file: a service account's key in JSON (0600). Left out: what the library finds, such as
            the service account of the machine; nobody's at an address of this host.
        endpoint: another address than the service's own; plain HTTP on loopback only.
        ca_file: certificates to trust instead of the library's.
        seconds: how long a connection may take, and an answer.
    """

    bucket: str
    credentials_file: Path | None = None
    endpoint: str = SERVICE
    ca_file: Path | None = None
    seconds: tuple[float, float] = _SECONDS

    def connect(self) -> Client:
        """Make a client. The credential is read now and kept nowhere else."""
        logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)  # at DEBUG it writes every URL
        credentials, project = self._credentials()
        session = AuthorizedSession(credentials, refresh_timeout=_REFRESH_SECONDS, max_refresh_attempts=1)
        if self.ca_file is not None:
            session.verify = str(self.ca_file)
        options = {"api_endpoint": self.endpoint}
        return Client(project=project, credentials=credentials, client_options=options, _http=session)

    def _credentials(self) -> tuple[Any, str]:
        parts = urlsplit(self.endpoint)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            what = f"'{parts.hostname}' would be reached without TLS"
            raise ConfigError(what, hint="Use an https:// address.")
        if self.credentials_file is not None:
            return _of_file(self.credentials_file)
        if is_loopback(parts.hostname or ""):
            return AnonymousCredentials(), "none"
        try:
            import google.auth

            found, project = google.auth.default(scopes=[_SCOPE])
        except DefaultCredentialsError:
            raise ConfigError(
                "no credential for Google Cloud Storage: no file is named, and this machine has no service "
                "account",
                hint="Set the target's credentials_file, or run where a service account is attached.",
            ) from None
        return found, project or "none"


def _of_file(path: Path) -> tuple[Any, str]:
    """Read a service account's key. No part of it is ever quoted."""
    try:
        told = json.loads(read_private(path))
        made = service_account.Credentials.from_service_account_info(told, scopes=[_SCOPE])
    except (AttributeError, ValueError, TypeError, KeyError, GoogleAuthError):
        raise ConfigError(
            f"'{path}' holds no key of a service account",
            hint="Put the JSON into it that 'gcloud iam service-accounts keys create' writes.",
        ) from None
    return made, str(told.get("project_id") or "none")


class _CheckedStream(io.RawIOBase):
    """What is checked, as the library reads it: whole pieces, the last of them only once all is right."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._left) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._left += piece
        given, self._left = (self._left, b"") if size < 0 else (self._left[:size], self._left[size:])
        self._at += len(given)
        return given

    def tell(self) -> int:
        return self._at


# -- Locks: retention of single objects, where the bucket has it ---------------------------------


class GcsLock(Struct, frozen=True, kw_only=True):
    """How long an object cannot be replaced or deleted.

    ``days`` count from when it is put, ``most_days`` cap every extension. A ``final`` one can be shortened by
    nobody; another by who holds ``storage.objects.overrideUnlockedRetention``.
    """

    days: int
    most_days: int
    final: bool = False

    def put_on(self, blob: Blob, until: datetime) -> None:
        blob.retention.mode = "Locked" if self.final else "Unlocked"
        blob.retention.retain_until_time = until

    def in_days(self, days: int) -> datetime:
        return datetime.now(UTC) + timedelta(days=days)


def _lock_end(blob: Blob) -> datetime | None:
    """Return when the last of an object's locks ends: its own, or that of the bucket's retention policy."""
    ends = [blob.retention.retain_until_time, blob.retention_expiration_time]
    now = datetime.now(UTC)
    return max((end for end in ends if end is not None and end > now), default=None)


# -- The target ----------------------------------------------------------------------------------


class GcsTarget(Target):
    """A :class:`~strongroom.targets.Target` in a bucket.

    Args:
        prefix: stands before every object's name, so that one bucket serves several.
        lock: locks each object as it is made. Where the bucket cannot, putting is refused.
        piece: how much is sent in one request; below 8 MiB only for tests.
    """

    def __init__(
        self,
        bucket: GcsBucket,
        *,
        name: str,
        region: str,
        provider: str = "gcs",
        prefix: str = "",
        lock: GcsLock | None = None,
        piece: int = PIECE,
    ) -> None:
        self._prefix = canonical_prefix(prefix)
        self._bucket = bucket
        self._client = PerProcess(bucket.connect)
        self._lock = lock
        self._piece = piece
        self._there = False
        root = "gs://" if bucket.endpoint == SERVICE else f"{bucket.endpoint.rstrip('/')}/"
        address = f"{root}{bucket.bucket}/{self._prefix}".rstrip("/")
        super().__init__(TargetIdentity(name=name, region=region, provider=provider, address=address))

    def close(self) -> None:
        """Close this process's connections; the next call opens new ones."""
        if (client := self._client.forget()) is not None:
            client.close()

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        if self.stat(name) is not None:
            return False
        blob = self._blob(name)
        if self._lock is not None:
            self._lock.put_on(blob, self._lock.in_days(self._lock.days))
        blob.chunk_size = self._piece
        stream = _CheckedStream(checked(name, chunks, size=size, sha256=sha256, block=self._piece))

        def upload() -> bool:
            blob.upload_from_file(
                stream,
                size=size,
                content_type="application/octet-stream",
                if_generation_match=0,
                checksum="crc32c",
                retry=None,
                timeout=self._bucket.seconds,
            )
            return True

        try:
            return self._ask(f"write {name}", upload, writing=True)
        except _NameTaken:
            return False
        except TargetUnavailable:
            # Of a reply that was lost, the request may have been served.
            if self.stat(name) is not None:
                return False
            raise

    def _read(self, name: str, offset: int, length: int | None) -> Iterator[bytes]:
        """Stream a range in chunks of at most 1 MiB, all of one generation of the object."""
        blob = self._required(name)
        end = blob.size if length is None else min(blob.size, offset + length)
        while offset < end:
            last = min(end, offset + READ) - 1
            chunk = self._ask(f"read {name}", partial(self._range, blob, offset, last))
            if len(chunk) != last - offset + 1:
                raise TargetGarbled(f"{self.place} gave another part of {name} than was asked for")
            yield chunk
            offset = last + 1

    def _range(self, blob: Blob, first: int, last: int) -> bytes:
        return bytes(
            blob.download_as_bytes(
                start=first,
                end=last,
                raw_download=True,
                if_generation_match=blob.generation,
                checksum=None,  # there is one of the whole alone; each container has its own
                retry=None,
                timeout=self._bucket.seconds,
            )
        )

    def stat(self, name: str) -> ObjectInfo | None:
        check_name(name)
        blob = self._looked_at(name)
        return None if blob is None else ObjectInfo(name=name, size=int(blob.size))

    def _list(self, prefix: str) -> Iterator[ObjectInfo]:
        token = None
        while True:
            page, token = self._ask("list objects", partial(self._page, prefix, token))
            for name, size in page:
                if is_name(name):
                    yield ObjectInfo(name=name, size=size)
            if token is None:
                return

    def _page(self, prefix: str, token: str | None) -> tuple[Sequence[tuple[str, int]], str | None]:
        listed = self._client.get().list_blobs(
            self._bucket.bucket,
            prefix=self._prefix + prefix,
            page_token=token,
            page_size=PAGE,
            fields="items(name,size),nextPageToken",
            retry=None,
            timeout=self._bucket.seconds,
        )
        page = next(listed.pages, ())
        found = [(blob.name.removeprefix(self._prefix), int(blob.size)) for blob in page]
        return found, listed.next_page_token

    def delete(self, name: str) -> None:
        check_name(name)
        try:
            self._ask(
                f"delete {name}",
                lambda: self._blob(name).delete(retry=None, timeout=self._bucket.seconds),
                writing=True,
            )
        except MissingPiece:
            return

    def abort_incomplete(self, prefix: str) -> int:
        check_prefix(prefix)
        return 0

    # -- locks

    @property
    def locks(self) -> bool:
        return self._lock is not None

    def extend_lock(self, name: str, until: datetime) -> datetime:
        check_name(name)
        lock = self._lock
        if lock is None:
            raise TargetError(f"{self.place} is not set up to lock", hint="Set the target's 'lock'.")
        blob = self._required(name)
        wanted, now = min(until, lock.in_days(lock.most_days)), _lock_end(blob)
        if now is not None and now >= wanted:
            return now
        lock.put_on(blob, wanted)
        self._ask(
            f"lock {name}",
            lambda: blob.patch(if_generation_match=blob.generation, retry=None, timeout=self._bucket.seconds),
            writing=True,
        )
        if (held := self.locked_until(name)) is None or held < wanted - timedelta(seconds=1):
            raise TargetError(f"{self.place} did not lock {name}", hint=_CANNOT_LOCK)
        return held

    def locked_until(self, name: str) -> datetime | None:
        check_name(name)
        blob = self._looked_at(name)
        return None if blob is None else _lock_end(blob)

    # -- what a probe asks

    def refusals(self, name: str) -> Iterator[ProbeCheck]:
        what = "write over an object"
        try:
            seconds, blob = self._bucket.seconds, self._blob(name)
            over = partial(blob.upload_from_string, b"", if_generation_match=0, retry=None, timeout=seconds)
            self._ask(what, over, writing=True)
        except _NameTaken:
            yield ProbeCheck(what=what)
        except StrongroomError as error:
            yield ProbeCheck(what=what, outcome=ProbeResult.NOT_SHOWN, detail=error.message)
        else:
            yield ProbeCheck(
                what=what, outcome=ProbeResult.EXCESS, detail="the service ignores the condition"
            )
        if self._lock is not None:
            yield self._removing(name)

    def _removing(self, name: str) -> ProbeCheck:
        what = "remove a locked object"
        try:
            self.delete(name)
        except TargetLocked:
            return ProbeCheck(what=what)
        except StrongroomError as error:
            return ProbeCheck(what=what, outcome=ProbeResult.NOT_SHOWN, detail=error.message)
        return ProbeCheck(what=what, outcome=ProbeResult.EXCESS, detail="the lock does not hold")

    def excess(self, name: str) -> Iterator[ProbeCheck]:
        """Ask which rights that nobody needs this credential has: the service tells."""
        what = "rights of the credential"
        try:
            bucket = self._client.get().bucket(self._bucket.bucket)
            has = self._ask(
                what,
                lambda: bucket.test_iam_permissions(list(EXCESS), retry=None, timeout=self._bucket.seconds),
            )
        except StrongroomError as error:
            yield ProbeCheck(what=what, outcome=ProbeResult.NOT_SHOWN, detail=error.message)
            return
        outcome = ProbeResult.EXCESS if has else ProbeResult.FINE
        yield ProbeCheck(what=what, outcome=outcome, detail=", ".join(sorted(has)))

    # -- asking the service

    def _blob(self, name: str) -> Blob:
        check_name(name)
        return self._client.get().bucket(self._bucket.bucket).blob(self._prefix + name)

    def _looked_at(self, name: str) -> Blob | None:
        blob = self._blob(name)
        try:
            self._ask(f"look at {name}", lambda: blob.reload(retry=None, timeout=self._bucket.seconds))
        except MissingPiece:
            self._require_bucket()
            return None
        return blob

    def _required(self, name: str) -> Blob:
        blob = self._looked_at(name)
        if blob is None:
            raise MissingPiece(f"{self.place} does not hold {name}")
        return blob

    def _require_bucket(self) -> None:
        """Tell a missing bucket from a missing object, which look alike: once, of a bucket that is there."""
        if not self._there:
            try:
                self._ask("list objects", lambda: self._page("", None))
            except MissingPiece:
                raise TargetAbsent(f"{self.place}: its bucket does not exist") from None
            self._there = True

    def _ask(self, doing: str, question: Callable[[], T], *, writing: bool = False) -> T:
        try:
            return question()
        except StrongroomError:
            raise
        except _RAISED as error:
            raise _typed(error, str(self.place), doing, writing=writing) from None


_RAISED = (GoogleAPICallError, GoogleAuthError, RequestException, InvalidResponse, DataCorruption)
EXCESS = (
    *("storage.buckets.delete", "storage.buckets.update", "storage.buckets.setIamPolicy"),
    *("storage.objects.overrideUnlockedRetention", "storage.objects.setIamPolicy"),
)
"""Rights that no role needs: with one of them backups can be destroyed that are locked, or given away."""


# -- What the service refuses, in this product's words -------------------------------------------
#
# Nothing of the library's own texts is repeated: they quote whole URLs.


class _NameTaken(TargetError):
    """There is an object of that name already."""


_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_LOCKED = ("retentionPolicyNotMet", "objectUnderActiveHold")


def _typed(error: Exception, titled: str, doing: str, *, writing: bool) -> StrongroomError:
    start = f"{titled} could not {doing}"
    if isinstance(error, GoogleAuthError):
        again = TargetUnavailable(f"{start}: no access token could be had now")
        never = TargetError(f"{start}: no access token is given for this credential", hint=_CREDENTIAL)
        return again if getattr(error, "retryable", False) else never
    if isinstance(error, SSLError):
        return TargetError(f"{start}: its certificate is not accepted", hint=_CERTIFICATE)
    if isinstance(error, RequestException):
        return TargetUnavailable(f"{start}: no answer, or a broken one ({type(error).__name__})")
    if isinstance(error, DataCorruption):
        return TargetGarbled(f"{start}: the bytes arrived damaged")
    response = getattr(error, "response", None)
    status = getattr(error, "code", None) or getattr(response, "status_code", None)
    reasons = _reasons(error, response)
    if status == HTTPStatus.NOT_FOUND:
        return MissingPiece(f"{titled} does not hold {doing.rpartition(' ')[2]}")
    return _refused(start, status, reasons, writing=writing)


def _refused(start: str, status: int | None, reasons: str, *, writing: bool) -> TargetError:
    locked = any(word in reasons for word in _LOCKED)
    full = status == HTTPStatus.FORBIDDEN and "quota" in reasons.lower()
    match status:
        case HTTPStatus.PRECONDITION_FAILED:
            made: TargetError = _NameTaken(f"{start}: there is one already")
        case _ if locked:
            made = TargetLocked(f"{start}: it is locked")
        case _ if full:
            made = TargetFull(f"{start}: a quota of the project is used up")
        case _ if status in _PASSING:
            made = TargetUnavailable(f"{start}: the service answered {status}")
        case HTTPStatus.UNAUTHORIZED:
            made = TargetError(f"{start}: the credential was not accepted (401)", hint=_CREDENTIAL)
        case HTTPStatus.FORBIDDEN if writing:
            made = TargetReadOnly(f"{start}: the credential may not write there (403)", hint=_RIGHTS)
        case HTTPStatus.FORBIDDEN:
            made = TargetError(f"{start}: access denied (403)", hint=_RIGHTS)
        case _:
            made = TargetError(f"{start}: refused ({status or 'by no status'})")
    return made


def _reasons(error: Exception, response: Any) -> str:
    """Return the service's own short names of a refusal."""
    told = getattr(error, "errors", None) or []
    if not told and response is not None:
        try:
            told = response.json()["error"]["errors"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return ""
    return " ".join(str(each.get("reason", "")) for each in told if isinstance(each, dict))


_CERTIFICATE = "Nothing was sent. Renew the certificate, or check this host's clock and 'ca_file'."
_CREDENTIAL = "Check the key of the service account, and this host's clock."
_RIGHTS = "docs/how-to/store-backups.md has the rights that each role needs."
_CANNOT_LOCK = "Make the bucket with object retention: it cannot be switched on later."


# -- Made from its settings ----------------------------------------------------------------------


def make(name: str, target: GcsTargetSettings, settings: Settings) -> Target:
    """Return a bucket of Google Cloud Storage."""
    lock = None
    if target.lock != "none":
        final = target.lock == "locked"
        lock = GcsLock(days=target.lock_days, most_days=target.max_lock_days, final=final)
    bucket = GcsBucket(
        bucket=target.bucket,
        credentials_file=target.credentials_file,
        endpoint=(target.endpoint_url or SERVICE).rstrip("/"),
        ca_file=target.ca_file,
    )
    return GcsTarget(
        bucket, name=name, region=target.region, provider=target.provider, prefix=target.prefix, lock=lock
    )
