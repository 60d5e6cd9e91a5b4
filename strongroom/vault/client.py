"""A Vault server as adapters use it: ask, be answered, or get a typed error.

One client a process, made on first use after the fork. What passes is waited for (see
:mod:`strongroom.vault.patience`). A write is repeated only where it is certain that nothing has happened:
where a reply was lost, the caller's own look decides.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import unquote

import msgspec
from hvac.api import SystemBackend
from hvac.api.secrets_engines import Transit
from msgspec import Struct

from strongroom.system.attempts import CLOCK, Clock, RequestPace
from strongroom.system.lazy import batched
from strongroom.system.process import PerProcess
from strongroom.vault import answers
from strongroom.vault.answers import Ambiguous, ServerAnswer, Unavailable
from strongroom.vault.hvac_adapter import SendingAdapter
from strongroom.vault.patience import RequestPatience, passing, reason_of, sealed
from strongroom.vault.rights import Need, PathRights, compared
from strongroom.vault.tokens import Tokens
from strongroom.vault.transport import (
    REDIRECTS,
    Misled,
    NeverSent,
    Streams,
    Transport,
    VaultConnection,
    check_redirect,
)

# -- Reading what was just written, also where a standby answers --------------------------------
#
# A standby of OpenBao (from 2.5 on) and a performance standby of Vault answer reads themselves, a moment
# late. Answers say how far the cluster's log was (``X-Vault-Index``; OpenBao from 2.7 on). A request that
# says so too is answered by a node that is as far: a standby of OpenBao that is not hands it on to the
# active node.


INDEX = "X-Vault-Index"
_NONE: Mapping[str, str] = {}


class _OpenBaoIndex(Struct, frozen=True):
    """OpenBao's index. Vault's is a text of its own, which is given back as it came."""

    cluster: str
    value: str


class Latest:
    """How far the cluster was in any answer that this process got."""

    def __init__(self) -> None:
        self._text = ""
        self._index: _OpenBaoIndex | None = None
        self._lock = threading.Lock()

    def note(self, text: str | None) -> None:
        """Take in an answer's index, unless a later one is known: answers overtake each other."""
        if not text or text == self._text:
            return
        index = _read(text)
        with self._lock:
            if not _is_before(index, self._index):
                self._text, self._index = text, index

    def headers(self) -> Mapping[str, str]:
        """Return what a request says so that its answer is no older."""
        text, index = self._text, self._index
        if not text:
            return _NONE
        return {INDEX: text} | ({"X-Vault-Inconsistent": "forward-active-node"} if index else {})

    @property
    def is_told(self) -> bool:
        """Whether the server says how far it is at all."""
        return bool(self._text)

    def forget(self) -> None:
        """Forget it: another server may answer by now."""
        with self._lock:
            self._text, self._index = "", None


def _read(text: str) -> _OpenBaoIndex | None:
    try:
        return msgspec.json.decode(base64.b64decode(text), type=_OpenBaoIndex)
    except (ValueError, msgspec.MsgspecError):
        return None


def _is_before(index: _OpenBaoIndex | None, known: _OpenBaoIndex | None) -> bool:
    """Say whether an index lies before the known one of the same cluster."""
    if index is None or known is None or index.cluster != known.cluster:
        return False
    return index.value.isdecimal() and known.value.isdecimal() and int(index.value) < int(known.value)


# -- A Vault server as adapters use it: ask, be answered, or get a typed error ------------------
#
# One client a process, made on first use after the fork. What passes is waited for (see
# :mod:`strongroom.vault.patience`). A write is repeated only where it is certain that nothing has happened:
# where a reply was lost, the caller's own look decides.


KEPT_HEADERS = 64

Happened = Callable[[], bool]
"""Looks whether a write has happened whose reply was lost."""
DONE = ServerAnswer(204, {}, b"{}")
"""Stands for the lost reply to a write that has happened."""


class Vault:
    """One server, through one :class:`Connection`.

    Paths are those of the API without ``/v1/``; parts are quoted and joined. A namespace is
    relative to the connection's. A 404 is an answer, any other refusal an exception.

    Raises, on use:
        VaultError: see :mod:`strongroom.vault.answers`.
        ConfigError: a file that the login needs cannot be read.
    """

    def __init__(self, connection: VaultConnection, *, clock: Clock = CLOCK) -> None:
        self.connection = connection
        self._process = PerProcess(lambda: _VaultProcess(connection, clock))

    def __repr__(self) -> str:
        return f"Vault({self.connection.address})"

    def get(self, *path: str, namespace: str = "", **parameters: object) -> ServerAnswer:
        """Read."""
        return self._process.get().ask("GET", answers.target(*path, **parameters), None, namespace)

    def list(self, *path: str, namespace: str = "", **parameters: object) -> ServerAnswer:
        """List a folder. A GET, since proxies and libraries know no method LIST."""
        target = answers.target(*path, **{"list": "true", **parameters})
        return self._process.get().ask("GET", _with_slash(target), None, namespace)

    def post(
        self,
        *path: str,
        body: object,
        namespace: str = "",
        repeatable: bool = False,
        happened: Happened | None = None,
    ) -> ServerAnswer:
        """Write. Raises :class:`Ambiguous` if it may have happened or not.

        Args:
            body: bytes that are JSON, or what becomes JSON.
            repeatable: doing it twice is the same as once, so a lost reply is no trouble.
            happened: is asked after a lost reply whether it has happened; the answer is empty then. If not,
                it is sent again, and :class:`Unconfirmed` is raised if it never gets through.
        """
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return self._process.get().write(
            answers.target(*path), content, namespace, repeatable=repeatable, happened=happened
        )

    def wait_until(self, is_so: Callable[[], bool]) -> bool:
        """Wait until what was written shows, where a standby reads late; return whether it does."""
        return self._process.get().wait_until(is_so)

    def delete(self, *path: str, namespace: str = "") -> ServerAnswer:
        """Delete; doing it twice is the same as once."""
        return self._process.get().ask("DELETE", answers.target(*path), None, namespace)

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

    @property
    def reads_late(self) -> bool:
        """Whether reads may be older than our writes, without a word about it: where a standby of OpenBao 2.5
        or 2.6 may answer them."""
        return self._process.get().reads_late

    def download(self, *path: str) -> AbstractContextManager[Iterator[bytes]]:
        """Read something large, bit by bit; see :meth:`~strongroom.vault.transport.Streams.download`."""
        return self._process.get().streams.download(answers.target(*path))

    def upload(self, *path: str, content: Callable[[], Iterable[bytes]], size: int) -> None:
        """Send something large, bit by bit; see :meth:`~strongroom.vault.transport.Streams.upload`."""
        self._process.get().streams.upload(answers.target(*path), content=content, size=size)

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


class _HealthStatus(msgspec.Struct, frozen=True):
    sealed: bool = False
    cluster_id: str = ""


class _Leader(msgspec.Struct, frozen=True):
    ha_enabled: bool = False


_LEADER = msgspec.json.Decoder(_Leader)
_STATUS = msgspec.json.Decoder(_HealthStatus)


class _VaultProcess:
    """What belongs to one process: connections, token, pace, threads."""

    def __init__(self, connection: VaultConnection, clock: Clock) -> None:
        self._connection = connection
        self._transport = Transport(connection)
        self._patience = RequestPatience(connection.patience_seconds, clock)
        self._latest = Latest()
        self._pace = RequestPace(connection.requests_per_second, shared=connection.pace_file, clock=clock)
        self._headers: dict[tuple[str | None, str], dict[str, str]] = {}
        self.tokens = Tokens(connection.login, self._with_token, before=self._transport.renew_certificate)
        self.streams = Streams(connection, self._transport, self.tokens)
        self.threads = ThreadPoolExecutor(connection.in_flight, thread_name_prefix="vault")
        self._is_one_of_many: bool | None = None
        self.sent = 0

    def ask(
        self, method: str, target: str, body: bytes | None, namespace: str, *, repeatable: bool | None = None
    ) -> ServerAnswer:
        """Send with our token; after a 403 once more, if another token can help."""
        again = method != "POST" if repeatable is None else repeatable
        token = self.tokens.current()
        answer = self._patiently(method, target, body, token, namespace, again=again)
        if answer.status == 403 and self.tokens.recover(token):
            self._latest.forget()
            answer = self._patiently(method, target, body, self.tokens.current(), namespace, again=again)
        if answer.status < 300 or answer.status == 404:
            return answer
        raise _refusal(answer, written=not again, asked=f"{method} {namespace}{_path_of(target)}")

    def write(
        self, target: str, body: bytes, namespace: str, *, repeatable: bool, happened: Happened | None
    ) -> ServerAnswer:
        """Send a write, and after a lost reply look whether it has happened."""
        trial = self._patience.trial(writes=True)
        while True:
            try:
                return self.ask("POST", target, body, namespace, repeatable=repeatable)
            except Ambiguous as lost:
                if happened is None or lost.reason is not None:
                    raise
                if happened():
                    return DONE
                trial.after_lost(lost)

    def wait_until(self, is_so: Callable[[], bool]) -> bool:
        trial = self._patience.trial(writes=False)
        while not is_so():
            try:
                trial.after_late_read()
            except Unavailable:
                return False
        return True

    def _with_token(self, method: str, target: str, body: bytes | None, token: str | None) -> ServerAnswer:
        """Send on behalf of a login or a renewal: with that token, or with none. A login whose reply was lost
        leaves a token that nobody has, which ends by itself."""
        return self._patiently(method, target, body, token, "", again=True)

    def _patiently(
        self, method: str, target: str, body: bytes | None, token: str | None, namespace: str, *, again: bool
    ) -> ServerAnswer:
        trial = self._patience.trial(writes=method != "GET")
        headers = self._headers_for(token, namespace)
        while True:
            self._pace.wait()
            self.sent += 1
            try:
                answer = self._followed(method, target, body, {**headers, **self._latest.headers()})
            except Misled as error:
                if not self._patience.was_served:
                    raise
                trial.after_error(error, repeatable=True)
                continue
            except Unavailable as error:
                trial.after_error(error, repeatable=again or isinstance(error, NeverSent))
                continue
            self._latest.note(answer.headers.get(INDEX))
            found = passing(answer)
            if found is None:
                self._patience.answered(writes=method != "GET")
                return answer
            # Ask why there is no service. What is sealed stays so until a person comes.
            if answer.status == 503 and self._status().sealed:
                raise sealed()
            pause = trial.after_answer(answer, found, repeatable=again)
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
        whole = answers.folder(self._connection.namespace) + namespace
        if whole:
            # Header values are bytes, which the library spells as Latin-1, and the server reads as UTF-8.
            headers["X-Vault-Namespace"] = whole.encode().decode("latin-1")
        if token is not None:
            headers["X-Vault-Token"] = token
        return headers

    def _followed(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> ServerAnswer:
        answer = self._transport.send(method, target, body, headers)
        hops = 0
        while answer.status in REDIRECTS:
            url = answer.headers.get("location", "")
            check_redirect(self._connection, url, hops=hops, status=answer.status)
            answer = self._transport.send_to(url, method, body, headers)
            hops += 1
        return answer

    @property
    def reads_late(self) -> bool:
        if self._latest.is_told:
            return False
        if self._is_one_of_many is None:
            answer = self.ask("GET", "/v1/sys/leader", None, "")
            self._is_one_of_many = answer.found and answer.read(_LEADER).ha_enabled
        return self._is_one_of_many

    def cluster(self) -> str:
        return self._status().cluster_id

    def _status(self) -> _HealthStatus:
        try:
            answer = self._transport.send("GET", "/v1/sys/seal-status", None, {"X-Vault-Request": "true"})
            return answer.read(_STATUS) if answer.status == 200 else _HealthStatus()
        except answers.VaultError:
            return _HealthStatus()


def _refusal(answer: ServerAnswer, *, written: bool, asked: str) -> answers.VaultError:
    about: dict[str, Any] = {
        "status": answer.status,
        "headers": answer.headers,
        "reason": reason_of(answer),
    }
    if answer.status == 403:
        return answers.Denied(f"the token may not {asked}", **about)
    if answer.status >= 500:
        return (Ambiguous if written else Unavailable)(f"it failed (status {answer.status})", **about)
    return answers.VaultRefused(f"it refuses (status {answer.status})", **about)


def _path_of(target: str) -> str:
    """Return a request's path as policies spell it, with ``LIST`` where that is meant."""
    path, _, query = target.removeprefix("/v1/").partition("?")
    return f"{unquote(path)} (LIST)" if "list=true" in query else unquote(path)


def _with_slash(target: str) -> str:
    """A folder is asked for with its slash: ``foo`` and ``foo/`` may both be there."""
    path, mark, query = target.partition("?")
    return f"{path}/{mark}{query}"


# -- What a token may do, beside what it needs: the server is asked, nothing is tried out -------
#
# ``sys/capabilities-self`` is in the policy ``default``. A path that ends with ``*`` is asked for as
# it stands: only a policy that covers all below it has it.


BATCH = 200
"""Paths in one question. OpenBao refuses bodies with more than 1,000 strings."""
ROOT = "root"
EVERYWHERE = "*"
"""The one path that is told of a token that may do everything."""


def rights(vault: Vault, needs: Iterable[Need]) -> tuple[PathRights, ...]:
    """Compare needs with what the token has.

    Raises VaultError: the server was not to be asked.
    """
    judged: list[PathRights] = []
    for batch in batched(needs, BATCH):
        # Asked in our own namespace: 'default' allows the question there, and not below.
        has = vault.system().get_capabilities([need.path for need in batch]).data()
        if any(ROOT in has.get(_echoed(need.path), ()) for need in batch):
            return (PathRights(EVERYWHERE, excess=(ROOT,)),)
        judged += (compared(need, has.get(_echoed(need.path), ())) for need in batch)
    return tuple(judged)


def _echoed(path: str) -> str:
    """Return a path as the server answers for it: it cuts the blanks at the ends off, also of a name's."""
    return path.strip()
