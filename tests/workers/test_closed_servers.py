"""A cluster each of whose roles has users of its own on a Redis and a PostgreSQL that speak TLS alone.

What ``cluster rules`` prints is loaded as it is. With it everything runs, and each role is refused elsewhere.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http import HTTPStatus
from pathlib import Path

import psycopg
import pytest
from kombu import Connection
from redis import Redis
from redis.exceptions import NoPermissionError

from strongroom.config import BrokerSettings
from strongroom.operations.rights.database import database_users
from strongroom.state.records import RunState
from strongroom.state.store import RunStore
from strongroom.state.tables import metadata
from tests.cli.program import Machine
from tests.closed_servers import ClosedPostgres, ClosedRedis
from tests.live.certificates import Authority
from tests.patience import PATIENCE, until
from tests.process import ends_with_this, free_port
from tests.redis_server import server_program
from tests.workers.visitor import Visitor
from workers import broker, names, page_server, transport
from workers.errors import BrokerRefused

CONFIG = """
[broker]
url = "rediss://127.0.0.1:{redis}/0"
ca_file = "{ca}"
[state]
url = "postgresql://strongroom-submit@127.0.0.1:{postgres}/strongroom"
ca_file = "{ca}"
[keys.recovery]
kind = "passphrase"
iterations = 100000
[page]
act = true
[drill]
policy = "weekly-critical"
[policies.weekly-critical]
kind = "full"
targets = ["region-a", "region-b", "region-c"]
recipients = ["recovery"]
"""
BACKUP = (names.CONTROL, names.SEAL, names.TRANSFER, names.VERIFY)
DENIED = "grants this login too little"
"""What is said of SQLSTATE 42501. The number itself may be a part of a moment or of a digest."""
DRILL = (*BACKUP, names.DRILL, names.BEAT)
"""Those that each test needs; each takes seconds to start."""


class Closed:
    """Both servers, and a machine whose processes log in each as its role."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.authority = Authority(folder / "ca")
        self.redis = stack.enter_context(ClosedRedis(self.authority))
        self.postgres = stack.enter_context(ClosedPostgres(self.authority))
        self.postgres.execute("CREATE DATABASE strongroom")
        self.machine = Machine(folder / "home")
        self.passwords = folder / "passwords"
        self.machine.env |= {
            "STRONGROOM_PASSPHRASE": "CANARY-passphrase",
            "STRONGROOM_CONFIG": str(self.config),
        }
        self.config.write_text(
            CONFIG.format(redis=self.redis.tls_port, postgres=self.postgres.tls_port, ca=self.authority.ca)
        )
        self.machine.ok("runs", STRONGROOM_STATE__URL=self.postgres.url("strongroom"))
        self.redis.load(self.rules("redis"))
        done = self.postgres.run(self.rules("postgres"), "strongroom")
        assert done.returncode == 0, done.stderr
        self._stack = stack
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def config(self) -> Path:
        return self.machine.path("strongroom.toml")

    def rules(self, where: str, *words: str) -> str:
        return self.machine.ok("cluster", "rules", where, "--passwords", self.passwords, *words).out

    def env(self, role: str) -> dict[str, str]:
        """What the environment of a role's host says besides."""
        return {
            "STRONGROOM_BROKER__URL": self.redis.url_of(f"strongroom-{role}"),
            "STRONGROOM_BROKER__PASSWORD_FILE": str(self.passwords / f"redis-{role}"),
            "STRONGROOM_STATE__URL": self.postgres.url_of(f"strongroom-{role}", "strongroom"),
            "STRONGROOM_STATE__PASSWORD_FILE": str(self.passwords / f"postgres-{role}"),
        }

    def start(self, roles: tuple[str, ...]) -> None:
        for role in (role for role in roles if role not in self.processes):
            self._run(role, "-m", "workers", role)

    def up(self) -> None:
        """Start a cluster whose processes share one login, the operator's."""
        self._run("operator", "-m", "tests.workers.up", "--started", *BACKUP)

    def _run(self, role: str, *words: str) -> None:
        log = self._stack.enter_context((self.machine.home / f"{role}.log").open("wb"))
        self.processes[role] = subprocess.Popen(
            [*ends_with_this(), sys.executable, "-P", *words],
            cwd=self.machine.home,
            env=self.machine.env | self.env(role) | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-1500:] for path in self.machine.home.glob("*.log"))

    def as_role(self, role: str) -> Redis:
        return Redis(
            port=self.redis.tls_port,
            ssl=True,
            ssl_ca_certs=str(self.authority.ca),
            username=f"strongroom-{role}",
            password=(self.passwords / f"redis-{role}").read_text().strip(),
        )

    def sql(self, role: str, statement: str) -> None:
        password = (self.passwords / f"postgres-{role}").read_text().strip()
        url = self.postgres.url_of(f"strongroom-{role}", "strongroom")
        with psycopg.connect(
            url, password=password, sslmode="verify-full", sslrootcert=str(self.authority.ca)
        ) as connection:
            connection.execute(statement.encode())


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    if server_program() is None:
        pytest.skip("no Redis")
    with ExitStack() as stack:
        made = Closed(stack, tmp_path_factory.mktemp("closed"))
        try:
            yield made
        finally:
            made.stop()


def assert_it_ends_well_and_nobody_is_refused(closed: Closed, *words: str, by: str = "submit") -> None:
    store = RunStore(closed.postgres.url("strongroom"))
    try:
        told = closed.machine.ok(*words, "--json", **closed.env(by)).document
        run = until(
            lambda: found if (found := store.load(told["run"])).state.final else None,
            what=lambda: f"the end of {words}\n{closed.log}",
        )
        assert (run.state, run.error) == (RunState.DONE, None)
    finally:
        store.close()
    with closed.redis.admin() as admin:
        assert [entry for entry in admin.acl_log() if entry["reason"] != "auth"] == []
    for log in closed.machine.home.glob("*.log"):
        assert DENIED not in log.read_text(errors="replace"), f"{log.name}\n{closed.log}"


@pytest.mark.timeout(900)
def test_with_what_is_printed_a_backup_is_made_and_nobody_is_refused(closed: Closed) -> None:
    closed.machine.set("app/1", "CANARY-value")
    closed.start(BACKUP)
    assert_it_ends_well_and_nobody_is_refused(closed, "backup", "--policy", "weekly-critical", "--cluster")


def test_a_host_that_runs_up_has_one_login_for_all_of_it_the_operators(tmp_path: Path) -> None:
    """Its processes share their settings, so no role's own user would do for the others."""
    if server_program() is None:
        pytest.skip("no Redis")
    with ExitStack() as stack:
        host = Closed(stack, tmp_path / "host")
        host.redis.load(host.rules("redis") + host.rules("redis", "--role", "operator"))
        host.machine.set("app/1", "CANARY-value")
        host.up()
        try:
            words = ("backup", "--policy", "weekly-critical", "--cluster")
            assert_it_ends_well_and_nobody_is_refused(host, *words, by="operator")
        finally:
            host.stop()
        assert "strongroom-operator" not in host.rules("redis"), "only whoever asks for it gets it"


@pytest.mark.timeout(900)
@pytest.mark.long
def test_with_what_is_printed_a_drill_is_made_and_nobody_is_refused(closed: Closed) -> None:
    closed.machine.set("app/1", "CANARY-value")
    closed.start(DRILL)
    assert_it_ends_well_and_nobody_is_refused(closed, "backup", "--policy", "weekly-critical", "--cluster")
    assert_it_ends_well_and_nobody_is_refused(closed, "schedule", "run", "full-drill")


@pytest.mark.timeout(900)
def test_with_what_is_printed_people_act_on_the_page_and_nobody_is_refused(closed: Closed) -> None:
    """The page has no right but to ask the control pool, which does what it was asked for."""
    closed.machine.env["STRONGROOM_PAGE__PORT"] = str(port := free_port())
    read_only = closed.machine.ok("cluster", "rules", "redis", STRONGROOM_PAGE__ACT="false").out
    assert "strongroom-page" not in read_only
    assert "strongroom-page" in closed.rules("redis")
    closed.start((names.CONTROL, names.PAGE))
    password = closed.machine.state / "run" / page_server.GENERATED
    until(password.exists, what=lambda: f"the page\n{closed.log}")
    someone = Visitor(port)
    until(lambda: _logged_in(someone, password.read_text().strip()), what="the login")

    told = someone.do("/act/run?of=verification", of="verification")

    assert "It is done" in told, closed.log
    with closed.redis.admin() as admin:
        assert [entry for entry in admin.acl_log() if entry["reason"] != "auth"] == []
    with closed.as_role("page") as client:
        for forbidden in (
            lambda: client.lpush("seal", b"CANARY"),
            lambda: client.rpop("control"),
            lambda: client.publish("/0.celery.pidbox", b"CANARY"),
        ):
            with pytest.raises(NoPermissionError):
                forbidden()


@pytest.mark.parametrize("takes", [True, False])
def test_who_only_gets_answers_looks_for_nothing_to_hand_out_again(
    closed: Closed, monkeypatch: pytest.MonkeyPatch, takes: bool
) -> None:
    """Flower's user has no right to: kombu would look all the same, and that would be told as an attack."""
    refused: list[object] = []
    monkeypatch.setattr(transport.StrictTransport, "refuse", staticmethod(refused.append))
    monkeypatch.setattr(transport.StrictQoS, "acknowledges", True)
    transport.install(refused.append, takes=takes)
    password = (closed.passwords / "redis-watch").read_text().strip()
    url = closed.redis.url_of(f"strongroom-watch:{password}")
    with Connection(url, ssl={"ssl_ca_certs": str(closed.authority.ca)}) as connection:
        connection.channel().qos.restore_visible(num=1)
    assert bool(refused) == takes
    with closed.redis.admin() as admin:
        admin.acl_log_reset()


def _logged_in(someone: Visitor, password: str) -> bool:
    with suppress(ConnectionRefusedError):
        return someone.log_in(password).status == HTTPStatus.SEE_OTHER
    return False


def test_no_password_is_printed(closed: Closed) -> None:
    printed = closed.rules("redis") + closed.rules("postgres")
    for file in closed.passwords.iterdir():
        assert file.read_text().strip() not in printed
        assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("role", names.QUEUES)
def test_a_role_takes_from_no_queue_but_its_own_and_may_command_nothing(closed: Closed, role: str) -> None:
    with closed.as_role(role) as client:
        assert client.llen(role) >= 0
        for other in set(names.QUEUES) - {role}:
            for forbidden in (
                lambda o=other: client.rpop(o),
                lambda o=other: client.hgetall(f"strongroom.unacked.{o}"),
            ):
                with pytest.raises(NoPermissionError):
                    forbidden()
        for words in ("CONFIG GET dir", "ACL LIST", "KEYS *", "FLUSHALL", "MONITOR", "SAVE"):
            with pytest.raises(NoPermissionError):
                client.execute_command(*words.split())


BEYOND = {
    "seal": ("recover", "prune", "drill"),
    "transfer": ("recover", "prune", "drill"),
    "page": ("seal", "recover", "prune", "transfer"),
    "beat": ("seal", "recover", "prune", "transfer"),
    "watch": names.QUEUES,
}
"""Queues that a role sends nothing to."""


@pytest.mark.parametrize("role", BEYOND)
def test_a_role_asks_for_nothing_of_pools_that_its_runs_do_not_need(closed: Closed, role: str) -> None:
    with closed.as_role(role) as client:
        for queue in BEYOND[role]:
            with pytest.raises(NoPermissionError):
                client.lpush(queue, b"CANARY")


def test_what_only_reads_is_no_user_of_the_broker(closed: Closed) -> None:
    assert "strongroom-metrics" not in closed.rules("redis")


def test_without_a_user_nothing_is_answered(closed: Closed) -> None:
    tls = broker.tls_options(BrokerSettings(url=closed.redis.broker_url, ca_file=closed.authority.ca))
    with pytest.raises(BrokerRefused, match="refuses the login"):
        broker.check(closed.redis.broker_url, tls=tls)


REFUSED_TO_ALL = (
    "UPDATE events SET kind = 'CANARY'",
    "DELETE FROM events",
    "TRUNCATE events",
    "DELETE FROM runs",
    "CREATE TABLE canary (x int)",
    "ALTER TABLE runs ADD COLUMN canary int",
    "DROP TABLE runs",
    "UPDATE alembic_version SET version_num = 'CANARY'",
    "CREATE ROLE canary",
    "COPY runs TO PROGRAM 'true'",
)
REFUSED = {
    "page": (
        "INSERT INTO runs SELECT * FROM runs",
        "UPDATE steps SET state = 'CANARY'",
        "DELETE FROM catalog",
    ),
    "beat": (
        "UPDATE runs SET state = 'CANARY'",
        "DELETE FROM catalog",
        "INSERT INTO steps SELECT * FROM steps",
    ),
    "seal": ("DELETE FROM slots", "DELETE FROM alerts", "DELETE FROM pauses", "DELETE FROM joins"),
    "submit": ("UPDATE steps SET state = 'CANARY'", "DELETE FROM catalog", "DELETE FROM leases"),
    "operator": (),
    "control": ("DELETE FROM joins", "DELETE FROM pauses", "DELETE FROM access_marks"),
    "transfer": ("DELETE FROM slots", "DELETE FROM secret_rotations", "DELETE FROM joins"),
    "verify": ("DELETE FROM slots", "DELETE FROM alerts", "DELETE FROM secret_rotations"),
    "drill": ("DELETE FROM slots", "DELETE FROM access_marks", "DELETE FROM secret_rotations"),
    "recover": ("DELETE FROM slots", "DELETE FROM joins", "DELETE FROM pauses"),
    "prune": ("DELETE FROM slots", "DELETE FROM secret_rotations", "DELETE FROM signed_lists"),
    "watch": ("INSERT INTO runs SELECT * FROM runs", "DELETE FROM alerts"),
    "metrics": ("UPDATE steps SET state = 'CANARY'", "DELETE FROM replicas", "DELETE FROM alerts"),
}


@pytest.mark.parametrize("role", REFUSED)
def test_a_role_writes_in_no_table_that_is_not_its_own(closed: Closed, role: str) -> None:
    closed.sql(role, "SELECT count(*) FROM runs")
    for statement in (*REFUSED_TO_ALL, *REFUSED[role]):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            closed.sql(role, statement)


def test_the_tables_of_each_schema_are_all_granted() -> None:
    for user in database_users():
        assert set(user.tables) == {*metadata.tables, "alembic_version"}
