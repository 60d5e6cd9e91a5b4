"""Machines to run command lines on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.furnished import Furnish
from tests.cli.program import REGIONS, Machine


@pytest.fixture(scope="session")
def furnish(tmp_path_factory: pytest.TempPathFactory) -> Furnish:
    """Does to a machine what was done once to another: see :class:`tests.cli.furnished.Furnish`."""
    return Furnish(tmp_path_factory.mktemp("furnished"))


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each test's machine has its home, one after the other."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def machine(home: Path) -> Machine:
    """A machine on which nothing has happened yet."""
    machine = Machine(home)
    machine.clear()
    return machine


@pytest.fixture
def other(tmp_path: Path) -> Machine:
    """Another machine, which shares nothing with the first."""
    return Machine(tmp_path / "other")


@pytest.fixture
def stocked(machine: Machine, furnish: Furnish) -> Machine:
    """A machine whose local store has the secrets that the procedures name."""
    furnish(machine, stock)
    return machine


@pytest.fixture
def configured(machine: Machine, furnish: Furnish) -> Machine:
    """A stocked machine with a full and a metadata policy to three regions."""
    furnish(machine, stock, configure)
    return machine


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A stocked machine with a full backup in ``full.sr``, for tests that change neither."""
    machine = stock(Machine(tmp_path_factory.mktemp("sealed") / "machine"))
    machine.seal()
    return machine


def configure(machine: Machine) -> None:
    """Give a machine a recovery key, three regions, and a full and a metadata policy to them."""
    machine.ok("keys", "new", "--output", "recovery.key")
    targets = "".join(
        f'[targets.{name}]\nkind = "directory"\npath = "regions/{name}"\nregion = "{name}"\ncreate = true\n'
        for name in REGIONS
    )
    machine.path("strongroom.toml").write_text(f"""{targets}
[sources.local]
kind = "local"
[keys.recovery]
kind = "hpke"
public_key_file = "recovery.key.pub"
[policies.full]
kind = "full"
targets = {json.dumps(REGIONS)}
recipients = ["recovery"]
quorum = 2
regions = 2
[policies.metadata]
kind = "metadata"
targets = {json.dumps(REGIONS)}
""")


def stock(machine: Machine) -> Machine:
    machine.set("JWT_SECRET_KEY", "CANARY-JWT", "--type", "signing_key", "--tag", "priority=critical")
    machine.set("DATABASE_PASSWORD", "CANARY-DB", "--tag", "category=database", "--tag", "priority=critical")
    machine.set("REDIS_PASSWORD", "CANARY-REDIS", "--tag", "category=database", "--expires", "2027-01-31")
    return machine
