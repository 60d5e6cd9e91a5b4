"""What waits to be shredded is finished by the verify pool, when beat asks."""

from __future__ import annotations

from pathlib import Path

import beat_schedule
from strongroom.cli.errors import ShredPending
from strongroom.config import load_settings
from tests.cli.conftest import stock
from tests.cli.program import Machine
from tests.cli.test_shred import configure
from tests.workers.performing import perform
from workers import names
from workers.rights import may_send


def left(machine: Machine) -> int:
    """Have the verify pool finish what waits; return how many are left."""
    return perform(machine, names.SHRED_PENDING, role=names.VERIFY)[0]


def test_the_task_finishes_what_a_target_that_was_away_kept_pending(tmp_path: Path) -> None:
    machine = stock(Machine(tmp_path / "machine"))
    for name in ("y2026", "y2027"):
        machine.ok("keys", "new", "--output", f"{name}.key")
    configure(machine, "y2026")
    machine.ok("backup", "--policy", "customers", "--force")
    configure(machine, "y2027")
    place, away = machine.state / "targets" / "region-b", machine.home / "away"
    place.rename(away)
    assert machine.run("keys", "shred", "--policy", "customers", "--confirm", "customers").failed_with(
        ShredPending
    )
    assert left(machine) == 1
    place.rename(machine.home / "empty")
    away.rename(place)
    assert left(machine) == 0
    assert "shredded" in machine.ok("keys", "shred", "--status").out


def test_beat_asks_only_where_a_policy_is_erasable(tmp_path: Path) -> None:
    file = tmp_path / "strongroom.toml"
    text = (
        '[keys.k]\nkind = "keyfile"\nfile = "k"\n[policies.p]\nkind = "full"\n'
        'targets = ["region-a", "region-b"]\nrecipients = ["k"]\n'
    )
    for more, asked in (("", False), ("erasable = true\n", True)):
        file.write_text(text + more)
        entries = beat_schedule.entries(load_settings({"STRONGROOM_STATE_DIR": str(tmp_path)}, file))
        assert ("shred-pending" in entries) is asked
    entry = entries["shred-pending"]
    assert entry["task"] in may_send(names.BEAT)
    assert entry["options"]["queue"] == names.HOME_OF[entry["task"]] == names.VERIFY
