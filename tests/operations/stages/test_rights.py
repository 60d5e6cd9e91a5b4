"""What `cluster rules` prints of stages: what a role does there, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.config import AzureTargetSettings, S3TargetSettings, Settings, VaultTargetSettings
from strongroom.config.vaults import VaultSettings
from strongroom.operations.rights.aws_policies import aws_policies
from strongroom.operations.rights.azure_roles import azure_grants
from strongroom.operations.rights.vault_policies import vault_policies

ROLES = ("control", "seal", "transfer", "verify", "drill", "recover", "prune")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        state_dir=tmp_path,
        targets={},
        vaults={"v": VaultSettings(address="https://vault.example.org", token_file=tmp_path / "token")},
        stages={
            "default": S3TargetSettings(kind="s3", bucket="acme-stage", region="eu-central-1"),
            "blobs": AzureTargetSettings(
                kind="azure",
                account_url="https://acme.blob.core.windows.net",
                container="stage",
                region="westeurope",
            ),
            "entries": VaultTargetSettings(kind="vault", vault="v", mount="stage", region="eu"),
        },
    )


def test_a_policy_of_aws_grants_each_role_its_prefixes_of_the_stage(settings: Settings) -> None:
    found = aws_policies(settings, ROLES)
    assert found.keys() == {"control", "seal", "transfer", "recover", "prune"}
    may = {
        (role, action, resource.rpartition(":::")[2])
        for role, policy in found.items()
        for statement in policy["Statement"]
        for action in statement["Action"]
        for resource in statement["Resource"]
    }
    assert ("transfer", "s3:DeleteObject", "acme-stage/runs/*") in may
    assert ("recover", "s3:PutObject", "acme-stage/undo/*") in may
    assert not [each for each in may if each[0] == "transfer" and each[1] == "s3:PutObject"]
    assert not [each for each in may if each[0] == "recover" and each[1] == "s3:DeleteObject"]
    assert {resource for role, _, resource in may if role == "prune"} == {
        "acme-stage",
        "acme-stage/approvals/*",
    }
    assert not [each for each in may if each[2] == "acme-stage/*"]


def test_a_container_grants_each_role_what_it_does_anywhere_on_the_stage(settings: Settings) -> None:
    letters = {role: grants["stage-blobs"].letters for role, grants in azure_grants(settings, ROLES).items()}
    assert letters == {
        "control": "rcwdl",
        "seal": "rcwdl",
        "transfer": "rd",
        "recover": "rcwl",
        "prune": "rcw",
    }


def test_a_mount_grants_what_is_done_on_the_stage(settings: Settings) -> None:
    found = vault_policies(settings, ROLES)["v"]
    assert found.keys() >= {"control", "seal", "transfer", "recover", "prune"}
    assert "stage/data/*" in str(found["control"])
