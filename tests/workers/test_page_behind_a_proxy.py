"""The page behind a reverse proxy that proves itself by a certificate, and that logs people in by theirs."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.config import Settings, load_settings
from strongroom.config.schema import ConfigProblems
from strongroom.config.served import PageProxySettings
from strongroom.operations.errors import MessageRefused
from strongroom.state.store import RunStore
from tests.live.certificates import Authority
from tests.patience import PATIENCE, until
from tests.process import ROOT, ends_with_this, free_port
from tests.workers.test_page import served
from tests.workers.visitor import Visitor

HEADER = "X-Forwarded-User"
PROXY = "proxy.example.org"
PAGE = ROOT / "docs" / "how-to" / "monitor.md"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def settings(tmp_path: Path, authority: Authority) -> Settings:
    """A page with TLS whose proxy has a certificate."""
    certificate, key = authority.issue("page", hosts=["127.0.0.1", "strongroom.example.org"])
    found = load_settings({"STRONGROOM_STATE_DIR": str(tmp_path / "state")})
    RunStore(found.database_url).heartbeat("CANARY")  # makes it
    proxy = PageProxySettings(
        addresses=("127.0.0.1",), ca_file=authority.ca, certificate_names=("other.example.org", PROXY)
    )
    return replace(
        found,
        page=replace(found.page, port=free_port(), proxy=proxy, url="https://backups.example.org"),
        listen=replace(found.listen, certificate_file=certificate, key_file=key),
    )


def client(authority: Authority, shown: tuple[Path, Path] | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.ca))
    if shown is not None:
        context.load_cert_chain(*shown)
    return context


@pytest.mark.parametrize("hosts", [(), (PROXY, "second.example.org")], ids=["its name", "its hosts"])
def test_the_word_of_a_proxy_counts_by_its_certificate(
    settings: Settings, authority: Authority, hosts: tuple[str, ...]
) -> None:
    shown = authority.issue("CANARY" if hosts else PROXY, hosts=hosts)
    with served(settings) as place:
        answer = Visitor(place.port, client(authority, shown)).ask("/", **{HEADER: "anna"})
        assert answer.status == HTTPStatus.OK
        assert "anna (proxy)" in answer.text


def test_a_proxy_that_has_a_secret_too_needs_both(
    settings: Settings, authority: Authority, tmp_path: Path
) -> None:
    (secret := tmp_path / "secret").write_text("CANARY-secret")
    secret.chmod(0o600)
    assert settings.page.proxy is not None
    both = replace(settings.page, proxy=replace(settings.page.proxy, secret_file=secret))
    with served(replace(settings, page=both)) as place:
        someone = Visitor(place.port, client(authority, authority.issue(PROXY)))
        assert someone.ask("/", **{HEADER: "anna"}).status == HTTPStatus.FORBIDDEN
        said = {HEADER: "anna", "X-Strongroom-Proxy": "CANARY-secret"}
        assert someone.ask("/", **said).status == HTTPStatus.OK
        assert Visitor(place.port, client(authority, None)).ask("/", **said).status == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("of", [None, "seal.example.org", f"{PROXY}.evil.example"])
def test_a_header_without_the_certificate_of_the_proxy_is_refused_on_record(
    settings: Settings, authority: Authority, of: str | None
) -> None:
    with served(settings) as place:
        someone = Visitor(place.port, client(authority, authority.issue(of) if of else None))
        assert someone.ask("/", **{HEADER: "anna"}).status == HTTPStatus.FORBIDDEN
        [event] = place.store.happened(MessageRefused.event, since=0.0)
        assert event.detail["pool"] == "page"


def test_a_common_name_beside_names_of_hosts_is_no_name(settings: Settings, authority: Authority) -> None:
    """Who may have a certificate for a host chooses its common name."""
    shown = authority.issue(PROXY, hosts=["seal.example.org"])
    with served(settings) as place:
        answer = Visitor(place.port, client(authority, shown)).ask("/", **{HEADER: "anna"})
        assert answer.status == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("wrong", ["expired", "of another authority"])
def test_a_certificate_that_does_not_count_ends_the_connection(
    settings: Settings, authority: Authority, wrong: str, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    shown = authority.issue(PROXY, expired=True) if wrong == "expired" else other.issue(PROXY)
    with served(settings) as place, pytest.raises((ssl.SSLError, ConnectionError)):
        Visitor(place.port, client(authority, shown)).ask("/", **{HEADER: "anna"})


def test_who_comes_past_the_proxy_needs_no_certificate_and_logs_in_by_the_password(
    settings: Settings, authority: Authority
) -> None:
    with served(settings) as place:
        someone = Visitor(place.port, client(authority, None))
        assert someone.ask("/healthcheck").status == HTTPStatus.OK
        assert someone.ask("/").status == HTTPStatus.FOUND
        password = (settings.state_dir / "run" / "page-password").read_text().strip()
        assert someone.log_in(password).status == HTTPStatus.SEE_OTHER
        assert someone.ask("/").status == HTTPStatus.OK


@pytest.mark.parametrize(
    ("proxy", "listen", "key"),
    [
        ("", "", "page.proxy.secret_file"),
        ('certificate_names = ["x"]\nsecret_file = "S"', "", "page.proxy.certificate_names"),
        ('ca_file = "CA"', "C", "page.proxy.certificate_names"),
        ('ca_file = "CA"\ncertificate_names = ["x"]', "", "page.proxy.ca_file"),
        ('ca_file = "/gone.pem"\ncertificate_names = ["x"]', "C", "page.proxy.ca_file"),
    ],
)
def test_a_proxy_without_a_proof_is_no_configuration(
    proxy: str, listen: str, key: str, authority: Authority, tmp_path: Path
) -> None:
    certificate, private = authority.issue("page", hosts=["127.0.0.1"])
    (secret := tmp_path / "secret").write_text("CANARY")
    secret.chmod(0o600)
    proxy = proxy.replace('"CA"', f'"{authority.ca}"').replace('"S"', f'"{secret}"')
    listen = f'[listen]\ncertificate_file = "{certificate}"\nkey_file = "{private}"\n' if listen else ""
    file = tmp_path / "strongroom.toml"
    file.write_text(f'[page.proxy]\naddresses = ["10.0.0.5"]\n{proxy}\n{listen}')
    with pytest.raises(ConfigProblems) as refused:
        load_settings({"STRONGROOM_STATE_DIR": str(tmp_path)}, file)
    assert [problem.key for problem in refused.value.problems] == [key]


# -- the proxy of the documents, which people show certificates of their own -----------------------


@contextmanager
def nginx(folder: Path, authority: Authority, *, page: int, port: int) -> Iterator[None]:
    """Run what monitor.md shows, with the files and ports of this test."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/opt/homebrew/bin")
    if program is None:
        pytest.skip("no nginx: sh scripts/install-test-services nginx")
    [shown] = re.findall(r"^```nginx\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    server, server_key = authority.issue("nginx", hosts=["127.0.0.1"])
    proxy, proxy_key = authority.issue(PROXY)
    for there, here in {
        "/etc/nginx/tls/server.pem": server,
        "/etc/nginx/tls/server-key.pem": server_key,
        "/etc/nginx/tls/people-ca.pem": authority.ca,
        "/etc/nginx/tls/proxy.pem": proxy,
        "/etc/nginx/tls/proxy-key.pem": proxy_key,
        "/etc/nginx/tls/page-ca.pem": authority.ca,
        "listen 443": f"listen 127.0.0.1:{port}",
        "10.0.0.7:5556": f"127.0.0.1:{page}",
    }.items():
        assert there in shown
        shown = shown.replace(there, str(here))
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{shown}}}\n"
    )
    running = subprocess.Popen(
        [*ends_with_this(), program, "-e", f"{folder}/log", "-c", f"{folder}/nginx.conf"]
    )
    try:
        yield
    finally:
        running.terminate()
        running.wait(PATIENCE)


def test_the_nginx_of_the_documents_hands_on_whom_a_certificate_names(
    settings: Settings, authority: Authority, tmp_path: Path
) -> None:
    port = free_port()

    def answers(someone: Visitor) -> bool:
        with suppress(ConnectionError, ssl.SSLError):
            return someone.ask("/").status > 0
        return False

    with served(settings) as place, nginx(tmp_path, authority, page=place.port, port=port):
        anna = Visitor(port, client(authority, authority.issue("anna")))
        until(lambda: answers(anna), what="nginx")
        assert "anna (proxy)" in anna.ask("/").text
        assert "anna (proxy)" in anna.ask("/", **{HEADER: "root"}).text, "nobody chooses a name"
        odd = Visitor(port, client(authority, authority.issue("x,CN=root")))
        assert "root (proxy)" not in odd.ask("/").text
        assert Visitor(port, client(authority, None)).ask("/").status == HTTPStatus.BAD_REQUEST
        assert place.store.happened(MessageRefused.event, since=0.0) == []
