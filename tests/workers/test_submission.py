"""A submission that was answered with success has its run on record, whatever broker and database do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from kombu.utils.json import dumps
from msgspec.structs import replace

import strongroom
from strongroom.config import BrokerSettings, load_settings
from strongroom.config.live import LiveSettings
from strongroom.errors import ConfigError
from strongroom.keys.keyring import Keyring
from strongroom.operations.errors import NotYetSeen
from strongroom.state.errors import RunNotFound
from strongroom.state.records import Run, RunKind, RunState, StepState
from strongroom.state.store import RunStore
from tests.patience import PATIENCE, until
from tests.postgres import PostgresServer
from tests.postgres import postgres_server as postgres_server  # noqa: PLC0414  # a fixture is found by name
from tests.redis_server import RedisServer
from tests.workers.cluster import RunningCluster
from tests.workers.test_pipeline import BACKUP, Installation
from tests.workers.test_worker_refuses import shell
from workers import names, paths, submission_receipts
from workers.app import Strongroom
from workers.envelope import seal

POLICY = "weekly-critical"
SCRIPT = Path(sys.executable).parent / "strongroom"


@pytest.fixture
def installation(cluster: RunningCluster) -> Iterator[Installation]:
    made = Installation(cluster)
    yield made
    made.store.close()


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A database server that a test may stop."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def on_postgres(installation: Installation, own_postgres: PostgresServer) -> Iterator[Installation]:
    installation.store.close()
    url = own_postgres.new_database()
    installation.cluster.environment["STRONGROOM_STATE__URL"] = url
    installation.store = RunStore(url)
    yield installation
    installation.cluster.close()


def begin_submit(installation: Installation) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(SCRIPT), "backup", "--policy", POLICY, "--cluster", "--json"],
        env=installation.cluster.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def met_it(installation: Installation) -> bool:
    lines = installation.cluster.log.splitlines()
    return any("strongroom.backup.full" in line and "StateUnavailable" in line for line in lines)


def test_a_run_is_made_though_the_broker_was_emptied_before_its_message_was_read(
    installation: Installation,
) -> None:
    installation.start("seal")
    request = installation.ask()
    with installation.redis() as redis:
        assert any(b"strongroom.backup.full" in message for message in redis.lrange("control", 0, -1))
        redis.flushall()
    (row,) = installation.store.rows(installation.store.find(request).id)
    assert row.state is StepState.READY
    assert installation.cluster.stop() == 0

    installation.start(*BACKUP)

    assert installation.finished(request).state is RunState.DONE
    assert len(installation.backups()) == 1


def test_a_submission_while_the_database_is_away_makes_one_run_whether_the_cluster_answers_in_time_or_not(
    on_postgres: Installation, own_postgres: PostgresServer
) -> None:
    on_postgres.start(*BACKUP)
    own_postgres.kill()
    submitting = begin_submit(on_postgres)
    until(lambda: met_it(on_postgres), what="the control pool to meet the outage")
    own_postgres.start()

    told, complaint = submitting.communicate(timeout=PATIENCE)

    assert submitting.returncode == 0, complaint
    answer = json.loads(told)
    run = on_postgres.finished(answer["id"])
    assert (run.id, run.state) == (answer["run"], RunState.DONE)
    assert [run.id for run in on_postgres.backups()] == [answer["run"]]
    (event,) = on_postgres.store.events(kind="submission-delayed")
    assert event.detail["request"] == answer["id"]

    # The second time nobody answers: that is no success, and the run is made all the same.
    own_postgres.kill()

    told, complaint = (submitting := begin_submit(on_postgres)).communicate(timeout=PATIENCE)

    assert submitting.returncode == NotYetSeen.exit_code, complaint
    error = json.loads(told)["error"]
    request = error["message"].split()[1]
    assert f"'strongroom runs show {request}'" in error["hint"]
    own_postgres.start()
    assert on_postgres.finished(request).state is RunState.DONE
    assert len(on_postgres.backups()) == 2


INTERRUPTED = f"""
import signal
from tasks.backup import full_backup
from workers import submission_receipts
submission_receipts.wait = lambda *_: signal.raise_signal(signal.SIGINT)
try: full_backup.delay(policy={POLICY!r})
except KeyboardInterrupt as stopped: print(*stopped.__notes__)
"""


def test_whoever_is_interrupted_before_the_cluster_answers_is_told_that_it_may_go_on(
    on_postgres: Installation, own_postgres: PostgresServer
) -> None:
    on_postgres.start("control")
    own_postgres.kill()
    words, environment = [sys.executable, "-c", INTERRUPTED], on_postgres.cluster.environment
    told = subprocess.run(
        words, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True
    ).stdout
    request = told.rpartition("strongroom runs show ")[2].split("'")[0]
    own_postgres.start()
    run = until(lambda: known(on_postgres, request), what="its run")
    assert run.spec.policy == POLICY


def known(installation: Installation, request: str) -> Run | None:
    with suppress(RunNotFound):
        return installation.store.find(request)
    return None


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A cluster with all its pools, for tests that ask it for something and leave it running."""
    yield from running(tmp_path_factory.mktemp("working"))


def running(folder: Path, *pools: str) -> Iterator[Installation]:
    cluster = RunningCluster(folder / "state")
    made = Installation(cluster)
    try:
        made.start(*pools)
        yield made
    finally:
        cluster.close()
        made.store.close()


def test_what_delay_returns_in_a_shell_tells_of_its_run_and_waits_for_it(working: Installation) -> None:
    told = shell(
        working.cluster,
        "from tasks.backup import full_backup\n"
        f"asked = full_backup.delay(policy={POLICY!r})\n"
        "before = asked.state in ('active', 'done')\n"
        f"print(before, asked.get(timeout={PATIENCE}).state, asked.state, asked.run)",
    )

    *words, run = told.split()
    assert words == ["True", "done", "done"]
    assert [found.id for found in working.backups()] == [run]


def test_an_entry_of_the_calendar_is_run_at_once_by_the_cluster(working: Installation) -> None:
    until(lambda: was_read(working), what="the slice that the calendar reads by itself at the start")
    told = shell(
        working.cluster,
        "from tasks.schedule import run_entry\n"
        "asked = run_entry.delay(entry='verification')\n"
        f"print(asked.get(timeout={PATIENCE}).state, asked.run)",
    )

    state, run = told.split()
    assert (state, working.store.load(run).spec.kind) == ("done", RunKind.SCRUB)
    last = working.store.last_claimed("verification")
    assert last is not None
    assert last.run == run


def was_read(installation: Installation) -> bool:
    slot = installation.store.last_claimed("verification")
    return slot is not None and installation.store.load(slot.run).state.final


REFUSED = {
    "tasks.backup.full_backup.delay(policy='no-such')": "There is no policy 'no-such'",
    "tasks.backup.metadata_backup.delay(policy='weekly-critical')": "there is no metadata policy",
    "tasks.verify.verify_backup.delay(backup='no-such')": "the catalog has no backup 'no-such'",
    "tasks.drill.recovery_drill.delay(policy='weekly-critical', target='x')": "does not store on 'x'",
    "tasks.schedule.run_entry.delay(entry='no-such')": "the calendar has no entry 'no-such'",
    "tasks.schedule.run_entry.delay(entry='emergency')": "'emergency' is off: no policy is offline",
}


def test_what_does_not_exist_is_refused_at_the_call_and_not_submitted(idle: Installation) -> None:
    said = "print(str(error).replace(chr(10), chr(32)))"
    calls = (f"try: {call}\nexcept Exception as error: {said}" for call in REFUSED)

    lines = shell(
        idle.cluster, "\n".join(("import tasks.backup, tasks.verify, tasks.drill, tasks.schedule", *calls))
    ).splitlines()

    assert [words for words, line in zip(REFUSED.values(), lines, strict=True) if words not in line] == []
    with idle.redis() as redis:
        assert not any(b"strongroom.backup" in message for message in redis.lrange("control", 0, -1))
    assert idle.store.runs(10) == []


def test_a_host_that_cannot_sign_puts_no_run_on_record_that_nobody_is_told_of(idle: Installation) -> None:
    """One of several hosts whose token granted it no role that asks: it was a fault of its own, and the run
    stood, and began by itself."""
    keys = paths.role_keys(idle.cluster.state_dir)
    (keys / "submit.key").unlink(missing_ok=True)
    kept = (keys / "installation.key").rename(keys / "kept")
    try:
        ended = subprocess.run(
            [str(SCRIPT), "backup", "--policy", POLICY, "--cluster"],
            env=idle.cluster.environment,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        kept.rename(keys / "installation.key")
    assert ended.returncode == ConfigError.exit_code, ended.stderr
    assert "nothing was submitted" in ended.stderr
    assert idle.store.runs(10) == []


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A cluster whose control pool does not run."""
    yield from running(tmp_path_factory.mktemp("idle"), "seal")


def test_a_request_whose_run_is_on_record_needs_nothing_to_be_as_it_was(installation: Installation) -> None:
    """The policy is taken out of the configuration between submitting and reading."""
    installation.start("seal")
    request = installation.ask()
    assert installation.cluster.stop() == 0
    (installation.cluster.state_dir / "strongroom.toml").write_text("")

    installation.start(*BACKUP)

    assert installation.finished(request).state is RunState.FAILED
    assert installation.store.events(kind="submission-refused") == []


def test_a_program_asks_by_the_record_alone_and_the_cluster_does_it(
    working: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRONGROOM_STATE_DIR", str(working.cluster.state_dir))
    monkeypatch.setenv("STRONGROOM_BROKER__URL", "redis://127.0.0.1:1/0")  # it needs none
    with strongroom.Client(working.cluster.state_dir / "strongroom.toml") as client:
        made = client.submit(POLICY).wait(timeout=PATIENCE)
        verified = client.verify(made.backup, depth="digest").wait(timeout=PATIENCE)

        assert (made.state, made.kind, made.run) == ("done", "backup", made.backup)
        assert (verified.state, verified.kind, verified.backup) == ("done", "verify", made.backup)
        assert client.find(made.run).state == "done"
        with pytest.raises(ConfigError, match="no policy 'no-such'"):
            client.submit("no-such")
        with pytest.raises(TimeoutError, match="it goes on"):
            client.restore(made.backup, to="local", include=["app/1"]).wait(timeout=0.0)


class Shell:
    """A shell's app, and who may answer it."""

    def __init__(self, redis: RedisServer, folder: Path) -> None:
        settings = load_settings({"STRONGROOM_STATE_DIR": str(folder)})
        live = LiveSettings.fixed(replace(settings, broker=BrokerSettings(url=redis.broker_url)))
        self.app = Strongroom(live, role=names.SUBMIT)
        self.keyring = Keyring(paths.role_keys(folder))
        self.client = self.app.connection_for_write().default_channel.client

    def say(self, role: str, **word: str) -> None:
        signer = self.keyring.signer(role)
        self.client.lpush("strongroom.seen.request-1", seal(word, role=role, signer=signer, encode=dumps))


def test_the_word_that_a_run_is_on_record_is_believed_of_the_control_pool_alone(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    shell = Shell(redis_server, tmp_path)
    shell.client.flushall()
    shell.client.lpush("strongroom.seen.request-1", b"an unsigned word", b"\xff" * 10)
    shell.say("transfer", request="request-1", run="forged")
    shell.say("control", request="request-2", run="another's")
    with pytest.raises(NotYetSeen, match="Request request-1 was handed to the broker"):
        submission_receipts.wait(shell.app, "request-1", patience=3.0)

    shell.say("control", request="request-1", run="run-1")

    assert submission_receipts.wait(shell.app, "request-1") == "run-1"
