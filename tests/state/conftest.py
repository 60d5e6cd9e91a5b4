"""Every test of the state runs on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.state.store import RunStore
from tests.postgres import PostgresServer
from tests.postgres import postgres_server as postgres_server  # noqa: PLC0414  # a fixture is found by name


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state.db"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_database()


@pytest.fixture
def store(url: str) -> Iterator[RunStore]:
    """A run store on an empty database."""
    store = RunStore(url)
    yield store
    store.close()
