"""The public Python interface, as docs/reference/python.md shows it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import strongroom
from strongroom.container.errors import UntrustedSigner, WrongKey
from strongroom.errors import UsageError, by_name
from strongroom.sources.errors import SecretNotFound
from tests.cli.program import PASSPHRASE, ROOT, Machine
from tests.patience import PATIENCE

NAME = "PAYMENTS_API_KEY"
VALUE = b"CANARY-payments"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine with a backup of two secrets for a recovery key and a passphrase."""
    machine = Machine(tmp_path_factory.mktemp("python") / "machine")
    machine.set(NAME, VALUE.decode())
    machine.set("other", "CANARY-other")
    machine.ok("keys", "new", "--output", "recovery.key")
    machine.seal("weekly.strongroom", "--recipient", "recovery.key.pub")
    return machine


@pytest.fixture(scope="module")
def signer(made: Machine) -> str:
    found = re.search(r"sr1:[0-9a-f]{64}", made.ok("keys", "signers", "list").out)
    assert found is not None
    return found[0]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another machine, on which nothing is known."""
    for name, value in {"HOME": tmp_path, "STRONGROOM_STATE_DIR": tmp_path / "none"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def examples() -> list[str]:
    text = (ROOT / "docs" / "reference" / "python.md").read_text()
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_first_example_of_the_page_prints_the_names(made: Machine, signer: str) -> None:
    program = examples()[0].replace("sr1:…", signer)

    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", program + "print(token)"],
        cwd=made.home,
        env=made.env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert told.stdout == f"{[NAME, 'other']}\n{VALUE!r}\n", told.stderr


def test_a_backup_opens_on_another_machine_with_key_and_signer(
    made: Machine, signer: str, elsewhere: Path
) -> None:
    file, key = made.path("weekly.strongroom"), made.path("recovery.key")
    with strongroom.open(file, identity=key, signer=signer) as backup:
        assert (sorted(backup), len(backup), "other" in backup, "none" in backup) == (
            [NAME, "other"],
            2,
            True,
            False,
        )
        assert {secret.name: secret.reveal() for secret in backup.secrets()}[NAME] == VALUE
        assert backup.signer == signer
        assert "CANARY" not in repr(backup) + repr(backup[NAME])
        with pytest.raises(SecretNotFound, match="holds no secret 'none'"):
            backup["none"]
        with pytest.raises(SecretNotFound, match="no value of version 9"):
            backup[NAME].reveal(9)


def test_a_backup_of_an_unknown_signer_is_refused_unless_anybodys_is_asked_for(
    made: Machine, elsewhere: Path
) -> None:
    file = made.path("weekly.strongroom")
    with pytest.raises(UntrustedSigner), strongroom.open(file, identity=made.path("recovery.key")):
        pass
    stranger = "sr1:" + "0" * 64
    with (
        pytest.raises(UntrustedSigner),
        strongroom.open(file, identity=made.path("recovery.key"), signer=stranger),
    ):
        pass

    with strongroom.open(file, identity=made.path("recovery.key"), trust_any=True) as backup:
        assert backup[NAME].reveal() == VALUE


def test_a_named_signer_counts_alone(made: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRONGROOM_STATE_DIR", str(made.state))
    stranger = "sr1:" + "0" * 64
    with (
        pytest.raises(UntrustedSigner),
        strongroom.open(made.path("weekly.strongroom"), passphrase=PASSPHRASE, signer=stranger),
    ):
        pass


def test_a_wrong_key_is_told_and_opens_nothing(made: Machine, signer: str, elsewhere: Path) -> None:
    with (
        strongroom.open(made.path("weekly.strongroom"), passphrase="wrong", signer=signer) as backup,
        pytest.raises(WrongKey),
    ):
        backup.names()
    with (
        pytest.raises(UsageError, match="public half"),
        strongroom.open(
            made.path("weekly.strongroom"), identity=made.path("recovery.key.pub"), signer=signer
        ),
    ):
        pass


def test_each_opening_is_on_record_where_an_installation_is(
    made: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRONGROOM_STATE_DIR", str(made.state))
    file = made.path("weekly.strongroom")

    def kinds() -> list[str]:
        lines = (made.state / "accesses.jsonl").read_text().splitlines()
        last = [json.loads(line) for line in lines][-2:]
        assert {one["detail"]["command"] for one in last} == {"python"}
        assert {(one["detail"]["backup"], one["detail"]["where"]) for one in last} == {(backup.id, str(file))}
        return [one["kind"] for one in last]

    with strongroom.open(file, identity=made.path("recovery.key")) as backup:
        last = (made.state / "accesses.jsonl").read_text().splitlines()[-1]
        assert json.loads(last)["kind"] == "access.attempted", "a process that is killed now leaves that much"
        backup.names()
        list(backup.secrets())
    assert kinds() == ["access.attempted", "access.opened"]
    with strongroom.open(file, passphrase="wrong") as backup, pytest.raises(WrongKey):
        backup.names()
    assert kinds() == ["access.attempted", "access.failed"]


def test_what_is_no_backup_is_said_to_be_none(elsewhere: Path) -> None:
    with pytest.raises(strongroom.StrongroomError, match="is no backup file"), strongroom.open("nowhere"):
        pass


def test_importing_it_loads_nothing_heavy_and_all_its_names_are_there() -> None:
    program = (
        "import sys, strongroom\n"
        "heavy = ('sqlalchemy', 'celery', 'kombu', 'msgspec', 'cryptography', 'boto3')\n"
        "print([name for name in heavy if name in sys.modules])\n"
        "print(all(getattr(strongroom, name) is not None for name in strongroom.__all__))\n"
        "print([name for name in ('celery', 'kombu') if name in sys.modules])"
    )
    command = [sys.executable, "-c", program]

    told = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)

    assert told.stdout == "[]\nTrue\n[]\n"


def test_a_warning_tells_what_was_left_aside_and_nothing_else_warns(made: Machine, signer: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with strongroom.open(
            made.path("weekly.strongroom"), identity=made.path("recovery.key"), signer=signer
        ) as backup:
            assert backup.left_aside == ""


def test_every_error_that_the_documents_name_for_python_is_imported_from_the_package() -> None:
    pages = sorted((ROOT / "docs" / "reference").glob("python*.md"))
    named = {
        name for page in pages for name in re.findall(r"`(?:strongroom\.)?([A-Z]\w+)`", page.read_text())
    }
    ours = {name for name in named if by_name(name) is not None} | {"LessThanKnown"}
    assert ours >= {"RunDegraded", "NotYetSeen", "StateUnavailable", "UntrustedSigner", "WrongKey"}
    for name in sorted(ours):
        assert getattr(strongroom, name) is by_name(name)
        assert name in strongroom.__all__
