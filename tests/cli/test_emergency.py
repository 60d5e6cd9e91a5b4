"""emergency-backup and recovery-kit, as a person runs them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from strongroom.errors import ConfigError
from strongroom.operations.errors import BackupOverdue, RunDegraded
from strongroom.targets.directory import MARKER
from strongroom.targets.errors import TargetUnavailable
from tests.cli.conftest import stock
from tests.cli.furnished import Furnish, furnished
from tests.cli.program import ROOT, SCRIPT, Machine, command
from tests.patience import PATIENCE
from tests.slots import monthly

CONFIG = """
[keys.box]
kind = "keyfile"
file = "{home}/box"

[keys.both]
kind = "all-of"
legs = [["rec"], ["box", "words"]]

[targets.disk]
kind = "directory"
path = "{home}/my disk"
region = "disk"
create = true

[targets.unused]
kind = "directory"
path = "{home}/unused"
region = "unused"
create = true

[policies.daily]
kind = "full"
targets = ["disk"]
recipients = ["rec", "words", "box", "both"]

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
recipients = ["rec", "words", "box", "both"]
schedule = "{schedule}"
offline = true
"""

ROTATED = """
[keys.rec]
kind = "hpke"
public_key_file = "{home}/{key}.pub"
identity_file = "{home}/{key}"

[targets.disk]
kind = "directory"
path = "{home}/disk"
region = "disk"
create = true

[policies.daily]
kind = "full"
targets = ["disk"]
recipients = ["rec"]
single_recipient_reason = "a test"
quorum = 1
regions = 1
"""


def keep_house(machine: Machine) -> None:
    machine.ok("keys", "new", "--output", "rec.key")
    machine.ok("keys", "new", "--algorithm", "AES256", "--output", "box")
    machine.path("words").write_text("CANARY-PASSPHRASE six words nobody would guess")
    machine.path("words").chmod(0o600)
    machine.path("strongroom.toml").write_text(CONFIG.format(home=machine.home, schedule=monthly()))
    machine.path("medium").mkdir()


house = furnished(stock, keep_house)


def mount(machine: Machine) -> None:
    (machine.path("medium") / MARKER).touch()


def test_while_the_medium_is_away_nothing_is_captured(house: Machine) -> None:
    done = house.run("emergency", "backup", "emergency", "--force")
    assert done.failed_with(TargetUnavailable)
    assert "medium 'safe' is not mounted" in done.err
    assert house.ok("runs", "--json").document["runs"] == []
    assert house.staged() == []


def test_overdue_is_an_exit_code_and_done_is_none(house: Machine) -> None:
    overdue = house.run("emergency", "backup", "emergency", "--status", "--json")
    assert overdue.failed_with(BackupOverdue)
    assert overdue.document["state"] == "overdue"
    mount(house)
    house.ok("emergency", "backup", "emergency", "--force")
    assert house.ok("emergency", "backup", "emergency", "--status", "--json").document["state"] == "done"


def test_one_that_holds_much_less_than_before_is_told_by_its_exit_code(house: Machine) -> None:
    mount(house)
    house.ok("emergency", "backup", "emergency", "--force")
    house.ok("secrets", "delete", "JWT_SECRET_KEY", "REDIS_PASSWORD", "--force")
    done = house.run("emergency", "backup", "emergency", "--force")
    assert done.failed_with(RunDegraded)
    assert "where 3 were expected" in done.out
    assert list(house.path("medium").rglob("recover.py")) != []


def test_it_waits_for_the_medium(house: Machine) -> None:
    words = command("emergency", "backup", "emergency", "--wait", "--force")
    with subprocess.Popen(words, cwd=house.home, env=house.env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "waiting for safe" in process.stderr.readline()
        mount(house)
        try:
            process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 0
    assert list(house.path("medium").glob("manifests/*.json"))


def test_the_medium_alone_is_enough(house: Machine, other: Machine) -> None:
    """The installation is gone: there are the files on the medium, and a key on another one."""
    mount(house)
    backup = house.ok("emergency", "backup", "emergency", "--force", "--json").document["id"]
    medium = other.path("medium")
    house.path("medium").rename(medium)
    house.path("rec.key").rename(other.path("rec.key"))
    folder = medium / "emergency" / backup
    subprocess.run(
        ["sha256sum", "--check", "--quiet", f"emergency/{backup}/SHA256SUMS"], cwd=medium, check=True
    )
    for key in ("words", "box"):
        house.path(key).rename(other.path(key))
    shutil.rmtree(house.home)
    runbook = (folder / "RUNBOOK.md").read_text()
    lines = [line.strip() for line in runbook.splitlines() if line.startswith(" " * 7)]
    done = typed(other, medium, lines[lines.index(next(x for x in lines if x.startswith("KEY_"))) :])
    assert brought_back(other, done, ways=5)


def typed(machine: Machine, folder: Path, lines: list[str]) -> str:
    """Type lines into a shell, as they stand on paper, with the paths of the keys put in."""
    text = re.sub(
        r"/path/to/(rec|words|box)\b(\.key)?", lambda m: str(key_of(machine, m[1])), "\n".join(lines)
    )
    text = text.replace("/path/to/ops", str(ROOT / "ops"))
    programs = f'''set -e; strongroom() {{ "{sys.executable}" "{SCRIPT}" "$@"; }}
python3() {{ "{sys.executable}" "$@"; }}
'''
    done = subprocess.run(
        ["bash", "-c", programs + text],
        cwd=folder,
        env=machine.env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, (text, done)
    return done.stdout


def key_of(machine: Machine, name: str) -> Path:
    return machine.path("rec.key" if name == "rec" else name)


def brought_back(machine: Machine, out: str, *, ways: int) -> bool:
    assert out.count("compared once more at the end") == ways
    assert [line for line in out.splitlines() if line == "JWT_SECRET_KEY"] == ["JWT_SECRET_KEY"] * ways
    found: str = machine.ok("get", "JWT_SECRET_KEY", "--show-value").out
    return found.strip().endswith("CANARY-JWT")


def blocks(kit: Path) -> dict[str, list[str]]:
    """Return what a kit says to type, by the title above it."""
    sections = kit.read_text().split("<h2>What to type: ")[1:]
    return {
        unescape(one.partition("</h2>")[0]): unescape(one.partition("<pre>")[2].partition("</pre>")[0]).split(
            "\n"
        )
        for one in sections
    }


def print_kit(house: Machine) -> None:
    mount(house)
    house.ok("emergency", "backup", "emergency", "--force")
    house.ok("backup", "--policy", "daily", "--force")
    house.ok("backup", "a b.sr", "--include-values", "--recipient", "rec.key.pub", "--force")
    house.ok("emergency", "kit", "--output", "kit.html")


@pytest.fixture
def printed(house: Machine, other: Machine, furnish: Furnish) -> dict[str, list[str]]:
    """A kit of a house with a medium, a target and a file; only those and the keys are left."""
    furnish(house, stock, keep_house, print_kit)
    shutil.rmtree(house.state)
    house.path("strongroom.toml").unlink()
    for key in ("rec.key", "words", "box"):
        house.path(key).rename(other.path(key))
    return blocks(house.path("kit.html"))


@pytest.mark.parametrize(
    ("title", "ways"),
    [
        pytest.param("policy 'emergency', from its medium 'safe'", 5, marks=pytest.mark.long),
        ("policy 'daily', from a copy of a target 'disk'", 5),
        ("the file a b.sr", 1),
    ],
)
def test_what_is_printed_brings_everything_back_word_for_word(
    printed: dict[str, list[str]], other: Machine, title: str, ways: int
) -> None:
    assert brought_back(other, typed(other, other.home, printed[title]), ways=ways)


def test_the_kit_names_only_what_is_there(printed: dict[str, list[str]], house: Machine) -> None:
    for title, lines in printed.items():
        named = "emergency/" in "\n".join(lines)
        assert named == title.startswith("policy 'emergency'")
    text = house.path("kit.html").read_text()
    assert "unused" not in text
    assert "HSM" not in text
    assert "a b.sr" in text


def test_a_user_of_files_alone_is_told_of_files_alone(stocked: Machine) -> None:
    stocked.ok("keys", "new", "--output", "rec.key")
    stocked.ok("backup", "w.sr", "--include-values", "--recipient", "rec.key.pub", "--force")
    stocked.ok("emergency", "kit", "--output", "kit.html")
    assert list(blocks(stocked.path("kit.html"))) == ["the file w.sr"]
    assert "region-a" not in stocked.path("kit.html").read_text()


def test_no_secret_is_on_the_kit_or_beside_the_backup(house: Machine) -> None:
    mount(house)
    house.ok("emergency", "backup", "emergency", "--force")
    house.ok("emergency", "kit", "--output", "kit.html")
    secret = [b"CANARY", house.path("rec.key").read_bytes().split()[2]]
    files = [*house.path("medium").rglob("*"), house.path("kit.html")]
    for file in files:
        if file.is_file():
            content = file.read_bytes()
            assert not [one for one in secret if one in content], file
    kit = house.path("kit.html").read_text()
    for wanted in ("the holder of the private key `rec`", str(house.path("medium")), "sr1:", "sha256sum"):
        assert wanted in kit


def test_after_a_rotation_what_is_printed_for_a_file_is_for_the_new_key(
    stocked: Machine, other: Machine
) -> None:
    for name in ("old", "rec.key"):
        stocked.ok("keys", "new", "--output", name)
    stocked.ok("backup", "w.sr", "--include-values", "--recipient", "old.pub", "--force")
    stocked.ok("keys", "replace", "--current-key", "old", "--new-key", "rec.key")
    stocked.ok("emergency", "kit", "--output", "kit.html")
    stocked.path("rec.key").rename(other.path("rec.key"))
    [lines] = blocks(stocked.path("kit.html")).values()
    assert brought_back(other, typed(other, other.home, lines), ways=1)


def test_so_it_is_for_a_target_without_strongroom_after_a_rotation(stocked: Machine, other: Machine) -> None:
    stocked.path("strongroom.toml").write_text(ROTATED.format(home=stocked.home, key="old"))
    for name in ("old", "rec.key"):
        stocked.ok("keys", "new", "--output", name)
    stocked.ok("backup", "--policy", "daily", "--force")
    stocked.ok("keys", "replace", "--current-key", "old", "--new-key", "rec.key")
    stocked.path("strongroom.toml").write_text(ROTATED.format(home=stocked.home, key="rec.key"))
    stocked.ok("emergency", "kit", "--output", "kit.html")
    stocked.path("rec.key").rename(other.path("rec.key"))
    [lines] = blocks(stocked.path("kit.html")).values()
    assert brought_back(other, typed(other, other.home, lines), ways=1)


CONTACTS = """
[contacts.primary]
who = "DevOps team"
phone = "+49 30 1234567"
"""


def test_the_kit_says_whom_to_call_and_lists_only_keys_that_still_open(stocked: Machine) -> None:
    file = stocked.path("strongroom.toml")
    for name in ("former", "current"):
        stocked.ok("keys", "new", "--output", name)
    rotated = ROTATED.format(home=stocked.home, key="former")
    file.write_text(rotated)
    stocked.ok("backup", "--policy", "daily", "--force")
    stocked.ok("emergency", "kit", "--output", "before.html")
    before = stocked.path("before.html").read_text()
    assert "first call" in before
    assert "where the key &#x27;rec&#x27; lies" in before
    table = '[keys.current]\nkind = "hpke"\npublic_key_file = "current.pub"\n'
    recipients = rotated.replace('["rec"]', '["current"]')
    file.write_text(f"{recipients}{table}{CONTACTS}")
    stocked.ok("keys", "rotate", "daily", "--re-encrypt", "--remove-replaced")
    stocked.ok("keys", "retire", "rec")
    stocked.ok("emergency", "kit", "--output", "after.html")
    after = stocked.path("after.html").read_text()
    assert "first call" not in after
    assert "DevOps team, +49 30 1234567" in after
    assert "where the key &#x27;current&#x27; lies" in after
    assert "where the key &#x27;rec&#x27; lies" not in after


@pytest.mark.parametrize("name", ["nothing"])
def test_what_is_no_policy_is_refused(house: Machine, name: str) -> None:
    assert house.run("emergency", "backup", name).failed_with(ConfigError)


def test_the_kit_is_never_written_over_without_a_word(house: Machine) -> None:
    house.ok("emergency", "kit", "--output", "kit.html")
    assert house.run("emergency", "kit", "--output", "kit.html").code != 0
    assert house.ok("emergency", "kit", "--output", "kit.html", "--force").code == 0
