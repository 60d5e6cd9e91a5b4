"""What is too large for one answer in memory: snapshots of a whole server, down and up.

Nothing here is repeated: half a snapshot is worth nothing, so whoever asked begins anew. No
namespace is sent, since the paths that need this are the whole server's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urljoin

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from strongroom.vault import failures
from strongroom.vault.connection import VaultConnection
from strongroom.vault.failures import Ambiguous, Denied, Unavailable, VaultError, VaultRefused, VaultSealed
from strongroom.vault.tokens import Tokens
from strongroom.vault.transport import CHUNK, REDIRECTS, NeverSent, Transport, check_redirect, explained

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
    reason = next((known for known in failures.REASONS if known.encode() in words), None)
    if status == 403:
        return Denied("the token may not do that", status=status)
    if status == 503 and b"sealed" in words.lower():
        return VaultSealed("it is sealed", status=status)
    if status >= 500 or status in (412, 429):
        kind = Ambiguous if written and status not in (412, 429, 472, 473, 503) else Unavailable
        return kind(f"it failed (status {status})", status=status, reason=reason)
    return VaultRefused(f"it refuses (status {status})", status=status, reason=reason)
