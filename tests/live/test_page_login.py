"""Logging in to the page by a real provider of OpenID Connect: an OpenBao."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey
from msgspec.structs import replace

from strongroom.config import load_settings
from strongroom.config.served import PageOidcSettings
from strongroom.state.store import RunStore
from tests.live.openbao import OpenBao, dev_server
from tests.process import free_port
from tests.workers.test_page import Place, served
from tests.workers.visitor import Answer, Visitor
from workers.page_oidc import Oidc, _Provider
from workers.page_people import LoginRefused

PROVIDER = "identity/oidc/provider/acme"


class Login:
    """The provider, its people, and what they do in a browser."""

    def __init__(self, bao: OpenBao, port: int) -> None:
        self.bao, self.port = bao, port
        self.tokens = {name: self._person(name) for name in ("anna", "mallory")}
        bao.call("POST", "identity/oidc/key/page", {"allowed_client_ids": ["*"], "algorithm": "RS256"})
        back = f"http://127.0.0.1:{port}/login/oidc/back"
        bao.call("POST", "identity/oidc/client/page", {
            "redirect_uris": [back], "assignments": ["allow_all"], "key": "page",
        })  # fmt: skip
        template = '{"name": {{identity.entity.name}}}'
        bao.call("POST", "identity/oidc/scope/person", {"template": template})
        self.client = bao.data("identity/oidc/client/page")
        bao.call("POST", PROVIDER, {
            "allowed_client_ids": [self.client["client_id"]], "scopes_supported": ["person"],
            "issuer": bao.address,
        })  # fmt: skip

    def _person(self, name: str) -> str:
        if "userpass/" not in self.bao.call("GET", "sys/auth"):
            self.bao.call("POST", "sys/auth/userpass", {"type": "userpass"})
        self.bao.call("POST", f"auth/userpass/users/{name}", {"password": "CANARY-password"})
        found = self.bao.call("POST", f"auth/userpass/login/{name}", {"password": "CANARY-password"})
        entity = found["auth"]["entity_id"]
        self.bao.call("POST", f"identity/entity/id/{entity}", {"name": name})
        policy = f'path "{PROVIDER}/authorize" {{ capabilities = ["read", "update"] }}'
        self.bao.policy("authorize", policy)
        self.bao.call("POST", f"auth/userpass/users/{name}", {"token_policies": ["authorize"]})
        found = self.bao.call("POST", f"auth/userpass/login/{name}", {"password": "CANARY-password"})
        return str(found["auth"]["client_token"])

    @property
    def issuer(self) -> str:
        return f"{self.bao.address}/v1/{PROVIDER}"

    def code(self, there: str, person: str) -> dict[str, str]:
        """Log in at the provider; return what it sends back with the browser."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(there).query).items()}
        return dict(self.bao.call("POST", f"{PROVIDER}/authorize", asked, token=self.tokens[person]))


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Login]:
    bao = dev_server()
    with bao.process:
        yield Login(bao, free_port())


@pytest.fixture
def place(login: Login, tmp_path: Path) -> Iterator[Place]:
    secret = tmp_path / "secret"
    secret.write_text(login.client["client_secret"])
    secret.chmod(0o600)
    settings = load_settings(
        {"STRONGROOM_STATE_DIR": str(tmp_path / "state"), "STRONGROOM_PAGE__PORT": str(login.port)}
    )
    RunStore(settings.database_url).heartbeat("CANARY")
    oidc = PageOidcSettings(
        issuer=login.issuer,
        client_id=login.client["client_id"],
        client_secret_file=secret,
        scopes=("person",),
        claim="name",
        allowed=("anna",),
        person="name",
    )
    with served(replace(settings, page=replace(settings.page, oidc=oidc, password=False))) as place:
        yield place


def begun(place: Place) -> tuple[Visitor, str]:
    """Begin a login; return the browser, and where it is sent."""
    someone = Visitor(place.port)
    answer = someone.ask("/login/oidc?next=/keys")
    assert answer.status == HTTPStatus.SEE_OTHER, answer.text
    assert "SameSite=Lax" in answer.headers["set-cookie"]
    someone.cookie = answer.headers["set-cookie"].partition(";")[0]
    return someone, answer.headers["location"]


def back(someone: Visitor, said: dict[str, str]) -> Answer:
    answer = someone.ask(f"/login/oidc/back?{urlencode(said)}")
    cookies = re.findall(r"(strongroom=[^;]+);", answer.headers.get("set-cookie", ""))
    someone.cookie = cookies[0] if cookies else someone.cookie
    return answer


def test_a_person_whom_the_provider_knows_and_who_is_allowed_looks(place: Place, login: Login) -> None:
    someone, there = begun(place)
    assert "code_challenge_method=S256" in there
    answer = back(someone, login.code(there, "anna"))
    assert answer.status == HTTPStatus.OK, answer.text
    assert answer.headers["refresh"] == "0; url=/keys"
    page = someone.ask("/keys")
    assert page.status == HTTPStatus.OK
    assert f"anna ({urlsplit(login.issuer).netloc})" in page.text
    taken = replace(place.settings.page.oidc, allowed=("ben",))  # type: ignore[type-var]
    place.exporter._live.current = replace(place.settings, page=replace(place.settings.page, oidc=taken))
    assert someone.ask("/keys").status == HTTPStatus.FOUND, "who is taken out is out at once"


def test_a_person_who_is_not_allowed_is_refused(place: Place, login: Login) -> None:
    someone, there = begun(place)
    answer = back(someone, login.code(there, "mallory"))
    assert answer.status == HTTPStatus.FORBIDDEN
    assert "not among those who may look" in answer.text
    assert someone.ask("/").status == HTTPStatus.FOUND


def test_a_login_counts_once_and_for_the_browser_that_began_it(place: Place, login: Login) -> None:
    someone, there = begun(place)
    other, _ = begun(place)
    said = login.code(there, "anna")
    assert "begun by another browser" in back(other, said).text
    assert "not begun here" in back(someone, said).text, "it is spent"
    assert "not begun here" in back(someone, {"code": "x", "state": "x"}).text


def test_what_the_provider_refuses_logs_nobody_in(place: Place, login: Login) -> None:
    for said in ({"error": "access_denied<script>"}, {"code": "CANARY-made-up"}):
        someone, there = begun(place)
        state = parse_qs(urlsplit(there).query)["state"][0]
        answer = back(someone, {**said, "state": state})
        assert answer.status == HTTPStatus.FORBIDDEN
        assert "script" not in answer.text
        assert someone.ask("/").status == HTTPStatus.FOUND


def test_a_provider_that_is_away_is_said_to_be(place: Place) -> None:
    assert place.settings.page.oidc is not None
    gone = replace(place.settings.page.oidc, issuer=f"http://127.0.0.1:{free_port()}")
    place.exporter._live.current = replace(place.settings, page=replace(place.settings.page, oidc=gone))
    answer = Visitor(place.port).ask("/login/oidc")
    assert answer.status == HTTPStatus.FORBIDDEN
    assert "The provider does not answer" in answer.text


# -- the provider's word ---------------------------------------------------------------

OIDC = PageOidcSettings(issuer="https://login.example", client_id="page", allowed=("anna@example.org",))
KEY = RSAKey.generate_key(2048, {"kid": "1"})


def word(**other: Any) -> dict[str, Any]:
    now = int(time.time())
    said = {"iss": OIDC.issuer, "aud": "page", "sub": "1", "exp": now + 60, "iat": now, "nonce": "n"}
    return {name: value for name, value in (said | other).items() if value is not None}


async def check(token: str) -> dict[str, Any]:
    oidc = Oidc()
    oidc._keys = ("keys", KeySet([KEY]), time.monotonic())
    provider = _Provider(authorize="", token="", keys="keys", names_itself=False, at=0.0)
    return await oidc._claims(OIDC, provider, token, "n")


def signed(said: dict[str, Any], key: Any = KEY, alg: str = "RS256") -> str:
    return jwt.encode({"alg": alg, "kid": "1"}, said, key, algorithms=[alg])


def run(token: str) -> dict[str, Any]:
    return asyncio.run(check(token))


def test_a_word_that_is_whole_counts_also_with_a_clock_that_is_a_little_off() -> None:
    assert run(signed(word()))["sub"] == "1"
    now = int(time.time())
    assert run(signed(word(exp=now - 30, iat=now + 30)))["sub"] == "1"


@pytest.mark.parametrize(
    "said",
    [
        {"iss": "https://evil.example"}, {"iss": None}, {"aud": "other"}, {"aud": None},
        {"aud": ["page", "other"]}, {"azp": "other"}, {"nonce": "m"}, {"nonce": None}, {"exp": 1},
        {"exp": None},
        {"iat": 4_000_000_000}, {"sub": None}, {"email_verified": False},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_a_word_for_another_or_of_another_time_does_not_count(said: dict[str, Any]) -> None:
    with pytest.raises(LoginRefused):
        run(signed(word(**said)))


def test_a_word_that_the_provider_did_not_sign_does_not_count() -> None:
    stranger = RSAKey.generate_key(2048, {"kid": "1"})
    shared = OctKey.import_key(b"CANARY-shared-key-of-somebody-else")
    none = f"{signed(word()).rpartition('.')[0].replace('.', '.', 1)}."
    for token in (signed(word(), stranger), none, "x", signed(word(), shared, "HS256")):
        with pytest.raises(LoginRefused):
            run(token)
