"""rotate-secret as a person types it: on the local store, with programs of their own."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from strongroom.errors import UsageError
from strongroom.operations.errors import ConfirmationRequired, RunDegraded, SecretNotRotated
from strongroom.sources.errors import SecretNotFound
from strongroom.state.errors import RunNotFound
from tests.cli.conftest import stock
from tests.cli.furnished import furnished
from tests.cli.late import interrupted_at
from tests.cli.program import Machine, command
from tests.cli.test_incident import SECRETS, keep_house
from tests.cli.test_keys_list import configure

WHY = ("--reason", "it was in a log file")
CONFIG = """
[rotators.database]
kind = "command"
include = ["prod/db"]
command = ["{home}/set-password"]
to_do = "restart the web servers"

[rotators.keys]
kind = "random"
include = ["prod/*"]
"""


def program(machine: Machine, *lines: str) -> None:
    path = machine.path("set-password")
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def rotating(machine: Machine) -> Machine:
    """A machine with three secrets, two rotators, and a program that writes down what it was given."""
    machine.path("strongroom.toml").write_text(CONFIG.format(home=machine.home))
    machine.env["STRONGROOM_CONFIG"] = str(machine.path("strongroom.toml"))
    for name in ("prod/db", "prod/key", "test/db"):
        machine.set(name, f"CANARY-old-{name}", "--tag", f"where={name.partition('/')[0]}")
    program(machine, f"cat > {machine.path('given')}")
    return machine


def value(machine: Machine, name: str) -> str:
    return machine.ok("get", name, "--show-value").out.strip()


def test_a_leaked_password_gets_a_new_value_and_what_is_left_to_a_person_is_said(rotating: Machine) -> None:
    done = rotating.run("secrets", "rotate", "prod/db", "test/db", *WHY, "--force")
    assert done.failed_with(RunDegraded)
    assert "prod/db: restart the web servers" in done.out
    assert "test/db: no rotator is for it: give it a new value by hand" in done.out
    assert "a restore from one brings those back" in done.out
    new = value(rotating, "prod/db")
    assert new == rotating.path("given").read_text()
    assert new not in done.out + done.err
    assert value(rotating, "test/db") == "CANARY-old-test/db"


def test_a_command_that_fails_is_told_with_the_value_that_is_current_and_its_run_can_be_shown_again(
    rotating: Machine,
) -> None:
    program(rotating, "exit 7")
    done = rotating.run("secrets", "rotate", "prod/db", "prod/key", *WHY, "--force", "--json")
    assert done.failed_with(SecretNotRotated)
    assert (done.document["failed"], done.document["done"]) == (["prod/db"], ["prod/key"])
    assert value(rotating, "prod/db") == "CANARY-old-prod/db"
    shown = rotating.run("secrets", "rotate", "--show", done.document["run"], "--json")
    assert shown.document["secrets"] == done.document["secrets"]
    why = shown.document["secrets"][0]["why"]
    assert "ended with status 7. The former value is current again, as version 3" in why


def test_nothing_is_changed_without_a_reason_or_a_yes_or_by_a_plan(rotating: Machine) -> None:
    assert rotating.run("secrets", "rotate", "prod/db").failed_with(UsageError)
    asked = rotating.run("secrets", "rotate", "prod/db", *WHY)
    assert asked.failed_with(ConfirmationRequired)
    assert "prod/db  database" in asked.err
    planned = rotating.ok("secrets", "rotate", "--filter-tag", "where=prod", "--dry-run", "--json")
    assert [one["rotator"] for one in planned.document["secrets"]] == ["database", "keys"]
    assert value(rotating, "prod/db") == "CANARY-old-prod/db"
    assert rotating.run("secrets", "rotate", "--show", "nothing").failed_with(RunNotFound)
    assert rotating.run("secrets", "rotate", "prod/bd", *WHY, "--force").failed_with(SecretNotFound)
    pattern = rotating.run("secrets", "rotate", "prod/*", *WHY, "--force")
    assert pattern.failed_with(SecretNotFound)
    assert "--include PATTERN" in pattern.err
    nothing = rotating.run("secrets", "rotate", "test/db", *WHY, "--force", "--json")
    assert nothing.failed_with(RunDegraded)
    assert (nothing.document["run"], nothing.document["no_rotator"]) == ("", ["test/db"])
    assert rotating.ok("runs", "--json").document["runs"] == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_ended_while_the_program_runs_the_same_command_gives_it_the_same_value_again(
    rotating: Machine, how: signal.Signals
) -> None:
    given, ready, go = (rotating.path(name) for name in ("given", "ready", "go"))
    os.mkfifo(ready)
    os.mkfifo(go)
    program(rotating, f"cat >> {given}", f"echo >> {given}", f": > {ready}", f"cat {go}")
    words = ("secrets", "rotate", "prod/db", *WHY, "--force")
    process = subprocess.Popen(
        command(*words), cwd=rotating.home, env=rotating.env, stderr=subprocess.PIPE, text=True
    )
    ready.read_text()  # the program has the value, and waits
    process.send_signal(how)
    _, said = process.communicate()
    if how is signal.SIGINT:  # which ends the program too
        assert "one secret may have a new value that nothing else knows yet" in said
    else:
        go.write_text("")
    (first,) = given.read_text().split()
    for fifo in (ready, go):
        fifo.unlink()
        fifo.touch()
    done = rotating.run(*words)
    assert done.code == 0, done
    assert given.read_text().split() == [first, first]
    assert value(rotating, "prod/db") == first
    assert rotating.ok("get", "prod/db", "--json").document["version"] == 2


@pytest.mark.parametrize(
    "called",
    [
        "strongroom.operations.engine.drive:fold_old_steps",
        "strongroom.cli.commands.secrets.rotate_secret:answer_rotated",
    ],
)
def test_interrupted_once_it_is_over_it_says_so_and_that_the_same_command_would_rotate_again(
    rotating: Machine, called: str
) -> None:
    words = ("secrets", "rotate", "prod/key", *WHY, "--force")
    code, said = interrupted_at(rotating, called, *words)
    [run] = rotating.ok("runs", "--json").document["runs"]
    assert (code, run["state"]) == (130, "done")
    assert f"rotation {run['id']} has ended, done" in said
    assert "The same command would rotate them once more." in said
    assert "goes on where it stopped" not in said


def test_a_secret_is_rotated_once_in_an_incident(rotating: Machine) -> None:
    words = ("secrets", "rotate", "prod/key", "--incident", "case-1", "--force", "--json")
    first = rotating.ok(*words)
    assert first.document["secrets"][0]["result"] == "done"
    assert "knows incident case-1" in first.err
    new = value(rotating, "prod/key")
    assert rotating.ok(*words).document["secrets"][0]["result"] == "already"
    assert value(rotating, "prod/key") == new


def test_what_is_written_to_the_programs_of_a_person_is_in_no_file_of_strongroom(rotating: Machine) -> None:
    rotating.ok("secrets", "rotate", "prod/db", *WHY, "--force")
    new = value(rotating, "prod/db").encode()
    files = [path for path in rotating.state.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if new in _content(path)] == []


def _content(path: Path) -> bytes:
    return path.read_bytes()


def stock_and_open(machine: Machine) -> None:
    """Have an incident open: a key leaked that opens a backup of three secrets."""
    keep_house(machine)
    configure(machine, "new")
    machine.ok("incident", "open", "--key", "old", "--reason", "lost laptop", "--output", "r.json", "--force")


exposed = furnished(stock, stock_and_open)


def test_an_incident_names_by_itself_what_it_exposed_and_what_is_changed_is_left(exposed: Machine) -> None:
    config = exposed.path("strongroom.toml")
    config.write_text(f'{config.read_text()}\n[rotators.all]\nkind = "random"\ninclude = ["*"]\n')
    [incident] = exposed.ok("incident", "status", "--json").document["incidents"]
    words = ("secrets", "rotate", "--incident", incident["incident"], "--force", "--json")
    done = exposed.ok(*words).document
    assert sorted(done["done"]) == SECRETS
    again = exposed.ok(*words).document
    assert (again["done"], again["run"]) == ([], "")
    step = exposed.ok("incident", "rotate", "--force", incident["incident"], "--json").document
    assert {one["step"]: one["state"] for one in step["steps"]}["rotate"] == "done"
