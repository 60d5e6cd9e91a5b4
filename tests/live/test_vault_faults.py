"""The Vault source when the server, the way there, or somebody else interferes."""

from __future__ import annotations

import json
import os
import signal
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from strongroom.errors import SourceError
from strongroom.sources.errors import SourceUnavailable
from strongroom.sources.vault import VaultSource, records
from strongroom.system.attempts import CLOCK
from strongroom.vault.client import Vault
from tests.live.certificates import Authority, server_context
from tests.live.openbao import OpenBao, RaftServer
from tests.live.proxy import Answer, Call, FaultyProxy, Request, Reset, Truncate, method
from tests.live.vault_parts import Site
from tests.live.vault_parts import own as own  # noqa: PLC0414  # a fixture is found by name
from tests.live.vault_parts import site as site  # noqa: PLC0414  # as above
from tests.patience import PATIENCE

COUNT = 40
DATA = method("GET", path="/data/")
METADATA = method("GET", path="/metadata/")
DETAILS = method("GET", path="/detailed-metadata/")


def fill(server: OpenBao, mount: str, *, count: int = COUNT) -> None:
    for number in range(count):
        server.put(mount, f"app/{number:03}", {"value": f"CANARY-{number}"})


@pytest.fixture(scope="module")
def kv(openbao: OpenBao) -> Iterator[str]:
    mount = openbao.mount("faults")
    fill(openbao, mount)
    yield mount
    openbao.unmount(mount)


def values(source: VaultSource) -> list[bytes]:
    found = source.read(sorted(source.list(), key=lambda entry: entry.name))
    return [secret.current.value.reveal() for secret in found if secret and secret.current.value]


ALL = [b'{"value":"CANARY-%d"}' % number for number in range(COUNT)]


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Answer(503, {"Retry-After": "0"}), id="503"),
        pytest.param(Answer(429, {"Retry-After": "0"}), id="429"),
        pytest.param(Answer(412), id="a stale replica"),
        pytest.param(Answer(472), id="a recovery replica"),
        pytest.param(Answer(473), id="a standby"),
        pytest.param(Answer(502), id="a proxy without a server"),
        pytest.param(Reset(), id="a reset"),
        pytest.param(Truncate(40), id="an answer cut short"),
    ],
)
@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("when", [METADATA, DETAILS, DATA], ids=["list", "describe", "read"])
def test_passing_trouble_passes(site: Site, kv: str, fault: Any, when: Any) -> None:
    rule = site.proxy.fail(fault, when=when, times=2)
    assert values(site.source(kv)) == ALL
    assert rule.met == 2


def test_trouble_that_does_not_pass_is_told_as_such(
    site: Site,
    kv: str,
) -> None:
    site.proxy.fail(Answer(503), when=DATA, times=None)
    with pytest.raises(SourceUnavailable, match="status 503"):
        values(site.source(kv))


def test_a_quota_slows_us_down_and_loses_nothing(
    site: Site,
    kv: str,
) -> None:
    for rate in (20, 5, 1):  # requests a second, down to fewer than a busy machine gets to ask
        before = len(site.proxy.seen(DATA))
        site.server.quota("slow", rate, kv)
        try:
            assert values(site.source(kv, clock=CLOCK, patience_seconds=PATIENCE)) == ALL
        finally:
            site.server.quota("slow", 0)
        if len(site.proxy.seen(DATA)) - before > COUNT:
            return
    pytest.fail("no request was too many")


def test_a_rate_of_our_own_keeps_below_the_quota(
    site: Site,
    kv: str,
) -> None:
    source = site.source(kv)
    values(source)
    needed = len(site.proxy.seen())
    site.server.quota("slow", 60, kv)
    try:
        assert values(site.source(kv, clock=CLOCK, requests_per_second=30)) == ALL
    finally:
        site.server.quota("slow", 0)
    assert len(site.proxy.seen()) == 2 * needed


def test_a_redirect_to_a_node_that_is_named_is_followed(
    site: Site,
    kv: str,
) -> None:
    there = site.server.address.removeprefix("http://")
    path = "/v1/faults/data/app/007"
    site.proxy.fail(
        Answer(307, {"Location": site.server.address + path}), when=method("GET", path=path), times=None
    )
    source = site.source(kv, redirect_hosts=frozenset({there}))
    assert values(source) == ALL


def test_a_redirect_elsewhere_is_refused_and_gets_no_token(
    site: Site,
    kv: str,
) -> None:
    with FaultyProxy(site.server.process.port) as elsewhere:
        site.proxy.fail(Answer(307, {"Location": f"{elsewhere.url}/v1/faults/data/x"}), when=DATA, times=None)
        with pytest.raises(SourceError, match="redirects to a host that is not allowed"):
            values(site.source(kv))
        assert elsewhere.seen() == []


@pytest.mark.parametrize("name", ["../", "a\r\nX-Vault-Token: b/", "a\x00/"])
def test_a_namespace_that_would_say_more_than_its_name_is_not_asked_for(
    site: Site, kv: str, name: str
) -> None:
    """The name goes into a header, and a server may say what it likes."""
    body = json.dumps({"data": {"keys": [name]}}).encode()
    site.proxy.fail(Answer(200, {}, body), when=method("GET", path="/sys/namespaces/"), times=None)
    with pytest.raises(SourceError, match="cannot be asked for"):
        values(site.source(kv))


def test_an_expired_certificate_is_named(openbao: OpenBao, kv: str, tmp_path: Path) -> None:
    context, trusted = server_context(tmp_path, expired=True)
    with (
        FaultyProxy(openbao.process.port, tls=context) as proxy,
        pytest.raises(SourceError, match="certificate has expired"),
    ):
        values(Site(openbao, proxy, tmp_path).source(kv, ca_file=trusted))


def test_a_server_that_nobody_trusts_or_that_has_another_name_gets_no_token(
    openbao: OpenBao, kv: str, tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    context, _ = server_context(tmp_path / "one")
    _, trusted = server_context(tmp_path / "other")
    with FaultyProxy(openbao.process.port, tls=context) as proxy:
        for ca_file in (trusted, None):
            with pytest.raises(SourceError, match="its certificate is not accepted"):
                values(Site(openbao, proxy, tmp_path).source(kv, ca_file=ca_file))
        assert proxy.seen() == []
    authority = Authority(tmp_path)
    certificate, key = authority.issue("elsewhere", hosts=["vault.example"])
    named = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    named.load_cert_chain(certificate, key)
    with FaultyProxy(openbao.process.port, tls=named) as proxy:
        with pytest.raises(SourceError, match="its certificate is not accepted"):
            values(Site(openbao, proxy, tmp_path).source(kv, ca_file=tmp_path / "ca.pem"))
        assert proxy.seen() == []


def test_a_server_that_is_sealed_meanwhile_is_told_at_once(raft_server: RaftServer, tmp_path: Path) -> None:
    fill(raft_server, "secret/")
    with FaultyProxy(raft_server.process.port) as proxy:
        source = Site(raft_server, proxy, tmp_path).source("secret", patience_seconds=600.0)
        proxy.fail(Call(lambda _: raft_server.seal()), when=method("GET", path="/data/app/020"))
        with pytest.raises(SourceUnavailable, match="it is sealed"):
            values(source)
        raft_server.unseal()
        assert values(source) == ALL


def test_a_token_that_ends_meanwhile_is_replaced_once(
    site: Site,
    kv: str,
) -> None:
    site.server.policy(
        "faults",
        f'path "sys/mounts" {{ capabilities = ["read"] }} path "{kv}*" {{ capabilities = ["read", "list"] }}',
    )
    login = site.server.app_role(site.folder, "faults", ["faults"])
    source = site.source(kv, login=login)
    site.proxy.fail(
        Call(lambda request: _revoke(site.server, request)), when=method("GET", path="/data/app/020")
    )
    assert values(source) == ALL
    assert len(site.proxy.seen(method("POST", path="/login"))) == 2


def test_a_token_that_ends_for_good_is_told(
    site: Site,
    kv: str,
) -> None:
    login = site.server.token_file(site.folder, "root")
    source = site.source(kv, login=login)
    site.proxy.fail(
        Call(lambda request: _revoke(site.server, request)), when=method("GET", path="/data/app/020")
    )
    with pytest.raises(SourceError, match="not valid"):
        values(source)


def _revoke(server: OpenBao, request: Request) -> None:
    headers = {name.lower(): value for name, value in request.headers.items()}
    server.call("POST", "auth/token/revoke", {"token": headers["x-vault-token"]})


def test_children_that_share_a_used_source_get_their_own_answers(
    openbao: OpenBao, kv: str, tmp_path: Path
) -> None:
    source = VaultSource(Vault(openbao.connection(tmp_path)), mounts=(kv,), system=False)
    assert values(source) == ALL
    children = [_child(lambda: all(values(source) == ALL for _ in range(5))) for _ in range(4)]
    assert values(source) == ALL
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4


def _child(check: Callable[[], bool]) -> int:
    """Fork a child that checks, and that the kernel ends should it hang."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(round(PATIENCE))
            status = 0 if check() else 1
        finally:
            os._exit(status)
    return child


def test_a_folder_that_comes_in_pages_is_listed_whole(
    openbao: OpenBao, kv: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "PAGE", 7)
    assert values(VaultSource(Vault(openbao.connection(tmp_path)), mounts=(kv,), system=False)) == ALL


def test_a_listing_that_is_refused_on_its_second_page_loses_no_name(
    site: Site, kv: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "PAGE", 7)
    second = method("GET", path="/detailed-metadata/", query="after=")
    refused = site.proxy.fail(Answer(403), when=second, times=None)
    source = site.source(kv)
    assert len(list(source.list(with_tags=True))) == COUNT
    assert values(source) == ALL
    assert refused.met == 2


# -- a secret that moves while it is read --------------------------------------


Write = Callable[[OpenBao, str], object]


@pytest.mark.parametrize(
    ("meanwhile", "numbers", "custom"),
    [
        pytest.param(lambda s, m: s.put(m, "a", {"v": 4}), [1, 2, 3, 4], None, id="written"),
        pytest.param(
            lambda s, m: s.call("POST", f"{m}delete/a", {"versions": [3]}), [1, 2, 3], None, id="deleted"
        ),
        pytest.param(
            lambda s, m: s.call("POST", f"{m}destroy/a", {"versions": [1]}), [1, 2, 3], None, id="destroyed"
        ),
        pytest.param(
            lambda s, m: s.call("POST", f"{m}metadata/a", {"custom_metadata": {"k": "v"}}),
            [1, 2, 3],
            {"k": "v"},
            id="described",
        ),
        pytest.param(
            lambda s, m: (s.call("DELETE", f"{m}metadata/a"), s.put(m, "a", {"v": 9})),
            [1],
            None,
            id="made anew",
        ),
    ],
)
def test_a_secret_that_moves_is_read_as_of_one_moment(
    site: Site,
    own: str,
    meanwhile: Write,
    numbers: list[int],
    custom: Any,
) -> None:
    for number in (1, 2, 3):
        site.server.put(own, "a", {"v": number})
    source = site.source(own)
    entries = list(source.list())
    site.proxy.fail(Call(lambda _: meanwhile(site.server, own)), when=method("GET", path="/data/a"))
    (found,) = source.read(entries)
    assert found is not None
    assert [version.number for version in found.versions] == numbers
    assert found.metadata["vault"].get("custom_metadata") == custom
    (again,) = source.read(entries)
    assert found == again


def test_a_secret_that_vanishes_meanwhile_reads_as_none(
    site: Site,
    own: str,
) -> None:
    site.server.put(own, "a", {"v": 1})
    source = site.source(own)
    entries = list(source.list())
    site.proxy.fail(Call(lambda _: site.server.call("DELETE", f"{own}metadata/a")), when=DATA)
    assert list(source.read(entries)) == [None]


def test_a_secret_that_never_rests_is_told(
    site: Site,
    own: str,
) -> None:
    site.server.put(own, "a", {"v": 1})
    source = site.source(own)
    entries = list(source.list())
    site.proxy.fail(Call(lambda _: site.server.put(own, "a", {"v": 2})), when=DATA, times=None)
    with pytest.raises(SourceError, match="changed 5 times"):
        list(source.read(entries))
