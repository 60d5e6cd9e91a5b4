"""Every test of the state runs on both databases."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.state import tables
from strongroom.state.store import RunStore
from tests.postgres import PostgresServer
from tests.postgres import postgres_server as postgres_server  # noqa: PLC0414  # a fixture is found by name


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which database."""
    return str(request.param)


@pytest.fixture
def empty_url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The address of an empty database."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path}/state.db"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_database()


@pytest.fixture
def url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The address of a database that is migrated and holds nothing."""
    if kind == "postgresql":
        return str(request.getfixturevalue("emptied_database"))
    shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "state.db")
    return f"sqlite:///{tmp_path}/state.db"


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "state.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_database(postgres_server: PostgresServer) -> str:
    """The address of a migrated PostgreSQL database."""
    url = postgres_server.new_database()
    _migrate(url)
    return url


@pytest.fixture
def emptied_database(postgres_server: PostgresServer, migrated_database: str) -> str:
    """The same, without what the test before left in it."""
    names = ", ".join(table.name for table in tables.metadata.sorted_tables if table.name != "counters")
    postgres_server.execute(f"TRUNCATE {names} RESTART IDENTITY", url=migrated_database)
    return migrated_database


def _migrate(url: str) -> None:
    store = RunStore(url)
    store.check()
    store.close()


@pytest.fixture
def store(url: str) -> Iterator[RunStore]:
    """A run store on an empty database."""
    store = RunStore(url)
    yield store
    store.close()
