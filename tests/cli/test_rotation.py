"""keys replace, as the procedures spell it, and over the backups of a policy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from strongroom.container.errors import UntrustedSigner, WrongKey
from strongroom.errors import UsageError
from strongroom.operations.errors import NothingOpens, RunDegraded
from tests.cli.program import ROOT, Done, Machine, command
from tests.patience import PATIENCE

MAKE = """
python scripts/secrets_cli.py generate-backup-key \\
    --output backup_key.key \\
    --algorithm AES256
"""
ROTATE = """
python scripts/secrets_cli.py rotate-backup-key \\
    --current-key backup_key.key \\
    --new-key backup_key_new.key \\
    --re-encrypt-backups
"""


def typed(machine: Machine, line: str) -> Done:
    """Run a command line word for word, by a shell."""
    folder = machine.home / "bin"
    folder.mkdir(exist_ok=True)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    if not (machine.home / "scripts").exists():
        (machine.home / "scripts").symlink_to(ROOT / "scripts")
    env = machine.env | {"PATH": f"{folder}:{machine.env['PATH']}"}
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=machine.home,
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Done(code=done.returncode, out=done.stdout, err=done.stderr)


def sealed_with_key(machine: Machine, name: str = "weekly.sr") -> Path:
    if not machine.path("backup_key.key").exists():
        assert typed(machine, MAKE).code == 0
    machine.ok("backup", name, "--include-values", "--force", "--recipient", "backup_key.key")
    return machine.path(name)


def test_the_procedures_rotation_seals_what_this_machine_wrote_anew(stocked: Machine) -> None:
    file = sealed_with_key(stocked)
    done = typed(stocked, ROTATE)
    assert done.code == 0, done
    assert "backup_key_new.key was made" in done.out
    assert stocked.ok("backups", "verify", "--opens", file, "--identity", "backup_key_new.key").code == 0
    assert stocked.run("backups", "verify", "--opens", file, "--identity", "backup_key.key").failed_with(
        WrongKey
    )
    [kept] = stocked.home.glob("weekly.sr.*.superseded")
    assert str(kept) in done.out
    assert stocked.ok("backups", "verify", "--opens", kept, "--identity", "backup_key.key").code == 0


def test_it_may_be_repeated(stocked: Machine) -> None:
    file = sealed_with_key(stocked)
    assert typed(stocked, ROTATE).code == 0
    before = file.read_bytes()
    again = typed(stocked, ROTATE)
    assert again.code == 0, again
    assert "nothing to do" in again.out
    assert file.read_bytes() == before


def test_without_re_encryption_no_container_changes(stocked: Machine) -> None:
    file = sealed_with_key(stocked)
    before = file.read_bytes()
    done = stocked.ok("keys", "replace", "--current-key", "backup_key.key", "--new-key", "new.key", "--json")
    [changed] = done.document["files"]
    assert (changed["changed"], changed["verified"]) == (True, "opened")
    assert done.document["old_key_still_opens"] == [{"file": str(file), "until": ""}]
    trailer = 52
    index = int.from_bytes(before[-trailer : -trailer + 4], "big")
    assert file.read_bytes().startswith(before[: -trailer - index])
    assert stocked.ok("backups", "verify", "--opens", file, "--identity", "new.key").code == 0
    assert stocked.run("backups", "verify", "--opens", file, "--identity", "backup_key.key").failed_with(
        WrongKey
    )
    restored = stocked.ok(
        "restore", "--backup-file", file, "--full-restore", "--dry-run", "--identity", "new.key"
    )
    assert restored.code == 0


def test_who_else_opens_a_file_does_not_lose_it_by_the_way(stocked: Machine) -> None:
    assert typed(stocked, MAKE).code == 0
    stocked.ok("keys", "new", "--output", "board.key")
    stocked.ok(
        "backup",
        "both.sr",
        "--include-values",
        "--force",
        "--recipient",
        "backup_key.key",
        "--recipient",
        "board.key.pub",
    )
    before = stocked.path("both.sr").read_bytes()
    refused = typed(stocked, ROTATE)
    assert refused.failed_with(UsageError)
    assert "also opens for" in refused.err + refused.out
    assert stocked.path("both.sr").read_bytes() == before
    stocked.ok(
        "keys",
        "replace",
        "--current-key",
        "backup_key.key",
        "--new-key",
        "backup_key_new.key",
        "--re-encrypt-backups",
        "--recipient",
        "board.key.pub",
    )
    for key in ("board.key", "backup_key_new.key"):
        assert stocked.ok("backups", "verify", "--opens", "both.sr", "--identity", key).code == 0


def test_a_file_that_somebody_else_signed_is_not_signed_anew(stocked: Machine, other: Machine) -> None:
    file = sealed_with_key(stocked)
    (other.home / "theirs.sr").write_bytes(file.read_bytes())
    for name in ("backup_key.key",):
        target = other.home / name
        target.write_bytes(stocked.path(name).read_bytes())
        target.chmod(0o600)
    done = other.run(
        "keys", "replace", "theirs.sr", "--current-key", "backup_key.key", "--new-key", "new.key"
    )
    assert done.failed_with(UntrustedSigner)
    assert (other.home / "theirs.sr").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("words", [["--remove-old-files"], ["--policy", "nothing"]])
def test_what_does_not_fit_is_refused(stocked: Machine, words: list[str]) -> None:
    assert typed(stocked, MAKE).code == 0
    done = stocked.run(
        "keys", "replace", "--current-key", "backup_key.key", "--new-key", "backup_key.new", *words
    )
    assert done.failed_with(UsageError)


CONFIG = """
[keys.recovery]
kind = "keyfile"
file = "{home}/backup_key.key"

[policies.all]
kind = "full"
targets = ["region-a", "region-b", "region-c"]
recipients = ["recovery"]
"""


KEYS = ("--current-key", "backup_key.key", "--new-key", "backup_key_new.key")


@pytest.mark.parametrize("anew", [False, True])
def test_every_backup_of_a_policy_is_rotated_and_the_answer_says_what_is_left(
    stocked: Machine, *, anew: bool
) -> None:
    assert typed(stocked, MAKE).code == 0
    stocked.path("strongroom.toml").write_text(CONFIG.format(home=stocked.home))
    stocked.ok("backup", "--policy", "all", "--force")
    words = ["keys", "replace", "--current-key", "backup_key.key", "--new-key", "backup_key_new.key"]
    done = stocked.ok(*words, *(["--re-encrypt-backups"] if anew else []), "--json")
    [result] = done.document["backups"]
    assert {one["target"] for one in done.document["old_key_still_opens"]} == {
        "region-a",
        "region-b",
        "region-c",
    }
    assert ("new" in result) is anew
    [run] = done.document["runs"]
    status = stocked.ok("runs", "show", run["id"])
    assert "rotated 1 of 1 backup" in " ".join(status.out.split())
    assert stocked.ok("runs", "show", run["id"], "--json").document["rotated"] == {"done": 1, "of": 1}
    restore = ["restore", "--from-target", "region-b", "--full-restore", "--dry-run"]
    (stocked.path("strongroom.toml")).unlink()
    assert stocked.ok(*restore, "--identity", "backup_key_new.key").code == 0
    assert stocked.run(*restore, "--identity", "backup_key.key").failed_with(WrongKey)


@pytest.mark.parametrize(
    "words", [("keys", "rotate", "--renew"), ("keys", "replace", *KEYS)], ids=lambda x: x[0]
)
def test_one_that_did_not_reach_a_target_is_told_by_its_exit_code(
    stocked: Machine, words: tuple[str, ...]
) -> None:
    assert typed(stocked, MAKE).code == 0
    stocked.path("strongroom.toml").write_text(CONFIG.format(home=stocked.home))
    stocked.ok("backup", "--policy", "all", "--force")
    here, away = stocked.state / "targets" / "region-c", stocked.path("away")
    here.rename(away)
    here.write_text("no directory")
    done = stocked.run(*words)
    assert done.failed_with(RunDegraded), done
    assert "region-c" in done.out
    here.unlink()
    away.rename(here)
    stocked.ok(*words)


def test_the_command_is_listed() -> None:
    assert (
        "keys replace" in subprocess.run(command("--help"), capture_output=True, text=True, check=True).stdout
    )


def test_a_policy_is_rotated_with_the_key_that_is_given_for_this_one_command(configured: Machine) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    configured.ok("keys", "new", "--output", "new.key")
    file = configured.path("strongroom.toml")
    named = file.read_text().replace('recipients = ["recovery"]', 'recipients = ["new"]')
    file.write_text(f'{named}\n[keys.new]\nkind = "hpke"\npublic_key_file = "new.key.pub"\n')
    told = configured.run("keys", "rotate", "full")
    assert told.failed_with(NothingOpens)
    assert "'strongroom keys rotate full --identity FILE'" in " ".join(told.err.split())
    assert configured.run("keys", "rotate", "full", "--identity", "recovery.key", "--cluster").failed_with(
        UsageError
    )
    configured.ok("keys", "rotate", "full", "--identity", "recovery.key")
    words = ("restore", "--from-target", "dublin", "--full-restore", "--dry-run")
    configured.ok(*words, "--identity", "new.key")
    assert configured.run(*words, "--identity", "recovery.key").failed_with(WrongKey)
