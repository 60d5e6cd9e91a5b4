"""A Redis and a PostgreSQL that are not who they should be, or do not know us: each refused, by its cause."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest
from msgspec.structs import replace

from strongroom.config import BrokerSettings, StateSettings, load_settings
from strongroom.errors import InstallationError
from strongroom.state.errors import StateUnavailable
from strongroom.state.store import RunStore
from strongroom.wiring.database import database_url
from tests.closed_servers import ClosedPostgres, ClosedRedis
from tests.live.certificates import Authority
from tests.patience import PATIENCE
from tests.postgres import program
from tests.process import free_port
from tests.redis_server import RedisServer, server_program
from workers import broker
from workers.errors import BrokerUnavailable

USER = "strongroom-seal"
ACL = f"user default off\nuser {USER} on nopass +ping"
Pair = tuple[Path, Path]


class Servers:
    """Of each kind one that asks for client certificates and has one of ``localhost``, and an expired one."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.ours, self.other = Authority(folder / "ours"), Authority(folder / "other")
        good = self.ours.issue("server", hosts=("localhost",))
        expired = self.ours.issue("server", hosts=("localhost",), expired=True)
        self.redis, self.postgres = {}, {}
        for name, certificate in (("good", good), ("expired", expired)):
            self.redis[name] = stack.enter_context(
                ClosedRedis(self.ours, mutual=True, certificate=certificate)
            )
            self.redis[name].load(ACL)
            self.postgres[name] = stack.enter_context(
                ClosedPostgres(self.ours, method="cert", certificate=certificate)
            )
        self.postgres["good"].execute(f'CREATE ROLE "{USER}" LOGIN')
        self.postgres["good"].execute(f'CREATE DATABASE strongroom OWNER "{USER}"')
        self.client = self.ours.issue(USER)
        self.settings = load_settings({"STRONGROOM_STATE_DIR": str(folder / "state")})

    def ask_redis(self, server: str, host: str, ca: Path, client: Pair | None) -> None:
        url = self.redis[server].url_of(f"{USER}:CANARY-none", host)
        certificate, key = client or (None, None)
        found = BrokerSettings(url=url, ca_file=ca, certificate_file=certificate, key_file=key)
        broker.check(url, tls=broker.tls_options(found), seconds=PATIENCE)

    def ask_postgres(self, server: str, host: str, ca: Path, client: Pair | None) -> None:
        url = self.postgres[server].url_of(USER, "strongroom", host)
        certificate, key = client or (None, None)
        found = StateSettings(url=url, ca_file=ca, certificate_file=certificate, key_file=key)
        store = RunStore(database_url(replace(self.settings, state=found)))
        try:
            store.check()
        finally:
            store.close()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    if server_program() is None or program("postgres") is None:
        pytest.skip("no Redis, or no PostgreSQL")
    with ExitStack() as stack:
        yield Servers(stack, tmp_path_factory.mktemp("tls"))


class Asked(NamedTuple):
    ask: Callable[[Servers, str, str, Path, Pair | None], None]
    section: str
    refused: type[InstallationError]


KINDS = {
    "redis": Asked(Servers.ask_redis, "broker", BrokerUnavailable),
    "postgres": Asked(Servers.ask_postgres, "state", StateUnavailable),
}


@pytest.mark.parametrize("kind", KINDS)
def test_who_shows_a_good_certificate_to_the_right_server_is_let_in(servers: Servers, kind: str) -> None:
    KINDS[kind].ask(servers, "good", "localhost", servers.ours.ca, servers.client)


class Case(NamedTuple):
    why: str
    hint: str
    server: str = "good"
    host: str = "localhost"
    ca: Callable[[Servers], Path] = lambda made: made.ours.ca
    client: Callable[[Servers], Pair | None] = lambda made: made.client


REFUSED = {
    "another authority": Case("no authority we know", "'{}.ca_file'", ca=lambda made: made.other.ca),
    "no authorities": Case("cannot be told from another", "'{}.ca_file'", ca=lambda made: made.client[1]),
    "another name": Case("a certificate of another host", "not for '127.0.0.1'", host="127.0.0.1"),
    "another name, what to change": Case("another host", "'{}.url'", host="127.0.0.1"),
    "expired": Case("certificate that has expired", "Renew it on localhost", server="expired"),
    "none of ours": Case("asks for a client certificate", "'{}.certificate_file'", client=lambda _: None),
    "none of ours, its key": Case("asks for a client", "'{}.key_file'", client=lambda _: None),
    "ours of another authority": Case(
        "does not believe our certificate",
        "'{}.certificate_file'",
        client=lambda made: made.other.issue(USER),
    ),
    "ours has expired": Case(
        "ours ended on 20", "'{}.certificate_file'", client=lambda made: made.ours.issue(USER, expired=True)
    ),
    "the key of another": Case(
        "do not go together",
        "'{}.key_file'",
        client=lambda made: (made.client[0], made.other.issue(USER)[1]),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("kind", KINDS)
def test_each_refusal_names_its_cause_and_the_setting(servers: Servers, kind: str, case: str) -> None:
    asked, wrong = KINDS[kind], REFUSED[case]
    with pytest.raises(asked.refused) as caught:
        asked.ask(servers, wrong.server, wrong.host, wrong.ca(servers), wrong.client(servers))
    assert wrong.why in caught.value.message
    assert wrong.hint.format(asked.section) in caught.value.hint
    assert caught.value.transient, "it may be put right while a run waits"
    assert "CANARY" not in f"{caught.value.message} {caught.value.hint}"


def test_a_certificate_of_another_user_is_refused_by_the_database(servers: Servers) -> None:
    with pytest.raises(StateUnavailable, match="refuses our certificate for this user") as caught:
        servers.ask_postgres("good", "localhost", servers.ours.ca, servers.ours.issue("strongroom-page"))
    assert "common name" in caught.value.hint
    assert "'state.url'" in caught.value.hint


def test_a_key_that_others_can_read_is_not_shown_to_the_database(servers: Servers) -> None:
    client = servers.ours.issue(USER)
    client[1].chmod(0o644)
    with pytest.raises(StateUnavailable, match="others on this host can read the key") as caught:
        servers.ask_postgres("good", "localhost", servers.ours.ca, client)
    assert "'state.key_file'" in caught.value.hint


def test_a_port_without_tls_is_told_as_that() -> None:
    with RedisServer(port=free_port()) as server:
        url = f"rediss://localhost:{server.port}/0"
        with pytest.raises(BrokerUnavailable, match="speaks no TLS at that port") as caught:
            broker.check(url, tls=broker.tls_options(BrokerSettings(url=url)))
    assert "'broker.url'" in caught.value.hint


def test_a_database_on_another_host_is_known_by_the_authorities_of_this_system(servers: Servers) -> None:
    """psycopg's own client looks for ``system`` where no system has any."""
    if ssl.get_default_verify_paths().cafile is None:
        pytest.skip("this system believes nobody")
    found = replace(servers.settings, state=StateSettings(url="postgresql://u@db.example.org/strongroom"))
    options = dict(parse_qsl(urlsplit(database_url(found)).query))
    assert options["sslmode"] == "verify-full"
    assert Path(options["sslrootcert"]).is_file()
