"""emergency-backup and recovery-kit, as a person runs them."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from strongroom.targets.directory import MARKER
from tests.cli.program import Machine, command

CONFIG = """
[keys.rec]
kind = "hpke"
public_key_file = "{home}/rec.key.pub"

[keys.words]
kind = "passphrase"
file = "{home}/words"

[targets.safe]
kind = "directory"
path = "{home}/medium"
region = "safe"

[policies.emergency]
kind = "full"
targets = ["safe"]
recipients = ["rec", "words"]
schedule = "0 3 1 * *"
offline = true
"""


@pytest.fixture
def house(stocked: Machine) -> Machine:
    stocked.ok("keygen", "--output", "rec.key")
    stocked.path("words").write_text("CANARY-PASSPHRASE six words nobody would guess")
    stocked.path("words").chmod(0o600)
    stocked.path("strongroom.toml").write_text(CONFIG.format(home=stocked.home))
    stocked.path("medium").mkdir()
    return stocked


def mount(machine: Machine) -> None:
    (machine.path("medium") / MARKER).touch()


def test_while_the_medium_is_away_nothing_is_captured(house: Machine) -> None:
    done = house.run("emergency-backup", "emergency", "--force")
    assert done.code == 41
    assert "medium 'safe' is away" in done.err
    assert house.ok("status", "--json").document["runs"] == []
    assert house.staged() == []


def test_overdue_is_an_exit_code_and_done_is_none(house: Machine) -> None:
    overdue = house.run("emergency-backup", "emergency", "--status", "--json")
    assert (overdue.code, overdue.document["state"]) == (93, "overdue")
    mount(house)
    house.ok("emergency-backup", "emergency", "--force")
    assert house.ok("emergency-backup", "emergency", "--status", "--json").document["state"] == "done"


def test_one_that_holds_much_less_than_before_is_told_by_its_exit_code(house: Machine) -> None:
    mount(house)
    house.ok("emergency-backup", "emergency", "--force")
    house.ok("delete", "JWT_SECRET_KEY", "REDIS_PASSWORD", "--force")
    done = house.run("emergency-backup", "emergency", "--force")
    assert done.code == 96
    assert "where 3 were expected" in done.out
    assert list(house.path("medium").rglob("recover.py")) != []


def test_it_waits_for_the_medium(house: Machine) -> None:
    words = command("emergency-backup", "emergency", "--wait", "--force")
    with subprocess.Popen(words, cwd=house.home, env=house.env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "waiting for safe" in process.stderr.readline()
        mount(house)
        process.communicate(timeout=100)
    assert process.returncode == 0
    assert list(house.path("medium").glob("manifests/*.json"))


def test_the_medium_alone_is_enough(house: Machine, other: Machine) -> None:
    """The installation is gone: there are the files on the medium, and a key on another one."""
    mount(house)
    backup = house.ok("emergency-backup", "emergency", "--force", "--json").document["id"]
    medium = other.path("medium")
    house.path("medium").rename(medium)
    house.path("rec.key").rename(other.path("rec.key"))
    folder = medium / "emergency" / backup
    subprocess.run(
        ["sha256sum", "--check", "--quiet", f"emergency/{backup}/SHA256SUMS"], cwd=medium, check=True
    )
    runbook = (folder / "RUNBOOK.md").read_text()

    [tool] = [line.strip() for line in runbook.splitlines() if "recover.py" in line and "--list" in line]
    tool = tool.replace("python3", f'"{sys.executable}"', 1)
    listed = subprocess.run(
        f"{tool} --private-key ../rec.key", shell=True, cwd=medium, capture_output=True, text=True, check=True
    )
    assert sorted(listed.stdout.split()) == ["DATABASE_PASSWORD", "JWT_SECRET_KEY", "REDIS_PASSWORD"]

    [typed] = re.findall(r"^ +strongroom (restore(?:.*\\\n)+.*)$", runbook, re.MULTILINE)
    words = typed.replace("\\\n", " ").split()
    other.ok(*["medium" if word == "." else word for word in words], "--identity", "rec.key")
    assert other.ok("get", "JWT_SECRET_KEY", "--show-value").out.strip().endswith("CANARY-JWT")


def test_no_secret_is_on_the_kit_or_beside_the_backup(house: Machine) -> None:
    mount(house)
    house.ok("emergency-backup", "emergency", "--force")
    house.ok("recovery-kit", "--output", "kit.html")
    secret = [b"CANARY", house.path("rec.key").read_bytes().split()[2]]
    files = [*house.path("medium").rglob("*"), house.path("kit.html")]
    for file in files:
        if file.is_file():
            content = file.read_bytes()
            assert not [one for one in secret if one in content], file
    kit = house.path("kit.html").read_text()
    for wanted in ("the holder of the private key `rec`", str(house.path("medium")), "sr1:", "sha256sum"):
        assert wanted in kit


@pytest.mark.parametrize("name", ["nothing"])
def test_what_is_no_policy_is_refused(house: Machine, name: str) -> None:
    assert house.run("emergency-backup", name).code == 3


def test_the_kit_is_never_written_over_without_a_word(house: Machine) -> None:
    house.ok("recovery-kit", "--output", "kit.html")
    assert house.run("recovery-kit", "--output", "kit.html").code != 0
    assert house.ok("recovery-kit", "--output", "kit.html", "--force").code == 0
