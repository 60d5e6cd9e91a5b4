"""The first command on a machine: what it writes, what it says, and what it leaves alone."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from strongroom.errors import ConfigError, UsageError
from tests.cli.program import Machine


def test_a_machine_is_set_up_and_its_calendar_shown(machine: Machine) -> None:
    done = machine.ok("init")
    file = machine.state / "strongroom.toml"
    assert f"{file} is written." in done.out
    assert stat.S_IMODE(machine.state.stat().st_mode) == 0o700
    assert "a full backup of 'local': what is tagged priority=critical" in done.out
    assert "strongroom set NAME --tag priority=critical" in done.out
    assert "rotation: no policy seals to a key that has versions" in done.out
    assert "export STRONGROOM_PASSPHRASE_FILE=FILE" in done.out
    assert machine.ok("check", "config", "--json").document["file"] == str(file)


def test_a_machine_that_was_just_set_up_has_nothing_wrong(machine: Machine) -> None:
    machine.ok("init")
    assert machine.ok("alerts", "send", "--json").document["alerts"] == []
    assert all(not one["overdue"] for one in machine.ok("runs", "--json").document["policies"])


def test_a_second_time_nothing_is_changed(machine: Machine) -> None:
    machine.ok("init")
    file = machine.state / "strongroom.toml"
    file.write_text(file.read_text() + "\n[calendar]\ndrift = false\n")
    before = file.read_bytes()
    done = machine.ok("init", "--json").document
    assert (done["file"], done["written"]) == (str(file), False)
    assert file.read_bytes() == before
    [drift] = [one for one in done["entries"] if one["name"] == "drift"]
    assert drift["why"] == "switched off by calendar.drift"


def test_it_is_written_where_the_environment_says(machine: Machine) -> None:
    file = machine.path("etc/strongroom.toml")
    done = machine.run("init", STRONGROOM_CONFIG=str(file))
    assert done.code == 0
    assert f"{file} is written." in done.out
    assert "stays as it is" in machine.run("init", STRONGROOM_CONFIG=str(file)).out


def test_a_configuration_that_is_found_elsewhere_is_not_hidden_by_another(machine: Machine) -> None:
    machine.ok("init", "--output", "strongroom.toml")
    done = machine.ok("init", "--json").document
    assert (done["file"], done["written"]) == (str(machine.path("strongroom.toml")), False)
    assert not (machine.state / "strongroom.toml").exists()


def test_directories_that_are_named_take_backups_at_once_and_one_that_cannot_be_made_is_told(
    machine: Machine,
) -> None:
    machine.path("file").write_text("in the way")
    given = [
        f"--target={region}={machine.path(path)}" for region, path in {"a": "disk", "b": "file/disk"}.items()
    ]
    done = machine.ok("init", *given)
    assert f"{machine.path('disk')} is marked as the directory of target 'a'." in done.out
    assert machine.path("disk/.strongroom-target").exists()
    assert "target 'b' takes no backup until that is mended" in done.out


def test_a_public_key_is_sealed_to_and_a_wrong_one_is_refused_before_anything_is_written(
    machine: Machine,
) -> None:
    machine.path("wrong.pub").write_text("srpub1:x25519:AAAA")
    assert machine.run("init", "--public-key", machine.path("wrong.pub")).failed_with(ConfigError)
    assert not machine.state.exists()
    machine.ok("keys", "new", "--output", "recovery.key")
    done = machine.ok("init", "--public-key", "recovery.key.pub")
    assert "STRONGROOM_PASSPHRASE_FILE" not in done.out
    assert "full-drill: this host opens none of the keys of 'monthly-full'" in done.out


def test_the_check_of_a_configuration_says_what_is_off_and_why(machine: Machine) -> None:
    machine.ok("init")
    off = machine.ok("check", "config", "--json").document["off"]
    assert off["emergency"].startswith("no policy is offline")
    assert "  off: rotation: no policy seals to a key" in machine.ok("check", "config").out


def test_with_a_vault_and_clouds_it_says_which_rights_to_grant_and_what_comes_next(machine: Machine) -> None:
    token, credentials = machine.path("token"), machine.path("s3-eu")
    done = machine.ok(
        "init",
        f"--source=vault:https://127.0.0.1:1?token_file={token}",
        f"--target=eu-central-1=s3://acme-eu?endpoint_url=http://127.0.0.1:1&credentials_file={credentials}",
        f"--target=safe={machine.path('safe')}",
    )
    assert "The bucket of target 'eu-central-1' did not say whether it has Object Lock" in done.out
    _, _, steps = done.out.partition("\nNext\n")
    assert "strongroom set NAME" not in steps
    assert f"-policy=strongroom -field=token >{token})" in steps
    assert "bao kv metadata patch -custom-metadata=priority=critical" in steps
    assert "who is notified when something is wrong; nobody is now" in steps
    # Each line can be typed as it stands: nothing stands behind it.
    steps_of = re.findall(r"^ *strongroom (.*)$", steps, flags=re.MULTILINE)
    assert steps_of == [
        "cluster rules vault --role operator | bao policy write -address=https://127.0.0.1:1 strongroom -",
        "cluster rules aws --role operator",
        *("check config", "keys signers offline", "check rights", "check storage", "up", "schedule"),
    ]
    for line in steps.splitlines():
        for word in line.split():
            assert "ops/" not in word or (Path(word).is_absolute() and Path(word).exists()), word
    settings = machine.ok("check", "config", "--json").document["settings"]
    assert settings["vaults"]["main"]["token_file"] == str(token)
    assert settings["sources"]["vault"]["tag_metadata"] == ["priority"]
    assert settings["targets"]["eu-central-1"]["credentials_file"] == str(credentials)
    assert settings["targets"]["eu-central-1"]["lock"] == "none"  # nobody answered


def test_what_stands_after_the_question_mark_and_is_no_setting_is_refused_and_not_shown(
    machine: Machine,
) -> None:
    word = "west=https://acme.blob.core.windows.net/backups?sv=2024-01-01&sig=CANARY-signature"
    done = machine.run("init", f"--target={word}")
    assert done.code == 2
    assert "after a '?' may stand credential_file and lock" in " ".join(done.err.split())
    assert "CANARY" not in done.err + done.out
    assert not machine.state.exists()


def test_a_password_in_the_address_of_a_target_is_refused_and_not_shown(machine: Machine) -> None:
    word = "west=sftp://backup:CANARY-password@host/backups?key_file=/k&known_hosts_file=/h"
    done = machine.run("init", f"--target={word}")
    assert (done.code, "CANARY" in done.err + done.out) == (2, False)
    assert not machine.state.exists()


@pytest.mark.parametrize(("port", "line"), [("", None), (":2222", "port = 2222")])
def test_an_sftp_server_is_named_with_its_port(machine: Machine, port: str, line: str | None) -> None:
    files = "?key_file=/k&known_hosts_file=/h"
    machine.ok("init", f"--target=a=sftp://backup@host{port}/b{files}", f"--target=b={machine.path('b')}")
    text = (machine.state / "strongroom.toml").read_text()
    assert 'host = "host"' in text
    table = text.partition("[targets.a]")[2].partition("[targets")[0]
    assert [found for found in table.splitlines() if found.startswith("port")] == ([line] if line else [])
    for wrong in (":0", ":99999", ":x"):
        word = f"--target=a=sftp://backup@host{wrong}/b{files}"
        assert machine.run("init", word, "--output", "other.toml").failed_with(UsageError)


def test_the_check_says_that_nobody_types_a_passphrase_at_night(machine: Machine) -> None:
    machine.ok("init")
    machine.path("passphrase").write_text("CANARY-passphrase")
    checked = [
        machine.run("check", "config", "--json", **env).document["remarks"]
        for env in ({}, {"STRONGROOM_PASSPHRASE_FILE": str(machine.path("passphrase"))})
    ]
    assert ["(weekly-critical, monthly-full)" in one for one in checked[0]] == [True]
    assert checked[1] == []


def test_a_single_key_is_told_and_nothing_is_said_for_the_person(machine: Machine) -> None:
    done = machine.ok("init")
    assert "One passphrase opens all these backups" in done.out
    assert "nobody has said yet" in (machine.state / "strongroom.toml").read_text()


def test_several_keys_are_several_recipients(machine: Machine) -> None:
    names = ("operations.key", "security.key")
    for name in names:
        machine.ok("keys", "new", "--output", name)
    done = machine.ok("init", *(f"--public-key={name}.pub" for name in names))
    assert "opens all these backups" not in done.out
    assert "single_recipient_reason" not in (machine.state / "strongroom.toml").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--mail", "ops@example.org"), "--mail-host"),
        (("--mail", "nobody", "--mail-host", "smtp.example.org"), "alerts.email"),
    ],
)
def test_what_makes_no_configuration_is_refused_and_nothing_is_written(
    machine: Machine, words: tuple[str, ...], told: str
) -> None:
    done = machine.run("init", *words)
    assert done.failed_with(UsageError)
    assert told in done.err
    assert not (machine.state / "strongroom.toml").exists()


def test_one_key_twice_is_no_spare(machine: Machine) -> None:
    machine.ok("keys", "new", "--output", "recovery.key")
    done = machine.run("init", "--public-key", "recovery.key.pub", "--public-key", "recovery.key.pub")
    assert done.failed_with(UsageError)


def test_mail_is_in_force_at_once(machine: Machine) -> None:
    machine.ok(
        "init", "--mail", "a@example.org", "--mail", "b@example.org", "--mail-host", "smtp.example.org"
    )
    settings = machine.ok("check", "config", "--json").document["settings"]
    assert settings["alerts"]["email"] == ["a@example.org", "b@example.org"]
    assert settings["mail"]["host"] == "smtp.example.org"
