"""A policy that seals for KMS keys of two regions, of which one is lost: nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from strongroom.keys.errors import KeyServiceUnavailable
from strongroom.operations.errors import RunDegraded
from tests.cli.conftest import stock
from tests.cli.program import Machine
from tests.live.keys.test_kms import make_key
from tests.live.moto import CREDENTIALS, REGION, Moto
from tests.live.proxy import FaultyProxy, Reset

OTHER = "us-east-1"
KEY = '[keys.{name}]\nkind = "kms"\nkey_id = "{arn}"\nregion = "{region}"\nendpoint_url = "{url}"\n'
POLICY = """
[policies.all]
kind = "full"
targets = ["region-a", "region-b", "region-c"]
recipients = ["here", "there"]
"""


@pytest.fixture
def other_region(moto: Moto) -> Iterator[FaultyProxy]:
    """The way to the other region's keys."""
    with FaultyProxy(urlsplit(moto.endpoint).port or 0) as proxy:
        yield proxy


@pytest.fixture
def machine(tmp_path: Path, moto: Moto, other_region: FaultyProxy) -> Machine:
    made = stock(Machine(tmp_path / "machine", {name.upper(): value for name, value in CREDENTIALS.items()}))
    here = KEY.format(name="here", arn=make_key(moto), region=REGION, url=moto.endpoint)
    url = f"http://127.0.0.1:{other_region.port}"
    there = KEY.format(name="there", arn=make_key(moto, region=OTHER), region=OTHER, url=url)
    made.path("strongroom.toml").write_text(here + there + POLICY)
    return made


def uses(machine: Machine) -> dict[str, int]:
    return {use["name"]: len(use["backups"]) for use in machine.ok("keys", "list", "--json").document["keys"]}


def test_a_region_that_is_lost_stops_no_backup_which_is_sealed_for_it_once_it_is_back(
    machine: Machine, other_region: FaultyProxy
) -> None:
    machine.ok("backup", "--policy", "all", "--force")
    other_region.fail(Reset(), times=None)

    done = machine.run("backup", "--policy", "all", "--force", "--json")

    assert done.failed_with(RunDegraded), done
    assert "not sealed to there" in done.document["happened"]
    assert [REGION in reader for reader in done.document["recipients"]] == [True]
    assert uses(machine) == {"here": 2, "there": 1}
    assert machine.ok("restore", "--from-target", "region-a", "--full-restore", "--dry-run").out

    other_region.heal()
    machine.ok("keys", "rotate")
    assert uses(machine) == {"here": 2, "there": 2}


def test_with_every_region_lost_nothing_is_made_and_the_last_backup_stays(
    machine: Machine, other_region: FaultyProxy
) -> None:
    text = machine.path("strongroom.toml").read_text().replace('"here", ', "")
    machine.path("strongroom.toml").write_text(text)
    other_region.fail(Reset(), times=None)

    done = machine.run("backup", "full.sr", "--include-values", "--force", "--recipient", "there")

    assert done.failed_with(KeyServiceUnavailable), done
    assert not machine.path("full.sr").exists()
    assert not machine.staged()
