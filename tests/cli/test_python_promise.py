"""What ``strongroom`` promises to programs: names, signatures, errors and types."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path

import pytest

import strongroom
from strongroom.errors import StrongroomError, by_name
from tests.cli.program import ROOT, Machine
from tests.patience import PATIENCE

PROMISED = ROOT / "tests" / "cli" / "promised.txt"
PROGRAM = ROOT / "tests" / "cli" / "python_program.py"
NAME = "PAYMENTS_API_KEY"


# -- the promise -----------------------------------------------------------------------


def promised() -> Iterator[str]:
    """Yield a line for each thing that a program can name, and how it is used."""
    for name in sorted(strongroom.__all__):
        thing = getattr(strongroom, name)
        if not isinstance(thing, type):
            yield f"{name}{_signature(thing)}" if callable(thing) else name
        elif issubclass(thing, StrongroomError):
            bases = ", ".join(
                base.__name__ for base in thing.__mro__[1:] if issubclass(base, StrongroomError)
            )
            yield f"{name}({bases}) {thing.exit_code}{' transient' if thing.transient else ''}"
        else:
            bases = ", ".join(base.__name__ for base in thing.__bases__ if base is not object)
            yield f"{name}({bases})"
            yield from (f"    {line}" for line in sorted(_members(thing)))


def _members(kind: type) -> Iterator[str]:
    if issubclass(kind, Enum):
        yield from (f"{member.name} = {member.value}" for member in kind)
        return
    fields = inspect.get_annotations(kind)
    yield from (f"{field}: {told}" for field, told in fields.items() if not field.startswith("_"))
    for name, member in vars(kind).items():
        if name.startswith("_") and name not in ("__contains__", "__getitem__", "__iter__", "__len__"):
            continue
        if isinstance(member, property) and member.fget is not None:
            yield f"{name}: {inspect.signature(member.fget).return_annotation}"
        elif inspect.isfunction(member):
            yield f"{name}{_signature(member)}"


def _signature(of: Callable[..., object]) -> str:
    return str(inspect.signature(of)).replace("'", "")


def test_what_is_promised_is_as_it_was() -> None:
    """To change a promise on purpose, in a major version: ``python -m tests.cli.test_python_promise``."""
    told = "".join(f"{line}\n" for line in promised())
    kept = PROMISED.read_text()
    gone = [line for line in kept.splitlines() if line not in told.splitlines()]
    assert gone == [], "a program that was written for this breaks"
    new = [line for line in told.splitlines() if line not in kept.splitlines()]
    assert [
        line for line in new if "(StrongroomError" not in line and ", StrongroomError)" not in line
    ] == [], "something new is promised: write it down"


def test_every_error_that_the_documents_name_can_be_imported() -> None:
    page = (ROOT / "docs" / "reference" / "exit-codes.md").read_text()
    named = set(re.findall(r"^- `([A-Z]\w+)`", page, re.MULTILINE))
    assert len(named) > 100
    assert sorted(named - set(strongroom.__all__)) == [], "run: python scripts/make_reference.py"
    assert all(getattr(strongroom, name) is by_name(name) for name in named)


def test_a_family_of_errors_catches_those_that_it_is_for() -> None:
    assert issubclass(strongroom.WrongKey, strongroom.CannotOpen)
    assert issubclass(strongroom.Tampered, strongroom.Damaged)


def test_a_name_that_is_not_there_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Clientt'"):
        strongroom.Clientt  # type: ignore[attr-defined]  # noqa: B018


# -- a typed program -------------------------------------------------------------------


def test_a_typed_program_passes_and_a_typo_does_not(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "import strongroom\n"
        "strongroom.Clientt\n"
        "strongroom.Client().backups(polcy='full')\n"
        "strongroom.open('file', idenity='key')\n"
    )
    strict = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["strict"]
    assert strict
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--cache-dir"]
    told = subprocess.run(
        [*command, str(tmp_path / "cache"), str(PROGRAM), str(wrong)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    found = [line for line in told.stdout.splitlines() if "strongroom/" not in line.split(":")[0]]
    assert [line.split(":")[1] for line in found if "error:" in line] == ["2", "3", "4"], told


def test_the_typed_program_shows_an_installation_and_plans_a_restore(machine: Machine) -> None:
    machine.set(NAME, "CANARY-payments")
    machine.set("other", "CANARY-other")
    machine.ok("keys", "new", "--output", "recovery.key")
    machine.path("strongroom.toml").write_text(
        '[keys.recovery]\nkind = "hpke"\npublic_key_file = "recovery.key.pub"\n'
        'identity_file = "recovery.key"\n'
        '[policies.full]\nkind = "full"\nsource = "local"\ntargets = ["region-a", "region-b", "region-c"]\n'
        'recipients = ["recovery"]\n'
    )
    machine.ok("backup", "--policy", "full", "--force")
    machine.ok("secrets", "delete", "other", "--force")
    machine.set(NAME, "CANARY-newer")

    told = subprocess.run(
        [sys.executable, "-W", "error", str(PROGRAM), "full", NAME],
        cwd=machine.home,
        env=machine.env | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert told.returncode == 0, told
    first, _alerts, chosen, read = told.stdout.splitlines()
    assert "['done'] (1, 1, 0)" in first
    assert f"'{NAME}': 'leave'" in first
    assert "'other': 'create'" in first
    backup = first.split(" ")[0]
    assert chosen.startswith(f"Backup {backup} of policy 'full', made ")
    assert chosen.endswith(": 2 secrets, on 'region-a', 'region-b', 'region-c'.")
    assert read == f"['{NAME}'] {len('CANARY-payments')}"
    assert machine.path("plan.jsonl").stat().st_mode & 0o777 == 0o600
    assert "1 secret created" in machine.run("restore", "--plan", "plan.jsonl").out
    assert "CANARY-other" in machine.ok("get", "other", "--show-value").out


def test_of_several_targets_what_one_does_not_give_is_read_from_the_next(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.set(NAME, "CANARY-payments")
    machine.ok("keys", "new", "--output", "recovery.key")
    machine.path("strongroom.toml").write_text(
        '[keys.recovery]\nkind = "hpke"\npublic_key_file = "recovery.key.pub"\n'
        '[policies.full]\nkind = "full"\nsource = "local"\ntargets = ["region-a", "region-b", "region-c"]\n'
        'recipients = ["recovery"]\n'
    )
    machine.ok("backup", "--policy", "full", "--force")
    for file in (machine.state / "targets" / "region-a").rglob("*"):
        if file.is_file() and "containers" in file.parts:
            file.chmod(0o600)
            file.write_bytes(b"CANARY-damaged")
    for name, value in machine.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(machine.home)
    with strongroom.open(
        ["region-a", "region-b"], identity="recovery.key", config=machine.path("strongroom.toml")
    ) as backup:
        assert backup[NAME].reveal() == b"CANARY-payments"
        assert backup.lost is None
    with (
        pytest.raises(strongroom.NotCovered),
        strongroom.open(at="2001-01-01", config=machine.path("strongroom.toml"), identity="recovery.key"),
    ):
        pass
    with pytest.raises(strongroom.UsageError, match="is no date"), strongroom.open(at="yesterday"):
        pass


if __name__ == "__main__":
    PROMISED.write_text("".join(f"{line}\n" for line in promised()))
