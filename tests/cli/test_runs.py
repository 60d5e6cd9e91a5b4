"""Policies, runs and the catalog by command line, without a broker."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing
from typing import Any

import pytest
from msgspec import structs

from strongroom.cli.errors import RunEnded
from strongroom.container.errors import MissingPiece, Tampered, UntrustedSigner, WrongKey
from strongroom.operations.errors import (
    ConfirmationRequired,
    LeftAside,
    QuorumNotMet,
    RunDegraded,
    TargetUnsound,
)
from strongroom.state.errors import RunNotFound
from strongroom.state.store import RunStore
from strongroom.system.errors import WouldOverwrite
from tests.cli.program import PASSPHRASE, REGIONS, Done, Machine, command
from tests.patience import PATIENCE, until
from workers.errors import BrokerUnavailable


def back_up(machine: Machine, policy: str = "full") -> dict[str, object]:
    return machine.ok("backup", "--policy", policy, "--force", "--json").document


def test_a_policy_backs_up_to_every_target_and_restores_from_one(configured: Machine, other: Machine) -> None:
    run = back_up(configured)
    assert (run["state"], run["secrets"]) == ("done", 3)
    replicas = configured.ok("backups", "replicas", "--json").document["replicas"]
    assert [(r["target"], r["good"], r["verified"]) for r in replicas] == [
        (name, True, "digest") for name in sorted(REGIONS)
    ]
    target = configured.path("regions/dublin")
    signer = configured.ok("backups", "show", target, "--json").document["signer"]
    words = ("restore", "--from-target", target, "--full-restore", "--signer", signer)
    other.ok(*words, "--identity", configured.path("recovery.key"))
    assert other.ok("get", "DATABASE_PASSWORD", "--show-value").out == "CANARY-DB"


def test_a_full_policy_asks_first(configured: Machine) -> None:
    assert configured.run("backup", "--policy", "full").failed_with(ConfirmationRequired)
    assert configured.ok("backups", "list", "--json").document["backups"] == []


def test_a_metadata_policy_is_plain_and_holds_no_value(configured: Machine) -> None:
    run = back_up(configured, "metadata")
    [container] = configured.path(f"regions/dublin/containers/{run['id']}").iterdir()
    assert b"JWT_SECRET_KEY" in container.read_bytes()
    assert b"CANARY" not in container.read_bytes()


def test_a_backup_that_lacks_secrets_is_an_alarm_for_whoever_only_looks_at_the_exit_code(
    configured: Machine,
) -> None:
    for number in range(20):
        configured.set(f"app/{number}", "CANARY")
    back_up(configured)
    configured.ok("secrets", "delete", "app/0", "--force")
    few = back_up(configured)
    assert (few["state"], few["fewer"]) == ("done", 1)
    configured.ok("secrets", "delete", *(f"app/{number}" for number in range(1, 20)), "--force")
    done = configured.run("backup", "--policy", "full", "--force")
    assert done.failed_with(RunDegraded)
    assert "holds 3 secrets where 23 were expected" in done.out
    assert "lacks 20 secrets" in " ".join(done.out.split())
    assert "strongroom: RunDegraded" in done.err
    run = configured.ok("runs", "--json").document["runs"][0]["id"]
    assert configured.run("runs", "show", run, "--follow").failed_with(RunDegraded)
    assert configured.ok("runs", "show", run).out == done.out


def test_a_target_is_named_by_its_configured_name(configured: Machine) -> None:
    back_up(configured)
    words = (
        "get",
        "JWT_SECRET_KEY",
        "--show-value",
        "--from-target",
        "toronto",
        "--identity",
        "recovery.key",
    )
    assert configured.ok(*words).out == "CANARY-JWT"


def test_runs_are_listed_and_shown(configured: Machine) -> None:
    run = back_up(configured)
    assert [r["id"] for r in configured.ok("runs", "--json").document["runs"]] == [run["id"]]
    shown = configured.ok("runs", "show", str(run["id"]))
    assert "done: a good backup on every target" in shown.out
    assert "CANARY" not in shown.out
    assert configured.run("runs", "show", "20200101T000000Z-00000000").failed_with(RunNotFound)


def test_a_damaged_replica_is_found_and_repaired(configured: Machine) -> None:
    run = back_up(configured)
    [container] = configured.path(f"regions/dublin/containers/{run['id']}").iterdir()
    content = container.read_bytes()
    container.chmod(0o600)
    container.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert configured.run("backups", "verify", "regions/dublin").failed_with(Tampered)
    configured.ok("backups", "repair", str(run["id"]))
    assert container.read_bytes() == content
    assert configured.run("backups", "verify", "regions/dublin").code == 0


def replicas(machine: Machine) -> dict[str, tuple[bool, str | None]]:
    found = machine.ok("backups", "replicas", "--json").document["replicas"]
    return {one["target"]: (one["good"], one["verified"]) for one in found}


def test_a_target_that_was_away_is_no_bad_replica_until_it_was_looked_at(configured: Machine) -> None:
    back_up(configured)
    dublin, away = configured.path("regions/dublin"), configured.path("regions/away")
    dublin.rename(away)
    config = configured.path("strongroom.toml")  # it is a disk that is not mounted now
    config.write_text(config.read_text().replace('region = "dublin"\ncreate = true', 'region = "dublin"'))
    made = configured.run("backup", "--policy", "full", "--force", "--json")
    assert made.failed_with(RunDegraded), made
    backup = made.document["id"]

    def row() -> str:
        return next(line for line in configured.ok("backups", "replicas").out.splitlines() if backup in line)

    assert "no answer" in row()
    assert "BAD" not in row()
    assert configured.ok("backups", "replicas", "--json").document["unanswered"] == {backup: ["dublin"]}
    assert configured.run("backups", "repair", backup).code != 0
    assert "no answer" in row()
    away.rename(dublin)
    configured.ok("backups", "repair", backup)
    assert "no answer" not in row()
    assert "BAD" not in row()


@pytest.mark.parametrize("word", ["regions/dublin", "dublin"])
def test_what_is_found_by_hand_is_what_the_catalog_says(configured: Machine, word: str) -> None:
    run = back_up(configured)
    configured.ok("backups", "verify", word, "--depth", "opened", "--identity", "recovery.key")
    assert replicas(configured)["dublin"] == (True, "opened")
    configured.ok("backups", "verify", word, "--depth", "present")
    assert replicas(configured)["dublin"] == (True, "opened")
    [container] = configured.path(f"regions/dublin/containers/{run['id']}").iterdir()
    content = container.read_bytes()
    container.chmod(0o600)
    container.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert configured.run("backups", "verify", word).failed_with(Tampered)
    assert replicas(configured)["dublin"] == (False, None)
    assert "toronto" not in configured.ok("backups", "repair").err
    assert replicas(configured)["dublin"] == (True, "digest")
    assert container.read_bytes() == content


def test_a_replica_held_as_bad_is_not_called_good_by_a_shallower_look(configured: Machine) -> None:
    """The catalog may know of what is not looked at by hand: an envelope that is too old."""
    run = back_up(configured)
    store = RunStore(f"sqlite:///{configured.state / 'state.db'}")
    [dublin] = [one for one in store.replicas(str(run["id"])) if one.target == "dublin"]
    store.set_replica(structs.replace(dublin, good=False))
    assert f"strongroom backups repair {run['id']}" in configured.ok("backups", "verify", "dublin").err
    assert replicas(configured)["dublin"][0] is False


def test_a_look_with_the_wrong_key_or_at_a_copy_tells_nothing_of_the_replica(configured: Machine) -> None:
    back_up(configured)
    before = replicas(configured)
    configured.ok("keys", "new", "--output", "other.key")
    opened = ("backups", "verify", "dublin", "--depth", "opened", "--identity", "other.key")
    assert configured.run(*opened).failed_with(WrongKey)
    shutil.copytree(configured.path("regions/dublin"), configured.path("dublin"))
    shutil.rmtree(configured.path("dublin/containers"))
    assert configured.run("backups", "verify", "dublin").failed_with(MissingPiece)
    assert replicas(configured) == before


def test_a_region_that_no_file_configures_is_meant_by_its_name_too(stocked: Machine) -> None:
    stocked.ok("backup", "--policy", "daily-metadata")
    assert stocked.ok("backups", "verify", "region-b", "--json").document["policy"] == "daily-metadata"
    assert stocked.ok("backups", "show", "region-c", "--json").document["policy"] == "daily-metadata"
    assert stocked.run("backups", "verify", "region-d").failed_with(MissingPiece)


def test_a_repair_that_looks_at_all_says_what_it_could_not_look_at(configured: Machine) -> None:
    back_up(configured)
    dublin, away = configured.path("regions/dublin"), configured.path("regions/away")
    dublin.rename(away)
    dublin.write_text("no directory")
    done = configured.run("backups", "repair", "--all")
    assert done.failed_with(TargetUnsound)
    assert "Nobody knows what is missing on 'dublin'" in done.err
    assert "on every target that answers" in done.out
    dublin.unlink()
    away.rename(dublin)
    configured.ok("backups", "repair", "--all")


def test_a_repair_that_could_not_reach_a_target_is_told_by_its_exit_code(configured: Machine) -> None:
    run = back_up(configured)
    dublin, away = configured.path("regions/dublin"), configured.path("regions/away")
    dublin.rename(away)
    dublin.write_text("no directory")
    done = configured.run("backups", "repair", str(run["id"]))
    assert done.failed_with(RunDegraded)
    assert "not verified on dublin" in done.out
    assert replicas(configured)["dublin"] == (True, "digest")  # as it was known to be
    dublin.unlink()
    away.rename(dublin)
    configured.ok("backups", "repair")


def test_the_catalog_is_rebuilt_from_one_target_alone(configured: Machine) -> None:
    runs = [back_up(configured), back_up(configured, "metadata")]
    before = configured.ok("backups", "list", "--json").document["backups"]
    for part in configured.state.glob("state.db*"):
        part.unlink()
    assert configured.ok("backups", "list", "--json").document["backups"] == []
    rebuilt = configured.ok("backups", "rebuild", "--from", "frankfurt", "--json").document
    assert sorted(rebuilt["backups"]) == sorted(run["id"] for run in runs)
    after = configured.ok("backups", "list", "--json").document["backups"]
    without = [{k: v for k, v in entry.items() if k != "replicas"} for entry in before]
    assert [{k: v for k, v in entry.items() if k != "replicas"} for entry in after] == without


def test_a_catalog_is_not_rebuilt_from_a_stranger(configured: Machine, other: Machine) -> None:
    back_up(configured)
    target = configured.path("regions/frankfurt")
    done = other.run("backups", "rebuild", "--from", target)
    assert done.failed_with(UntrustedSigner)
    assert other.ok("backups", "list", "--json").document["backups"] == []
    signer = configured.ok("backups", "show", target, "--json").document["signer"]
    assert (
        len(
            other.ok("backups", "rebuild", "--from", target, "--signer", signer, "--json").document["backups"]
        )
        == 1
    )


def test_a_rebuild_names_what_is_incomplete_and_what_is_forged(configured: Machine) -> None:
    whole, lacking, forged = (back_up(configured)["id"] for _ in range(3))
    target = configured.path("regions/frankfurt")
    for container in (target / "containers" / str(lacking)).iterdir():
        container.unlink()
    manifest = target / "manifests" / f"{forged}.json"
    manifest.chmod(0o600)
    manifest.write_bytes(manifest.read_bytes().replace(b'"quorum":2', b'"quorum":1'))
    done = configured.run("backups", "rebuild", "--from", "frankfurt", "--json")
    found = done.document
    assert (done.code, str(forged) in done.err) == (LeftAside.exit_code, True)
    assert sorted(found["backups"]) == sorted([whole, lacking])
    assert found["incomplete"] == [lacking]
    assert [(refused["backup"], refused["code"]) for refused in found["refused"]] == [(forged, "Tampered")]


def test_what_has_ended_cannot_be_cancelled_and_that_is_said_with_how_and_when(configured: Machine) -> None:
    run = back_up(configured)
    done = configured.run("runs", "cancel", str(run["id"]))
    assert done.failed_with(RunEnded)
    said = " ".join(done.err.split())
    assert f"Run {run['id']} had ended already, done, {run['finished_at']}: nothing was cancelled" in said
    assert "strongroom backups list" in said
    assert configured.run("runs", "cancel", str(run["id"]), "--json").document["state"] == "done"
    assert configured.ok("backups", "list", "--json").document["backups"]


def test_times_in_documents_are_written_as_rfc_3339(configured: Machine) -> None:
    run = back_up(configured)
    shown = configured.ok("runs", "show", str(run["id"]), "--json").document
    [replica, *_] = configured.ok("backups", "replicas", "--json").document["replicas"]
    [entry] = configured.ok("backups", "list", "--json").document["backups"]
    verified = [replica["verified_at"], entry["replicas"][0]["verified_at"]]
    for at in (run["created_at"], shown["created_at"], shown["finished_at"], *verified):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(at))


def test_a_failed_run_is_retried(configured: Machine) -> None:
    gone = [configured.path(f"regions/{name}") for name in REGIONS[:2]]
    configured.ok("check", "config")
    back_up(configured)
    text = configured.path("strongroom.toml").read_text()
    configured.path("strongroom.toml").write_text(text.replace("create = true", "create = false"))
    for target in gone:
        target.rename(target.with_suffix(".gone"))
    failed = configured.run("backup", "--policy", "full", "--force")
    assert failed.failed_with(QuorumNotMet)
    run = configured.ok("runs", "--json").document["runs"][0]["id"]
    for target in gone:
        target.with_suffix(".gone").rename(target)
    assert configured.ok("runs", "retry", run, "--json").document["state"] == "done"


def test_submitting_without_a_broker_fails_and_says_so(configured: Machine) -> None:
    done = configured.run("backup", "--cluster", "--policy", "full")
    assert done.failed_with(BrokerUnavailable)
    assert "strongroom up" in done.err


def test_an_interrupted_backup_leaves_nothing(machine: Machine) -> None:
    line = '{"name": "N%07d", "value": "%s"}\n'
    with machine.path("many.jsonl").open("w") as file:
        file.writelines(line % (n, "CANARY" * 60) for n in range(120_000))
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        done = _interrupted(machine, number)
        assert done.code == code, done
        assert "nothing half-written was left" in done.err
        assert "Traceback" not in done.err
        assert sorted(path.name for path in machine.home.iterdir()) == ["many.jsonl", "state"]
        assert machine.staged() == []


def _interrupted(machine: Machine, number: signal.Signals) -> Done:
    words = ("backup", "new.sr", "--include-values", "--force", "--source", "files:many.jsonl")
    process = subprocess.Popen(
        command(*words),
        cwd=machine.home,
        env=machine.env | {"STRONGROOM_PASSPHRASE": PASSPHRASE},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until(lambda: machine.staged() or process.poll() is not None, what="something on the stage")
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=PATIENCE)
    return Done(code=process.returncode, out=out, err=err)


def test_config_init_writes_what_config_check_accepts(machine: Machine) -> None:
    machine.ok("init", "--output", "strongroom.toml")
    assert machine.run("init", "--output", "strongroom.toml").failed_with(WouldOverwrite)
    assert machine.ok("check", "config", "--json").document["problems"] == []
    pair = machine.ok("keys", "new", "--output", "recovery.key", "--json").document
    machine.ok("init", "--output", "strongroom.toml", "--force", "--public-key", "recovery.key.pub")
    named = machine.path("strongroom.toml").read_text()
    assert f'public_key_file = "{machine.path("recovery.key.pub")}"' in named
    machine.ok("check", "config")
    machine.ok("init", "--output", "strongroom.toml", "--force", "--public-key", pair["public_key"])
    assert pair["public_key"] in machine.path("strongroom.toml").read_text()


def test_catalog_alone_lists_and_version_is_a_command_too(machine: Machine) -> None:
    assert machine.ok("backups", "list").out == machine.ok("backups", "list").out
    assert machine.ok("version").out == machine.ok("--version").out


def test_status_says_of_each_policy_how_its_newest_verified_backup_lies(configured: Machine) -> None:
    def of_metadata() -> dict[str, Any]:
        found = configured.ok("runs", "--json").document["policies"]
        (mine,) = [one for one in found if one["policy"] == "metadata"]
        return dict(mine)

    assert (of_metadata()["backup"], of_metadata()["targets"]) == (None, [])
    configured.ok("backup", "--policy", "metadata", "--force")
    found = of_metadata()
    assert found["lacks"] is None
    assert [(one["target"], one["good"]) for one in found["targets"]] == [
        (name, True) for name in sorted(REGIONS)
    ]
    assert found["backup"] in configured.ok("runs").out
    with closing(sqlite3.connect(configured.state / "state.db")) as connection, connection:
        connection.execute("UPDATE replicas SET good = 0 WHERE target <> ?", (REGIONS[0],))
    assert "1 of 3" in configured.ok("runs").out
    assert of_metadata()["lacks"] is not None
