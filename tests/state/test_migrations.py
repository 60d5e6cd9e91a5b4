"""The schema: made by migrations, held to the tables, refused when unknown."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, String, event, inspect, text

from strongroom import __version__
from strongroom.operations.evidence.ledger import verify_chain
from strongroom.state import engine as engine_module
from strongroom.state import migrations, tables
from strongroom.state.engine import StateDatabase, _create, _parse
from strongroom.state.errors import SchemaMismatch
from strongroom.state.records import RotationState, RunKind, RunState, StepKind, StepState
from strongroom.state.sql import begin_writing
from strongroom.state.store import RunStore
from tests.postgres import PostgresServer
from tests.state.pipeline import PLAN, SPEC


def test_head_is_the_newest_revision_there_is() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [migrations.HEAD]


@pytest.fixture(params=("made at once", "brought up"))
def database(request: pytest.FixtureRequest, empty_url: str) -> Iterator[StateDatabase]:
    """One that was empty, and one that went through every revision: they have to be alike."""
    if request.param == "brought up":
        engine = _create(_parse(empty_url))
        with begin_writing(engine) as conn:
            migrations.migrate(conn)
        engine.dispose()
    database = StateDatabase(empty_url)
    yield database
    database.close()


def test_migrations_make_exactly_the_tables_that_the_code_uses(database: StateDatabase) -> None:
    with database.reading() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []
        assert context.get_current_revision() == migrations.HEAD
        assert conn.execute(text("SELECT name FROM counters")).scalars().all() == ["dispatch"]


def test_every_kind_and_state_fits_where_it_is_kept() -> None:
    """SQLite holds no length, PostgreSQL does: what is longer is refused there, and only there."""
    for column, values in (
        (tables.steps.c.kind, StepKind),
        (tables.steps.c.state, StepState),
        (tables.runs.c.kind, RunKind),
        (tables.runs.c.state, RunState),
        (tables.secret_rotations.c.state, RotationState),
    ):
        assert isinstance(column.type, String)
        assert column.type.length is not None
        assert [value for value in values if len(value.value) > column.type.length] == []


def test_migrations_make_the_partial_indexes(database: StateDatabase) -> None:
    with database.reading() as conn:
        found = (tables.runs, tables.steps, tables.replicas)
        names = {index["name"] for table in found for index in inspect(conn).get_indexes(table.name)}
        wanted = {index.name for table in found for index in table.indexes}
        assert wanted <= names
        partial = "SELECT count(*) FROM sqlite_master WHERE type = 'index' AND sql LIKE '%WHERE%'"
        if conn.dialect.name == "postgresql":
            partial = "SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%WHERE%'"
        assert conn.execute(text(partial)).scalar() == 7


@pytest.mark.parametrize(
    "said",
    [
        "UPDATE understood SET schema = '9999', oldest = '9998'",
        "UPDATE understood SET schema = '9998'",  # of another schema, not of this one
        "UPDATE understood SET schema = '9999', oldest = 'any'",
        "DELETE FROM understood",
    ],
)
def test_a_schema_of_a_later_version_is_refused_and_left_alone(empty_url: str, said: str) -> None:
    first = RunStore(empty_url)
    with first._database.writing() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        conn.execute(text(said))
    first.close()
    with pytest.raises(SchemaMismatch, match="does not know") as caught:
        RunStore(empty_url).check()
    assert not caught.value.transient
    with pytest.raises(SchemaMismatch):
        RunStore(empty_url).runs()
    assert "does not know" in refused(empty_url)


def refused(url: str) -> str:
    """Return what is on record of the version that was refused, as another than it reads it."""
    engine = _create(_parse(url))
    with engine.connect() as conn:
        kept = conn.execute(text("SELECT detail FROM events WHERE kind = 'version.refused'")).scalars()
        said = [json.loads(detail) for detail in kept]
    engine.dispose()
    [one] = said  # however often it was refused since
    assert (one["version"], one["host"]) == (__version__, socket.gethostname())
    return str(one["why"])


def test_a_schema_of_a_later_version_that_this_one_can_work_with_is_left_as_it_is(empty_url: str) -> None:
    first = RunStore(empty_url)
    with first._database.writing() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        conn.execute(text("UPDATE understood SET schema = '9999'"))
    first.close()
    store = RunStore(empty_url)
    store.event("schedule.resumed")
    assert store._database.revision() == "9999"
    engine_module.require(store._database)


def test_nobody_migrates_away_from_under_processes_that_could_not_go_on(empty_url: str) -> None:
    first = RunStore(empty_url)
    first.report_process("ada", "seal", version="0.0.9", schema="0012")
    first.report_process("bob", "seal", version="0.1.0")
    with first._database.writing() as conn:  # so 0013 stands for a migration to come
        conn.execute(text("UPDATE alembic_version SET version_num = '0012'"))
    first.close()
    with pytest.raises(SchemaMismatch, match=r"seal on ada \(0\.0\.9\)") as caught:
        RunStore(empty_url).check()
    assert "bob" not in str(caught.value)
    assert "Stop these" in (caught.value.hint or "")
    assert "seal on ada" in refused(empty_url)


def test_a_database_that_is_up_to_date_costs_one_select(store: RunStore) -> None:
    store.check()
    seen: list[str] = []
    engine = store._database.engine
    event.listen(engine, "before_cursor_execute", lambda *given: seen.append(given[2]))
    migrations.bring_up(engine)
    assert [statement for statement in seen if not statement.startswith(("BEGIN", "PRAGMA"))] == [
        "SELECT version_num FROM alembic_version"
    ]


def test_a_start_without_a_migration_does_not_import_alembic(empty_url: str) -> None:
    program = (
        "import sys; from strongroom.state.store import RunStore;"
        f"store = RunStore({empty_url!r}); store.runs(); store.close();"
        "sys.exit(any(name.split('.')[0] in ('alembic', 'mako') for name in sys.modules))"
    )
    codes = [subprocess.run([sys.executable, "-c", program], check=False).returncode for _ in range(2)]
    assert codes == [0, 0], "neither the first start nor the second has an older revision to bring up"


def test_a_migration_that_breaks_off_leaves_nothing(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = migrations._upgrade

    def break_off(conn: object) -> None:
        real(conn)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(migrations, "_upgrade", break_off)
    with pytest.raises(KeyboardInterrupt):
        RunStore(empty_url).check()
    monkeypatch.undo()
    store = RunStore(empty_url)
    assert store.runs() == []
    store.close()


FIRST = {"runs", "steps", "counters", "slots", "events", "catalog", "replicas", "heartbeats"}
"""The tables of the first revision."""


def drop_later_tables(conn: Connection) -> None:
    for table in reversed(tables.metadata.sorted_tables):
        if table.name not in FIRST:
            conn.execute(text(f"DROP TABLE {table.name}"))
    for later in ("ix_runs_policy", "ix_events_kind"):
        conn.execute(text(f"DROP INDEX {later}"))
    drop_0014(conn)


def drop_0014(conn: Connection) -> None:
    conn.execute(text("DROP INDEX ix_steps_unsettled"))
    conn.execute(
        text("CREATE INDEX ix_steps_unsettled ON steps (run) WHERE state IN ('ready', 'sent', 'running')")
    )
    for later in ("queued", "begun", "unfolded", "finished_at", "counts"):
        conn.execute(text(f"DROP INDEX ix_runs_{later}"))
    conn.execute(text("DROP TABLE IF EXISTS folded_steps"))
    for column in ("queued", "folded", "unmade"):
        conn.execute(text(f"ALTER TABLE runs DROP COLUMN {column}"))


def test_events_from_before_the_ledger_are_chained_as_they_are(empty_url: str) -> None:
    database = StateDatabase(empty_url)
    with database.writing() as conn:
        drop_later_tables(conn)
        for later in ("ix_replicas_bad", "ix_runs_remains"):
            conn.execute(text(f"DROP INDEX {later}"))
        conn.execute(text("ALTER TABLE runs DROP COLUMN remains"))
        conn.execute(text("ALTER TABLE events DROP COLUMN chain"))
        conn.execute(text("ALTER TABLE steps DROP COLUMN waits_since"))
        conn.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        for number in range(3):
            conn.execute(
                text("INSERT INTO events (at, kind, detail) VALUES (:at, 'key.proven', '{\"a\": 1}')"),
                {"at": 1.5 + number},
            )
    database.close()
    store = RunStore(empty_url)
    store.event("key.failed", key="k")
    found = verify_chain(store)
    assert (found.events, found.broken) == (4, None)
    store.close()


def test_what_runs_had_left_before_that_was_noted_is_still_found(empty_url: str) -> None:
    store = RunStore(empty_url)
    facts = [{"report": {"unswept": places}} for places in (["eu"], [])]
    left, clean = (store.create(SPEC, first=[PLAN], facts=one) for one in facts)
    assert left is not None
    assert clean is not None
    with store._database.writing() as conn:
        conn.execute(text("UPDATE runs SET state = 'failed'"))
        conn.execute(text("ALTER TABLE steps DROP COLUMN waits_since"))
        drop_later_tables(conn)
        conn.execute(text("DROP INDEX ix_runs_remains"))
        conn.execute(text("ALTER TABLE runs DROP COLUMN remains"))
        conn.execute(text("UPDATE alembic_version SET version_num = '0003'"))
    store.close()
    store = RunStore(empty_url)
    assert [run.id for run in store.leaving(left.spec.policy, limit=10)] == [left.id]
    store.close()


def test_runs_of_before_there_were_turns_go_on(empty_url: str) -> None:
    store = RunStore(empty_url)
    active, ended = (store.create(SPEC, first=[PLAN]) for _ in range(2))
    assert active is not None
    assert ended is not None
    with store._database.writing() as conn:
        conn.execute(
            text("UPDATE runs SET state = 'done', finished_at = 1.0 WHERE id = :id"), {"id": ended.id}
        )
        drop_0014(conn)
        conn.execute(text("UPDATE alembic_version SET version_num = '0013'"))
    store.close()
    store = RunStore(empty_url)
    store.check()
    assert store._database.revision() == migrations.HEAD
    assert [run.id for run in store.active()] == [active.id]
    assert not store.load(active.id).queued
    assert [ticket.run for ticket in store.take_ready(active.id, window=1)] == [active.id]
    assert store.begin_next(SPEC.kind, most=1, window=1) == []
    assert {count.state.value: count.runs for count in store.counts()} == {"active": 1, "done": 1}
    store.close()


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_who_was_granted_the_steps_works_on_after_an_upgrade(
    empty_url: str, postgres_server: PostgresServer
) -> None:
    store = RunStore(empty_url)
    store.check()
    postgres_server.execute('CREATE ROLE "works %s:x" LOGIN')
    postgres_server.execute('CREATE ROLE "asks" LOGIN')
    try:
        with store._database.writing() as conn:
            drop_0014(conn)
            conn.execute(text("UPDATE alembic_version SET version_num = '0013'"))
            conn.exec_driver_sql('GRANT SELECT, INSERT, UPDATE, DELETE ON steps TO "works %%s:x"')
            conn.exec_driver_sql('GRANT SELECT, INSERT ON steps TO "asks"')
        store.close()
        store = RunStore(empty_url)
        store.check()
        granted = postgres_server.execute(
            "SELECT grantee, string_agg(privilege_type, ' ' ORDER BY privilege_type) FROM "
            "information_schema.role_table_grants WHERE table_name = 'folded_steps' "
            "AND grantee <> current_user GROUP BY grantee ORDER BY grantee",
            url=empty_url,
        )
        assert granted == [("asks", "SELECT"), ("works %s:x", "DELETE INSERT SELECT UPDATE")]
    finally:
        store.close()
        for role in ("works %s:x", "asks"):
            postgres_server.execute(f'DROP OWNED BY "{role}"', url=empty_url)
            postgres_server.execute(f'DROP ROLE "{role}"')
