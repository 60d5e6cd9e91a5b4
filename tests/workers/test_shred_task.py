"""What waits to be shredded is finished by the verify pool, when beat asks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import beat_schedule
from strongroom.config import load_settings
from tests.cli.conftest import stock
from tests.cli.program import ROOT, Machine
from tests.cli.test_shred import configure
from workers import names
from workers.rights import MAY_SEND

TASK = (
    "from workers.app import app; app.loader.import_default_modules(); "
    f"print(app.tasks['{names.SHRED_PENDING}']())"
)


def perform(machine: Machine) -> int:
    """Perform the task as a process of the verify pool would; return how many are left."""
    env = machine.env | {"STRONGROOM_ROLE": names.VERIFY, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", TASK]
    done = subprocess.run(
        command, cwd=machine.home, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_the_task_finishes_what_a_target_that_was_away_kept_pending(tmp_path: Path) -> None:
    machine = stock(Machine(tmp_path / "machine"))
    for name in ("y2026", "y2027"):
        machine.ok("keygen", "--output", f"{name}.key")
    configure(machine, "y2026")
    machine.ok("backup", "--policy", "customers", "--force")
    configure(machine, "y2027")
    place, away = machine.state / "targets" / "region-b", machine.home / "away"
    place.rename(away)
    assert machine.run("shred", "--policy", "customers", "--confirm", "customers").code == 37
    assert perform(machine) == 1
    place.rename(machine.home / "empty")
    away.rename(place)
    assert perform(machine) == 0
    assert "shredded" in machine.ok("shred", "--status").out


def test_beat_asks_only_where_a_policy_is_erasable(tmp_path: Path) -> None:
    file = tmp_path / "strongroom.toml"
    text = (
        '[keys.k]\nkind = "keyfile"\nfile = "k"\n[policies.p]\nkind = "full"\n'
        'targets = ["region-a", "region-b"]\nrecipients = ["k"]\n'
    )
    for more, asked in (("", False), ("erasable = true\n", True)):
        file.write_text(text + more)
        entries = beat_schedule.entries(load_settings({"STRONGROOM_STATE_DIR": str(tmp_path)}, file))
        assert ("shred pending" in entries) is asked
    entry = entries["shred pending"]
    assert entry["task"] in MAY_SEND[names.BEAT]
    assert entry["options"]["queue"] == names.QUEUE_OF[entry["task"]] == names.VERIFY
