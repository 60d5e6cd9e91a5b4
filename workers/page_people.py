"""Who looks at the page: by a password, by the header of a proxy, or by a provider of OpenID Connect."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from typing import Any, Final

from msgspec import Struct
from tornado.httputil import HTTPHeaders

from strongroom.config.served import PageOidcSettings, PageProxySettings, PageSettings
from strongroom.errors import ConfigError
from strongroom.operations.errors import MessageRefused
from workers.paths import read_given

LASTS: Final = 12 * 3600
"""Seconds that a session lasts."""
SESSIONS: Final = 100
"""Sessions at once; the oldest ends when there are more."""
GUESSES: Final = 5
PER: Final = 60.0
"""So many wrong logins from an address are answered in so many seconds; a right one is not tried either."""
ADDRESSES: Final = 1000
"""Addresses that are counted apart. Whoever comes from more is counted together with the others."""
ACTIONS: Final = 10
"""So many things may a person ask for in as many seconds."""
LONGEST: Final = 150
"""Characters of a person's name."""
SECRET: Final = "X-Strongroom-Proxy"  # noqa: S105  # a header's name


class LoginRefused(Exception):
    """Somebody is not let in. The words say why, in our own: a stranger chose the others."""


class Visitor(Struct, frozen=True, kw_only=True):
    """Somebody who may look: their name, how that is known, and what their forms have to carry.

    ``claims`` are the values by which a provider's word let them in: they count as long as they are allowed.
    """

    name: str
    how: str
    token: str
    claims: frozenset[str] = frozenset()
    ends: float = 0.0

    @property
    def on_record(self) -> str:
        """Who asked, as the record has it."""
        return f"{self.name} ({self.how})"


class People:
    """The sessions, and who counts by the settings in force.

    A session is a cookie that Tornado signs and dates. It counts as long as it is on this list, of which only
    digests are kept: so a logout ends it for whoever has it, and whoever starts the process again logs
    everybody out.
    """

    def __init__(self, user: str, password: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._user = user
        self._wanted = None if password is None else (digest_of(user), digest_of(password))
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._sessions: dict[bytes, Visitor] = {}
        self._wrong: dict[str, deque[float]] = {}
        self._asked: dict[str, deque[float]] = {}

    # -- sessions --------------------------------------------------------------------------

    def begin(self, name: str, how: str, claims: frozenset[str] = frozenset()) -> str:
        """Begin a session; return what its cookie says."""
        while len(self._sessions) >= SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        session = secrets.token_urlsafe(32)
        token, ends = secrets.token_urlsafe(32), self._clock() + LASTS
        self._sessions[digest_of(session)] = Visitor(
            name=name, how=how, token=token, claims=claims, ends=ends
        )
        return session

    def of_session(self, session: str, page: PageSettings) -> Visitor | None:
        """Return whose session it is, if it was begun here, has not ended, and its person is still let in."""
        found = self._sessions.get(digest_of(session))
        if found is None:
            return None
        if self._clock() >= found.ends or not _counts(found, page):
            self.end(session)
            return None
        return found

    def holds(self, session: str) -> bool:
        """Tell whether a session was begun here and not ended."""
        return digest_of(session) in self._sessions

    def end(self, session: str) -> None:
        """End a session."""
        self._sessions.pop(digest_of(session), None)

    # -- the password ----------------------------------------------------------------------

    def try_login(self, user: str, password: str, address: str) -> str | HTTPStatus:
        """Return a new session for the right login; else how it is refused."""
        since = self._clock() - PER
        self._wrong = {who: times for who, times in self._wrong.items() if times[-1] > since}
        counted = address if address in self._wrong or len(self._wrong) < ADDRESSES else ""
        wrong = self._wrong.get(counted, deque(maxlen=GUESSES))
        if sum(at > since for at in wrong) >= GUESSES:
            return HTTPStatus.TOO_MANY_REQUESTS
        # Both are compared, as digests: no time tells which one was wrong, or how long it is.
        given = digest_of(user), digest_of(password)
        wanted = self._wanted or (b"", b"")
        right = [hmac.compare_digest(*pair) for pair in zip(given, wanted, strict=True)]
        if not all(right):
            wrong.append(self._clock())
            self._wrong[counted] = wrong
            return HTTPStatus.FORBIDDEN
        return self.begin(self._user, "password")

    # -- the header of a proxy ---------------------------------------------------------------

    def of_header(
        self,
        headers: HTTPHeaders,
        address: str,
        proxy: PageProxySettings,
        certificate: Mapping[str, Any] | None,
    ) -> Visitor | None:
        """Return whom the proxy names; ``None`` if nobody is named.

        Args:
            certificate: what the connection has shown, if that was one that counts.

        Raises:
            MessageRefused: somebody else than the proxy names a person, or the name is none.
            LoginRefused: that person may not look.
        """
        named = headers.get_list(proxy.header)
        if not named:
            return None
        if not any(ip_address(address) in ip_network(network, strict=False) for network in proxy.addresses):
            raise MessageRefused("a person's name in a header, from an address that is not the page's proxy")
        if proxy.ca_file is not None and not _names_in(certificate) & {*proxy.certificate_names}:
            raise MessageRefused("a person's name in a header, without the certificate of the page's proxy")
        if proxy.secret_file is not None or proxy.ca_file is None:
            given = headers.get_list(SECRET)
            if len(given) != 1 or not hmac.compare_digest(digest_of(given[0]), digest_of(_secret(proxy))):
                raise MessageRefused("a person's name in a header, without the secret of the page's proxy")
        if len(named) != 1 or not is_name(named[0]):
            raise MessageRefused("a header of the page's proxy that names no person, or several")
        if proxy.people and named[0] not in proxy.people:
            raise LoginRefused("You are not among those who may look: see page.proxy.people.")
        token = hmac.digest(self._key, named[0].encode(errors="surrogatepass"), "sha256").hex()
        return Visitor(name=named[0], how="proxy", token=token)

    # -- acting ----------------------------------------------------------------------------

    def may_ask(self, visitor: Visitor) -> bool:
        """Tell whether somebody may ask for one more thing, and count it."""
        since = self._clock() - PER
        self._asked = {who: times for who, times in self._asked.items() if times[-1] > since}
        asked = self._asked.setdefault(visitor.on_record, deque(maxlen=ACTIONS))
        if sum(at > since for at in asked) >= ACTIONS:
            return False
        asked.append(self._clock())
        return True


def is_name(text: str) -> bool:
    """Tell whether a text can stand on record as a person's name."""
    return bool(text.strip()) and text.isprintable() and len(text) <= LONGEST


def allowed_values(claims: Mapping[str, object], oidc: PageOidcSettings) -> frozenset[str]:
    """Return the values of a provider's claims by which somebody is let in; none: they are not."""
    found = claims.get(oidc.claim)
    values = found if isinstance(found, list) else [found]
    return frozenset(value for value in values if isinstance(value, str) and value in oidc.allowed)


def _counts(visitor: Visitor, page: PageSettings) -> bool:
    """Tell whether somebody who was let in would be now."""
    if visitor.how == "password":
        return page.password
    return page.oidc is not None and bool(visitor.claims & set(page.oidc.allowed))


def _names_in(certificate: Mapping[str, Any] | None) -> set[str]:
    """Return the names in a verified certificate: those of hosts, or the common name if it has none."""
    if not certificate:
        return set()
    hosts = {name for kind, name in certificate.get("subjectAltName", ()) if kind == "DNS"}
    pairs = (pair for part in certificate.get("subject", ()) for pair in part)
    return hosts or {value for key, value in pairs if key == "commonName"}


def _secret(proxy: PageProxySettings) -> str:
    """Return the proxy's secret, read each time: it may have been changed."""
    if proxy.secret_file is None:
        raise MessageRefused("a header of the page's proxy, of which nothing is known here to prove it")
    try:
        return read_given(proxy.secret_file, "page.proxy.secret_file")
    except ConfigError as error:
        raise MessageRefused("a header of the page's proxy, whose secret cannot be read here") from error


def digest_of(text: str) -> bytes:
    """Return what is kept, or compared, of something secret."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()
