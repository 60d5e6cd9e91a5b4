"""Metrics of a real installation: what they say, what they leave out, and that they are named as is usual."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec.structs import replace as altered
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import create_engine, text

from strongroom.operations.backup.job import submit_backup
from strongroom.operations.drills.facts import DrillOptions
from strongroom.operations.drills.job import submit_drill
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.steps import perform
from strongroom.operations.judge.metrics import MEASURES, OTHER, Observed, Process, as_text
from strongroom.operations.notify.notify import gather_and_judge
from strongroom.sources.memory import MemoryStore
from strongroom.state import tables
from strongroom.state.errors import StateUnavailable
from strongroom.state.records import Replica, RunKind, RunStep, StepKind
from strongroom.state.store import RunStore
from tests.operations.alerts.test_gather import LIMITS, Dead, watching
from tests.operations.archive.test_locks import Bucket
from tests.operations.world import POLICY, REGIONS, World, made_up, make_world
from tests.postgres import postgres_server as postgres_server  # noqa: PLC0414  # a fixture is found by name

Shown = Mapping[tuple[str, ...], float]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def observed(world: World, *, later: float = 0.0, **changed: object) -> Observed:
    watched, now = watching(world, **changed), time.time() + later
    looked = gather_and_judge(watched, LIMITS, now=now)
    return Observed(
        facts=gather_and_judge(watched, LIMITS, now=now, look=False).facts,
        limits=LIMITS,
        version="1.2.3",
        look=looked.facts,
        alerts=looked.alerts,
        processes=(Process(name="seal", is_up=True, starts=2, memory=4096),),
    )


def shown(seen: Observed, name: str) -> Shown:
    """Return a metric's samples by the values of its labels, as a scraper reads them."""
    families = text_string_to_metric_families(as_text(seen).decode())
    return {
        tuple(sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def one(seen: Observed, name: str) -> float:
    [value] = shown(seen, name).values()
    return value


def test_a_backup_that_was_read_back_is_told_with_its_age_size_and_replicas(world: World) -> None:
    assert not shown(observed(world), "strongroom_backup_verified_timestamp_seconds")
    before = time.time()
    world.back_up()
    seen = observed(world)
    assert before - 1 <= one(seen, "strongroom_backup_verified_timestamp_seconds") <= time.time()
    assert one(seen, "strongroom_backup_secrets") == len(list(world.source.list()))
    assert one(seen, "strongroom_backup_size_bytes") > 0
    assert one(seen, "strongroom_backup_duration_seconds") > 0
    assert one(seen, "strongroom_backup_expected_interval_seconds") == 3600
    assert one(seen, "strongroom_backup_replicas_expected") == one(seen, "strongroom_backup_replicas") == 3
    assert one(seen, "strongroom_backup_quorum_met") == 1
    assert shown(seen, "strongroom_replica_verified_depth") == {(POLICY, name): 4 for name in REGIONS}


def test_a_time_that_passed_without_a_backup_stands_until_there_is_one(world: World) -> None:
    world.back_up()
    assert not shown(observed(world), "strongroom_backup_missed_timestamp_seconds")
    missed = one(observed(world, later=7200), "strongroom_backup_missed_timestamp_seconds")
    assert 0 <= missed - time.time() <= 3600


def test_a_replica_that_is_bad_lacks_in_the_quorum(world: World) -> None:
    run = world.back_up().id
    for name in list(REGIONS)[1:]:
        RunStore(world.database).set_replica(
            Replica(backup=run, target=name, good=False, verified=None, verified_at=None)
        )
    seen = observed(world)
    assert one(seen, "strongroom_backup_replicas") == 1
    assert one(seen, "strongroom_backup_quorum_met") == 0
    assert sorted(shown(seen, "strongroom_replica_good").values()) == [0, 0, 1]
    assert sum(shown(seen, "strongroom_target_damaged_backups").values()) == 2


def test_a_lock_is_told_where_there_is_one_and_it_was_kept(tmp_path: Path) -> None:
    plain = make_world(tmp_path)
    buckets = {"us": Bucket(refuses="manifests"), "eu": Bucket()}
    world = plain.with_targets({**plain.targets, **buckets})
    world.back_up()
    [(where, until)] = shown(observed(world), "strongroom_replica_locked_until_timestamp_seconds").items()
    assert where == (POLICY, "eu")
    assert until > time.time() + 364 * 86_400


def test_attempts_and_failures_are_counted_also_where_there_was_none(world: World) -> None:
    assert shown(observed(world), "strongroom_run_failures_total") == {("backup", POLICY): 0}
    world.back_up()
    failed = world.back_up(world.services(sources={}))
    seen = observed(world)
    assert shown(seen, "strongroom_run_attempts_total")["backup", POLICY] == 2
    assert shown(seen, "strongroom_run_failures_total")["backup", POLICY] == 1
    assert one(seen, "strongroom_backup_failed") == 1
    services = world.services()
    services.store.event("run.retried", run=failed.id)
    with services.store._database.writing() as conn:
        conn.execute(text(f"UPDATE runs SET state = 'active' WHERE id = '{failed.id}'"))
    seen = observed(world)
    assert shown(seen, "strongroom_run_failures_total")["backup", POLICY] == 1, "a retry takes none back"
    assert shown(seen, "strongroom_run_attempts_total")["backup", POLICY] == 2
    assert shown(seen, "strongroom_runs_active")["backup", POLICY] == 1


def test_how_long_a_run_still_takes_is_what_the_facts_say(world: World) -> None:
    services = world.services()
    run, queue = submit_backup(services, policy=POLICY)
    assert shown(observed(world), "strongroom_run_left_seconds") == {}, "nobody knows before there is a plan"
    while queue[0].step.kind is not StepKind.UPLOAD:
        queue += perform(queue.pop(0), services)
    seen = observed(world)
    [running] = seen.facts.active
    assert running.run == run
    assert one(seen, "strongroom_run_left_seconds") == running.pace.left


def test_what_waits_is_told_by_queue_with_its_age(world: World) -> None:
    services = world.services()
    assert services.store.create(world.spec, first=(RunStep(StepKind.PLAN),)) is not None
    assert services.store.create(world.spec, first=(RunStep(StepKind.UPLOAD, 0, "us"),)) is not None
    seen = observed(world, later=90)
    assert shown(seen, "strongroom_queue_steps")["control", "ready"] == 1
    assert shown(seen, "strongroom_queue_steps")["seal", "ready"] == 0
    ages = shown(seen, "strongroom_queue_oldest_seconds")
    assert ages["transfer",] >= 90 > ages["seal",] == 0


def test_a_drill_is_held_to_its_objective(world: World) -> None:
    world.back_up()
    services = world.services()
    drive(
        *submit_drill(services, policy=POLICY, options=DrillOptions(objective_seconds=60.0)),
        services,
        processes=1,
    )
    seen = observed(world)
    assert (
        0 < one(seen, "strongroom_drill_recovery_seconds") < one(seen, "strongroom_drill_objective_seconds")
    )
    assert one(seen, "strongroom_drill_passed") == 1


def test_alerts_and_targets_are_those_of_the_newest_look(world: World) -> None:
    world.back_up()
    seen = observed(world, targets={**world.targets, "us": Dead(name="us", region="us")})
    alerts = shown(seen, "strongroom_alerts")
    assert alerts["target.away", "warning"] == 1
    assert alerts["backup.overdue", "critical"] == 0, "one that is over is seen to be over"
    assert shown(seen, "strongroom_target_up")["us",] == 0
    never = altered(seen, look=None, alerts=())
    assert not shown(never, "strongroom_alerts"), "before the first look nothing is called well"


def test_a_record_that_cannot_be_read_is_told_and_nothing_is_called_zero(world: World) -> None:
    world.back_up()

    def gone() -> RunStore:
        raise StateUnavailable("the state database does not answer")

    seen = observed(world, store=gone)
    assert one(seen, "strongroom_record_up") == 0
    for name in ("strongroom_backup_quorum_met", "strongroom_run_failures_total", "strongroom_queue_steps"):
        assert not shown(seen, name)
    assert shown(seen, "strongroom_alerts")["state.unreachable", "critical"] == 1


def test_labels_stay_few_whatever_the_record_holds(world: World) -> None:
    world.back_up()
    store = RunStore(world.database)
    with store._database.writing() as conn:
        for number in range(50):
            conn.execute(
                text(
                    "INSERT INTO runs SELECT id || :n, kind, :policy, spec, state, closing, NULL, facts, "
                    "error, created_at, finished_at, remains, queued, folded, unmade FROM runs "
                    "WHERE policy = :mine"
                ),
                {"n": str(number), "policy": f"made up {number}", "mine": POLICY},
            )
    assert shown(observed(world), "strongroom_run_attempts_total") == {
        (RunKind.BACKUP.value, POLICY): 1,
        (RunKind.BACKUP.value, OTHER): 50,
    }


def test_no_name_and_no_value_of_a_secret_is_in_any_metric(world: World) -> None:
    named = [altered(secret, name=f"CANARY-{secret.name}") for secret in made_up(5)]
    canaries = replace(world, source=MemoryStore(named, name="vault"))
    run = canaries.back_up().id
    failing = canaries.services(sources={})
    canaries.back_up(failing)
    store = RunStore(world.database)
    with store._database.writing() as conn:
        conn.execute(text("UPDATE runs SET error = 'PlaceUnavailable: CANARY-name was refused'"))
    store.event("step.failed", run=run, error="RecordRefused: CANARY-name")
    options = DrillOptions(objective_seconds=60.0, secret="CANARY-name")
    drive(*submit_drill(world.services(), policy=POLICY, options=options), world.services(), processes=1)
    written = as_text(observed(canaries, later=90 * 86_400)).decode()
    assert POLICY in written
    assert "CANARY" not in written


def test_every_metric_is_named_as_prometheus_asks_and_comes_from_a_real_installation(world: World) -> None:
    world.with_targets({**world.targets, "eu": Bucket()}).back_up()
    written = as_text(observed(world))
    found = subprocess.run(["promtool", "check", "metrics"], input=written, capture_output=True, check=False)
    assert (found.returncode, found.stderr.decode()) == (0, ""), found.stdout
    assert len({measure.name for measure in MEASURES}) == len(MEASURES)
    assert all(measure.says.endswith(".") for measure in MEASURES)


@contextmanager
def locked(database: str) -> Iterator[None]:
    """Hold what whoever writes, or locks a row, would wait for."""
    sqlite = database.startswith("sqlite")
    engine = create_engine(database.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as conn:
        if sqlite:
            conn.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            names = ", ".join(table.name for table in tables.metadata.sorted_tables)
            conn.exec_driver_sql(f"LOCK TABLE {names} IN EXCLUSIVE MODE")
        yield
        conn.rollback()
    engine.dispose()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_who_asks_for_metrics_writes_nothing_and_waits_for_nobody(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    database = request.getfixturevalue("postgres_server").new_database() if kind == "postgresql" else None
    world = make_world(tmp_path, database=database)
    world.back_up()
    seen = observed(world)
    with locked(world.database):
        facts = gather_and_judge(watching(world), LIMITS, now=time.time(), look=False).facts
    assert facts.state is None
    assert shown(altered(seen, facts=facts), "strongroom_backup_secrets") == {(POLICY,): 30.0}
