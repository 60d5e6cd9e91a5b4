"""Two regions of an account by the commands that a person types, with a configuration as one writes it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strongroom.errors import SourceError
from strongroom.operations.errors import RefusalMissing, RunDegraded
from tests.cli.program import Done, Machine, command
from tests.live import aws_account
from tests.live.aws_account import OTHER_REGION
from tests.live.moto import CREDENTIALS, FOR_EVER, Moto
from tests.live.test_aws_rights import shipped
from tests.patience import until

CONFIG = """
[sources.eu]
kind = "aws"
region = "eu-central-1"
endpoint_url = "{endpoint}"
profile = "backup"
requests_per_second = 400
rearm_rotation = true

[sources.us]
kind = "aws"
region = "us-east-1"
endpoint_url = "{endpoint}"
profile = "backup"
requests_per_second = 10
kms_key_id = "alias/here"

[targets.disk]
kind = "directory"
path = "disk"
region = "office"
create = true

[keys.recovery]
kind = "hpke"
public_key_file = "recovery.key.pub"

[policies.eu]
kind = "full"
source = "eu"
targets = ["disk"]
recipients = ["recovery"]
quorum = 1
"""
NUMBERS = (3, 4, 6, 7, 10, 30)
IDENTITY = ("--identity", "recovery.key")
RESTORE = ("restore", "--from-target", "disk", "--full-restore", *IDENTITY)


@pytest.fixture
def machine(moto: Moto, tmp_path: Path) -> Iterator[Machine]:
    aws_account.fill(moto, NUMBERS)
    moto.client(region_name=OTHER_REGION).create_secret(Name="us/only", SecretString="CANARY-us")
    made = Machine(tmp_path / "machine")
    made.env["STRONGROOM_CONFIG"] = str(made.path("strongroom.toml"))
    made.env["AWS_SHARED_CREDENTIALS_FILE"] = str(made.path("aws"))
    log_in(made, {name.upper(): value for name, value in CREDENTIALS.items()})
    made.ok("keys", "new", "--output", "recovery.key")
    made.path("strongroom.toml").write_text(CONFIG.format(endpoint=moto.endpoint))
    made.ok("check", "config")
    yield made
    moto.enforce(after=FOR_EVER)


def log_in(machine: Machine, keys: dict[str, str]) -> None:
    lines = [f"{name.lower()} = {value}" for name, value in keys.items()]
    machine.path("aws").write_text("\n".join(["[backup]", *lines, ""]))


def restore(machine: Machine, *words: str) -> Done:
    return machine.run(*RESTORE, "--force", "--json", *words)


def test_a_region_is_backed_up_wiped_and_brought_back_with_its_rotation(machine: Machine, moto: Moto) -> None:
    before = aws_account.told(moto)
    assert before.keys() == names(machine, "eu")
    assert len(names(machine, "us")) == 2  # its own, and a replica
    machine.ok("backup", "--policy", "eu", "--force")
    moto.reset()
    aws_account.make_function(moto)

    planned = restore(machine, "--to", "eu", "--dry-run").document
    assert planned["created"] == len(NUMBERS)
    assert planned["least_seconds"] > 0
    done = restore(machine, "--to", "eu").document

    assert (done["created"], done["compared"]) == (len(NUMBERS), len(NUMBERS))
    after = aws_account.told(moto)
    for name, told in before.items():
        assert {key: after[name].get(key) for key in KEPT} == {key: told.get(key) for key in KEPT}, name
    assert not [line for line in done["losses"] if "rotation" in line]


def test_a_half_restored_account_is_told_at_backup_and_finished_by_the_next_restore(
    machine: Machine, moto: Moto
) -> None:
    """Its backup was made without a word, and that backup stopped every restore."""
    machine.ok("backup", "--policy", "eu", "--force")
    mark = {"Key": "strongroom:restoring", "Value": "another"}
    (name,) = [one for one in names(machine, "eu") if "007" in one]
    moto.client().tag_resource(SecretId=name, Tags=[mark])
    half = machine.run("backup", "--policy", "eu", "--force")
    assert half.failed_with(RunDegraded)
    assert "left 1 secret of the source half-written" in half.out + half.err
    moto.reset()
    aws_account.make_function(moto)
    done = restore(machine, "--to", "eu")
    assert (done.code, done.document["left"], done.document["not_done"]) == (0, 0, 0)
    assert mark not in moto.client().describe_secret(SecretId=name).get("Tags", [])


def test_what_a_killed_restore_lost_is_told_by_the_one_that_finishes(machine: Machine, moto: Moto) -> None:
    """Rotation came back switched off, and no line of the second run said so."""
    moto.reset()
    aws_account.fill(moto, [*NUMBERS, *range(101, 140)])
    config = machine.path("strongroom.toml")
    config.write_text(config.read_text().replace("rearm_rotation = true", "").replace("= 400", "= 60"))
    machine.ok("backup", "--policy", "eu", "--force")
    moto.reset()
    aws_account.make_function(moto)
    process = subprocess.Popen(
        command(*RESTORE, "--force", "--to", "eu"),
        cwd=machine.home,
        env=machine.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    record = await_record(machine)
    process.kill()
    process.wait()
    lost = json.loads((record / "losses.json").read_bytes())
    assert lost
    done = restore(machine, "--to", "eu")
    assert (done.code, done.document["left"]) == (0, 0)
    [earlier] = done.document["earlier"]
    assert (earlier["folder"], earlier["killed"]) == (str(record), True)
    assert set(lost) <= set(done.document["losses"])
    assert "rotation is not switched on again" in " ".join(done.document["losses"])


def await_record(machine: Machine) -> Path:
    """Wait until a restore has put on record that it wrote a first slice; return its folder."""

    def begun() -> Path | None:
        for file in (machine.state / "undo").glob("*/restore.json"):
            if json.loads(file.read_bytes())["counts"]["created"]:
                return file.parent
        return None

    return until(begun, what="a restore that is under way")


KEPT = ("Description", "Tags", "ResourcePolicy", "KmsKeyId", "RotationEnabled", "RotationRules")


def names(machine: Machine, source: str) -> set[str]:
    listed: list[dict[str, Any]] = machine.ok("list", "--source", source, "--json").document["secrets"]
    return {secret["name"] for secret in listed}


def test_another_region_takes_it_under_a_key_of_its_own_and_says_how_long_that_takes(
    machine: Machine, moto: Moto
) -> None:
    machine.ok("backup", "--policy", "eu", "--force")
    planned = machine.ok(*RESTORE, "--to", "us", "--dry-run")
    assert "'us' takes" in planned.out
    assert "at the rate that it allows" in planned.out
    one = ("restore", "--from-target", "disk", *IDENTITY, "--to", "us", "--json")
    name = "prod/team-0/secret_007+x=y.z@w"
    machine.ok(*one, "--secret-name", name)
    found = moto.client(region_name=OTHER_REGION).describe_secret(SecretId=name)
    assert found["KmsKeyId"] == "alias/here"

    config = machine.path("strongroom.toml")
    config.write_text(config.read_text().replace('kms_key_id = "alias/here"', ""))
    moto.client(region_name=OTHER_REGION).delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
    refused = machine.run(*one, "--secret-name", name)
    assert refused.failed_with(SourceError)
    assert "kms_key_id" in refused.err


def test_a_credential_is_told_what_it_lacks_and_what_it_has_too_many(machine: Machine, moto: Moto) -> None:
    log_in(machine, moto.user(shipped("backup")))
    moto.enforce()
    fitting = machine.ok("check", "rights", "eu", "--json").document["probes"][0]["checks"]
    assert {check["outcome"] for check in fitting} == {"fine"}
    moto.enforce(after=FOR_EVER)
    log_in(machine, moto.user(shipped("restore")))
    moto.enforce()
    done = machine.run("check", "rights", "eu", "--json")
    assert done.failed_with(RefusalMissing)
    (found,) = [check for check in done.document["probes"][0]["checks"] if check["outcome"] == "too many"]
    assert found["what"].startswith("secrets like prod/team-")
    assert {"CreateSecret", "PutSecretValue", "DeleteSecret"} <= set(found["detail"].split(", "))


def test_a_backup_that_the_account_refuses_ends_as_its_source_does_and_says_which_right_lacks(
    machine: Machine, moto: Moto
) -> None:
    policy = {"Effect": "Allow", "Action": "secretsmanager:ListSecrets", "Resource": "*"}
    log_in(machine, moto.user({"Version": "2012-10-17", "Statement": [policy]}))
    moto.enforce()
    done = machine.run("backup", "--policy", "eu", "--force", "--json")
    assert done.failed_with(SourceError)
    assert "could not read" in done.document["error"]["message"]
    assert "grant the right" in done.document["error"]["hint"]
    assert "What to do" not in done.document["error"]["message"]
