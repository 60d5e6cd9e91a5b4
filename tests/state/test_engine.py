"""Connections: private, durable, one set a process, and errors a person can act on."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import exc, select, text

from strongroom.errors import ConfigError
from strongroom.state import engine, filesystem, sql
from strongroom.state.errors import StateError, StateUnavailable
from strongroom.state.store import RunStore
from tests.files import child_has_a_lock, locked_by
from tests.patience import PATIENCE
from tests.postgres import PostgresServer
from tests.state.pipeline import new_run, work_off

pytestmark = pytest.mark.durable


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a SQLite database is to be."""
    return tmp_path / "state" / "state.db"


def opened(path: Path) -> RunStore:
    store = RunStore(f"sqlite:///{path}")
    store.check()
    return store


def test_sqlite_is_opened_for_durability(file: Path) -> None:
    store = opened(file)
    with store._database.reading() as conn:
        pragmas = {
            name: conn.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    store.close()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30000}


def test_the_sqlite_file_and_its_folder_are_private(file: Path) -> None:
    old = os.umask(0)
    try:
        store = opened(file)
        new_run(store)
    finally:
        os.umask(old)
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()}
    assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}
    store.close()


def test_building_a_store_opens_nothing(file: Path) -> None:
    RunStore(f"sqlite:///{file}")
    assert not file.parent.exists()


def test_a_write_transaction_holds_the_write_lock_from_its_beginning(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.05)
    store, other = opened(file), opened(file)
    with store._database.writing(), pytest.raises(StateUnavailable, match="locked"):
        other.event("too late")
    other.event("now")
    store.close()
    other.close()


def test_a_database_that_another_process_is_making_is_waited_for(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filesystem.prepare(file)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(time, "sleep", lambda _: other.execute("COMMIT"))
    RunStore(f"sqlite:///{file}").check()
    assert not other.in_transaction, "it met the lock, and waited once"
    other.close()


def test_readers_do_not_wait_for_a_writer(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.05)
    store = opened(file)
    run = new_run(store)
    with store._database.writing():
        assert store.load(run.id) == run
    store.close()


def test_the_clock_goes_on_within_a_transaction(store: RunStore) -> None:
    with store._database.writing() as conn:
        first = later = conn.execute(select(sql.now())).scalar_one()
        began = time.monotonic()
        while time.monotonic() < began + 0.01:
            later = conn.execute(select(sql.now())).scalar_one()
    assert first < later, "or a lease taken after a long wait for a lock would start half spent"
    assert abs(later - time.time()) < 5


def test_an_exception_inside_a_transaction_undoes_it(store: RunStore) -> None:
    with suppress(ZeroDivisionError), store._database.writing() as conn:
        conn.execute(text("DELETE FROM counters"))
        raise ZeroDivisionError
    work_off(store, new_run(store))


def test_a_store_made_before_a_fork_works_on_both_sides(store: RunStore) -> None:
    run = new_run(store)
    found = multiprocessing.get_context("fork").SimpleQueue()
    child = multiprocessing.get_context("fork").Process(target=_use_after_fork, args=(store, run.id, found))
    child.start()
    child.join(PATIENCE)
    assert child.exitcode == 0
    assert found.get() is True
    store.event("parent")
    assert [event.kind for event in store.events()] == ["run.created", "child", "parent"]


def _use_after_fork(store: RunStore, run: str, found: multiprocessing.SimpleQueue[bool]) -> None:
    store.event("child")
    found.put(store.load(run).id == run)


def test_threads_share_a_store(store: RunStore) -> None:
    errors: list[Exception] = []
    start = threading.Barrier(12)

    def work(number: int) -> None:
        try:
            start.wait(PATIENCE)
            for _ in range(5):
                store.event("thread", number=number)
        except Exception as error:  # noqa: BLE001  # shown by the test
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(store.events(kind="thread")) == 60


def test_a_closed_store_opens_again_on_use(store: RunStore) -> None:
    run = new_run(store)
    store.close()
    assert store.load(run.id) == run


# -- the locks that keep the write-ahead log ------------------------------------


def use_in_threads(url: str) -> None:
    threads = [threading.Thread(target=lambda: RunStore(url).event("thread")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def use_and_close_another(url: str) -> None:
    other = RunStore(url)
    other.event("another")
    other.close()


def use_in_a_child(url: str) -> None:
    child = multiprocessing.get_context("fork").Process(target=use_and_close_another, args=(url,))
    child.start()
    child.join(PATIENCE)
    assert child.exitcode == 0


LOOKS: dict[str, Callable[[str], object]] = {
    "a second store": lambda url: RunStore(url).events(),
    "another's revision": lambda url: engine.StateDatabase(url).revision(),
    "whether there is one": lambda url: engine.require(engine.StateDatabase(url)),
    "another's damage": lambda url: RunStore(url).examine(),
    "threads with a store each": use_in_threads,
    "a second store that is closed": use_and_close_another,
    "a store whose memory was collected": lambda url: (RunStore(url).events(), gc.collect()),
    "a forked child": use_in_a_child,
    "a program started with a function before it": lambda _: subprocess.run(
        ["true"], check=True, preexec_fn=lambda: None
    ),
}


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("look", LOOKS)
def test_no_use_of_the_file_in_a_process_takes_away_its_lock_or_its_log(file: Path, look: str) -> None:
    url = f"sqlite:///{file}"
    store = opened(file)
    store.event("first")
    LOOKS[look](url)
    store.event("second")  # a fork closes what is idle, and this opens it again
    assert os.getpid() in locked_by(file)
    use_elsewhere(file)
    assert file.with_name("state.db-wal").exists(), "another process deleted the log as it closed last"
    store.event("third")
    use_elsewhere(file)
    kept = [event.kind for event in store.events() if event.kind in ("first", "second", "third", "elsewhere")]
    assert kept == ["first", "second", "elsewhere", "third", "elsewhere"]
    store.close()


def use_elsewhere(file: Path) -> None:
    """Use the database in another process, which closes it again."""
    code = "import sys; from strongroom.state.store import RunStore as R; s = R(sys.argv[1])\n"
    subprocess.run(
        [sys.executable, "-c", code + "s.event('elsewhere'); s.close()", f"sqlite:///{file}"], check=True
    )


def test_a_forked_child_has_a_lock_of_its_own(file: Path) -> None:
    store = opened(file)
    store.event("parent")
    assert child_has_a_lock(file, lambda: store.event("child"))
    store.close()


def test_a_fork_waits_for_the_transactions_of_other_threads(file: Path) -> None:
    store = opened(file)
    begun, finish = threading.Event(), threading.Event()

    def write() -> None:
        with store._database.writing() as conn:
            begun.set()
            finish.wait(PATIENCE)
            conn.execute(text("DELETE FROM heartbeats"))

    writer = threading.Thread(target=write)
    writer.start()
    begun.wait(PATIENCE)
    threading.Timer(0.2, finish.set).start()
    use_in_a_child(f"sqlite:///{file}")
    writer.join()
    assert [event.kind for event in store.events()] == ["another"]
    store.close()


def test_a_child_forked_amid_a_transaction_refuses_the_database_and_the_parent_keeps_it(file: Path) -> None:
    store = opened(file)
    context = multiprocessing.get_context("fork")
    told = context.Queue()
    with store._database.writing() as conn:
        conn.execute(text("SELECT 1"))
        child = context.Process(target=_tell_error, args=(store, told))
        child.start()
        assert "in use when this process was forked" in told.get(timeout=PATIENCE)
        child.join(PATIENCE)
    store.event("parent")
    assert os.getpid() in locked_by(file)
    store.close()


def _tell_error(store: RunStore, told: Any) -> None:
    try:
        store.events()
    except StateError as error:
        told.put(error.message)
    else:
        told.put("nothing")


def test_a_link_that_leads_nowhere_yet_is_made_private_and_a_fifo_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.db").symlink_to(tmp_path / "elsewhere.db")
    opened(tmp_path / "state.db").close()
    assert stat.S_IMODE((tmp_path / "elsewhere.db").stat().st_mode) == 0o600
    os.mkfifo(tmp_path / "fifo.db")
    with pytest.raises(StateError, match="cannot be opened"):
        opened(tmp_path / "fifo.db")


def test_a_file_that_another_was_put_in_place_of_is_written_to_no_more(file: Path) -> None:
    store = opened(file)
    store.event("old")
    for path in (file, file.with_name("state.db-wal"), file.with_name("state.db-shm")):
        path.rename(path.with_name(f"old-{path.name}"))
    store.event("new")
    store.close()
    assert [event.kind for event in opened(file).events()] == ["new"]


def test_asking_for_the_revision_of_what_is_not_there_makes_nothing(file: Path) -> None:
    assert engine.StateDatabase(f"sqlite:///{file}").revision() is None
    assert not file.parent.exists()


# -- what can be wrong -------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "mysql://u:CANARY-pw@host/db", "CANARY-pw"]
)
def test_a_url_of_another_kind_is_a_config_error_that_does_not_quote_it(url: str) -> None:
    with pytest.raises(ConfigError, match=r"state\.url") as caught:
        RunStore(url)
    assert "CANARY" not in f"{caught.value} {caught.value.hint}"


def test_a_file_that_is_no_database_is_a_state_error(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"CANARY-not a database" * 100)
    with pytest.raises(StateError, match="not a SQLite database") as caught:
        opened(file)
    assert not caught.value.transient


def test_a_damaged_database_is_a_state_error(file: Path) -> None:
    store = opened(file)
    work_off(store, new_run(store))
    store.close()
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    file.write_bytes(content)
    with pytest.raises(StateError) as caught:
        opened(file).runs()
    assert not caught.value.transient


def test_a_folder_that_cannot_be_made_is_a_state_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file is in the way")
    with pytest.raises(StateError, match="cannot be opened"):
        opened(tmp_path / "state" / "state.db")


def test_what_a_database_says_when_it_refuses_is_not_repeated(file: Path) -> None:
    opened(file).close()
    connection = sqlite3.connect(file)
    connection.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'CANARY-'); END"
    )
    connection.commit()
    connection.close()
    with pytest.raises(StateError) as caught:
        opened(file).event("refused")
    assert "CANARY" not in str(caught.value)


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StateUnavailable, match="did not answer") as caught:
        RunStore(f"postgresql://user:CANARY-pw@/none?host={tmp_path}").check()
    assert caught.value.transient
    assert "CANARY" not in str(caught.value)


def test_a_server_that_restarts_is_unavailable_and_then_there_again() -> None:
    with PostgresServer() as server:
        store = RunStore(server.new_database())
        run = new_run(store)
        server.kill()
        with pytest.raises(StateUnavailable):
            store.load(run.id)
        server.start()
        assert store.load(run.id) == run
        store.close()


def test_a_session_that_the_server_ends_in_mid_transaction_is_unavailable(
    postgres_server: PostgresServer,
) -> None:
    store = RunStore(postgres_server.new_database())

    def die() -> None:
        with store._database.writing() as conn:
            own = conn.execute(text("SELECT pg_backend_pid()")).scalar_one()
            postgres_server.execute(f"SELECT pg_terminate_backend({own})")
            conn.execute(text("SELECT 1"))

    with pytest.raises(StateUnavailable):
        die()
    store.event("after")
    store.close()


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_of_another_encoding_than_utf8_is_refused_and_the_hint_makes_one_that_is_not(
    postgres_server: PostgresServer, encoding: str
) -> None:
    server, name = postgres_server, f"test_{uuid.uuid4().hex}"
    server.execute(f"CREATE DATABASE {name}_other ENCODING '{encoding}' TEMPLATE template0")
    for use in (lambda store: store.check(), lambda store: store.runs(), lambda store: store.event("x")):
        store = RunStore(server.url(f"{name}_other"))
        with pytest.raises(StateError, match=encoding) as caught:
            use(store)
        assert not caught.value.transient
        assert "encoding UTF8" in caught.value.hint
        assert "'state.url'" in caught.value.hint
    server.execute(caught.value.hint.rpartition(": ")[2].replace("strongroom", f"{name}_utf8"))
    store = RunStore(server.url(f"{name}_utf8"))
    store.event("CANARY-ключ")
    assert [event.kind for event in store.events()] == ["CANARY-ключ"]
    store.close()


def test_an_encoding_of_the_environment_is_not_that_of_the_database(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "SQL_ASCII")
    store = RunStore(postgres_server.new_database())
    store.event("CANARY-ключ")
    assert [event.kind for event in store.events()] == ["CANARY-ключ"]
    store.close()


def test_a_database_that_is_not_there_is_told_as_that(postgres_server: PostgresServer) -> None:
    with pytest.raises(StateUnavailable, match="no user or no database of that name") as caught:
        RunStore(postgres_server.url("none")).check()
    assert "'state.url'" in caught.value.hint


def test_a_lock_that_is_not_given_back_is_unavailable(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 1)
    url = postgres_server.new_database()
    store, other = RunStore(url), RunStore(url)
    run = new_run(store)
    with store._database.writing() as conn:
        conn.execute(text("SELECT * FROM runs FOR UPDATE"))
        with pytest.raises(StateUnavailable):
            other.cancel(run.id)
    assert other.cancel(run.id).closing
    store.close()
    other.close()


# -- file systems ------------------------------------------------------------


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_a_network_file_system_is_refused(tmp_path: Path, kind: str) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/root / ext4 rw 0 0\nserver:/x {tmp_path}/my\\040share {kind} rw 0 0\n")
    with pytest.raises(StateError, match=kind) as caught:
        filesystem.prepare(tmp_path / "my share" / "deep" / "state.db", mounts=mounts)
    assert "PostgreSQL" in caught.value.hint
    filesystem.prepare(tmp_path / "my" / "state.db", mounts=mounts)


def test_a_local_disk_mounted_inside_or_over_a_network_share_is_fine(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"s:/x {tmp_path} nfs rw 0 0\n/dev/b {tmp_path}/local xfs rw 0 0\n")
    assert filesystem.kind_of(tmp_path / "local" / "state.db", mounts=mounts) == "xfs"
    assert filesystem.kind_of(tmp_path / "state.db", mounts=mounts) == "nfs"
    mounts.write_text(f"s:/x {tmp_path} nfs rw 0 0\n/dev/b {tmp_path} xfs rw 0 0\n")
    assert filesystem.kind_of(tmp_path / "state.db", mounts=mounts) == "xfs"


def test_a_system_that_does_not_list_its_mounts_is_trusted(tmp_path: Path) -> None:
    filesystem.prepare(tmp_path / "state.db", mounts=tmp_path / "nothing here")
    assert (tmp_path / "state.db").exists()


KINDS = ("READONLY", "CANTOPEN", "CORRUPT", "IOERR")
CODES = [name for name in dir(sqlite3) for kind in KINDS if name.startswith(f"SQLITE_{kind}")]


@pytest.mark.parametrize("code", CODES)
def test_an_extended_code_of_sqlite_is_told_in_words_and_not_as_a_database_that_is_lost(code: str) -> None:
    cause = sqlite3.OperationalError()
    cause.sqlite_errorname = code
    with pytest.raises(StateError) as caught, engine.translated():
        raise exc.OperationalError("", {}, cause)
    assert "SQLITE" not in caught.value.message
    assert caught.value.hint != StateError.default_hint


def test_a_process_that_writes_again_and_again_lets_others_in_and_one_that_does_not_never_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    turns = engine._Turns()

    def write(takes: float, then: float) -> None:
        turns.take()
        now[0] += takes
        turns.end()
        now[0] += then

    for _ in range(100):
        write(0.004, 0.001)
    assert 3 <= len(slept) <= 5, "about once in a tenth of a second"
    slept.clear()
    for _ in range(100):
        write(0.004, 0.006)
    assert len(slept) <= 1
    write(0.3, 0.0)
    slept.clear()
    write(0.001, 0.0)
    assert slept == [turns.PAUSE], "who wrote for long lets others in before he writes again"


def test_a_writer_waits_for_another_process_and_says_so_if_it_never_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.2)
    url = f"sqlite:///{tmp_path / 'state.db'}"
    database = engine.StateDatabase(url)
    with database.writing():
        pass
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateUnavailable, match="stayed locked"), database.writing():
        pass
    monkeypatch.setattr(engine, "BUSY_SECONDS", 30)
    refused, is_locked = [], engine._is_locked

    def end_the_other(error: exc.OperationalError) -> bool:
        """The writer met the lock: now it ends."""
        if not refused:
            other.execute("ROLLBACK")
        refused.append(error)
        return is_locked(error)

    monkeypatch.setattr(engine, "_is_locked", end_the_other)
    with database.writing() as conn:
        assert conn.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000
    assert refused, "it waited"
    other.close()
    database.close()
