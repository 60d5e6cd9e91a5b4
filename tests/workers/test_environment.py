"""Each process finds in its environment what its role needs."""

from __future__ import annotations

import pytest

from workers import environment, names

ALL = {
    "PATH": "/bin",
    "HOME": "/root",
    "LC_ALL": "C",
    "STRONGROOM_CONFIG": "/etc/strongroom.toml",
    "STRONGROOM_PASSPHRASE": "CANARY-passphrase",
    "STRONGROOM_PASSPHRASE_FILE": "/run/passphrase",
    "VAULT_TOKEN": "CANARY-vault",
    "AWS_SECRET_ACCESS_KEY": "CANARY-aws",
    "GITHUB_TOKEN": "CANARY-unrelated",
}


def who_gets(variable: str) -> set[str]:
    return {role for role in names.ROLES if variable in environment.for_role(role, ALL)}


@pytest.mark.parametrize("variable", ["STRONGROOM_PASSPHRASE", "STRONGROOM_PASSPHRASE_FILE"])
def test_a_passphrase_reaches_who_seals_or_opens_with_it(variable: str) -> None:
    assert who_gets(variable) == {"seal", "verify", "drill", "recover"}


def test_a_sources_token_reaches_who_reads_sources() -> None:
    assert who_gets("VAULT_TOKEN") == {"control", "seal", "verify", "recover"}


def test_a_targets_key_reaches_neither_beat_nor_flower() -> None:
    assert who_gets("AWS_SECRET_ACCESS_KEY") == {*names.QUEUES, names.PAGE}  # which looks at the targets


def test_what_is_not_ours_reaches_nobody() -> None:
    assert who_gets("GITHUB_TOKEN") == set()


def test_the_broker_gets_next_to_nothing() -> None:
    assert environment.for_role("broker", ALL) == {"PATH": "/bin", "PYTHONSAFEPATH": "1"}


@pytest.mark.parametrize("role", ["broker", *names.ROLES])
def test_no_process_looks_for_modules_in_the_current_directory(role: str) -> None:
    given = environment.for_role(role, {**ALL, "PYTHONPATH": ":/srv/code:"})

    assert (given["PYTHONSAFEPATH"], given["PYTHONPATH"]) == ("1", "/srv/code")


def test_every_process_is_told_its_role() -> None:
    assert environment.for_role("seal", ALL)["STRONGROOM_ROLE"] == "seal"
