"""The shared Vault client: logins, renewal, pace, paths, and the answers of hostile servers."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from strongroom.errors import ConfigError
from strongroom.plugins.conformance.sources import in_a_child
from strongroom.system.attempts import RequestPace
from strongroom.system.process import PerProcess
from strongroom.vault import answers
from strongroom.vault.answers import Denied, LoginRefused, NotVault, Unavailable, VaultRefused
from strongroom.vault.client import Vault
from strongroom.vault.tokens import Kubernetes, TokenFile
from strongroom.vault.transport import HOPS, VaultConnection
from tests.live.certificates import make_certificate
from tests.live.openbao import OpenBao
from tests.live.proxy import Answer, FaultyProxy, method
from tests.live.vault_parts import source_of
from tests.patience import PATIENCE, until

READER = 'path "secret/data/*" { capabilities = ["read"] }'


@pytest.fixture(scope="module")
def server(openbao: OpenBao) -> OpenBao:
    openbao.policy("client", READER)
    openbao.put("secret/", "client", {"value": "CANARY"})
    return openbao


def reads(vault: Vault) -> bool:
    return b"CANARY" in vault.get("secret", "data", "client").body


# -- logins --------------------------------------------------------------------


def test_a_token_is_renewed_and_then_replaced_while_requests_go_on(server: OpenBao, tmp_path: Path) -> None:
    """It lives for two seconds, and for five at most: so there are renewals, and one more login."""
    login = server.app_role(tmp_path, "short", ["client"], token_ttl="2s", token_max_ttl="5s")
    with FaultyProxy(server.process.port) as proxy:
        vault = Vault(replace(server.connection(tmp_path, login=login), address=proxy.url))

        def kept_alive() -> bool:
            assert reads(vault)
            return vault.logins >= 3 and len(proxy.seen(method("POST", path="/renew-self"))) >= 2

        until(kept_alive, what="two renewals, and a third login")


def test_a_login_that_is_refused_says_so_and_shows_no_secret_id(server: OpenBao, tmp_path: Path) -> None:
    login = server.app_role(tmp_path, "refused", ["client"])
    login.secret_id_file.write_text("CANARY-wrong")
    with pytest.raises(LoginRefused) as caught:
        reads(Vault(server.connection(tmp_path, login=login)))
    assert "CANARY" not in f"{caught.value} {caught.value.__cause__} {caught.value.__context__!r}"


def test_a_new_secret_id_is_read_from_its_file_at_the_next_login(server: OpenBao, tmp_path: Path) -> None:
    login = server.app_role(tmp_path, "rotated", ["client"])
    vault = Vault(server.connection(tmp_path, login=login))
    good = login.secret_id_file.read_text()
    login.secret_id_file.write_text("CANARY-wrong")
    with pytest.raises(LoginRefused):
        reads(vault)
    login.secret_id_file.write_text(good)
    assert reads(vault)


def test_a_token_file_that_others_may_read_is_refused(server: OpenBao, tmp_path: Path) -> None:
    login = server.token_file(tmp_path, "client")
    login.path.chmod(0o644)
    with pytest.raises(ConfigError):
        reads(Vault(server.connection(tmp_path, login=login)))


def test_what_is_not_allowed_is_no_reason_to_log_in_again(server: OpenBao, tmp_path: Path) -> None:
    login = server.app_role(tmp_path, "denied", ["client"])
    vault = Vault(server.connection(tmp_path, login=login))
    with pytest.raises(Denied, match="GET secret/metadata/client"):
        vault.get("secret", "metadata", "client")
    assert vault.logins == 1


class _Cluster(BaseHTTPRequestHandler):
    """The one question that the Kubernetes method asks a cluster: whose token is this?"""

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        good = review["spec"]["token"] == TOKEN
        user = {"username": "system:serviceaccount:backup:strongroom", "uid": "1", "groups": []}
        review["status"] = {"authenticated": good} | ({"user": user} if good else {"error": "no"})
        body = json.dumps(review).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


def _jwt() -> str:
    """A token as a service account has one; the cluster vouches for it, so nothing is signed."""

    def part(fields: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(fields).encode()).rstrip(b"=").decode()

    account = {"name": "strongroom", "uid": "1"}
    claims = {
        "iss": "kubernetes/serviceaccount",
        "sub": "system:serviceaccount:backup:strongroom",
        "kubernetes.io": {"namespace": "backup", "serviceaccount": account},
    }
    return f"{part({'alg': 'RS256', 'typ': 'JWT'})}.{part(claims)}.{part({'CANARY': 1})}"


TOKEN = _jwt()


@pytest.fixture
def cluster() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Cluster) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join(PATIENCE)


def test_a_pod_logs_in_with_its_service_account(server: OpenBao, cluster: str, tmp_path: Path) -> None:
    server.call("POST", "sys/auth/kubernetes", {"type": "kubernetes"})
    authority = make_certificate(tmp_path)[0].read_text()
    config = {"kubernetes_host": cluster, "kubernetes_ca_cert": authority, "token_reviewer_jwt": "CANARY"}
    server.call("POST", "auth/kubernetes/config", config)
    bound = {"bound_service_account_names": "strongroom", "bound_service_account_namespaces": "backup"}
    server.call("POST", "auth/kubernetes/role/backup", bound | {"token_policies": ["client"]})
    login = Kubernetes(role="backup", jwt_file=tmp_path / "jwt")
    login.jwt_file.write_text(f"{TOKEN[:-4]}\n")
    vault = Vault(server.connection(tmp_path, login=login))
    with pytest.raises(LoginRefused):
        reads(vault)
    login.jwt_file.write_text(f"{TOKEN}\n")  # the kubelet replaces it while we run
    assert reads(vault)


# -- what goes out -------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\x00b", "a\nb", "a\udcff", "x" * 5_000]
)
def test_a_path_that_would_reach_another_secret_is_not_sent(path: str) -> None:
    assert not answers.addressable(path)


@pytest.mark.parametrize(
    "name", ["plain", "with space", "ü", "%2e%2e", "a?b", "a#b", "a;b", "a&b=c", "..a", "~"]
)
def test_a_name_reaches_the_server_as_it_is(server: OpenBao, tmp_path: Path, name: str) -> None:
    vault = Vault(server.connection(tmp_path))
    assert answers.addressable(name)
    vault.post("secret", "data", f"odd/{name}", body={"data": {"is": name}})
    assert vault.get("secret", "data", f"odd/{name}").data()["data"] == {"is": name}
    assert name in vault.list("secret", "metadata", "odd/").data()["keys"]


@pytest.mark.parametrize("name", ["plain", "équipe", "日本"])
def test_a_namespace_reaches_the_server_as_it_is(own_openbao: OpenBao, tmp_path: Path, name: str) -> None:
    Vault(own_openbao.connection(tmp_path)).post("sys/namespaces", name, body={})
    inner = Vault(own_openbao.connection(tmp_path, namespace=name))
    inner.post("sys/mounts/secret", body={"type": "kv"})
    inner.post("secret/a", body={"is": name})
    source = source_of(own_openbao, tmp_path, system=False)
    found = {secret.name: secret.current.value for secret in source.read(list(source.list())) if secret}
    value = found[f"{name}/secret/a"]
    assert value is not None
    assert json.loads(value.reveal()) == {"is": name}


# -- what comes back -----------------------------------------------------------


def through(proxy: FaultyProxy, server: OpenBao, folder: Path, **settings: Any) -> Vault:
    return Vault(replace(server.connection(folder, **settings), address=proxy.url))


def test_redirects_without_end_are_not_followed_for_ever(server: OpenBao, tmp_path: Path) -> None:
    with FaultyProxy(server.process.port) as proxy:
        data = method("GET", path="/secret/data/")
        proxy.fail(Answer(307, {"Location": f"{proxy.url}/v1/secret/data/client"}), when=data, times=None)
        with pytest.raises(NotVault, match="without end"):
            reads(through(proxy, server, tmp_path, patience_seconds=0.0))
        assert len(proxy.seen(data)) == HOPS + 1


def test_an_answer_that_is_not_vaults_is_told_and_not_shown(server: OpenBao, tmp_path: Path) -> None:
    with FaultyProxy(server.process.port) as proxy:
        proxy.fail(Answer(200, {}, b"<html>CANARY</html>"), when=method("GET", path="/secret/data/"))
        with pytest.raises(NotVault) as caught:
            through(proxy, server, tmp_path).get("secret", "data", "client").data()
        assert "CANARY" not in f"{caught.value} {caught.value.__context__!r}"


def test_a_refusal_does_not_repeat_the_servers_words(server: OpenBao, tmp_path: Path) -> None:
    with FaultyProxy(server.process.port) as proxy:
        proxy.fail(
            Answer(400, {}, b'{"errors":["cannot take CANARY"]}'), when=method("POST", path="/secret/")
        )
        with pytest.raises(VaultRefused) as caught:
            through(proxy, server, tmp_path).post("secret", "data", "x", body={"data": {}})
        assert "CANARY" not in str(caught.value)


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("CANARY")
    token.chmod(0o600)
    connection = VaultConnection(
        address="http://127.0.0.1:1", login=TokenFile(path=token), patience_seconds=0.2
    )
    with pytest.raises(Unavailable, match="cannot be reached"):
        Vault(connection).get("secret", "data", "client")


def test_plain_text_is_never_redirected_to_from_tls() -> None:
    connection = VaultConnection(
        address="https://vault:8200",
        login=TokenFile(path=Path("/t")),
        redirect_hosts=frozenset({"node:8200"}),
    )
    assert connection.allows("https://node:8200/v1/x")
    assert not connection.allows("http://node:8200/v1/x")
    assert not connection.allows("https://elsewhere:8200/v1/x")


def test_a_token_goes_to_no_other_host_without_tls() -> None:
    login = TokenFile(path=Path("/t"))
    for address in ("http://localhost:8200", "http://[::1]:8200", "https://vault:8200"):
        VaultConnection(address=address, login=login)
    for address in ("http://vault:8200", "http://127.0.0.1.evil.test:8200", "http://10.0.0.1:8200"):
        with pytest.raises(ConfigError, match="without TLS"):
            VaultConnection(address=address, login=login)


# -- processes and pace --------------------------------------------------------


def test_each_process_makes_its_own() -> None:
    mine: PerProcess[int] = PerProcess(os.getpid)
    assert mine.get() == os.getpid()
    assert in_a_child(lambda: mine.peek() is None and mine.get() == os.getpid())
    assert mine.get() == os.getpid()


def test_processes_share_a_rate(tmp_path: Path) -> None:
    """Two processes that take ten turns each at 50 a second need at least 19 intervals together."""
    shared = tmp_path / "pace"
    start = time.monotonic()
    children = [
        _child(lambda: [RequestPace(50.0, shared=shared).wait() for _ in range(10)]) for _ in range(2)
    ]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert time.monotonic() - start >= 19 / 50


def _child(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child
