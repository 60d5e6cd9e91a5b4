"""The control host is gone: it is rebuilt from what back-up-strongroom.md has kept every night."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.cli.program import Machine
from tests.journeys.house import in_page, typed, words_of

PAGE = "back-up-strongroom.md"


def test_a_lost_host_is_rebuilt_from_what_was_kept_every_night(machine: Machine, tmp_path: Path) -> None:
    safe = tmp_path / "safe"
    safe.mkdir()
    machine.env["SAFE"] = str(safe)
    for command in (
        ("keys", "new", "--output", "recovery.key"),
        (
            *("init", "--public-key", "recovery.key.pub", "--single-recipient-reason", "it is in the bank"),
            *("--target", f"region-a={machine.path('region-a')}"),
            *("--target", f"region-b={machine.path('region-b')}"),
        ),
    ):
        machine.ok(*command)
    machine.ok("set", "NAME", stdin="CANARY-value")
    machine.ok("backup", "--policy", "monthly-full", "--force")
    nightly, head = in_page(PAGE, "Every night")
    kept = typed(machine, nightly, {})
    assert kept.code == 0, kept
    signer = re.search(r"sr1:[0-9a-f]{64}", kept.out)
    assert signer
    printed = json.loads(typed(machine, head.replace("head", "head --json"), {}).out)["head"]
    machine.ok("backup", "--policy", "daily-metadata", "--force")
    before = on_targets(machine)
    for lost in (machine.state, machine.path("recovery.key.pub")):
        shutil.rmtree(lost) if lost.is_dir() else lost.unlink()

    opened, looked, rebuilt, restored, _up, compared = in_page(PAGE, "The host is gone")
    places = {"sr1:…": signer[0], "4711": str(printed["id"]), "1f0e": printed["sha256"]}
    for lines in (opened, looked, rebuilt, restored):
        done = typed(machine, lines, places)
        assert done.code == 0, (lines, done)
    assert before <= {
        backup["backup"] for backup in machine.ok("backups", "list", "--json").document["backups"]
    }
    assert machine.ok("get", "NAME", "--show-value").out.strip() == "CANARY-value"
    # What it signs is trusted as before, and its record can be held to the paper.
    machine.ok("backup", "--policy", "daily-metadata", "--force")
    machine.ok("backups", "verify", "region-a", "--depth", "opened", "--identity", "recovery.key")
    evidence = typed(machine, compared, places)
    assert (evidence.code, "it is what was printed" in words_of(evidence)) == (0, True), evidence


def test_the_copy_of_the_night_is_of_the_record_wherever_that_is_and_never_of_nothing(
    machine: Machine, tmp_path: Path
) -> None:
    """The five commands of install.md leave the state directory where it is by default."""
    safe = tmp_path / "safe"
    safe.mkdir()
    machine.env["SAFE"] = str(safe)
    del machine.env["STRONGROOM_STATE_DIR"]
    machine.ok("keys", "new", "--output", "recovery.key")
    machine.ok("init", "--public-key", "recovery.key.pub", "--single-recipient-reason", "it is in the bank")
    machine.ok("set", "NAME", stdin="CANARY-value")
    nightly, _ = in_page(PAGE, "Every night")
    assert typed(machine, nightly, {}).code == 0
    [copy] = safe.glob("state-*.db")
    with closing(sqlite3.connect(copy)) as record:
        assert record.execute("SELECT count(*) FROM events").fetchone()[0] > 0
    copy.unlink()
    machine.env["STRONGROOM_STATE_DIR"] = str(tmp_path / "nowhere")
    shutil.rmtree(machine.path(".local"))
    assert typed(machine, nightly.splitlines()[-1], {}).code != 0
    assert list(safe.glob("state-*.db")) == []


def on_targets(machine: Machine) -> set[str]:
    """Return the backups of policies in the catalog; the escrow is a file of its own."""
    listed = machine.ok("backups", "list", "--json").document["backups"]
    return {backup["backup"] for backup in listed if backup["policy"] != "(command)"}
