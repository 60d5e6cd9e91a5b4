"""The two commands on live servers, with a configuration as somebody writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from strongroom.operations.errors import RefusalMissing
from strongroom.targets.errors import TargetAbsent
from tests.cli.program import Machine
from tests.live.azurite import Azurite
from tests.live.ministack import MiniStack
from tests.live.regions import azure_region, credentials_file, s3_region


@pytest.fixture
def machine(ministack: MiniStack, azurite: Azurite, tmp_path: Path) -> Machine:
    locked = s3_region(ministack, tmp_path, name="eu", locking=True)
    west = azure_region(azurite, tmp_path, name="west")
    keys = credentials_file(tmp_path / "s3")
    config = tmp_path / "strongroom.toml"
    made: Any = locked.make(locked.url)
    azure: Any = west.make(west.url)
    config.write_text(
        f"""
[sources.local]
kind = "local"

[targets.eu]
kind = "s3"
bucket = "{made.bucket.options.bucket}"
region = "eu-central-1"
endpoint_url = "{locked.url}"
credentials_file = "{keys}"
lock = "compliance"

[targets.west]
kind = "azure"
account_url = "{azure._account.url}"
container = "{azure._account.container}"
credential_file = "{azure._account.credential_file}"
region = "westeurope"
"""
    )
    made_up = Machine(tmp_path / "machine")
    made_up.env |= {"STRONGROOM_CONFIG": str(config)}
    made_up.set("app/token", "CANARY-token")
    return made_up


def outcomes(document: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {
        (probe["name"], check["what"]): check["outcome"]
        for probe in document["probes"]
        for check in probe["checks"]
    }


def test_storage_in_two_clouds_is_proved(machine: Machine) -> None:
    done = machine.ok("check", "storage", "--json")

    found = outcomes(done.document)
    assert found["eu", "read it back"] == "fine"
    assert found["eu", "delete a locked object"] == "fine"
    assert found["west", "write over an object"] == "fine"


def test_an_account_key_is_called_too_many_and_a_bucket_that_nobody_can_change_is_not(
    machine: Machine,
) -> None:
    done = machine.run("check", "rights", "--json")

    found = outcomes(done.document)
    assert done.failed_with(RefusalMissing)
    assert found["west", "rights of the credential"] == "too many"
    assert found["eu", "change the bucket itself"] == "not shown"
    assert [key for key, outcome in found.items() if outcome == "too many"] == [
        ("west", "rights of the credential")
    ]
    assert "CANARY" not in done.out + done.err


def test_a_bucket_that_does_not_exist_is_said_to_be_missing_and_no_right(machine: Machine) -> None:
    config = Path(machine.env["STRONGROOM_CONFIG"])
    lines = config.read_text().splitlines()
    named = [
        'bucket = "sr-nobody-made-it"' if line.startswith("bucket =") else line
        for line in lines
        if not line.startswith("lock =")
    ]
    config.write_text("\n".join(named))
    for command in (["check", "storage", "eu"], ["check", "rights", "--role", "transfer", "eu"]):
        done = machine.run(*command)
        assert done.failed_with(TargetAbsent), done
        assert "There is no such bucket or container as target eu names." in " ".join(done.err.split())


def test_a_machine_that_is_set_up_locks_where_the_bucket_can(ministack: MiniStack, tmp_path: Path) -> None:
    keys = credentials_file(tmp_path / "s3")
    targets = []
    for name in ("eu", "us"):
        region = s3_region(ministack, tmp_path, name=name, locking=name == "eu")
        made: Any = region.make(region.url)
        place = f"s3://{made.bucket.options.bucket}?endpoint_url={region.url}&credentials_file={keys}"
        targets.append(f"--target={made.bucket.options.region}={place}")
    new = Machine(tmp_path / "new")
    said = new.run("init", *targets)
    settings = new.ok("check", "config", "--json").document["settings"]["targets"]

    locked, other = settings
    assert f"The bucket of target '{locked}' has Object Lock" in said.out
    assert [settings[name]["lock"] for name in (locked, other)] == ["governance", "none"]
