"""check backups and check, as a person types them; each trouble made for real."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from strongroom.container.errors import MissingPiece, Tampered, VerificationFailed, WrongKey
from strongroom.errors import StrongroomError, UsageError
from strongroom.operations.errors import (
    BackupOverdue,
    KeysOutOfPolicy,
    MassChange,
    QuorumNotMet,
    RunDegraded,
    RunFailed,
)
from strongroom.state.catalog import digest
from strongroom.state.errors import LedgerChanged, SchemaMismatch, StateError
from strongroom.state.records import Replica, RunKind, RunStep, Spec, StepKind
from strongroom.state.store import RunStore
from strongroom.system.errors import KeyFileExposed
from strongroom.targets.errors import TargetUnavailable
from tests.cli.conftest import configure, stock
from tests.cli.program import REGIONS, Done, Machine
from workers.errors import BrokerUnavailable

CHECK, ADVANCED = "check backups", "check"


@pytest.fixture(scope="session")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine with a good backup of two policies on three targets, for copies to be made of."""
    machine = stock(Machine(tmp_path_factory.mktemp("healthy") / "machine"))
    configure(machine)
    for policy in ("full", "metadata"):
        machine.ok("backup", "--policy", policy, "--force")
    return machine


@pytest.fixture
def well(healthy: Machine, tmp_path: Path) -> Machine:
    """A machine that is well, to do something to."""
    shutil.copytree(healthy.home, tmp_path / "machine")
    return Machine(tmp_path / "machine")


def tree(home: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(home)): (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(home.rglob("*"))
    }


def loud(done: Done) -> set[tuple[str, str]]:
    """Return check and error class of what is not well."""
    return {(one["check"], one["code"]) for one in done.document["findings"] if one["code"]}


def looked(machine: Machine, *words: str, worst: type[StrongroomError] | None = None) -> Done:
    done = machine.run(*words, "--json")
    assert (done.code, done.document["exit_code"], done.document["code"]) == (
        (worst.exit_code, worst.exit_code, worst.__name__) if worst else (0, 0, "")
    ), done
    assert "CANARY" not in done.out + done.err
    return done


def store_of(machine: Machine) -> RunStore:
    return RunStore(f"sqlite:///{machine.state / 'state.db'}")


def full_backup(machine: Machine) -> str:
    store = store_of(machine)
    [entry] = store.backups(policy="full")
    store.close()
    return entry.backup


def container(machine: Machine, region: str, backup: str) -> Path:
    return next(machine.path(f"regions/{region}/containers/{backup}").iterdir())


@pytest.mark.parametrize("command", [CHECK, ADVANCED])
def test_what_is_well_is_said_to_be_and_looking_changes_nothing(well: Machine, command: str) -> None:
    before = tree(well.home)
    done = well.run(command)
    assert (done.code, done.err) == (0, ""), done
    assert done.out.splitlines()[0].count("nothing is wrong") == 1
    assert "CANARY" not in done.out
    after = tree(well.home)
    noted = ("state.db", "accesses.jsonl")  # what a replica is good for, and that it was read
    kept = {name: one for name, one in after.items() if not name.endswith(noted)}
    assert kept == {name: one for name, one in before.items() if not name.endswith(noted)}
    assert command == CHECK or after == before


@pytest.mark.parametrize("command", [CHECK, ADVANCED])
def test_where_nothing_is_looking_makes_nothing(machine: Machine, command: str) -> None:
    done = machine.run(command, "--json")
    assert done.code == StateError.exit_code, done
    assert not machine.state.exists()
    assert tree(machine.home) == {}


def test_an_unknown_policy_or_target_is_refused(well: Machine) -> None:
    for words in (("--policy", "none"), ("--target", "none"), ("--check-encryption", "--depth", "opened")):
        assert well.run(CHECK, *words).failed_with(UsageError)


def test_what_is_found_of_replicas_goes_on_record_and_is_not_overclaimed(well: Machine) -> None:
    backup = full_backup(well)
    flipped = container(well, "dublin", backup)
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    done = looked(well, CHECK, "--policy", "full", worst=Tampered)
    assert ("integrity", "Tampered") in loud(done)
    found = {
        one["target"]: one for one in well.ok("backups", "replicas", backup, "--json").document["replicas"]
    }
    assert (found["dublin"]["good"], found["frankfurt"]["verified"]) == (False, "digest")
    words = (CHECK, "--policy", "full", "--depth", "opened", "--identity", "recovery.key")
    looked(well, *words, worst=Tampered)
    noted = [json.loads(line) for line in (well.state / "accesses.jsonl").read_text().splitlines()]
    assert {(one["detail"]["command"], one["detail"]["where"]) for one in noted} == {
        (CHECK, name) for name in REGIONS
    }
    found = {
        one["target"]: one for one in well.ok("backups", "replicas", backup, "--json").document["replicas"]
    }
    assert (found["dublin"]["good"], found["frankfurt"]["verified"]) == (False, "opened")
    flipped.write_bytes(container(well, "toronto", backup).read_bytes())
    looked(well, CHECK, "--check-accessibility", "--policy", "full")  # which reads no byte of it
    found = {
        one["target"]: one for one in well.ok("backups", "replicas", backup, "--json").document["replicas"]
    }
    assert (found["dublin"]["good"], found["frankfurt"]["verified"]) == (False, "opened")


def test_targets_that_vanish_are_named_and_the_quorum_is_judged_without_them(well: Machine) -> None:
    well.path("regions/toronto").rename(well.path("gone"))
    done = looked(well, CHECK, "--check-accessibility", worst=TargetUnavailable)
    assert loud(done) == {("accessibility", "TargetUnavailable")}
    well.path("regions/dublin").rename(well.path("gone-too"))
    assert ("accessibility", QuorumNotMet.__name__) in loud(looked(well, CHECK, worst=QuorumNotMet))
    assert not well.path("regions/toronto").exists()
    looked(well, CHECK, "--target", "frankfurt")


@pytest.mark.parametrize("record", ["whole", "lost"])
def test_a_target_that_is_gone_is_wrong_though_the_record_has_all_of_it(well: Machine, record: str) -> None:
    well.path("regions/toronto").rename(well.path("gone"))
    if record == "lost":
        (well.state / "state.db").write_bytes(b"no database")
    found = well.run(ADVANCED, "--json").document["findings"]
    [away] = [one for one in found if one["check"] == "targets"]
    assert (away["state"], away["code"], away["target"]) == ("warning", "TargetUnavailable", "toronto")
    assert "toronto" in away["what"]
    assert not well.path("regions/toronto").exists()


def test_a_backup_that_the_catalog_alone_has_is_missed(well: Machine) -> None:
    backup = full_backup(well)
    for region in REGIONS:
        well.path(f"regions/{region}/manifests/{backup}.json").unlink()
    looked(well, CHECK, "--policy", "full", worst=MissingPiece)


def test_recipients_that_changed_since_ask_for_a_rotation(well: Machine) -> None:
    well.ok("keys", "new", "--output", "next.key")
    file = well.path("strongroom.toml")
    file.write_text(
        file.read_text().replace('recipients = ["recovery"]', 'recipients = ["next"]')
        + '[keys.next]\nkind = "hpke"\npublic_key_file = "next.key.pub"\n'
    )
    done = looked(well, CHECK, "--check-encryption", worst=KeysOutOfPolicy)
    assert any("strongroom keys rotate full" in one["to_do"] for one in done.document["findings"])


def test_where_there_is_no_backup_nothing_is_well(well: Machine) -> None:
    file = well.path("strongroom.toml")
    file.write_text(file.read_text().replace("[policies.metadata]", "[policies.other]"))
    looked(well, CHECK, "--policy", "other", worst=MissingPiece)


def test_a_policy_that_is_due_and_has_no_backup_is_not_passed_over(well: Machine) -> None:
    with well.path("strongroom.toml").open("a") as file:
        file.write(
            f'[policies.new]\nkind = "metadata"\ntargets = {json.dumps(REGIONS)}\nschedule = "0 3 * * *"\n'
        )
    assert "policy 'new': no backup yet; the first is due " in looked(well, ADVANCED).out
    well.began_long_ago()
    looked(well, CHECK, worst=BackupOverdue)
    done = looked(well, ADVANCED, worst=BackupOverdue)
    assert {area for area, _ in loud(done)} == {"slots"}, "one fact is said once"


def test_files_that_commands_wrote_are_looked_at_with_all_and_missed_where_they_went(well: Machine) -> None:
    file = well.seal("weekly.sr")
    assert "weekly.sr" not in looked(well, CHECK).out
    found = looked(well, CHECK, "--all").document["findings"]
    assert {one["check"] for one in found if one["target"] == str(file)} == {
        "accessibility",
        "integrity",
        "encryption",
    }
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    found = well.run(CHECK, "--all", "--check-integrity", "--json").document["findings"]
    assert [one["state"] for one in found if one["target"] == str(file)] == ["wrong"]
    file.rename(well.path("elsewhere.sr"))
    done = looked(well, CHECK, "--all", worst=MissingPiece)
    assert done.document["counts"]["wrong"] == 0


# -- the whole installation ------------------------------------------------------


def test_the_metrics_are_there_for_machines(well: Machine) -> None:
    found: dict[str, Any] = looked(well, ADVANCED, "--days", "7").document["metrics"]
    assert found == {
        "days": 7,
        "backups": 2,
        "backups_made": 2,
        "success_rate": 1.0,
        "replicas": 6,
        "replicas_verified": 6,
        "verified_rate": 1.0,
        "drills": 0,
        "drills_passed": 0,
        "oldest_key_days": 0,
    }


def test_a_damaged_state_database_is_wrong_and_hides_nothing_else(well: Machine) -> None:
    file = well.state / "state.db"
    content = bytearray(file.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    file.write_bytes(content)
    before = file.read_bytes()
    done = looked(well, ADVANCED, worst=StateError)
    assert {"store", "broker", "disk", "files"} <= {one["check"] for one in done.document["findings"]}
    assert file.read_bytes() == before


@pytest.mark.parametrize(("schema", "code"), [("0003", SchemaMismatch), ("9999", SchemaMismatch)])
def test_another_schema_is_said_and_not_migrated(well: Machine, schema: str, code: type[StateError]) -> None:
    with sqlite3.connect(well.state / "state.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (schema,))
    connection.close()
    looked(well, ADVANCED, worst=code)
    looked_at = sqlite3.connect(well.state / "state.db")
    assert looked_at.execute("SELECT version_num FROM alembic_version").fetchall() == [(schema,)]
    looked_at.close()


def test_a_ledger_that_was_edited_is_told(well: Machine) -> None:
    with sqlite3.connect(well.state / "state.db") as connection:
        connection.execute("UPDATE events SET detail = '{}' WHERE id = 2")
    connection.close()
    done = looked(well, ADVANCED, worst=LedgerChanged)
    assert loud(done) == {("ledger", "LedgerChanged")}
    assert done.document["counts"]["wrong"] == 1


def test_a_ledger_that_was_edited_and_whose_chain_was_made_anew_is_told_as_everywhere(well: Machine) -> None:
    well.ok("ledger", "publish")
    with closing(sqlite3.connect(well.state / "state.db")) as connection, connection:
        connection.execute("UPDATE events SET detail = '{}' WHERE id = 2")
        before = ""
        rows = connection.execute("SELECT id, at, kind, run, detail FROM events ORDER BY id").fetchall()
        for number, at, kind, run, detail in rows:
            before = digest(before, at=at, kind=kind, run=run, detail=detail)
            connection.execute("UPDATE events SET chain = ? WHERE id = ?", (before, number))
    assert well.run("ledger", "check").code == 0, "nothing in it tells"
    done = looked(well, ADVANCED, worst=LedgerChanged)
    assert loud(done) == {("ledger", "LedgerChanged")}
    assert well.run("ledger", "check", "--targets").failed_with(LedgerChanged)
    kinds = {alert["kind"] for alert in well.run("alerts", "send", "--json").document["alerts"]}
    assert "ledger.broken" in kinds


def test_another_master_key_than_the_stores_is_told(well: Machine) -> None:
    (well.state / "keys" / "store.key").write_bytes(os.urandom(32))
    assert loud(looked(well, ADVANCED, worst=WrongKey)) == {("store", "WrongKey")}


def test_key_files_that_others_may_use_are_told(well: Machine) -> None:
    (well.state / "keys" / "work.key").chmod(0o640)
    (well.state / "keys" / "roles" / "control.key").chmod(0o644)
    assert loud(looked(well, ADVANCED, worst=KeyFileExposed)) == {("files", "KeyFileExposed")}


def test_bad_replicas_of_the_newest_backup_are_told(well: Machine) -> None:
    store = store_of(well)
    backup = full_backup(well)
    store.set_replica(Replica(backup=backup, target="dublin", good=False, verified=None, verified_at=None))
    store.close()
    found = looked(well, ADVANCED, worst=VerificationFailed)
    assert loud(found) == {("replicas", "VerificationFailed")}, "one fact is said once"
    assert found.document["metrics"]["replicas_verified"] == 5


def test_a_newest_backup_that_was_made_after_a_mass_deletion_is_told_as_by_the_alerts(well: Machine) -> None:
    names = [f"app/{number:03}" for number in range(60)]
    for name in names:
        well.set(name, "CANARY-value")
    well.ok("backup", "--policy", "full", "--force")
    well.ok("secrets", "delete", "--force", *names)
    well.run("backup", "--policy", "full", "--force")
    found = looked(well, ADVANCED, worst=MassChange)
    assert ("changes", "MassChange") in loud(found)
    alerts = well.run("alerts", "send", "--json").document["alerts"]
    assert "backup.shrunk:full" in [one["key"] for one in alerts]


def test_a_backup_that_failed_last_is_told(well: Machine) -> None:
    store = (well.state / "store").rename(well.path("away"))
    well.state.joinpath("store").write_text("no folder")
    assert well.run("backup", "--policy", "full", "--force").code != 0
    well.state.joinpath("store").unlink()
    store.rename(well.state / "store")
    found = looked(well, ADVANCED, worst=RunFailed)
    assert loud(found) == {("runs", "RunFailed")}
    assert found.document["metrics"]["success_rate"] == pytest.approx(2 / 3)


def test_a_run_whose_process_was_killed_is_told(well: Machine) -> None:
    store = store_of(well)
    run = store.create(Spec(kind=RunKind.BACKUP, policy="full"), first=(RunStep(StepKind.PLAN),))
    store.close()
    assert run is not None
    (well.state / "driving").mkdir(exist_ok=True)
    (well.state / "driving" / f"{run.id}.00").write_text("here:1:operator")
    found = looked(well, ADVANCED, worst=RunDegraded)
    assert any("its process is gone" in one["what"] for one in found.document["findings"])


def test_a_cluster_that_was_killed_is_told(well: Machine) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (well.state / "run").mkdir(mode=0o700)
    status = {"supervisor": ended.pid, "processes": {"seal": {"pid": ended.pid, "starts": 1}}}
    (well.state / "run" / "cluster.json").write_text(json.dumps(status))
    done = looked(well, ADVANCED, worst=BrokerUnavailable)
    assert loud(done) == {("broker", "BrokerUnavailable"), ("workers", "BrokerUnavailable")}
    assert any("its supervisor is gone" in one["what"] for one in done.document["findings"])


def test_a_rehearsal_that_was_due_and_not_begun_is_told(well: Machine) -> None:
    with well.path("strongroom.toml").open("a") as file:
        file.write('[drill]\npolicy = "full"\n[calendar]\nfull-drill = "0 7 3 1,4,7,10 *"\n')
    with sqlite3.connect(well.state / "state.db") as state:
        state.execute("UPDATE catalog SET created_at = '2020-01-01T00:00:00Z' WHERE policy = 'full'")
        state.execute("UPDATE runs SET created_at = 1577836800 WHERE policy = 'full'")
    done = well.run(ADVANCED, "--json")
    assert done.code == RunFailed.exit_code
    said = [one["what"] for one in done.document["findings"] if one["check"] == "drills" and one["code"]]
    assert [words for words in said if words.startswith("the full drill of policy 'full' has been due for ")]


def test_a_local_store_that_cannot_be_opened_now_is_not_said_to_be_lost(well: Machine) -> None:
    store = well.state / "store" / "secrets.db"
    store.rename(store.with_name("aside"))
    store.mkdir()
    [finding] = [one for one in well.run("check", "--json").document["findings"] if one["check"] == "store"]
    assert finding["state"] == "wrong"
    assert finding["to_do"].startswith("Check the owner and mode of that path")
    assert "full-restore" not in finding["to_do"]
