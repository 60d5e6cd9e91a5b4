"""Hosts for tests: each with a home, a state and a configuration of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.program import Machine
from tests.postgres import PostgresServer, postgres_server

__all__ = ["postgres_server"]

Hosts = Callable[[str], Machine]

CONFIG = """\
[state]
url = "{database}"

[broker]
url = "redis://127.0.0.1:1/0"

[workers]
seal = 1

[trust]
signers = ["sr1:{pinned}"]  # a spare
"""


@pytest.fixture
def database(postgres_server: PostgresServer) -> str:
    return postgres_server.new_database()


@pytest.fixture
def first(tmp_path: Path, database: str) -> Machine:
    """A host with a configuration, where nothing was done yet."""
    machine = Machine(tmp_path / "first")
    machine.path("strongroom.toml").write_text(CONFIG.format(database=database, pinned="3f" * 32))
    return machine


@pytest.fixture
def another(tmp_path: Path) -> Hosts:
    """Make a host that has nothing at all."""
    return lambda name: Machine(tmp_path / name)
