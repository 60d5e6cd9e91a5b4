"""A host with the public half alone, as the README sets one up: what it cannot do, and what it says."""

from __future__ import annotations

from pathlib import Path

from strongroom.config import load_settings
from strongroom.operations.errors import NothingOpens
from strongroom.wiring.calendar import calendar
from tests.cli.program import Machine


def deeper(machine: Machine) -> None:
    """Have the full policy verify deeper than this host can."""
    file = machine.path("strongroom.toml")
    file.write_text(file.read_text().replace('kind = "full"\n', 'kind = "full"\nverify = "compared"\n'))


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_check_of_the_configuration_remarks_on_it_and_refuses_nothing(configured: Machine) -> None:
    assert configured.ok("check", "config", "--json").document["remarks"] == []
    deeper(configured)
    done = configured.ok("check", "config")
    assert "No problem found." in done.out
    assert "remark: policies.full.verify = compared" in done.out
    key = Path("recovery.key")
    file = configured.path("strongroom.toml")
    file.write_text(
        file.read_text().replace("[keys.recovery]\n", f'[keys.recovery]\nidentity_file = "{key}"\n')
    )
    assert "remark" not in configured.ok("check", "config").out
    assert configured.run("backup", "--policy", "full", "--force").code == 0


def test_a_rotation_says_what_it_lacks_and_not_that_there_is_nothing_to_do(configured: Machine) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    done = configured.run("keys", "rotate", "full")
    assert done.code == NothingOpens.exit_code
    assert "Nothing to rotate" not in done.out
    assert "that opens backups (no backup was rotated). What it means" in words(done.err)
    assert "'strongroom keys rotate full --identity FILE'" in words(done.err)
    assert "'strongroom keys replace" in words(done.err)
    assert "config check" not in words(done.err)


def test_a_rotation_of_no_backup_says_so(configured: Machine) -> None:
    assert "Nothing to rotate" in configured.ok("keys", "rotate", "full").out


def test_a_host_that_opens_nothing_makes_no_drill_and_one_with_the_passphrase_does(machine: Machine) -> None:
    machine.ok("keys", "new", "--output", "recovery.key")
    machine.ok("init", "--public-key", "recovery.key.pub", "--output", "sealing.toml")
    machine.ok("init", "--output", "strongroom.toml")
    env = {"STRONGROOM_STATE_DIR": str(machine.state)}
    sealing, whole = (
        calendar(load_settings(env, machine.path(name))) for name in ("sealing.toml", "strongroom.toml")
    )
    needs = {entry.needs for entries in (sealing, whole) for entry in entries if entry.name == "full-drill"}
    assert needs == {"this host opens none of the keys of 'monthly-full'", ""}


def test_the_check_of_the_configuration_names_the_files_of_keys_that_are_not_there(
    configured: Machine,
) -> None:
    file = configured.path("strongroom.toml")
    lacks = f'\n[keys.phrase]\nkind = "passphrase"\nfile = "{configured.home}/phrase"\n'
    lacks += '[keys.env]\nkind = "passphrase"\n'
    file.write_text(file.read_text() + lacks)
    configured.env["STRONGROOM_PASSPHRASE_FILE"] = str(configured.path("none"))
    said = configured.ok("check", "config", "--json").document["remarks"]
    assert [one.partition(" is not there")[0] for one in said if "not there" in one] == [
        f"keys.phrase.file: {configured.home}/phrase",
        f"keys.env: STRONGROOM_PASSPHRASE_FILE names {configured.path('none')}, which",
    ]
    configured.path("phrase").touch(mode=0o600)
    configured.path("none").touch(mode=0o600)
    assert configured.ok("check", "config", "--json").document["remarks"] == []


def test_a_drill_that_was_asked_for_where_no_key_is_blames_no_backup_and_is_not_asked_for(
    configured: Machine,
) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    todo = words(configured.run("check").out)
    assert "none is planned on this host" in todo
    assert "'strongroom schedule'" in todo
    assert configured.run("drill", "full", "--policy", "full").failed_with(NothingOpens)
    alerts = configured.run("alerts", "send", "--json").document["alerts"]
    assert [one["key"] for one in alerts if one["key"].startswith("drill.")] == []
