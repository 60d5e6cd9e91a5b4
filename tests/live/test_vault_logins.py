"""Logins by JWT and by certificate at a live OpenBao; by AWS at what asks STS as Vault would."""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from strongroom.errors import ConfigError
from strongroom.vault import tokens
from strongroom.vault.answers import LoginRefused
from strongroom.vault.client import Vault
from strongroom.vault.tokens import AwsLogin, CertificateLogin, JwtLogin
from strongroom.vault.transport import VaultConnection
from tests.live.certificates import Authority
from tests.live.conftest import use_credentials
from tests.live.moto import Moto
from tests.live.openbao import ROOT_TOKEN, Answered, OpenBao, is_up, program
from tests.patience import PATIENCE, until
from tests.process import ServerProcess, free_port, listens

READS = 'path "secret/data/a" { capabilities = ["read"] }'


class Issuer:
    """Whoever says who we are, in a JWT."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def public(self) -> str:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()

    def token(self, *, lasts: float = 60, subject: str = "backup-host") -> str:
        now = int(time.time())
        claims = {"iss": "CANARY", "sub": subject, "aud": "strongroom", "iat": now, "exp": now + int(lasts)}
        parts = ({"alg": "ES256", "typ": "JWT"}, claims)
        text = ".".join(_segment(json.dumps(part).encode()) for part in parts)
        r, s = decode_dss_signature(self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{_segment(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _segment(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class Secured:
    """An OpenBao with a listener that speaks TLS, beside the one by which a test sets it up."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "ca")
        certificate, key = self.authority.issue("bao", hosts=["127.0.0.1"])
        plain, self.port = free_port(), free_port()
        config = folder / "listener.json"
        listener = {
            "address": f"127.0.0.1:{self.port}",
            "tls_cert_file": str(certificate),
            "tls_key_file": str(key),
        }
        config.write_text(json.dumps({"listener": [{"tcp": listener}]}))
        bao = program()
        assert bao is not None
        self.server = OpenBao(
            ServerProcess(
                lambda _: [
                    *(bao, "server", "-dev", "-dev-no-store-token", f"-config={config}"),
                    *(f"-dev-root-token-id={ROOT_TOKEN}", f"-dev-listen-address=127.0.0.1:{plain}"),
                ],
                port=plain,
                ready=lambda: is_up(plain) and listens(self.port),
                prefix="sr-bao-",
            )
        )
        self.issuer = Issuer()

    def set_up(self) -> None:
        call = self.server.call
        self.server.policy("reads", READS)
        for method in ("jwt", "cert"):
            call("POST", f"sys/auth/{method}", {"type": method})
        call("POST", "auth/jwt/config", {"jwt_validation_pubkeys": [self.issuer.public]})
        role = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["strongroom"]}
        role |= {"bound_subject": "backup-host", "token_policies": ["reads"], "token_ttl": "1h"}
        call("POST", "auth/jwt/role/backup", role)
        trusted = {"certificate": self.authority.ca.read_text(), "allowed_common_names": ["backup-host"]}
        call("POST", "auth/cert/certs/backup", trusted | {"token_policies": ["reads"], "token_ttl": "1h"})

    def vault(self, login: Any, **settings: Any) -> Vault:
        address = f"https://127.0.0.1:{self.port}"
        connection = VaultConnection(address=address, login=login, ca_file=self.authority.ca, **settings)
        return Vault(connection)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    made = Secured(tmp_path_factory.mktemp("secured"))
    with made.server:

        def mounted() -> bool:
            with suppress(Answered):  # it is being mounted
                return made.server.put("secret/", "a", {"value": "CANARY"}) > 0
            return False

        until(mounted, what="the mount")
        made.set_up()
        yield made


def reads(vault: Vault) -> str:
    return str(vault.get("secret", "data", "a").data()["data"]["value"])


def jwt(secured: Secured, folder: Path, **how: Any) -> JwtLogin:
    file = folder / "jwt"
    file.write_text(secured.issuer.token(**how))
    return JwtLogin(role="backup", jwt_file=file)


def test_who_has_a_jwt_logs_in_and_again_with_what_the_file_holds_then(
    secured: Secured, tmp_path: Path
) -> None:
    vault = secured.vault(jwt(secured, tmp_path))
    assert reads(vault) == "CANARY"
    jwt(secured, tmp_path, lasts=-400)
    secured.server.call("POST", "auth/token/revoke", {"token": vault._process.get().tokens.current()})
    with pytest.raises(LoginRefused):
        reads(vault)
    jwt(secured, tmp_path)
    assert reads(vault) == "CANARY"


def renewed(secured: Secured, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Tell whether the token is renewed once most of its life is over, and nobody logs in for that."""
    held = vault._process.get().tokens
    token = {"token": held.current()}
    assert not secured.server.call("POST", "auth/token/lookup", token)["data"].get("last_renewal")
    with monkeypatch.context() as later:
        later.setattr(tokens, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + 45 * 60))
        assert reads(vault) == "CANARY"
    assert token == {"token": held.current()}
    return bool(secured.server.call("POST", "auth/token/lookup", token)["data"]["last_renewal"])


def test_a_token_of_a_jwt_is_renewed_and_one_that_is_revoked_in_between_is_got_again(
    secured: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = secured.vault(jwt(secured, tmp_path))
    assert renewed(secured, vault, monkeypatch)

    process = vault._process.get()
    secured.server.call("POST", "auth/token/revoke", {"token": process.tokens.current()})
    assert reads(vault) == "CANARY"
    assert process.tokens.logins == 2


@pytest.mark.parametrize("how", [{"subject": "somebody-else"}, {"lasts": -400}], ids=str)
def test_a_jwt_of_somebody_else_or_that_is_over_is_refused(
    secured: Secured, tmp_path: Path, how: dict[str, Any]
) -> None:
    with pytest.raises(LoginRefused) as caught:
        reads(secured.vault(jwt(secured, tmp_path, **how)))
    assert "Check the role" in caught.value.hint
    assert "eyJ" not in f"{caught.value.message}{caught.value.hint}"


def test_a_role_that_there_is_not_is_refused(secured: Secured, tmp_path: Path) -> None:
    login = JwtLogin(role="nobody", jwt_file=jwt(secured, tmp_path).jwt_file)
    with pytest.raises(LoginRefused):
        reads(secured.vault(login))


def test_without_the_file_it_is_named(secured: Secured, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        reads(secured.vault(JwtLogin(role="backup", jwt_file=tmp_path / "none")))


def test_who_shows_a_certificate_logs_in_and_is_renewed(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, key = secured.authority.issue("backup-host")
    vault = secured.vault(CertificateLogin(role="backup"), certificate_file=own, certificate_key_file=key)
    assert renewed(secured, vault, monkeypatch)


def test_a_certificate_that_is_renewed_is_shown_at_the_next_login(secured: Secured) -> None:
    own, key = secured.authority.issue("backup-host")
    vault = secured.vault(CertificateLogin(), certificate_file=own, certificate_key_file=key)
    assert reads(vault) == "CANARY"
    newer, newer_key = secured.authority.issue("backup-host")
    own.write_bytes(newer.read_bytes())
    key.write_bytes(newer_key.read_bytes())

    process = vault._process.get()
    secured.server.call("POST", "auth/token/revoke", {"token": process.tokens.current()})
    assert reads(vault) == "CANARY"


def test_a_wrong_certificate_and_none_are_refused(secured: Secured, tmp_path: Path) -> None:
    login = CertificateLogin()
    strangers = Authority(tmp_path / "strangers")
    for own, key in (
        secured.authority.issue("somebody-else"),
        strangers.issue("backup-host"),
    ):
        with pytest.raises(LoginRefused):
            reads(secured.vault(login, certificate_file=own, certificate_key_file=key))
    with pytest.raises(LoginRefused):
        reads(secured.vault(login))
    own, key = secured.authority.issue("backup-host", expired=True)
    with pytest.raises(ConfigError, match="ended on"):
        reads(secured.vault(login, certificate_file=own, certificate_key_file=key))


def test_a_certificate_without_its_key_is_named_at_once(secured: Secured) -> None:
    own, _ = secured.authority.issue("backup-host")
    _, other = secured.authority.issue("backup-host")
    with pytest.raises(ConfigError, match="no certificate with its key"):
        reads(secured.vault(CertificateLogin(), certificate_file=own, certificate_key_file=other))


# -- AWS: OpenBao has no such method. Vault's sends on to STS what it is handed, and so does this --


class Vouching(ThreadingHTTPServer):
    """Does of the method ``aws`` what counts: it asks STS, by the request that it was handed, who that is."""

    def __init__(self, sts: str) -> None:
        super().__init__(("127.0.0.1", 0), _Vouches)
        self.sts = sts
        self.asked: list[dict[str, Any]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Vouches(BaseHTTPRequestHandler):
    server: Vouching

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = json.loads(base64.b64decode(body["iam_request_headers"]))
        self.server.asked.append(body | {"headers": headers})
        request = urllib.request.Request(
            self.server.sts,
            data=base64.b64decode(body["iam_request_body"]),
            headers={name: value[0] for name, value in headers.items()},
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                known = b"GetCallerIdentityResult" in answer.read()
        except urllib.error.HTTPError:
            known = False
        self._answer(known and body["role"] == "backup")

    def do_GET(self) -> None:
        self._answer(self.headers.get("X-Vault-Token") == "CANARY-token")

    def _answer(self, fine: bool) -> None:
        auth = {"client_token": "CANARY-token", "lease_duration": 60, "renewable": True}
        content = json.dumps(
            {"auth": auth, "data": {"data": {"value": "CANARY"}}} if fine else {"errors": []}
        )
        self.send_response(200 if fine else 403)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *_: object) -> None: ...


def test_who_somebody_is_in_aws_is_proven_by_a_request_that_sts_answers(
    shared_moto: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_credentials(monkeypatch)
    with Vouching(shared_moto.endpoint) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}"
        login = AwsLogin(role="backup", region="eu-central-1", server_id="vault.example.org")
        assert reads(Vault(VaultConnection(address=address, login=login))) == "CANARY"
        (asked,) = server.asked
        assert base64.b64decode(asked["iam_request_url"]) == b"https://sts.eu-central-1.amazonaws.com/"
        (signature,) = asked["headers"]["Authorization"]
        assert "eu-central-1/sts/aws4_request" in signature
        assert "x-vault-aws-iam-server-id" in signature
        wrong = AwsLogin(role="nobody")
        with pytest.raises(LoginRefused):
            reads(Vault(VaultConnection(address=address, login=wrong)))
        server.shutdown()


def test_without_credentials_of_aws_that_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    vault = Vault(VaultConnection(address="http://127.0.0.1:9", login=AwsLogin(role="backup")))
    with pytest.raises(ConfigError, match="no AWS credentials"):
        reads(vault)
