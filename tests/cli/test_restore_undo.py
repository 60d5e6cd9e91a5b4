"""restore undo: a restore is taken back from its record, as far as nobody changed what it left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from strongroom.container.errors import WrongKey
from strongroom.errors import UsageError
from strongroom.operations.errors import RunDegraded
from strongroom.state.records import RunKind, RunStep, Spec, StepKind
from strongroom.state.store import RunStore
from strongroom.targets.directory import DirectoryTarget
from tests.cli.program import PASSPHRASE, Machine

PASS = {"STRONGROOM_PASSPHRASE": PASSPHRASE}
RESTORE = ("restore", "--backup-file", "full.sr", "--full-restore", "--overwrite-existing", "--json")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Three secrets in a backup; since then one is gone, one was changed, one is as it was."""
    machine = Machine(tmp_path / "machine")
    for name in ("GONE", "SAME", "WRITTEN"):
        machine.set(name, f"CANARY-{name}", "--tag", "team=old")
    machine.seal()
    machine.ok("secrets", "delete", "GONE", "--force")
    machine.set("WRITTEN", "CANARY-LATER", "--tag", "team=new", "--expires", "2031-01-01")
    return machine


def restored(machine: Machine) -> str:
    """Restore everything, and return the id that undoes it."""
    [command] = machine.ok(*RESTORE, **PASS).document["undo_by"]
    return str(command.split()[3])


def undo(machine: Machine, run: str, *words: str) -> dict[str, Any]:
    return machine.ok("restore", "undo", run, "--json", *words, **PASS).document


def state_of(machine: Machine) -> dict[str, tuple[Any, ...]]:
    """Everything that is current there: value, tags, expiry."""
    names = [each["name"] for each in machine.ok("list", "--json").document["secrets"]]
    found = {name: machine.ok("get", name, "--show-value", "--json").document for name in names}
    return {name: (one["value"], one["tags"], one["expires_at"]) for name, one in found.items()}


def counts(document: dict[str, Any]) -> tuple[int, ...]:
    return tuple(document[word] for word in ("changed", "created", "removed", "unchanged", "left", "already"))


def test_what_a_restore_changed_comes_back_and_what_it_created_is_gone(machine: Machine) -> None:
    before = state_of(machine)
    run = restored(machine)
    assert state_of(machine) != before
    planned = undo(machine, run, "--dry-run")
    assert {each["name"]: each["action"] for each in planned["secrets"]} == {
        "WRITTEN": "change",
        "GONE": "remove",
    }
    assert state_of(machine) != before
    assert counts(undo(machine, run)) == (1, 0, 1, 0, 0, 0)
    assert state_of(machine) == before


def test_undoing_twice_changes_nothing_and_an_undo_can_be_undone(machine: Machine) -> None:
    before = state_of(machine)
    run = restored(machine)
    after = state_of(machine)
    back = undo(machine, run)["undo_by"].split()[3]
    versions = machine.ok("list", "--json").document
    assert counts(undo(machine, run)) == (0, 0, 0, 0, 0, 2)
    assert machine.ok("list", "--json").document == versions
    assert counts(undo(machine, back)) == (1, 1, 0, 0, 0, 0)
    assert state_of(machine) == after
    refused = machine.run("restore", "undo", run, **PASS)
    assert refused.failed_with(UsageError)
    [last] = [word for word in refused.err.split() if word.startswith("20") and word not in (run, back)][-1:]
    undo(machine, last)
    assert state_of(machine) == before


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("name", ["WRITTEN", "GONE"])
def test_what_somebody_changed_since_is_left_and_listed(machine: Machine, name: str) -> None:
    run = restored(machine)
    machine.set(name, "CANARY-SOMEBODY")
    planned = machine.run("restore", "undo", run, "--dry-run", **PASS)
    assert planned.failed_with(RunDegraded)
    assert f"1 secret changed since the restore, and would be left\n      {name}\n" in planned.out
    done = machine.run("restore", "undo", run, **PASS)
    assert done.failed_with(RunDegraded)
    assert f"1 secret changed since, and left as it is:\n    {name}\n" in done.out
    assert state_of(machine)[name][0] == "CANARY-SOMEBODY"
    assert state_of(machine).get("GONE" if name == "WRITTEN" else "WRITTEN", ("CANARY-LATER",))[0] == (
        "CANARY-LATER"
    )


def test_a_secret_that_was_written_anew_with_the_same_value_is_left(machine: Machine) -> None:
    run = restored(machine)
    machine.set("WRITTEN", "CANARY-WRITTEN")
    assert machine.run("restore", "undo", run, **PASS).failed_with(RunDegraded)


def test_the_record_tells_names_to_its_owner_alone_and_no_value(machine: Machine) -> None:
    run = restored(machine)
    folder = machine.state / "undo" / run
    [record] = folder.glob("written-*.jsonl")
    assert '"name":"GONE"' in record.read_text()
    for file in folder.iterdir():
        assert file.stat().st_mode & 0o077 == 0
        assert b"CANARY" not in file.read_bytes()


def test_restores_are_listed_with_what_they_did_and_what_undid_them(machine: Machine) -> None:
    run = restored(machine)
    back = undo(machine, run)["undo_by"].split()[3]
    undo(machine, run)
    listed = machine.ok("restore", "undo", "--list", "--json").document["restores"]
    newest, oldest = sorted(listed, key=lambda each: bool(each["undone_by"]))
    assert (oldest["id"], oldest["created"], oldest["changed"], oldest["undone_by"]) == (run, 1, 1, [back])
    assert (newest["id"], newest["removed"], newest["of"]) == (back, 1, f"undo of {run}")
    assert f"1 created, 1 changed (done; undone by {back})" in machine.ok("restore", "undo", "--list").out


def test_what_other_hosts_restored_is_listed_too_as_long_as_the_stage_can_be_asked(
    machine: Machine, tmp_path: Path
) -> None:
    here, stage, config = restored(machine), tmp_path / "stage", machine.path("strongroom.toml")
    config.write_text(f'[stages.default]\nkind = "directory"\nregion = "stage"\npath = "{stage}"\n')
    store = RunStore(f"sqlite:///{machine.state / 'state.db'}")
    options = {"destination": "vault", "overwrite": True}
    spec = Spec(kind=RunKind.RESTORE, policy="p", backup="20260101T000000Z-abcdefgh", options=options)
    run = store.create(spec, first=(RunStep(StepKind.RESTORE, 0),))
    assert run is not None
    [ticket] = store.take_ready(run.id, window=1)
    assert store.claim(ticket, owner="bob:1:recover") is not None
    store.close()
    DirectoryTarget(stage, name="default", region="stage").prepare()
    for name in ("0001/000001", "undone-by/20300101T000000Z-abcdefgh"):
        (stage / "undo" / run.id / name).parent.mkdir(parents=True, exist_ok=True)
        (stage / "undo" / run.id / name).write_bytes(b"sealed")

    lines = machine.ok("restore", "undo", "--list").out.splitlines()
    [line] = [line for line in lines if line.startswith(run.id)]
    assert f"{spec.backup} into vault" in line
    assert "(not ended; by bob; undone by 20300101T000000Z-abcdefgh)" in line
    assert [line for line in lines if line.startswith(here)]

    stage.rename(tmp_path / "away")
    done = machine.ok("restore", "undo", "--list")
    assert "note: what other hosts restored is not listed: " in done.err
    assert run.id not in done.out
    assert here in done.out


def test_a_wrong_key_and_an_unknown_restore_change_nothing(machine: Machine) -> None:
    run = restored(machine)
    after = state_of(machine)
    wrong = {"STRONGROOM_PASSPHRASE": "CANARY-WRONG words"}
    assert machine.run("restore", "undo", run, **wrong).failed_with(WrongKey)
    assert machine.run("restore", "undo", "20010101T000000Z-00000000", **PASS).failed_with(UsageError)
    assert machine.run("restore", "undo", **PASS).failed_with(UsageError)
    assert state_of(machine) == after


def test_the_printed_command_undoes_a_restore_that_only_created(machine: Machine) -> None:
    words = ("restore", "--backup-file", "full.sr", "--secret-name", "GONE")
    out = machine.ok(*words, **PASS).out
    [command] = out.partition("This undoes it:\n")[2].splitlines()
    machine.ok(*command.split()[1:], **PASS)
    assert "GONE" not in state_of(machine)


def test_a_part_is_undone_by_name_or_tag_and_the_rest_afterwards(machine: Machine) -> None:
    before = state_of(machine)
    run = restored(machine)
    assert counts(undo(machine, run, "--include", "G*", "--dry-run")) == (0, 0, 1, 0, 0, 0)
    assert counts(undo(machine, run, "--exclude", "W*")) == (0, 0, 1, 0, 0, 0)
    assert set(state_of(machine)) == {"SAME", "WRITTEN"}
    assert counts(undo(machine, run, "--filter-tag", "team=old")) == (0, 0, 0, 0, 0, 1)  # its tag of before
    assert counts(undo(machine, run, "--filter-tag", "team=new")) == (1, 0, 0, 0, 0, 1)
    assert state_of(machine) == before
    assert counts(undo(machine, run)) == (0, 0, 0, 0, 0, 2)


def test_what_the_part_leaves_out_is_not_told_as_changed_by_others(machine: Machine) -> None:
    run = restored(machine)
    machine.set("GONE", "CANARY-SOMEBODY")
    done = machine.ok("restore", "undo", run, "--exclude", "GONE", **PASS)
    assert "changed since" not in done.out


def test_a_restore_that_wrote_nothing_has_nothing_to_undo(machine: Machine) -> None:
    restored(machine)
    machine.set("WRITTEN", "CANARY-SOMEBODY")
    words = ("restore", "--backup-file", "full.sr", "--full-restore", "--json")
    done = machine.run(*words, **PASS)
    assert (done.document["left"], done.document["undo_by"]) == (1, [])
    run = max(one["id"] for one in machine.ok("restore", "undo", "--list", "--json").document["restores"])
    undone = machine.ok("restore", "undo", run, **PASS)
    assert "it wrote nothing, so there is nothing to undo" in undone.out


def test_an_undo_that_goes_on_prints_the_command_with_what_was_typed(machine: Machine) -> None:
    run = restored(machine)
    [key] = (machine.state / "undo" / run).glob("*.key")
    key.unlink()  # as where it could not be sealed
    done = machine.run("restore", "undo", run, "--exclude", "S*", **PASS)
    assert done.named == "SourceError"
    assert "nobody can tell whether it was changed since" in " ".join(done.out.split())
    assert "changed since, and left" not in done.out
    assert f"strongroom restore undo {run} --exclude 'S*'" in done.out


def test_a_restore_and_its_undo_are_runs_that_are_shown_without_a_database(machine: Machine) -> None:
    run = restored(machine)
    undone = undo(machine, run)["undo_by"].split()[3]
    for file in machine.state.glob("state.db*"):
        file.unlink()
    told = machine.ok("runs", "show", run, "--json").document
    assert (told["id"], told["kind"], told["state"]) == (run, "restore", "done")
    assert (told["restore"]["restore"]["created"], told["restore"]["restore"]["changed"]) == (1, 1)
    assert told["undo_by"] == f"strongroom restore undo {run}"
    assert f"undo run {undone}: done" in machine.ok("runs", "show", undone).out
