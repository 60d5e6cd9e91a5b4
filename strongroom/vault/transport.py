"""One request over a pooled connection: no retries, no token, no redirect followed."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import urllib3
from cryptography.x509 import load_pem_x509_certificate
from msgspec import Struct
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, SSLError

from strongroom.errors import ConfigError
from strongroom.system.process import is_loopback
from strongroom.vault import answers
from strongroom.vault.answers import (
    Ambiguous,
    Denied,
    NotVault,
    ServerAnswer,
    Unavailable,
    VaultError,
    VaultRefused,
    VaultSealed,
)
from strongroom.vault.tokens import Login, Tokens

# -- Where a Vault server is and how it is talked to: one frozen record, no secret in it --------


class VaultConnection(Struct, frozen=True, kw_only=True):
    """How to reach and use a server.

    Args:
        address: ``https://host:port``; a path in front of ``/v1`` is kept.
        login: how to come by a token.
        namespace: everything happens in this namespace and below.
        ca_file: who may have signed the server's certificate; the system's authorities if left out.
        certificate_file, certificate_key_file: our own certificate, if the listener asks for one.
        in_flight: how many requests may be under way at once.
        requests_per_second: what the server may be asked for at most; ``None`` for no limit.
        pace_file: a file through which the processes of this host share that rate.
        redirect_hosts: ``host:port`` of other nodes that a redirect may lead to. The token goes
            with it, so a redirect to anyone else is refused.
        connect_seconds, read_seconds, total_seconds: limits on connecting, on silence, and on
            one whole answer. The server itself gives up after 90 s.
        patience_seconds: how long one request is repeated while the server asks for patience.
    """

    address: str
    login: Login
    namespace: str = ""
    ca_file: Path | None = None
    certificate_file: Path | None = None
    certificate_key_file: Path | None = None
    in_flight: int = 16
    requests_per_second: float | None = None
    pace_file: Path | None = None
    redirect_hosts: frozenset[str] = frozenset()
    connect_seconds: float = 5.0
    read_seconds: float = 60.0
    total_seconds: float = 120.0
    patience_seconds: float = 60.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"'{self.address}' is not the address of a Vault server", hint="https://host:port"
            )
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ConfigError(
                f"'{parts.hostname}' would be reached without TLS, and the token goes there",
                hint="Use an https:// address; http:// only for a server on this host.",
            )
        if parts.username or parts.query or parts.fragment:
            raise ConfigError("a Vault address holds scheme, host, port and path, and nothing else")
        if self.in_flight < 1:
            raise ConfigError("'in_flight' must be at least 1")

    def allows(self, url: str) -> bool:
        """Say whether a redirect may lead there: never from TLS to plain text."""
        home, there = urlsplit(self.address), urlsplit(url)
        known = there.netloc in (home.netloc, *self.redirect_hosts)
        return known and there.scheme in (home.scheme, "https")


# -- One request over a pooled connection: no retries, no token, no redirect followed -----------


CHUNK = 1 << 18
LARGEST = 1 << 30
"""Bytes of an answer: a listing of some millions of keys, and not an endless stream."""


REDIRECTS = frozenset({307, 308})
HOPS = 3


class NeverSent(Unavailable):
    """The server was not reached, so nothing has happened there."""


class Misled(NotVault):
    """It redirects to where nothing may be sent: wrong settings, or a standby that names the leader of
    before. Nothing has happened there."""


class Transport:
    """Connections to one server. Proxies and the environment's settings are not looked at."""

    def __init__(self, connection: VaultConnection) -> None:
        self._connection = connection
        self._context = _tls(connection)
        tls: dict[str, Any] = {} if self._context is None else {"ssl_context": self._context}
        self._manager = urllib3.PoolManager(num_pools=4, maxsize=connection.in_flight, block=True, **tls)
        self._timeout = urllib3.Timeout(connect=connection.connect_seconds, read=connection.read_seconds)
        self._home = self._manager.connection_from_url(connection.address)
        prefix = urlsplit(connection.address).path.rstrip("/")
        self._prefix = prefix

    def send(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> ServerAnswer:
        """Send one request to the configured address."""
        return self._exchange(self._home, method, self._prefix + target, body, headers)

    def open(
        self,
        url: str,
        method: str,
        body: bytes | Iterable[bytes] | None,
        headers: Mapping[str, str],
        *,
        silence: float,
    ) -> BaseHTTPResponse:
        """Send one request to an address, and return once its answer begins; the caller closes it.

        Args:
            url: with the path; the caller has found it to be allowed.
            silence: seconds that the server may say nothing.
        """
        timeout = urllib3.Timeout(connect=self._connection.connect_seconds, read=silence)
        try:
            return self._manager.request(
                method,
                url,
                body=body,
                headers=headers,
                retries=False,
                redirect=False,
                timeout=timeout,
                preload_content=False,
            )
        except (HTTPError, OSError) as error:
            raise explained(error) from None

    def send_to(self, url: str, method: str, body: bytes | None, headers: Mapping[str, str]) -> ServerAnswer:
        """Send one request to another address, which the caller has found to be allowed."""
        parts = urlsplit(url)
        pool = self._manager.connection_from_url(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        return self._exchange(pool, method, target, body, headers)

    def _exchange(
        self, pool: Any, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> ServerAnswer:
        deadline = time.monotonic() + self._connection.total_seconds
        try:
            response = pool.urlopen(
                method,
                target,
                body=body,
                headers=headers,
                retries=False,
                redirect=False,
                timeout=self._timeout,
                preload_content=False,
            )
            content = _content(response, deadline)
        except (HTTPError, OSError) as error:
            raise explained(error) from None
        return ServerAnswer(response.status, response.headers, content)

    def renew_certificate(self) -> None:
        """Read our own certificate again, which somebody renews while we run, and show it from now on.

        Raises:
            ConfigError: it cannot be read.
        """
        if self._context is not None and self._connection.certificate_file is not None:
            _show_certificate(self._context, self._connection)
            self._manager.clear()  # an open connection goes on with the one before
            self._home = self._manager.connection_from_url(self._connection.address)

    def close(self) -> None:
        """Close idle connections."""
        self._manager.clear()


def check_redirect(connection: VaultConnection, url: str, *, hops: int, status: int) -> None:
    """Refuse a redirect that leads elsewhere, or comes after too many: the token goes with it."""
    if hops == HOPS:
        raise Misled("it redirects without end", status=status)
    if not connection.allows(url):
        raise Misled(
            "it redirects to a host that is not allowed",
            status=status,
            hint="If that is another node of the cluster, add it to 'redirect_hosts'.",
        )


def _content(response: Any, deadline: float) -> bytes:
    """Read to the end, as it comes. The library's own limit counts each read anew: a server that drips
    would hold us for ever."""
    pieces: list[bytes] = []
    size = 0
    while piece := response.read1(CHUNK):
        pieces.append(piece)
        size += len(piece)
        if time.monotonic() > deadline or size > LARGEST:
            response.close()
            raise Unavailable("the answer takes too long" if size <= LARGEST else "the answer is too large")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _tls(connection: VaultConnection) -> ssl.SSLContext | None:
    if not connection.address.startswith("https:"):
        return None
    context = ssl.create_default_context(cafile=connection.ca_file and str(connection.ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if connection.certificate_file is not None:
        _show_certificate(context, connection)
    return context


def _show_certificate(context: ssl.SSLContext, connection: VaultConnection) -> None:
    assert connection.certificate_file is not None
    try:
        # A key with a passphrase would ask for it here, where nobody types.
        context.load_cert_chain(
            connection.certificate_file, connection.certificate_key_file, password=lambda: ""
        )
    except OSError as error:
        why = "no certificate with its key" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(
            f"'{connection.certificate_file}' cannot be shown to the server: {why}",
            hint="Name a certificate (PEM) and its key, which has no passphrase.",
        ) from None

    end = load_pem_x509_certificate(connection.certificate_file.read_bytes()).not_valid_after_utc
    if end < datetime.now(UTC):  # to which servers say all kinds of things
        raise ConfigError(
            f"'{connection.certificate_file}' ended on {end:%Y-%m-%d}",
            hint="Nothing was sent. Have the certificate renewed.",
        )


def explained(error: Exception) -> Exception:
    """Return what a failure of the library is to us; its own words may quote what was sent."""
    certificate = _certificate_error(error)
    if certificate is not None:
        return NotVault(
            f"its certificate is not accepted: {certificate}",
            hint="Renew the server's certificate, or name the authority that signed it as 'ca_file'.",
        )
    if isinstance(error, SSLError):
        return NotVault("it does not speak TLS as it should", hint="Check the address: http or https?")
    if isinstance(error, (NewConnectionError, ConnectTimeoutError)):
        return NeverSent("it cannot be reached")
    return Unavailable("the connection broke")


def _certificate_error(error: BaseException | None) -> str | None:
    """Find what OpenSSL says of the certificate, however deep the library wrapped it."""
    for _ in range(8):
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        inner = next((arg for arg in getattr(error, "args", ()) if isinstance(arg, BaseException)), None)
        error = inner or getattr(error, "reason", None) or getattr(error, "__cause__", None)
        if not isinstance(error, BaseException):
            return None
    return None


# -- What is too large for one answer in memory: snapshots of a whole server, down and up -------
#
# Nothing here is repeated: half a snapshot is worth nothing, so whoever asked begins anew. No
# namespace is sent, since the paths that need this are the whole server's.


Content = Callable[[], Iterable[bytes]]
SILENCE = 900.0
"""Seconds without a word: a server says nothing while it packs or checks a snapshot."""
_WORDS = 4_096


class Streams:
    """Downloads and uploads over one process's connections."""

    def __init__(self, connection: VaultConnection, transport: Transport, tokens: Tokens) -> None:
        self._connection = connection
        self._transport = transport
        self._tokens = tokens

    @contextmanager
    def download(self, target: str) -> Iterator[Iterator[bytes]]:
        """Yield the answer's body, bit by bit.

        A body that is cut short raises :class:`Unavailable`, where that can be told.
        """
        response = self._ask("GET", target, None, {})
        try:
            yield _chunks(response)
        finally:
            response.close()

    def upload(self, target: str, *, content: Content, size: int) -> None:
        """Send ``size`` bytes. A standby redirects before it has read them, so they are had anew.

        Raises :class:`Ambiguous` if they may have arrived or not.
        """
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        self._ask("POST", target, content, headers).close()

    def _ask(
        self, method: str, target: str, content: Content | None, headers: Mapping[str, str]
    ) -> BaseHTTPResponse:
        token = self._tokens.current()
        response = self._followed(method, target, content, headers, token)
        if response.status == 403 and self._tokens.recover(token):
            response.close()
            response = self._followed(method, target, content, headers, self._tokens.current())
        if response.status >= 300:
            raise _refusal(response, written=method == "POST")
        return response

    def _followed(
        self, method: str, target: str, content: Content | None, headers: Mapping[str, str], token: str
    ) -> BaseHTTPResponse:
        url = self._connection.address.rstrip("/") + target
        sent = {"X-Vault-Request": "true", "X-Vault-Token": token, "Accept-Encoding": "identity", **headers}
        response, hops = self._open(url, method, content, sent), 0
        while response.status in REDIRECTS:
            response.close()
            url = urljoin(url, response.headers.get("location", ""))
            check_redirect(self._connection, url, hops=hops, status=response.status)
            response, hops = self._open(url, method, content, sent), hops + 1
        return response

    def _open(
        self, url: str, method: str, content: Content | None, headers: Mapping[str, str]
    ) -> BaseHTTPResponse:
        body = None if content is None else content()
        try:
            return self._transport.open(url, method, body, headers, silence=SILENCE)
        except Unavailable as error:
            if content is None or isinstance(error, NeverSent):
                raise
            raise Ambiguous(error.message) from None


def _chunks(response: BaseHTTPResponse) -> Iterator[bytes]:
    try:
        while piece := response.read(CHUNK):
            yield piece
    except (HTTPError, OSError) as error:
        raise explained(error) from None


def _refusal(response: BaseHTTPResponse, *, written: bool) -> VaultError:
    """Make an error of an answer, and close it."""
    status = response.status
    try:
        words = response.read(_WORDS)
    except (HTTPError, OSError):
        words = b""
    finally:
        response.close()
    reason = next((known for known in answers.REASONS if known.encode() in words), None)
    if status == 403:
        return Denied("the token may not do that", status=status)
    if status == 503 and b"sealed" in words.lower():
        return VaultSealed("it is sealed", status=status)
    if status >= 500 or status in (412, 429):
        kind = Ambiguous if written and status not in (412, 429, 472, 473, 503) else Unavailable
        return kind(f"it failed (status {status})", status=status, reason=reason)
    return VaultRefused(f"it refuses (status {status})", status=status, reason=reason)
