"""recover, from each place where somebody may start: nothing leads into a dead end."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from strongroom.container.errors import WrongKey
from strongroom.operations.errors import ConfirmationRequired, RunDegraded
from tests.cli.program import ROOT, Done, Machine
from tests.cli.terminal import Terminal

VALUES = {"DATABASE_PASSWORD": "CANARY-database", "JWT_KEY": "CANARY-jwt", "REDIS_PASSWORD": "CANARY-redis"}
TARGETS = "".join(
    f'[targets.{name}]\nkind = "directory"\npath = "{name}"\nregion = "{name}"\ncreate = true\n'
    for name in ("region-a", "region-b")
)
POLICIES = """
[keys.recovery]
kind = "hpke"
public_key_file = "recovery.key.pub"
[policies.nightly]
kind = "full"
targets = ["region-a", "region-b"]
recipients = ["recovery"]
single_recipient_reason = "a test"
quorum = 2
regions = 2
"""
"""A policy that names no source: it backs up the local store."""
AHEAD = """
import sys, time
sys.path.insert(0, sys.argv.pop(1))
from tests.journeys.calendar_days import put_to, set_clock
put_to(time.time() + 10 * 86_400)
set_clock()
from strongroom.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""A machine whose clock is ten days ahead."""


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine with a backup on two targets; nobody writes to it, each takes a copy."""
    machine = Machine(tmp_path_factory.mktemp("anywhere") / "home")
    machine.path("strongroom.toml").write_text(f'state_dir = "state"\n{TARGETS}{POLICIES}')
    machine.ok("keys", "new", "--output", "recovery.key")
    for name, value in VALUES.items():
        machine.set(name, value)
    machine.ok("backup", "--policy", "nightly", "--force")
    return machine.home


@pytest.fixture
def house(furnished: Path, tmp_path: Path) -> Machine:
    home = tmp_path / "home"
    shutil.copytree(furnished, home)
    return Machine(home)


@pytest.fixture
def new(house: Machine, tmp_path: Path) -> Machine:
    """A new machine, with the recovery key and what can be typed from the kit: no configuration, no state."""
    machine = Machine(tmp_path / "new")
    shutil.copy(house.path("recovery.key"), machine.path("recovery.key"))
    return machine


def signer_of(machine: Machine) -> str:
    lines = machine.ok("keys", "signers", "list").out.splitlines()
    return next(line.partition(": ")[2] for line in lines if line.startswith("Installation: "))


def bring_targets(house: Machine, new: Machine) -> None:
    for name in ("region-a", "region-b"):
        shutil.copytree(house.path(name), new.path(name))


def recover(machine: Machine, *words: str | Path, key: bool = True) -> Done:
    identity = ("--identity", "recovery.key") if key else ()
    return machine.run("recover", *identity, "--answer", "restore=yes", *words, "--json")


def values(machine: Machine, *words: str) -> dict[str, str]:
    return {name: machine.ok("get", name, *words, "--show-value").out for name in VALUES}


def lose_store(machine: Machine) -> None:
    shutil.rmtree(machine.state / "store")
    (machine.state / "keys" / "store.key").unlink()


def damage(machine: Machine, backup: str) -> None:
    """Flip a bit in each container of a backup, on every target."""
    for file in machine.home.glob(f"region-*/containers/{backup}/*"):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.chmod(0o600)
        file.write_bytes(content)


def newest(machine: Machine) -> str:
    found: str = machine.ok("backups", "list", "--json").document["backups"][0]["backup"]
    return found


def test_a_policy_that_names_no_source_recovers_the_local_store(house: Machine) -> None:
    lose_store(house)
    done = recover(house)
    assert (done.code, done.document["outcome"], done.document["lost"]) == (0, "passed", ["local"]), done
    assert values(house) == VALUES


def test_a_new_machine_recovers_with_configured_targets_alone(house: Machine, new: Machine) -> None:
    bring_targets(house, new)
    new.path("strongroom.toml").write_text(TARGETS)
    done = recover(new, "--signer", signer_of(house))
    assert (done.code, values(new)) == (0, VALUES), done
    checked = ("check", "machine", "--identity", "recovery.key", "--signer", signer_of(house))
    assert "This machine could recover now" in new.ok(*checked).out
    assert "This machine could recover now" in new.ok(*checked, "--to", "local").out


def test_and_from_one_of_them_by_its_name(house: Machine, new: Machine) -> None:
    bring_targets(house, new)
    new.path("strongroom.toml").write_text(TARGETS)
    done = recover(new, "--from-target", "region-b", "--signer", signer_of(house))
    assert (done.code, values(new)) == (0, VALUES), done


def test_a_folder_that_is_called_as_a_target_is_by_default_is_meant(house: Machine, new: Machine) -> None:
    new.ok("set", "OTHER", stdin="CANARY-other")
    new.ok("keys", "new", "--output", "own.key")
    (new.state / "targets" / "region-b").mkdir(parents=True)  # what a tutorial left
    (new.state / "targets" / "region-b" / ".strongroom-target").touch()
    shutil.copytree(house.path("region-b"), new.path("region-b"))
    words = ("--from-target", "region-b", "--identity", "recovery.key", "--signer", signer_of(house))
    assert new.ok("restore", "--full-restore", "--dry-run", "--json", *words).document["created"] == 3
    done = recover(new, *words[:2], *words[4:])
    assert (done.code, values(new)) == (0, VALUES), done


def test_the_whole_old_configuration_recovers_on_a_new_machine(house: Machine, new: Machine) -> None:
    bring_targets(house, new)
    for name in ("strongroom.toml", "recovery.key.pub"):
        shutil.copy(house.path(name), new.path(name))
    done = recover(new, "--signer", signer_of(house))
    assert [step["ended"] for step in done.document["steps"][:5]] == ["done"] * 5, done
    assert values(new) == VALUES


def test_the_printed_kit_is_enough(house: Machine, new: Machine) -> None:
    house.ok("emergency", "kit", "--output", "kit.html")
    kit = unescape(house.path("kit.html").read_text())
    [signer] = set(re.findall(r"--signer (sr1:\S+)", kit))
    assert "strongroom recover" in kit
    shutil.copytree(house.path("region-a"), new.path("copy"))
    done = recover(new, "--from-target", new.path("copy"), "--signer", signer)
    assert (done.code, values(new)) == (0, VALUES), done


@pytest.mark.parametrize("on", ["house", "bare"])
def test_what_is_damaged_everywhere_of_the_newest_comes_from_the_one_before(
    house: Machine, new: Machine, on: str
) -> None:
    older = newest(house)
    house.set("JWT_KEY", "CANARY-newer")
    house.ok("backup", "--policy", "nightly", "--force")
    damage(house, damaged := newest(house))
    words: tuple[str, ...] = ()
    if on == "bare":
        bring_targets(house, new)
        new.path("strongroom.toml").write_text(TARGETS)
        words = ("--signer", signer_of(house))
    machine = house if on == "house" else new
    lose_store(house)
    done = recover(machine, *words)
    assert done.code == RunDegraded.exit_code, done
    assert [part["backup"] for part in done.document["parts"]] == [damaged], done
    [line] = [line for line in done.document["left_to_do"] if damaged in line and older in line]
    assert f"of backup {damaged} cannot be read. {len(VALUES)} come from earlier backups." in line
    assert values(machine) == VALUES


def test_the_newest_may_be_whole_on_a_target_that_is_away_and_the_command_that_is_printed_brings_it(
    house: Machine,
) -> None:
    house.set("JWT_KEY", "CANARY-newer")
    house.ok("backup", "--policy", "nightly", "--force")
    shutil.move(house.path("region-b"), house.path("away"))
    damage(house, damaged := newest(house))
    lose_store(house)
    done = recover(house)
    assert done.code == RunDegraded.exit_code, done
    assert f"{damaged} of policy 'nightly'" in done.err
    [line] = [one for one in done.document["left_to_do"] if f"{damaged} cannot be read" in one]
    assert "'region-b' was not read and may have it whole" in line
    shutil.move(house.path("away"), house.path("region-b"))
    typed = shlex.split(line[line.index("strongroom restore") :])[1:]
    assert typed.pop() == "--dry-run"
    assert "1 secret would be changed" in house.ok(*typed, "--dry-run").out
    house.ok(*typed, "--force")
    assert house.ok("get", "JWT_KEY", "--show-value").out == "CANARY-newer"


def test_a_backup_dated_ahead_by_a_wrong_clock_is_not_the_newest(house: Machine) -> None:
    true = newest(house)
    house.set("JWT_KEY", "CANARY-ahead")
    words = [sys.executable, "-c", AHEAD, str(ROOT), "backup", "--policy", "nightly", "--force"]
    made = subprocess.run(words, cwd=house.home, env=house.env, capture_output=True, check=False)
    assert made.returncode == 0, made
    house.set("JWT_KEY", VALUES["JWT_KEY"])
    lose_store(house)
    done = recover(house)
    assert [part["backup"] for part in done.document["parts"]] == [true], done
    assert [step["ended"] for step in done.document["steps"][:5]] == ["done"] * 5
    assert values(house) == VALUES
    lose_store(house)
    listed = house.ok("backups", "list", "--json").document["backups"]
    until = next(one["created_at"] for one in listed if one["backup"] == true)
    again = recover(house, "--new", "--at", until)
    assert [part["backup"] for part in again.document["parts"]] == [true], again
    assert values(house) == VALUES


FILES = 'state_dir = "state"\n[sources.env]\nkind = "files"\npath = "prod.env"\n'


def test_files_are_recovered_into_the_local_store_which_no_section_names(house: Machine) -> None:
    house.path("prod.env").write_text("".join(f"{name}={value}\n" for name, value in VALUES.items()))
    settings = POLICIES.replace('kind = "full"', 'kind = "full"\nsource = "env"')
    house.path("strongroom.toml").write_text(f"{FILES}{TARGETS}{settings}")
    house.ok("backup", "--policy", "nightly", "--force")
    house.path("prod.env").unlink()
    lose_store(house)
    done = recover(house)
    assert [part["into"] for part in done.document["parts"]] == ["local"], done
    assert [step["ended"] for step in done.document["steps"][:5]] == ["done"] * 5
    assert values(house) == VALUES


def test_what_is_asked_names_the_secrets_it_is_about(house: Machine) -> None:
    house.set("JWT_KEY", "CANARY-newer")
    done = recover(house, "--answer", "lost=local", "--answer", "overwrite=no")
    assert "Another value than in the backup: JWT_KEY." in done.err
    assert done.code == RunDegraded.exit_code, done
    assert [step["ended"] for step in done.document["steps"][:5]] == ["done"] * 5
    assert any("1 secret in 'local' differs" in line for line in done.document["left_to_do"])
    assert values(house)["JWT_KEY"] == "CANARY-newer"
    record = (house.path("region-a") / "recoveries").rglob("*.json")
    assert not any("JWT_KEY" in file.read_text() for file in record)


def test_a_remark_that_was_true_before_the_loss_keeps_no_recovery_from_being_done(house: Machine) -> None:
    house.set("NOTE", "CANARY no key", "--type", "private_key")
    house.ok("backup", "--policy", "nightly", "--force")
    lose_store(house)
    done = recover(house)
    validated = done.document["steps"][4]
    assert (validated["ended"], validated["attempts"]) == ("done", 1), done
    assert "remark: NOTE: " in done.err
    assert "(as in the backup)" in done.err


def test_enter_at_a_dead_end_leads_out_of_it(house: Machine) -> None:
    lose_store(house)
    house.path("recovery.key").unlink()
    with Terminal(house, "recover") as person:
        for question in ("Which sources are lost?", "in wrong hands?", "restored into?"):
            person.answer(question, "")
        person.answer("Enter tries again", "")
        person.answer("Enter goes on without it: it is left to do", "")
        person.await_words("Step 3 of 6")
        person.answer("Enter tries again", "")
        person.answer("Enter stops here: what was done stays", "")
        assert person.end() == WrongKey.exit_code, person.said
    assert "This goes on: strongroom recover --resume" in " ".join(person.said.split())


def test_a_new_machine_shows_what_it_began_and_what_to_type_to_go_on(house: Machine, new: Machine) -> None:
    bring_targets(house, new)
    begun = ("--identity", "recovery.key", "--from-target", "region-a", "--signer", signer_of(house))
    assert new.run("recover", *begun).failed_with(ConfirmationRequired)
    shown = new.ok("recover", "--status")
    assert "Not over yet" in shown.out
    [found] = new.ok("recover", "--status", "--json").document["recoveries"]
    assert found["next"] == f"strongroom recover --resume {found['recovery']} --from-target TARGET"
    [found] = new.ok("recover", "--status", *begun, "--json").document["recoveries"]
    assert found["next"].startswith("strongroom recover --resume ")
    done = new.run(*shlex.split(found["next"])[1:], "--answer", "restore=yes")
    assert done.code == 0, done
    assert values(new) == VALUES
