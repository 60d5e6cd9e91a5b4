"""The shipped rights of SAS tokens are enough for each role, and each letter in them is needed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient, generate_container_sas

from strongroom.errors import StrongroomError
from strongroom.operations.checks.probe import probe_rights
from strongroom.operations.rights.azure_roles import sas_letters
from strongroom.plugins.conformance.targets import MIB, SharedConformance, get, names, put
from strongroom.targets import Target
from strongroom.targets.azure import AzureAccount, AzureTarget
from tests.live.azurite import ACCOUNT, Azurite

SAS = {
    role: sas_letters(role, locks=True)
    for role in ("transfer", "control", "prune", "recover", "verify", "page")
}
NOT_ENFORCED = frozenset("i")
"""Azurite has no immutability, so that nobody needs the right to set it."""
EITHER = frozenset("c")
"""To write a blob that is not there, the service takes ``c`` or ``w``; blocks need ``w``."""


class Place:
    """A container, and targets whose tokens have the letters that are given."""

    def __init__(self, azurite: Azurite, folder: Path) -> None:
        self._azurite = azurite
        self._folder = folder
        self._container = f"sas-{secrets.token_hex(6)}"
        with ContainerClient.from_connection_string(azurite.connection_string(), self._container) as client:
            client.create_container()

    def target(self, letters: str) -> AzureTarget:
        token = generate_container_sas(
            ACCOUNT,
            self._container,
            account_key=self._azurite.key,
            permission=letters,
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )
        file = self._azurite.key_file(self._folder / f"{secrets.token_hex(4)}.sas", token)
        account = AzureAccount(
            url=self._azurite.account_url, container=self._container, credential_file=file, retries=0
        )
        return AzureTarget(account, name="azure", region="westeurope", block_bytes=MIB)


@pytest.fixture
def place(azurite: Azurite, tmp_path: Path) -> Place:
    return Place(azurite, tmp_path)


@pytest.mark.sampled(every=4)
class TestTheSuiteOfTargetsWithTheControlToken(SharedConformance):
    page = 60  # Azurite's page has 5,000, which is none to fill again and again

    @pytest.fixture
    def target(self, place: Place) -> Iterator[Target]:
        made = place.target(SAS["control"])
        yield made
        made.close()


def uploads(target: Target) -> None:
    assert put(target, "containers/r/a", b"content") is True
    assert put(target, "containers/r/b", bytes(3 * MIB)) is True
    reads(target)


def sweeps(target: Target) -> None:
    uploads(target)
    target.delete("containers/r/a")
    assert target.abort_incomplete("") == 0


def reads(target: Target) -> None:
    assert get(target, names(target)[0]) == b"content"
    assert target.stat("never") is None


WORK: dict[str, Callable[[Target], None]] = {
    "transfer": uploads,
    "recover": uploads,
    "control": sweeps,
    "prune": sweeps,
    "verify": reads,
    "page": reads,
}


def test_every_role_that_is_shipped_has_its_work() -> None:
    assert SAS.keys() == WORK.keys()


@pytest.mark.parametrize("role", WORK)
def test_each_token_is_enough_for_its_work(place: Place, role: str) -> None:
    put(place.target(SAS["control"]), "containers/r/0", b"content")

    WORK[role](place.target(SAS[role]))


@pytest.mark.parametrize(("role", "letter"), [(role, letter) for role in WORK for letter in SAS[role]])
def test_without_any_one_of_its_letters_it_is_not(place: Place, role: str, letter: str) -> None:
    put(place.target(SAS["control"]), "containers/r/0", b"content")
    missed = False
    try:
        WORK[role](place.target(SAS[role].replace(letter, "")))
    except (StrongroomError, AssertionError):
        missed = True

    assert missed is (letter not in NOT_ENFORCED | EITHER)


@pytest.mark.parametrize("role", ["transfer", "control", "verify", "prune"])
def test_the_probe_finds_nothing_missing_and_nothing_too_many(place: Place, role: str) -> None:
    put(place.target(SAS["control"]), "containers/r/0", b"content")

    probe = probe_rights(place.target(SAS[role]), role=role)

    assert [check for check in probe.checks if check.failed] == []
