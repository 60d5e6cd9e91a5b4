"""Machines to run command lines on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.program import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine on which nothing has happened yet."""
    return Machine(tmp_path / "machine")


@pytest.fixture
def other(tmp_path: Path) -> Machine:
    """Another machine, which shares nothing with the first."""
    return Machine(tmp_path / "other")


@pytest.fixture
def stocked(machine: Machine) -> Machine:
    """A machine whose local store has the secrets that the procedures name."""
    return stock(machine)


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A stocked machine with a full backup in ``full.sr``, for tests that change neither."""
    machine = stock(Machine(tmp_path_factory.mktemp("sealed") / "machine"))
    machine.seal()
    return machine


def stock(machine: Machine) -> Machine:
    machine.set("JWT_SECRET_KEY", "CANARY-JWT", "--type", "signing_key", "--tag", "priority=critical")
    machine.set("DATABASE_PASSWORD", "CANARY-DB", "--tag", "category=database", "--tag", "priority=critical")
    machine.set("REDIS_PASSWORD", "CANARY-REDIS", "--tag", "category=database", "--expires", "2027-01-31")
    return machine
