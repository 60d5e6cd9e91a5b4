"""The way back from a restore that overwrote the wrong thing, as it is printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from shlex import quote

import pytest

from strongroom.errors import UsageError
from strongroom.operations.errors import ConfirmationRequired
from tests.cli.program import SCRIPT, Machine


@pytest.fixture
def overwritten(tmp_path: Path) -> tuple[Machine, str]:
    """A machine in a folder that a shell would take apart, after a restore that was wrong."""
    machine = Machine(tmp_path / "it's here")
    machine.set("TOKEN", "CANARY-OLD")
    machine.set("OTHER", "CANARY-OTHER")
    machine.ok("keys", "new", "--output", "my key")
    machine.ok("backup", "w.sr", "--include-values", "--recipient", "my key.pub", "--force")
    machine.set("TOKEN", "CANARY-NEWER")
    words = ("restore", "--backup-file", "w.sr", "--secret-name", "TOKEN", "--overwrite-existing")
    return machine, machine.ok(*words, "--identity", "my key").out


def token(machine: Machine) -> str:
    return machine.ok("get", "TOKEN", "--show-value").out.strip()


def test_the_printed_command_brings_back_what_was_there(
    overwritten: tuple[Machine, str], tmp_path: Path
) -> None:
    machine, out = overwritten
    assert token(machine) == "CANARY-OLD"
    [command] = out.partition("This undoes it:\n")[2].splitlines()
    shell = f'strongroom() {{ "{sys.executable}" "{SCRIPT}" "$@"; }}\n{command}'
    done = subprocess.run(  # from anywhere
        ["bash", "-c", shell], cwd=tmp_path, env=machine.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done
    assert token(machine) == "CANARY-NEWER"


def test_a_folder_of_them_is_answered_with_the_files_to_name(overwritten: tuple[Machine, str]) -> None:
    machine, _ = overwritten
    [folder] = (machine.state / "undo").iterdir()
    words = ("restore", "--secret-name", "TOKEN", "--overwrite-existing", "--identity", "my key")
    done = machine.run(*words, "--backup-file", folder)
    assert done.failed_with(UsageError)
    assert "0001.strongroom" in done.err
    assert "Mount it" not in done.err
    assert token(machine) == "CANARY-OLD"
    machine.ok(*words, "--backup-file", folder / "0001.strongroom")
    assert token(machine) == "CANARY-NEWER"


@pytest.mark.parametrize(
    "command", ["backups verify", "backups show", "backups verify --structure", "backups verify --opens"]
)
def test_who_looks_at_a_folder_of_them_is_told_what_to_type_for_each(
    overwritten: tuple[Machine, str], command: str
) -> None:
    machine, _ = overwritten
    [folder] = (machine.state / "undo").iterdir()
    done = machine.run(command, folder)
    assert done.failed_with(UsageError)
    said = " ".join(done.err.split())
    assert "is a folder of backup files, not one backup" in said
    assert "Mount it" not in said
    typed = f"strongroom {command} {quote(str(folder / '0001.strongroom'))}"
    assert typed.replace(" ", "") in done.err.replace("\n", "").replace(" ", "")
    machine.ok(command, folder / "0001.strongroom", *_opens(command))


def _opens(command: str) -> tuple[str, ...]:
    return ("--identity", "my key") if command == "backups verify --opens" else ()


def test_a_restore_that_wrote_nothing_prints_no_way_back(overwritten: tuple[Machine, str]) -> None:
    machine, _ = overwritten
    words = ("restore", "--backup-file", "w.sr", "--full-restore", "--identity", "my key", "--json")
    done = machine.ok(*words).document
    assert (done["undo"], done["undo_by"]) == (None, [])


def test_where_nothing_can_be_put_on_record_it_says_so(
    overwritten: tuple[Machine, str], other: Machine
) -> None:
    machine, _ = overwritten
    signer = machine.ok("backups", "show", "w.sr", "--json").document["signer"]
    other.state.mkdir()
    (other.state / "undo").write_text("in the way of a folder")
    words = ("restore", "--backup-file", machine.path("w.sr"), "--full-restore", "--identity")
    words = (*words, machine.path("my key"), "--signer", signer)
    refused = other.run(*words)
    assert refused.failed_with(ConfirmationRequired)
    assert "could not be undone: it cannot be put on record" in " ".join(refused.err.split())
    assert other.ok("list", "--json").document["secrets"] == []
    done = other.ok(*words, "--force")
    assert "this restore cannot be undone" in done.err
    assert "This undoes it" not in done.out
