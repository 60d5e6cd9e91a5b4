"""What is printed says what the configuration names and nothing more, whatever somebody wrote into it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from strongroom.config import Settings, load_settings
from strongroom.errors import ConfigError
from strongroom.operations.rights.aws_policies import aws_lines, aws_policies
from strongroom.operations.rights.azure_roles import azure_grants, azure_lines
from strongroom.operations.rights.database import database_script, database_users, verifier
from strongroom.operations.rights.needs import GRANTED, Errand
from strongroom.operations.rights.vault_policies import (
    policy_document,
    policy_lines,
    policy_text,
    vault_policies,
)
from strongroom.state.tables import metadata

VAULT = '[vaults.main]\naddress = "https://v.example.org"\ntoken_file = "/nowhere/token"\n'
SOURCE = '[sources.s]\nkind = "vault"\nvault = "main"\n'
S3 = '[targets.t]\nkind = "s3"\nregion = "eu-central-1"\n'
EVERYBODY = (*GRANTED, "operator", *Errand)


def settings(text: str, tmp_path: Path) -> Settings:
    file = tmp_path / "strongroom.toml"
    file.write_text(f'state_dir = "/nowhere"\n{text}')
    return load_settings({"HOME": str(tmp_path)}, path=file)


def paths(text: str, role: str, tmp_path: Path, **how: Any) -> dict[str, list[str]]:
    found = vault_policies(settings(text, tmp_path), [role], **how)["main"][role]
    return {path: sorted(can) for path, can in found.items()}


HOSTILE = {
    "a mount that is all": VAULT + SOURCE + 'mounts = ["*"]\n',
    "a mount with a wildcard": VAULT + SOURCE + 'mounts = ["a/+"]\n',
    "a mount that ends the string": VAULT + SOURCE + 'mounts = [\'a" { capabilities = ["sudo"] } #\']\n',
    "a mount of two lines": VAULT + SOURCE + 'mounts = ["a\\nb"]\n',
    "a mount that is filled in": VAULT + SOURCE + 'mounts = ["{{identity.entity.id}}"]\n',
    "a mount that is left out by a wildcard": VAULT + SOURCE + 'exclude_mounts = ["a*"]\n',
    "a target of every mount": VAULT
    + '[targets.t]\nkind = "vault"\nvault = "main"\nmount = "+"\nregion = "r"\n',
    "a folder with a wildcard": VAULT
    + '[targets.t]\nkind = "vault"\nvault = "main"\nmount = "m"\nprefix = "*"\nregion = "r"\n',
    "every key": VAULT + '[keys.k]\nkind = "transit"\nvault = "main"\nkey = "*"\n',
    "every path of an engine": VAULT
    + '[rotators.r]\nkind = "vault-engine"\nvault = "main"\nrotate = "sys/*"\ninclude = ["x"]\n',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_would_cover_more_than_itself_in_a_vault_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot stand in a policy|would cover|problem"):
        vault_policies(settings(HOSTILE[name], tmp_path), EVERYBODY)


@pytest.mark.parametrize(
    "text",
    [
        S3 + 'bucket = "*"\n',
        S3 + 'bucket = "acme"\nprefix = "${aws:username}"\n',
        S3 + 'bucket = "acme-?"\n',
        '[keys.k]\nkind = "kms"\nregion = "eu-central-1"\nkey_id = "*"\n',
        '[keys.k]\nkind = "kms"\nregion = "eu-central-1"\nkey_id = "alias/*"\n',
    ],
)
def test_a_name_that_would_cover_more_than_itself_in_aws_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cover more than itself|problem"):
        aws_policies(settings(text, tmp_path), EVERYBODY)


def test_a_container_that_is_none_is_refused(tmp_path: Path) -> None:
    text = '[targets.t]\nkind = "azure"\naccount_url = "https://a.blob.core.windows.net"\nregion = "r"\n'
    with pytest.raises(ConfigError, match="no name that Azure gives"):
        azure_grants(settings(text + 'container = "x\'; id #"\n', tmp_path), EVERYBODY)


def test_what_a_shell_runs_hands_on_each_policy_as_it_is_and_runs_nothing_else(tmp_path: Path) -> None:
    """A namespace and a mount may hold what a shell would run."""
    text = (
        '[vaults.main]\naddress = "https://v.example.org"\ntoken_file = "/nowhere/token"\n'
        "namespace = \"a'; touch ran; '\"\n" + SOURCE + 'mounts = ["it\'s $(touch ran) `touch ran`"]\n'
    )
    found = settings(text, tmp_path)
    policies = vault_policies(found, ["seal"])
    program = tmp_path / "bao"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >"$OUT/arguments"\ncat >"$OUT/policy"\n')
    program.chmod(0o755)
    lines = "\n".join(policy_lines(found, policies, "strongroom-"))

    subprocess.run(
        ["sh"],
        input=lines,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "OUT": str(tmp_path)},
    )
    assert (tmp_path / "policy").read_text() == policy_text(policies["main"]["seal"])
    assert "-namespace=a'; touch ran; '" in (tmp_path / "arguments").read_text().splitlines()
    assert not (tmp_path / "ran").exists()


def test_several_servers_have_policies_of_their_own(tmp_path: Path) -> None:
    text = (
        VAULT
        + VAULT.replace("main", "keys")
        + SOURCE
        + '[keys.k]\nkind = "transit"\nvault = "keys"\nkey = "b"\n'
    )
    found = vault_policies(settings(text, tmp_path), ["seal", "verify"])
    assert set(found["keys"]["seal"]) == {"transit/datakey/plaintext/b", "transit/keys/b"}
    assert set(found["keys"]["verify"]) == {"transit/decrypt/b", "transit/keys/b"}
    assert not any("transit" in path for path in found["main"]["seal"])


def test_a_source_of_named_mounts_covers_these_and_otherwise_what_it_leaves_out_is_denied(
    tmp_path: Path,
) -> None:
    named = paths(VAULT + SOURCE + 'mounts = ["secret", "team/old"]\n', "seal", tmp_path, kv1=["team/old"])
    assert named["secret/data/*"] == ["read"]
    assert named["team/old/*"] == ["list", "read"]
    assert not any(path.endswith("data/*") and path.startswith("+") for path in named)

    every = paths(VAULT + SOURCE + 'exclude_mounts = ["scratch"]\n', "seal", tmp_path)
    assert (every["+/data/*"], every["scratch/*"]) == (["read"], ["deny"])


def test_a_source_reads_no_target_in_its_server(tmp_path: Path) -> None:
    target = '[targets.t]\nkind = "vault"\nvault = "main"\nmount = "backups"\nregion = "r"\n'
    assert paths(VAULT + SOURCE + target, "seal", tmp_path)["backups/*"] == ["deny"]
    assert paths(VAULT + SOURCE + target, "verify", tmp_path)["backups/data/*"] == ["read"]


def test_two_targets_in_one_bucket_reach_into_their_own_folders_alone(tmp_path: Path) -> None:
    text = (
        S3
        + 'bucket = "acme"\nprefix = "a"\n'
        + S3.replace("targets.t", "targets.u")
        + 'bucket = "acme"\nprefix = "b"\n'
    )
    policy = aws_policies(settings(text, tmp_path), ["transfer"])["transfer"]
    placed = {place for statement in policy["Statement"] for place in statement["Resource"]}
    assert placed == {"arn:aws:s3:::acme", "arn:aws:s3:::acme/a/*", "arn:aws:s3:::acme/b/*"}


def test_each_statement_has_a_name_of_its_own_as_iam_demands(tmp_path: Path) -> None:
    text = (
        S3 + 'bucket = "acme"\n' + '[sources.s]\nkind = "aws"\nregion = "eu-central-1"\ndestination = true\n'
    )
    for region in ("eu-central-1", "us-east-1"):
        text += f'[keys.k-{region}]\nkind = "kms"\nregion = "{region}"\nkey_id = "0123"\n'
    for policy in aws_policies(settings(text, tmp_path), EVERYBODY).values():
        names = [statement["Sid"] for statement in policy["Statement"]]
        assert len(names) == len(set(names))
        assert all(re.fullmatch(r"[A-Za-z0-9]+", name) for name in names)


def test_lines_for_aws_and_azure_are_what_a_shell_can_read(tmp_path: Path) -> None:
    azure = '[targets.z]\nkind = "azure"\ncontainer = "backups"\nregion = "r"\n'
    azure += 'account_url = "https://acme.blob.core.windows.net"\n'
    found = settings(S3 + 'bucket = "acme"\n' + azure, tmp_path)
    lines = [
        *aws_lines(aws_policies(found, GRANTED), "sr-"),
        *azure_lines(azure_grants(found, GRANTED), "sr-"),
    ]
    done = subprocess.run(["sh", "-n"], input="\n".join(lines), text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_database_and_users_of_any_name_are_quoted_and_no_password_is_written() -> None:
    (user,) = [user for user in database_users() if user.role == "seal"]
    script = database_script(
        'postgresql://u@h/a"; DROP TABLE runs; --', {"x'\"y": user}, {"x'\"y": "CANARY-pw"}
    )
    assert '"a""; DROP TABLE runs; --"' in script
    assert "'x''\"y'" in script
    assert "CANARY-pw" not in script
    assert verifier("CANARY-pw", salt=bytes(16)).startswith("SCRAM-SHA-256$4096:AAAAAAAAAAAAAAAAAAAAAA==$")


def test_each_table_is_granted_to_each_user_and_events_are_changed_by_nobody() -> None:
    for user in database_users():
        assert set(user.tables) == {*metadata.tables, "alembic_version"}
        assert not {"UPDATE", "DELETE"} & set(user.tables["events"])
        assert user.tables["alembic_version"] == ("SELECT",)


def test_a_policy_says_the_same_as_text_and_as_json(tmp_path: Path) -> None:
    key = '[keys.k]\nkind = "transit"\nvault = "main"\nkey = "b"\n'
    policy = vault_policies(settings(VAULT + key, tmp_path), ["shred"])["main"]["shred"]
    document = json.loads(json.dumps(policy_document(policy)))["path"]
    text = policy_text(policy)
    assert document["transit/keys/b/config"]["allowed_parameters"] == {
        "min_decryption_version": [],
        "min_encryption_version": [],
    }
    assert '"min_decryption_version" = []' in text
    assert [line.split('"')[1] for line in text.splitlines()] == list(document)
