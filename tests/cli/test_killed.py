"""A run whose process was killed (SIGKILL): what is said of it, and what goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from strongroom.errors import UsageError
from strongroom.operations.engine.process_lock import FOLDER, driving, status
from strongroom.operations.errors import RunFailed
from tests.cli.program import ROOT, Machine
from tests.patience import PATIENCE

KILLED = """
import os, signal, sys
from strongroom.cli.main import main
from strongroom.operations.engine.jobs import job_of
from strongroom.state.records import RunKind, StepKind

def die(*_):
    os.killpg(0, signal.SIGKILL)

kind, step, *words = sys.argv[1:]
actions = job_of(RunKind(kind)).actions
actions[StepKind(step)] = actions[StepKind(step)]._replace(perform=die)
sys.exit(main(words))
"""


def killed(machine: Machine, *words: str, kind: str = "backup", step: str) -> str:
    """Run a command line, all of whose processes are killed when a kind of step begins; return its run."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, kind, step, *words],
        cwd=machine.home,
        env=machine.env | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done
    return str(runs(machine)[0]["id"])


def runs(machine: Machine) -> list[dict[str, object]]:
    found: list[dict[str, object]] = machine.ok("runs", "--json").document["runs"]
    return found


def backups(machine: Machine) -> list[str]:
    return [entry["backup"] for entry in machine.ok("backups", "list", "--json").document["backups"]]


BACKUP = ("backup", "--policy", "full", "--force")


def test_status_says_that_nobody_works_on_it_what_that_means_and_what_to_type(configured: Machine) -> None:
    run = killed(configured, *BACKUP, step="upload")
    shown = " ".join(configured.ok("runs", "show", run).out.split())
    assert "abandoned: nobody works on it, its process is gone" in shown
    assert "there is no new backup; the last good one is untouched" in shown
    assert f"strongroom runs retry {run}" in shown
    assert f"strongroom runs cancel {run}" in shown
    assert "abandoned" in configured.ok("runs").out
    followed = configured.run("runs", "show", run, "--follow")
    assert followed.failed_with(RunFailed)
    assert f"strongroom runs retry {run}" in " ".join(followed.err.split())


def test_the_next_backup_of_the_policy_takes_its_place_and_removes_what_it_left(configured: Machine) -> None:
    gone = killed(configured, *BACKUP, step="upload")
    assert configured.staged() != []
    done = configured.ok(*BACKUP)
    assert f"run {gone} was abandoned" in done.err
    new, old = runs(configured)
    assert (old["id"], old["state"], old["abandoned"]) == (gone, "cancelled", False)
    assert (new["state"], backups(configured)) == ("done", [new["id"]])
    assert configured.staged() == []
    assert list((configured.state / FOLDER).iterdir()) == []


def test_one_killed_after_its_manifest_is_a_backup_and_is_read_back_first(configured: Machine) -> None:
    gone = killed(configured, *BACKUP, step="verify")
    assert "the backup is made" in configured.ok("runs", "show", gone).out
    configured.ok(*BACKUP)
    new, old = runs(configured)
    assert (old["id"], old["state"]) == (gone, "done")
    assert sorted(backups(configured)) == sorted([str(new["id"]), gone])


def test_one_killed_before_its_manifest_was_recorded_is_no_lost_backup(configured: Machine) -> None:
    gone = killed(configured, *BACKUP, step="commit")
    configured.ok(*BACKUP)
    assert (runs(configured)[1]["state"], gone in backups(configured)) == ("done", True)


def test_another_policy_leaves_it_alone(configured: Machine) -> None:
    killed(configured, *BACKUP, step="upload")
    configured.ok("backup", "--policy", "metadata", "--force")
    assert [(run["state"], run["abandoned"]) for run in runs(configured)] == [
        ("done", False),
        ("active", True),
    ]


def test_retry_goes_on_with_it_where_it_stopped(configured: Machine) -> None:
    run = killed(configured, *BACKUP, step="upload")
    document = configured.ok("runs", "retry", run, "--json").document
    assert (document["id"], document["state"]) == (run, "done")
    assert document["steps"]["capture"]["of"] == 1
    assert backups(configured) == [run]


def test_cancel_ends_it_and_leaves_nothing(configured: Machine) -> None:
    run = killed(configured, *BACKUP, step="upload")
    assert configured.ok("runs", "cancel", run, "--json").document["state"] == "cancelled"
    assert configured.staged() == []
    assert backups(configured) == []


def test_a_killed_repair_is_told_and_gone_on_with(configured: Machine) -> None:
    made = configured.ok(*BACKUP, "--json").document["id"]
    for container in configured.path(f"regions/dublin/containers/{made}").iterdir():
        container.unlink()
    run = killed(configured, "backups", "repair", made, kind="repair", step="repair")
    assert "what was good is untouched" in configured.ok("runs", "show", run).out
    assert configured.ok("runs", "retry", run, "--json").document["state"] == "done"
    assert configured.run("backups", "verify", "regions/dublin").code == 0


def test_a_killed_backup_to_a_file_cannot_be_gone_on_with_and_says_so(stocked: Machine) -> None:
    stocked.ok("keys", "new", "--output", "recovery.key")
    words = ("backup", "new.sr", "--include-values", "--force", "--recipient", "recovery.key.pub")
    run = killed(stocked, *words, step="upload")
    refused = stocked.run("runs", "retry", run)
    assert refused.failed_with(UsageError)
    assert "Make the backup again" in refused.err
    stocked.ok(*words)
    assert [one["state"] for one in runs(stocked)] == ["done", "cancelled"]


def test_a_run_is_worked_on_as_long_as_a_forked_child_of_its_process_is(tmp_path: Path) -> None:
    """The process may die before its children: the kernel holds the lock for both."""
    begun, go_on = os.pipe(), os.pipe()
    if (parent := os.fork()) == 0:
        with driving(tmp_path, "run", "owner"):
            if os.fork() == 0:
                os.close(go_on[1])  # so that it ends with the test, whatever comes of it
                os.write(begun[1], b"!")
                os.read(go_on[0], 1)
            os._exit(0)
    os.waitpid(parent, 0)
    os.read(begun[0], 1)
    assert status(tmp_path, "run").alive
    os.write(go_on[1], b"!")
    os.close(begun[1])
    os.read(begun[0], 1)  # ends when the last that could write has ended
    found = status(tmp_path, "run")
    assert (found.alive, found.gone) == (False, {"owner"})


def test_a_run_of_another_process_that_lives_is_not_abandoned(tmp_path: Path) -> None:
    with driving(tmp_path, "run", "first"), driving(tmp_path, "run", "second"):
        assert status(tmp_path, "run").alive
    assert status(tmp_path, "run") == (False, frozenset())


def test_a_prune_that_was_killed_is_ended_by_the_next_one(configured: Machine) -> None:
    configured.ok(*BACKUP)
    gone = killed(configured, "backups", "prune", kind="prune", step="plan")
    assert f"prune {gone} was abandoned" in configured.ok("backups", "prune").err
    assert [one["state"] for one in runs(configured)][:2] == ["done", "cancelled"]
    assert list((configured.state / FOLDER).iterdir()) == []


def test_a_rotation_that_was_killed_is_repeated_at_once(configured: Machine) -> None:
    """It was refused for as long as the dead process's lease went on, though nobody worked on it."""
    config = configured.path("strongroom.toml")
    key = 'public_key_file = "recovery.key.pub"'
    config.write_text(config.read_text().replace(key, f'{key}\nidentity_file = "recovery.key"'))
    configured.ok(*BACKUP)
    gone = killed(configured, "keys", "rotate", "full", "--renew", kind="rotate", step="rewrap")
    done = configured.run("keys", "rotate", "full", "--renew")
    assert done.code == 0, done
    new, old = runs(configured)[:2]
    assert (old["id"], old["state"]) == (gone, "cancelled")
    assert new["state"] == "done"
