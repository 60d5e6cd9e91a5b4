"""Logins by a provider of OpenID Connect: the authorization code flow with PKCE (RFC 6749, 7636, 9207).

The provider's word about a person is a signed token, which joserfc checks. Whoever is sent back here must
have begun here, with the same browser: else a stranger could log somebody in as themselves.
"""

from __future__ import annotations

import json
import secrets
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from msgspec import Struct
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from strongroom.config.served import PageOidcSettings
from strongroom.errors import ConfigError
from strongroom.system.process import is_loopback
from workers.page_people import LoginRefused, digest_of
from workers.paths import read_given

BEGUN_LASTS: Final = 600.0
"""Seconds that somebody may take to log in at the provider."""
MOST_BEGUN: Final = 1000
PATIENCE: Final = 10.0
LONGEST: Final = 256 * 1024
"""Bytes of the longest answer of a provider."""
KNOWN_LASTS: Final = 3600.0
SKEW: Final = 60
"""Seconds by which the provider's clock may differ from this host's."""
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that count. None with a shared key: what the page can check, it could make."""


class _Begun(Struct, frozen=True, kw_only=True):
    """A login that was begun, by a browser, and what has to come back."""

    browser: bytes
    nonce: str
    verifier: str
    onward: str
    at: float


class _Provider(Struct, frozen=True, kw_only=True):
    """What a provider says of itself."""

    authorize: str
    token: str
    keys: str
    names_itself: bool
    at: float


class Oidc:
    """Begins logins at a provider, and ends them."""

    def __init__(self) -> None:
        self._begun: dict[str, _Begun] = {}
        self._known: tuple[PageOidcSettings, _Provider] | None = None
        self._keys: tuple[str, Any, float] | None = None

    async def begin(self, oidc: PageOidcSettings, *, back: str, onward: str, browser: str) -> str:
        """Return where a browser is sent to log in.

        Raises:
            LoginRefused: the provider does not answer, or says what it may not.
        """
        provider = await self._provider(oidc)
        now = time.monotonic()
        self._begun = {state: login for state, login in self._begun.items() if now - login.at < BEGUN_LASTS}
        while len(self._begun) >= MOST_BEGUN:
            self._begun.pop(next(iter(self._begun)))
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        self._begun[state] = _Begun(
            browser=digest_of(browser), nonce=nonce, verifier=verifier, onward=onward, at=now
        )
        asked = {
            "response_type": "code",
            "client_id": oidc.client_id,
            "redirect_uri": back,
            "scope": " ".join(dict.fromkeys(("openid", *oidc.scopes))),
            "state": state,
            "nonce": nonce,
            "code_challenge": urlsafe_b64encode(digest_of(verifier)).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        return f"{provider.authorize}{'&' if '?' in provider.authorize else '?'}{urlencode(asked)}"

    async def end(
        self, oidc: PageOidcSettings, answer: Mapping[str, str], *, back: str, browser: str
    ) -> tuple[dict[str, Any], str]:
        """Return the claims about whoever was sent back, and where they go on to.

        Raises:
            LoginRefused: it was not begun here, by this browser, or the provider's word does not count.
        """
        begun = self._begun.pop(answer.get("state", ""), None)
        if begun is None or time.monotonic() - begun.at > BEGUN_LASTS:
            raise LoginRefused("This login was not begun here, or too long ago. Begin again.")
        if not secrets.compare_digest(begun.browser, digest_of(browser)):
            raise LoginRefused("This login was begun by another browser. Begin again.")
        provider = await self._provider(oidc)
        names = answer.get("iss")
        if (names is not None or provider.names_itself) and names != oidc.issuer:
            raise LoginRefused("Another provider answers than the login was begun at.")
        if "error" in answer or not answer.get("code"):
            raise LoginRefused("The provider did not log you in.")
        form = {
            "grant_type": "authorization_code",
            "code": answer["code"],
            "redirect_uri": back,
            "code_verifier": begun.verifier,
            "client_id": oidc.client_id,
        }
        said = await self._ask(oidc, provider.token, form)
        token = said.get("id_token")
        if not isinstance(token, str):
            raise LoginRefused("The provider gave no token that says who you are.")
        return await self._claims(oidc, provider, token, begun.nonce), begun.onward

    async def _claims(
        self, oidc: PageOidcSettings, provider: _Provider, token: str, nonce: str
    ) -> dict[str, Any]:
        """Return what a token says, if the provider signed it, for this page, for this login, and now."""
        from joserfc import jwt
        from joserfc.errors import JoseError

        registry = jwt.JWTClaimsRegistry(
            leeway=SKEW,
            iss={"essential": True, "value": oidc.issuer},
            aud={"essential": True, "value": oidc.client_id},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        for fresh in (False, True):  # it may have other keys by now
            keys = await self._keys_of(oidc, provider, fresh=fresh)
            try:
                claims: dict[str, Any] = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
                registry.validate(claims)
            except (JoseError, ValueError, TypeError, KeyError) as error:
                if fresh:
                    why = type(error).__name__
                    raise LoginRefused(f"The provider's word does not count here ({why}).") from None
                continue
            audience = claims["aud"]
            others = isinstance(audience, list) and len(audience) > 1
            if claims.get("azp", oidc.client_id) != oidc.client_id or (others and "azp" not in claims):
                raise LoginRefused("The provider's word is for another than this page.")
            if oidc.claim == "email" and claims.get("email_verified") is False:
                raise LoginRefused("The provider has not verified your address.")
            return claims
        raise AssertionError

    async def _keys_of(self, oidc: PageOidcSettings, provider: _Provider, *, fresh: bool) -> Any:
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        now = time.monotonic()
        kept, lasts = self._keys, PATIENCE if fresh else KNOWN_LASTS
        if kept and kept[0] == provider.keys and now - kept[2] < lasts:
            return kept[1]
        try:
            keys = KeySet.import_key_set(await self._ask(oidc, provider.keys))  # type: ignore[arg-type]
        except (JoseError, ValueError, TypeError, KeyError):
            raise LoginRefused("The provider's keys cannot be read.") from None
        self._keys = (provider.keys, keys, now)
        return keys

    async def _provider(self, oidc: PageOidcSettings) -> _Provider:
        """Return what the provider says of itself; asked at most once an hour."""
        known = self._known
        if known and known[0] == oidc and time.monotonic() - known[1].at < KNOWN_LASTS:
            return known[1]
        said = await self._ask(oidc, f"{oidc.issuer.rstrip('/')}/.well-known/openid-configuration")
        if said.get("issuer") != oidc.issuer:
            raise LoginRefused("The provider calls itself by another name than page.oidc.issuer.")
        provider = _Provider(
            authorize=_private(said.get("authorization_endpoint")),
            token=_private(said.get("token_endpoint")),
            keys=_private(said.get("jwks_uri")),
            names_itself=said.get("authorization_response_iss_parameter_supported") is True,
            at=time.monotonic(),
        )
        self._known = (oidc, provider)
        return provider

    async def _ask(
        self, oidc: PageOidcSettings, url: str, form: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Return a provider's answer."""
        headers = {"Accept": "application/json"}
        if form is not None and oidc.client_secret_file is not None:
            try:
                secret = read_given(oidc.client_secret_file, "page.oidc.client_secret_file")
            except ConfigError:
                raise LoginRefused("The page's secret at the provider cannot be read on this host.") from None
            login = f"{quote(oidc.client_id, safe='')}:{quote(secret, safe='')}"
            headers["Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
        request = HTTPRequest(
            url,
            method="GET" if form is None else "POST",
            headers=headers,
            body=None if form is None else urlencode(form),
            connect_timeout=PATIENCE,
            request_timeout=PATIENCE,
            follow_redirects=False,  # a secret and a code go to nobody else
            ca_certs=str(oidc.ca_file) if oidc.ca_file else None,
            decompress_response=False,
        )
        client = AsyncHTTPClient(force_instance=True, max_body_size=LONGEST)
        try:
            answer = await client.fetch(request)
            said = json.loads(answer.body)
        except Exception as error:  # noqa: BLE001  # whatever a stranger's server answers, nobody is logged in
            raise LoginRefused(
                f"The provider does not answer as it should ({type(error).__name__})."
            ) from None
        finally:
            client.close()
        if not isinstance(said, dict):
            raise LoginRefused("The provider does not answer as it should.")
        return said


def _private(url: object) -> str:
    """Return an address of a provider's, which nobody on the way may read."""
    if isinstance(url, str):
        parts = urlsplit(url)
        if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            return url
    raise LoginRefused("The provider names an address that others could listen on.")
