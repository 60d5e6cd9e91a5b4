"""One request over a pooled connection: no retries, no token, no redirect followed."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, SSLError

from strongroom.vault.answers import ServerAnswer
from strongroom.vault.connection import VaultConnection
from strongroom.vault.failures import NotVault, Unavailable

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
        self._manager = urllib3.PoolManager(
            num_pools=4, maxsize=connection.in_flight, block=True, **_tls(connection)
        )
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
    """Read to the end. The library's own limit counts each read anew: a server that drips
    would hold us for ever."""
    if response.length_remaining is not None and response.length_remaining <= CHUNK:
        return bytes(response.read())  # one chunk, which no deadline would interrupt either
    pieces: list[bytes] = []
    size = 0
    while piece := response.read(CHUNK):
        pieces.append(piece)
        size += len(piece)
        if time.monotonic() > deadline or size > LARGEST:
            response.close()
            raise Unavailable("the answer takes too long" if size <= LARGEST else "the answer is too large")
    return b"".join(pieces)


def _tls(connection: VaultConnection) -> dict[str, Any]:
    if not connection.address.startswith("https:"):
        return {}
    context = ssl.create_default_context(cafile=connection.ca_file and str(connection.ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if connection.certificate_file is not None:
        context.load_cert_chain(connection.certificate_file, connection.certificate_key_file)
    return {"ssl_context": context}


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
