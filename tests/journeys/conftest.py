"""One house for all journeys: nobody writes to it, each takes a copy of what is left."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.program import Machine
from tests.journeys.house import REGIONS, House, lived


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return lived(tmp_path_factory.mktemp("house") / "home")


@pytest.fixture
def other(house: House, tmp_path: Path) -> Machine:
    """A new machine with copies of both targets, and the recovery key from the safe."""
    machine = Machine(tmp_path / "other")
    for name in REGIONS:
        shutil.copytree(house.regions / name, machine.path(name))
    shutil.copy(house.key, machine.path("recovery.key"))
    return machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine on which nothing has happened yet."""
    return Machine(tmp_path / "machine")
