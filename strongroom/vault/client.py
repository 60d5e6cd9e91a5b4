"""A Vault server as adapters use it: ask, be answered, or get a typed error.

One client a process, made on first use after the fork. Reads are repeated while the server asks for
patience; a write is repeated only where it is certain that nothing has happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import unquote

import msgspec
from hvac.api import SystemBackend
from hvac.api.secrets_engines import Transit

from strongroom.system.retry import backoff
from strongroom.vault import failures, paths
from strongroom.vault.answers import Answer
from strongroom.vault.connection import Connection
from strongroom.vault.failures import Ambiguous, Unavailable
from strongroom.vault.hvac_adapter import SendingAdapter
from strongroom.vault.pace import Pace
from strongroom.vault.process import PerProcess
from strongroom.vault.streams import Streams
from strongroom.vault.tokens import Tokens
from strongroom.vault.transport import REDIRECTS, NeverSent, Transport, check_redirect

UNHANDLED = frozenset({412, 429, 472, 473})
"""Statuses that say that nothing was done: a stale replica, a quota, a node that is no active one."""
PASSING = UNHANDLED | {502, 503, 504}
"""Statuses after which a read is worth repeating."""
ATTEMPTS = 6
FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0
KEPT_HEADERS = 64


class Vault:
    """One server, through one :class:`Connection`.

    Paths are those of the API without ``/v1/``; parts are quoted and joined. A namespace is
    relative to the connection's. A 404 is an answer, any other refusal an exception.

    Raises, on use:
        VaultError: see :mod:`strongroom.vault.failures`.
        ConfigError: a file that the login needs cannot be read.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._process = PerProcess(lambda: _Link(connection))

    def __repr__(self) -> str:
        return f"Vault({self.connection.address})"

    def get(self, *path: str, namespace: str = "", **parameters: object) -> Answer:
        """Read."""
        return self._process.get().ask("GET", paths.target(*path, **parameters), None, namespace)

    def list(self, *path: str, namespace: str = "", **parameters: object) -> Answer:
        """List a folder. A GET, since proxies and libraries know no method LIST."""
        target = paths.target(*path, **{"list": "true", **parameters})
        return self._process.get().ask("GET", _with_slash(target), None, namespace)

    def post(self, *path: str, body: object, namespace: str = "", repeatable: bool = False) -> Answer:
        """Write. Raises :class:`Ambiguous` if it may have happened or not.

        Args:
            body: bytes that are JSON, or what becomes JSON.
            repeatable: doing it twice is the same as once, so a lost reply is no trouble.
        """
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return self._process.get().ask("POST", paths.target(*path), content, namespace, repeatable=repeatable)

    def delete(self, *path: str, namespace: str = "") -> Answer:
        """Delete; doing it twice is the same as once."""
        return self._process.get().ask("DELETE", paths.target(*path), None, namespace)

    def system(self, *, namespace: str = "") -> SystemBackend:
        """Return hvac's methods for what a server tells of itself; each returns an :class:`Answer`.

        They are sent as our own requests are, and repeated if the answer is lost: call those alone
        that may happen twice.
        """
        return SystemBackend(self._adapter(namespace))

    @property
    def transit(self) -> Transit:
        """hvac's methods of the transit engine, sent as those of :meth:`system` are."""
        return Transit(self._adapter(""))

    def _adapter(self, namespace: str) -> SendingAdapter:
        return SendingAdapter(
            lambda method, target, body: self._process.get().ask(
                method, target, body, namespace, repeatable=True
            )
        )

    def download(self, *path: str) -> AbstractContextManager[Iterator[bytes]]:
        """Read something large, bit by bit; see :meth:`~strongroom.vault.streams.Streams.download`."""
        return self._process.get().streams.download(paths.target(*path))

    def upload(self, *path: str, content: Callable[[], Iterable[bytes]], size: int) -> None:
        """Send something large, bit by bit; see :meth:`~strongroom.vault.streams.Streams.upload`."""
        self._process.get().streams.upload(paths.target(*path), content=content, size=size)

    def cluster(self) -> str:
        """Return the id of the cluster that answers, or '' if none does. Asks once, without a token."""
        return self._process.get().cluster()

    @property
    def threads(self) -> ThreadPoolExecutor:
        """This process's threads for requests in flight."""
        return self._process.get().threads

    @property
    def requests(self) -> int:
        """How many requests this process has sent."""
        link = self._process.peek()
        return link.sent if link else 0

    @property
    def logins(self) -> int:
        """How often this process has logged in."""
        link = self._process.peek()
        return link.tokens.logins if link else 0


class _Status(msgspec.Struct, frozen=True):
    sealed: bool = False
    cluster_id: str = ""


_STATUS = msgspec.json.Decoder(_Status)


class _Link:
    """What belongs to one process: connections, token, pace, threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._transport = Transport(connection)
        self._pace = Pace(connection.requests_per_second, shared=connection.pace_file)
        self._headers: dict[tuple[str | None, str], dict[str, str]] = {}
        self.tokens = Tokens(connection.login, self._with_token)
        self.streams = Streams(connection, self._transport, self.tokens)
        self.threads = ThreadPoolExecutor(connection.in_flight, thread_name_prefix="vault")
        self.sent = 0

    def ask(
        self, method: str, target: str, body: bytes | None, namespace: str, *, repeatable: bool | None = None
    ) -> Answer:
        """Send with our token; after a 403 once more, if another token can help."""
        again = method != "POST" if repeatable is None else repeatable
        token = self.tokens.current()
        answer = self._patiently(method, target, body, token, namespace, again=again)
        if answer.status == 403 and self.tokens.recover(token):
            answer = self._patiently(method, target, body, self.tokens.current(), namespace, again=again)
        return _accepted(answer, written=not again, asked=f"{method} {namespace}{_path_of(target)}")

    def _with_token(self, method: str, target: str, body: bytes | None, token: str | None) -> Answer:
        """Send on behalf of a login or a renewal: with that token, or with none."""
        return self._patiently(method, target, body, token, "", again=method != "POST")

    def _patiently(
        self, method: str, target: str, body: bytes | None, token: str | None, namespace: str, *, again: bool
    ) -> Answer:
        trial = _Trial(self._connection.patience_seconds, repeatable=again)
        headers = self._headers_for(token, namespace)
        while True:
            self._pace.wait()
            self.sent += 1
            try:
                answer = self._followed(method, target, body, headers)
            except Unavailable as error:
                trial.after_error(error)
                continue
            if answer.status not in PASSING and not _is_upgrading(answer):
                return answer
            pause = trial.after_answer(answer, self._is_sealed)
            if answer.status == 429:
                self._pace.pause(pause)  # the quota is everybody's: so is the pause

    def _headers_for(self, token: str | None, namespace: str) -> Mapping[str, str]:
        """Return the same again for the same token: it is asked for with each request."""
        headers = self._headers.get((token, namespace))
        if headers is None:
            if len(self._headers) >= KEPT_HEADERS:
                self._headers = {}  # old tokens must not pile up
            headers = self._headers[token, namespace] = self._new_headers(token, namespace)
        return headers

    def _new_headers(self, token: str | None, namespace: str) -> dict[str, str]:
        headers = {"X-Vault-Request": "true", "Accept-Encoding": "identity"}
        whole = paths.folder(self._connection.namespace) + namespace
        if whole:
            # Header values are bytes, which the library spells as Latin-1, and the server reads as UTF-8.
            headers["X-Vault-Namespace"] = whole.encode().decode("latin-1")
        if token is not None:
            headers["X-Vault-Token"] = token
        return headers

    def _followed(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        answer = self._transport.send(method, target, body, headers)
        hops = 0
        while answer.status in REDIRECTS:
            url = answer.headers.get("location", "")
            check_redirect(self._connection, url, hops=hops, status=answer.status)
            answer = self._transport.send_to(url, method, body, headers)
            hops += 1
        return answer

    def cluster(self) -> str:
        return self._status().cluster_id

    def _is_sealed(self) -> bool:
        """Ask why there is no service. What is sealed stays so until a person comes."""
        return self._status().sealed

    def _status(self) -> _Status:
        try:
            answer = self._transport.send("GET", "/v1/sys/seal-status", None, {"X-Vault-Request": "true"})
            return answer.read(_STATUS) if answer.status == 200 else _Status()
        except failures.VaultError:
            return _Status()


class _Trial:
    """Counts the attempts of one request and waits between them."""

    def __init__(self, patience: float, *, repeatable: bool) -> None:
        self._ends = time.monotonic() + patience
        self._repeatable = repeatable
        self._attempts = 0

    def after_error(self, error: Unavailable) -> None:
        """Wait, or raise if no further attempt is due."""
        if not self._repeatable and not isinstance(error, NeverSent):
            raise Ambiguous(error.message) from None
        self._wait(self._delay(), error)

    def after_answer(self, answer: Answer, is_sealed: Callable[[], bool]) -> float:
        """Wait, or raise; return for how many seconds it waited."""
        failure = _failure(answer)
        if answer.status == 503 and is_sealed():
            raise failures.Sealed("it is sealed", status=503, hint="Unseal it, then run 'strongroom retry'.")
        if not self._repeatable and answer.status not in UNHANDLED and not _is_upgrading(answer):
            raise Ambiguous(failure.message, status=answer.status, headers=answer.headers)
        if answer.status == 429:
            self._attempts = min(self._attempts, ATTEMPTS - 2)  # a quota passes: only time counts
        delay = _asked_for(answer)
        return self._wait(self._delay() if delay is None else delay, failure)

    def _delay(self) -> float:
        return backoff(self._attempts + 1, first=FIRST_DELAY, longest=LONGEST_DELAY)

    def _wait(self, delay: float, failure: Unavailable) -> float:
        self._attempts += 1
        if self._attempts >= ATTEMPTS or time.monotonic() + delay > self._ends:
            raise failure from None
        time.sleep(delay)
        return delay


def _is_upgrading(answer: Answer) -> bool:
    """A KV v2 mount that was just made refuses everything for a moment, and says so."""
    return answer.status == 400 and b"Upgrading from non-versioned to versioned" in answer.body


def _failure(answer: Answer) -> Unavailable:
    kind = failures.Throttled if answer.status == 429 else Unavailable
    words = {429: "it asks for fewer requests", 412: "its replica is behind"}
    message = words.get(answer.status, f"it gives no service (status {answer.status})")
    return kind(message, status=answer.status, headers=answer.headers)


def _asked_for(answer: Answer) -> float | None:
    """Return the pause that the server asks for. It truncates: "0" means less than a second."""
    value = answer.headers.get("retry-after", "")
    return float(value) + backoff(1, first=1.0) if value.isdigit() else None


def _accepted(answer: Answer, *, written: bool, asked: str) -> Answer:
    if answer.status < 300 or answer.status == 404:
        return answer
    about: dict[str, Any] = {
        "status": answer.status,
        "headers": answer.headers,
        "reason": next((words for words in failures.REASONS if words.encode() in answer.body), None),
    }
    if answer.status == 403:
        raise failures.Denied(f"the token may not {asked}", **about)
    if answer.status >= 500:
        raise (Ambiguous if written else Unavailable)(f"it failed (status {answer.status})", **about)
    raise failures.Refused(f"it refuses (status {answer.status})", **about)


def _path_of(target: str) -> str:
    """Return a request's path as policies spell it, with ``LIST`` where that is meant."""
    path, _, query = target.removeprefix("/v1/").partition("?")
    return f"{unquote(path)} (LIST)" if "list=true" in query else unquote(path)


def _with_slash(target: str) -> str:
    """A folder is asked for with its slash: ``foo`` and ``foo/`` may both be there."""
    path, mark, query = target.partition("?")
    return f"{path}/{mark}{query}"
