"""A host joins by one token: what it brings, and every way in which it is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec import structs

from strongroom.cli.errors import CertificateAwaited, SignersUnsettled
from strongroom.errors import UsageError
from strongroom.keys import hostlist, joining, rolelist
from strongroom.keys.errors import HostRemoved, RoleNotHere, TokenRefused
from strongroom.state.errors import SchemaMismatch, StateUnavailable
from strongroom.state.migrations import HEAD
from strongroom.state.store import RunStore
from tests.cli.program import PASSPHRASE, ROOT, Done, Machine
from tests.hosts.conftest import Hosts
from tests.hosts.other_version import NEXT, next_version
from tests.patience import PATIENCE, until
from tests.process import free_port
from tests.redis_server import RedisServer
from tests.workers.cluster import up


def begun(machine: Machine, *words: str) -> dict[str, Any]:
    return machine.ok("cluster", "init", "--name", "ada", *words, "--json").document


def token(machine: Machine, *roles: str, span: str = "1h") -> str:
    words = [word for role in roles for word in ("--role", role)]
    found: str = machine.ok("cluster", "token", *words, "--for", span, "--json").document["token"]
    return found


def join(machine: Machine, given: str, name: str) -> Done:
    return machine.run("cluster", "join", given, "--name", name, "--no-wait", "--json")


def joined(first: Machine, machine: Machine, name: str, *roles: str) -> dict[str, Any]:
    """Have a host join, as where no process runs."""
    assert join(machine, token(first, *roles), name).failed_with(CertificateAwaited)
    first.ok("cluster", "certify")
    return machine.ok("cluster", "join", "--json").document


def waited(first: Machine, machine: Machine, name: str, *roles: str) -> Done:
    """Have a host join, and somebody certify it while it waits."""
    given, ended = token(first, *roles), list[Done]()
    waits = threading.Thread(
        target=lambda: ended.append(machine.run("cluster", "join", given, "--name", name))
    )
    waits.start()
    request = machine.state / "join-request.json"
    until(lambda: request.exists() or not waits.is_alive(), what="the request")
    assert not ended, ended
    first.ok("cluster", "certify")
    waits.join(PATIENCE)
    assert [done.code for done in ended] == [0], ended
    return ended[0]


def keys(machine: Machine) -> Path:
    return machine.state / "keys"


def events(database: str, *kinds: str) -> list[dict[str, Any]]:
    store = RunStore(database)
    found = [dict(event.detail) | {"kind": event.kind} for event in store.happened(*kinds, since=0.0)]
    store.close()
    return found


def test_a_host_that_joins_has_what_its_roles_need_and_no_more(
    first: Machine, another: Hosts, database: str
) -> None:
    ada = begun(first, "--role", "control", "--role", "submit")
    assert ada["roles"] == ["control", "submit"]
    bob = another("bob")
    done = joined(first, bob, "bob", "seal", "transfer")
    assert done["installation"] == ada["installation"]
    assert done["roles"] == ["seal", "transfer"]

    for name in ("work.key", "digest.key"):
        assert (keys(bob) / name).read_bytes() == (keys(first) / name).read_bytes()
    private = {path.name for path in (keys(bob) / "roles").glob("*.key")}
    assert private == {"seal.key", "transfer.key"}
    assert not list((keys(first) / "roles").glob("seal*.key")), "its private keys never left it"
    told = {role: {key.host for key in own} for role, own in rolelist.read(keys(bob) / "roles").roles.items()}
    assert told == {"control": {"ada"}, "submit": {"ada"}, "seal": {"bob"}, "transfer": {"bob"}}

    text = (bob.state / "strongroom.toml").read_text()
    assert "[workers]" not in text, "how much it does at once is each host's own"
    assert "# a spare" in text
    assert bob.ok("check", "config", "--json").document["settings"]["state"]["url"] == database
    hosts = {host["host"]: host for host in first.ok("cluster", "hosts", "--json").document["hosts"]}
    assert hosts["bob"]["roles"] == ["seal", "transfer"]
    assert not (keys(bob) / "roles" / "joining.json").exists()
    assert [event["kind"] for event in events(database, "cluster.joined", "cluster.certified")] == [
        "cluster.certified",
        "cluster.joined",
    ]


def test_a_command_gives_a_host_no_role_and_says_what_does(first: Machine, another: Hosts) -> None:
    begun(first, "--role", "control", "--role", "submit")
    first.set("app/a", "CANARY-a")
    backup = ("backup", "full.sr", "--include-values", "--force")
    refused = first.run(*backup, STRONGROOM_PASSPHRASE=PASSPHRASE)
    assert refused.failed_with(RoleNotHere), refused
    assert "strongroom cluster init --role seal" in refused.err
    assert hostlist.roles_of(keys(first) / "roles") == {"ada": ("control", "submit")}
    assert not list((keys(first) / "roles").glob("seal*")), "made, and listed nowhere"
    assert first.ok("runs", "list", "--json").document["runs"] == [], "it is refused before it is on record"

    begun(first, "--role", "seal")
    first.ok(*backup, STRONGROOM_PASSPHRASE=PASSPHRASE)
    bob = another("bob")
    joined(first, bob, "bob", "recover")
    refused = bob.run("ledger", "publish")
    assert refused.failed_with(RoleNotHere), refused
    assert "cluster token --role control" in " ".join(refused.err.split())


def test_a_host_that_joined_without_the_common_keys_makes_none_of_its_own(
    first: Machine, another: Hosts
) -> None:
    begun(first)
    bob = another("bob")
    joined(first, bob, "bob", "submit")
    assert bob.run("ledger", "publish").failed_with(RoleNotHere)
    assert not list(keys(bob).glob("*.key"))


def test_a_cluster_that_was_begun_without_the_common_keys_gets_them_as_it_says(
    first: Machine, another: Hosts
) -> None:
    """Earlier versions made them on first use, so a first host of few roles may have none."""
    begun(first, "--role", "control", "--role", "submit")
    lost = {path: path.read_bytes() for path in keys(first).glob("*.key")}
    for path in lost:
        path.unlink()
    refused = first.run("cluster", "token", "--role", "seal")
    assert refused.failed_with(RoleNotHere), refused
    assert "type 'strongroom cluster init --role ROLE'" in " ".join(refused.err.split())
    begun(first, "--role", "control")
    assert hostlist.roles_of(keys(first) / "roles") == {"ada": ("control", "submit")}
    bob = another("bob")
    joined(first, bob, "bob", "seal")
    assert {path.name: path.read_bytes() for path in keys(bob).glob("*.key")} == {
        path.name: path.read_bytes() for path in keys(first).glob("*.key")
    }

    for path in lost:
        path.unlink()
    refused = first.run("cluster", "init", "--role", "control")
    assert refused.failed_with(RoleNotHere), "bob has them, and others would part the two hosts"
    assert "from such a host" in " ".join(refused.err.split())
    for path in lost:
        shutil.copy(keys(bob) / path.name, path)
    begun(first, "--role", "control")


def test_another_token_gives_a_host_more_roles_and_nobody_else_its_name(
    first: Machine, another: Hosts
) -> None:
    begun(first)
    bob, eve = another("bob"), another("eve")
    joined(first, bob, "bob", "submit")
    before = (keys(bob) / "roles" / "submit.key").read_bytes()
    joined(first, bob, "bob", "submit", "seal")
    assert join(eve, token(first, "drill"), "bob").failed_with(CertificateAwaited)
    assert "called 'bob' already" in first.run("cluster", "certify").out
    assert hostlist.roles_of(keys(first) / "roles")["bob"] == ("seal", "submit")
    assert (keys(bob) / "roles" / "submit.key").read_bytes() == before
    assert (keys(bob) / "digest.key").read_bytes() == (keys(first) / "digest.key").read_bytes()


@pytest.mark.parametrize("role", ["seal", "beat", "page"])
def test_a_process_of_a_role_that_its_host_does_not_have_does_not_start(first: Machine, role: str) -> None:
    begun(first, "--role", "control")
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "workers", role],
        env=first.env | {"PYTHONPATH": str(ROOT), "STRONGROOM_PAGE__ACT": "true"},
        cwd=first.home,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert ended.returncode == RoleNotHere.exit_code, ended.stderr
    assert f"cluster init --role {role}" in ended.stderr
    assert hostlist.roles_of(keys(first) / "roles") == {"ada": ("control",)}


def test_a_host_that_lacks_files_of_the_configuration_has_joined_and_is_told_each(
    first: Machine, another: Hosts
) -> None:
    """What a setting names is in the folder of the configuration, and a token brings that alone."""
    first.ok("keys", "new", "--output", "recovery.key")
    file = first.path("strongroom.toml")
    file.write_text(
        file.read_text().replace("[broker]\n", '[broker]\npassword_file = "redis-operator"\n')
        + '[keys.recovery]\nkind = "hpke"\npublic_key_file = "recovery.key.pub"\n'
    )
    begun(first)
    said = waited(first, another("bob"), "bob", "seal").out
    assert "has joined as 'bob'" in said
    lacks, _, types = said.partition("\nWhat to type next\n")
    assert "keys.recovery.public_key_file: there is no such file" in lacks
    assert "strongroom up" in types

    eve = another("eve")
    eve.state.mkdir(parents=True)
    shutil.copy(first.path("recovery.key.pub"), eve.state)
    said = waited(first, eve, "eve", "seal").out
    assert f"broker.password_file: {eve.state / 'redis-operator'} is not there" in said


def test_two_hosts_have_keys_of_one_role_and_both_count(first: Machine, another: Hosts) -> None:
    begun(first)
    joined(first, another("bob"), "bob", "seal")
    joined(first, another("eve"), "eve", "seal")
    signing = {key.host for key in rolelist.read(keys(first) / "roles").of("seal") if key.signs}
    assert signing == {"ada", "bob", "eve"}
    another("bob").ok("cluster", "hosts")
    told = {key.host for key in rolelist.read(keys(another("bob")) / "roles").of("seal") if key.signs}
    assert told == signing


def test_a_token_serves_once(first: Machine, another: Hosts, database: str) -> None:
    begun(first)
    given = token(first, "seal")
    assert join(another("bob"), given, "bob").failed_with(CertificateAwaited)
    stolen = join(another("eve"), given, "eve")
    assert stolen.failed_with(TokenRefused)
    assert "used up by host 'bob'" in stolen.err
    assert not (keys(another("eve")) / "work.key").exists()
    assert join(another("bob"), given, "bob").failed_with(CertificateAwaited), "the same host goes on"
    [refused] = events(database, "cluster.refused")
    assert (refused["host"], "used up" in refused["why"]) == ("eve", True)


def test_a_token_that_is_over_or_cut_is_refused(first: Machine, another: Hosts, database: str) -> None:
    begun(first)
    given = token(first, "seal", span="1m")
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("UPDATE joins SET expires_at = expires_at - 61")
    late = join(another("bob"), given, "bob")
    assert late.failed_with(TokenRefused)
    assert "is over" in late.err
    assert "is over" in events(database, "cluster.refused")[0]["why"]
    over = structs.replace(joining.parse(given), expires=0)  # as the host that joins reads it
    assert join(another("dan"), over.text(), "dan").failed_with(TokenRefused)
    assert [event["host"] for event in events(database, "cluster.refused")] == ["bob", "dan"]
    assert join(another("bob"), token(first, "seal"), "bob").failed_with(CertificateAwaited), "a good one"
    assert join(another("eve"), given[:-9], "eve").failed_with(UsageError)
    assert given[20:40] not in join(another("eve"), given[:-9], "eve").err


def test_whoever_writes_to_the_database_forges_neither_request_nor_parcel(
    first: Machine, another: Hosts, database: str
) -> None:
    begun(first)
    given = token(first, "seal")
    bob = another("bob")
    assert join(bob, given, "bob").failed_with(CertificateAwaited)
    with psycopg.connect(database, autocommit=True) as conn:
        [(text,)] = conn.execute("SELECT request FROM joins").fetchall()
        asked = json.loads(text)
        for changed in (
            asked | {"keys": {"recover": asked["keys"]["seal"]}},
            asked | {"keys": {"seal": "ab" * 32}},
            asked | {"host": "mallory"},
        ):
            conn.execute("UPDATE joins SET request = %s", [json.dumps(changed)])
            refused = first.run("cluster", "certify")
            assert refused.failed_with(TokenRefused), changed
        conn.execute("UPDATE joins SET request = %s", [text])
    first.ok("cluster", "certify")
    assert "recover" not in {
        role
        for role, own in rolelist.read(keys(first) / "roles").roles.items()
        if any(key.host != "ada" for key in own)
    }
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("UPDATE joins SET parcel = 'AAAA'")
    before = len(events(database, "cluster.refused"))
    assert join(bob, given, "bob").failed_with(TokenRefused)
    assert [event["host"] for event in events(database, "cluster.refused")[before:]] == ["bob"]


def test_a_token_used_again_by_a_database_that_forgot_certifies_nobody_else(
    first: Machine, another: Hosts, database: str
) -> None:
    begun(first)
    given = token(first, "seal")
    assert join(another("bob"), given, "bob").failed_with(CertificateAwaited)
    first.ok("cluster", "certify")
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("UPDATE joins SET used_at = NULL, used_by = NULL, request = NULL")
    assert join(another("eve"), given, "eve").failed_with(CertificateAwaited)
    refused = first.run("cluster", "certify")
    assert refused.failed_with(TokenRefused)
    assert "used up by another request" in refused.out


def test_an_older_list_that_is_put_back_brings_nobody_back(
    first: Machine, another: Hosts, database: str
) -> None:
    begun(first)
    joined(first, another("bob"), "bob", "seal")
    joined(first, another("eve"), "eve", "transfer")
    with psycopg.connect(database, autocommit=True) as conn:
        before = conn.execute("SELECT * FROM signed_lists WHERE kind = 'hosts'").fetchall()
    first.ok("cluster", "remove", "bob", "--reason", "laptop lost", "--force")
    another("eve").ok("cluster", "hosts")
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("DELETE FROM signed_lists")
        for row in before:
            conn.execute("INSERT INTO signed_lists VALUES (%s, %s, %s, %s)", row)
        forged = before[-1]
        conn.execute("INSERT INTO signed_lists VALUES ('hosts', 999, 'x', %s)", [forged[3]])
        conn.execute("INSERT INTO signed_lists VALUES ('hosts', 1000, 'y', 'AAAA')")
    for machine in (first, another("eve")):
        found = {host["host"]: host for host in machine.ok("cluster", "hosts", "--json").document["hosts"]}
        assert found["bob"]["state"] == "removed"
        assert found["bob"]["reason"] == "laptop lost"
        gone = rolelist.read(keys(machine) / "roles").on("bob", "seal")
        # By more than its end: a clock that is set back would be before that.
        assert [(key.signs, key.removed, key.accepts(datetime(2026, 1, 1, tzinfo=UTC))) for key in gone] == [
            (False, True, False)
        ]
    with psycopg.connect(database) as conn:
        numbers = conn.execute("SELECT max(number) FROM signed_lists WHERE number < 900").fetchone()
    assert numbers is not None
    assert numbers[0] > before[-1][1], "whoever has the newest puts it back"


def test_a_removed_host_is_told_and_may_join_again_with_new_keys(
    first: Machine, another: Hosts, database: str
) -> None:
    begun(first)
    bob = another("bob")
    joined(first, bob, "bob", "seal", "submit")
    first.ok("cluster", "remove", "bob", "--reason", "gone", "--force")
    bob.ok("cluster", "hosts")
    assert "removed from the installation" in "\n".join(
        bob.ok("check", "config", "--json").document["remarks"]
    )
    bob.clear()
    joined(first, bob, "bob", "seal")
    assert [host["state"] for host in bob.ok("cluster", "hosts", "--json").document["hosts"]] == [
        "never heard",
        "never heard",
    ]
    assert len(events(database, "cluster.removed")) == 1


def test_up_ends_on_a_host_that_is_removed_and_does_not_start_there_again(
    first: Machine, another: Hosts
) -> None:
    begun(first)
    bob = another("bob")
    joined(first, bob, "bob", "transfer")
    with RedisServer(port=free_port()) as redis:
        bob.env["STRONGROOM_BROKER__URL"] = redis.broker_url
        with up(bob) as running:
            first.ok("cluster", "remove", "bob", "--reason", "laptop lost", "--force")
            assert running.wait() == HostRemoved.exit_code, running.errors()
    assert "laptop lost" in running.answer() + running.errors()
    assert bob.run("up").failed_with(HostRemoved)
    alone = [sys.executable, "-P", "-m", "workers", "transfer"]
    status = f"RestartPreventExitStatus={HostRemoved.exit_code}"
    ended = subprocess.run(alone, cwd=bob.home, env=bob.env, check=False, timeout=PATIENCE)
    assert ended.returncode == HostRemoved.exit_code
    units = [unit.read_text() for unit in (ROOT / "ops" / "systemd").glob("*.service")]
    assert all(status in unit for unit in units if "Restart=always" in unit)


def test_the_keys_of_a_host_that_leaked_are_distrusted_everywhere(first: Machine, another: Hosts) -> None:
    begun(first)
    joined(first, another("bob"), "bob", "control")
    joined(first, another("eve"), "eve", "seal")
    done = first.run("cluster", "remove", "bob", "--leaked", "--reason", "stolen", "--force")
    assert done.failed_with(SignersUnsettled), "no target takes the list: recover.py does not learn of it"
    another("eve").ok("cluster", "hosts")
    [key] = rolelist.read(keys(another("eve")) / "roles").on("bob", "control")
    assert (bool(key.distrusted), key.reason) == (True, "stolen")


def test_with_the_installation_key_offline_a_file_goes_there_and_one_comes_back(
    first: Machine, another: Hosts, database: str, tmp_path: Path
) -> None:
    begun(first, "--role", "control")
    first.ok("keys", "signers", "offline", "--to", tmp_path / "installation.key")
    bob = another("bob")
    waiting = join(bob, token(first, "seal"), "bob")
    assert waiting.failed_with(CertificateAwaited)
    safe = another("safe")  # a machine without network, database and configuration
    answer = safe.ok(
        *("cluster", "certify", bob.state / "join-request.json", "--to", "answer.json", "--force"),
        *("--installation-key", tmp_path / "installation.key", "--json"),
    )
    assert answer.document["certified"][0]["host"] == "bob"
    forged = tmp_path / "forged.json"
    forged.write_bytes(safe.path("answer.json").read_bytes().replace(b'"bob"', b'"eve"'))
    assert bob.run("cluster", "join", "--answer", forged).failed_with(TokenRefused)
    assert "no host list" in events(database, "cluster.refused")[-1]["why"]
    bob.ok("cluster", "join", "--answer", safe.path("answer.json"))
    first.ok("cluster", "hosts")
    assert [key.host for key in rolelist.read(keys(first) / "roles").of("seal") if key.signs] == ["bob"]


def test_a_join_that_waits_goes_on_once_somebody_certifies(first: Machine, another: Hosts) -> None:
    begun(first)
    assert "strongroom-worker@seal" in waited(first, another("bob"), "bob", "seal").out


def test_a_join_that_is_killed_anywhere_goes_on(first: Machine, another: Hosts) -> None:
    """Whatever of it was done is found; the keys are the same ones."""
    begun(first)
    given = joining.parse(token(first, "seal", "transfer"))
    bob = another("bob")
    folder = keys(bob) / "roles"
    joining.ask(folder, given, host="bob")  # killed before anything was written down
    made = {path.name: path.read_bytes() for path in folder.glob("*.next.key")}
    assert join(bob, given.text(), "bob").failed_with(CertificateAwaited)
    (keys(bob) / "digest.key").unlink()  # and in the midst of taking over what came
    (bob.state / "strongroom.toml").unlink()
    assert join(bob, given.text(), "bob").failed_with(CertificateAwaited)
    first.ok("cluster", "certify")
    bob.ok("cluster", "join")
    assert {
        path.name.replace(".key", ".next.key"): path.read_bytes() for path in folder.glob("*.key")
    } == made
    assert (keys(bob) / "digest.key").exists()


def test_a_join_that_has_begun_is_not_ended_by_whoever_takes_its_token_from_the_database(
    first: Machine, another: Hosts, database: str
) -> None:
    begun(first)
    bob = another("bob")
    assert join(bob, token(first, "seal"), "bob").failed_with(CertificateAwaited)
    with psycopg.connect(database, autocommit=True) as conn:
        before = conn.execute("SELECT * FROM joins").fetchall()
        conn.execute("DELETE FROM joins")
        assert bob.run("cluster", "join").failed_with(TokenRefused)
        conn.execute(f"INSERT INTO joins VALUES ({', '.join(['%s'] * len(before[0]))})", before[0])
    first.ok("cluster", "certify")
    bob.ok("cluster", "join")


def test_a_host_of_another_installation_does_not_join(first: Machine, another: Hosts) -> None:
    begun(first)
    bob = another("bob")
    bob.set("a", "CANARY-VALUE")
    bob.seal()
    before = {path: path.read_bytes() for path in keys(bob).rglob("*") if path.is_file()}
    refused = join(bob, token(first, "seal"), "bob")
    assert refused.failed_with(UsageError)
    assert "another installation" in refused.err
    assert {path: path.read_bytes() for path in keys(bob).rglob("*") if path.is_file()} == before


def test_several_hosts_need_a_database_and_a_broker_that_all_reach(another: Hosts) -> None:
    alone = another("alone")
    refused = alone.run("cluster", "init")
    assert "PostgreSQL" in refused.err
    assert refused.code == 3
    assert "cluster init" in alone.run("cluster", "token", "--role", "seal").err or refused.code == 3


def test_hosts_without_a_stage_are_told_of_at_once_and_by_every_view_once_they_work(
    first: Machine, another: Hosts, database: str, tmp_path: Path
) -> None:
    file = first.path("strongroom.toml")
    policy = '[sources.local]\nkind = "local"\n[targets.eu]\nkind = "directory"\nregion = "eu"\npath = "/t"\n'
    policy += (
        '[keys.k]\nkind = "passphrase"\n[policies.p]\nkind = "full"\ntargets = ["eu"]\nrecipients = ["k"]\n'
    )
    policy += "quorum = 1\nregions = 1\n"
    says = "There is no [stages.default]"
    assert says in first.ok("cluster", "init", "--name", "ada").err
    assert says in first.ok("cluster", "token", "--role", "seal").err
    joined(first, another("bob"), "bob", "seal")
    store = RunStore(database)
    for host, role in (("ada", "control"), ("bob", "seal")):
        store.report_process(host, role, version="1")
    file.write_text(file.read_text() + policy.replace("/t", str(tmp_path / "eu")))

    def alerted() -> list[str]:
        alerts = first.run("alerts", "--json").document["alerts"]
        return [alert["what"] for alert in alerts if alert["kind"] == "stage.unshared"]

    [what] = alerted()
    assert "2 hosts" in what
    assert "ada, bob" in what
    assert what in first.run("check").out.replace("\n", " ")
    stage = f'[stages.default]\nkind = "directory"\nregion = "stage"\npath = "{tmp_path / "stage"}"\n'
    file.write_text(file.read_text() + stage)
    assert alerted() == []
    assert says not in first.ok("cluster", "token", "--role", "seal").err
    store.close()


@pytest.mark.parametrize(
    "oldest", [pytest.param(HEAD, id="beside", marks=pytest.mark.long), pytest.param(NEXT, id="instead")]
)
def test_a_join_goes_on_though_a_newer_version_migrates_the_database_meanwhile(
    first: Machine, another: Hosts, database: str, tmp_path: Path, oldest: str
) -> None:
    begun(first)
    bob, eve = another("bob"), another("eve")
    assert join(bob, token(first, "seal"), "bob").failed_with(CertificateAwaited)
    later = token(first, "transfer")
    tree = next_version(tmp_path / "next", oldest=oldest)

    def newer(machine: Machine, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "strongroom.cli", *words]
        env = machine.env | {"PYTHONPATH": str(tree)}
        return subprocess.run(
            command, env=env, cwd=machine.home, capture_output=True, text=True, check=False, timeout=PATIENCE
        )

    assert newer(first, "cluster", "hosts").returncode == StateUnavailable.exit_code, "it changes nothing"
    assert newer(first, "runs").returncode == 0
    with psycopg.connect(database) as conn:
        assert conn.execute("SELECT version_num FROM alembic_version").fetchall() == [(NEXT,)]
    if oldest == HEAD:  # what asked before goes on, in the version that it asked in
        first.ok("cluster", "certify")
        bob.ok("cluster", "join")
    else:
        assert first.run("cluster", "certify").failed_with(SchemaMismatch)
        assert bob.run("cluster", "join").failed_with(SchemaMismatch)
        assert newer(first, "cluster", "certify").returncode == 0
        assert newer(bob, "cluster", "join").returncode == 0
    waits = newer(eve, "cluster", "join", later, "--name", "eve", "--no-wait")
    assert waits.returncode == CertificateAwaited.exit_code, waits.stderr
    assert newer(first, "cluster", "certify").returncode == 0
    ended = newer(eve, "cluster", "join")
    assert ended.returncode == 0, ended.stderr
    shown = json.loads(newer(first, "cluster", "hosts", "--json").stdout)["hosts"]
    assert {host["host"]: host["roles"] for host in shown if host["host"] != "ada"} == {
        "bob": ["seal"],
        "eve": ["transfer"],
    }
    assert keys(bob).joinpath("work.key").read_bytes() == keys(eve).joinpath("work.key").read_bytes()


def test_nothing_of_a_token_or_what_it_brings_is_in_the_clear_in_the_database(
    first: Machine, database: str
) -> None:
    begun(first)
    given = joining.parse(token(first, "seal"))
    with psycopg.connect(database) as conn:
        rows = repr(conn.execute("SELECT * FROM joins").fetchall()) + repr(
            conn.execute("SELECT detail FROM events").fetchall()
        )
    work = (keys(first) / "work.key").read_text().split()[2]
    for secret in (given.secret, work, given.derived(b"parcel").hex(), given.derived(b"request").hex()):
        assert secret not in rows
    granted = next((keys(first) / "roles" / "tokens").iterdir())
    assert given.secret not in granted.read_text()
    assert granted.stat().st_mode & 0o077 == 0
