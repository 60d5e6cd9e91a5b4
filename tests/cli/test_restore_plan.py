"""A restore plan on the command line: written, read, done later, and refused where it must be."""

from __future__ import annotations

import json

import pytest

from strongroom.cli.commands.restore.attended_restore import by_plan
from strongroom.cli.parser import parse
from strongroom.cli.terminal import place
from strongroom.cli.terminal.output import Output
from strongroom.container.errors import MissingPiece, NotABackup, Tampered, Truncated, UntrustedSigner
from strongroom.errors import UsageError
from strongroom.operations.errors import ConfirmationRequired, PlanMismatch, RunDegraded
from strongroom.system.errors import WouldOverwrite
from tests.cli.furnished import Furnish
from tests.cli.program import PASSPHRASE, Machine

PASS = {"STRONGROOM_PASSPHRASE": PASSPHRASE}
FROM = ("restore", "--backup-file", "full.sr")
PLAN = (*FROM, "--full-restore", "--overwrite-existing", "--plan-out", "plan")
DO = (*FROM, "--plan", "plan")


def change(machine: Machine) -> None:
    """Three secrets in a backup; since then one is gone, one was written to, one is as it was."""
    for name in ("app/GONE", "app/SAME", "app/WRITTEN"):
        machine.set(name, f"CANARY-{name}")
    machine.seal()
    machine.ok("secrets", "delete", "app/GONE", "--force")
    machine.set("app/WRITTEN", "CANARY-LATER")


def write_plan(machine: Machine) -> None:
    machine.ok(*PLAN, **PASS)


@pytest.fixture
def changed(machine: Machine, furnish: Furnish) -> Machine:
    furnish(machine, change)
    return machine


@pytest.fixture
def planned(machine: Machine, furnish: Furnish) -> Machine:
    furnish(machine, change, write_plan)
    return machine


def value(machine: Machine, name: str) -> str:
    return machine.ok("get", name, "--show-value").out


def test_a_plan_changes_nothing_says_how_it_is_done_and_is_its_owners_alone(changed: Machine) -> None:
    told = changed.ok(*PLAN, **PASS).out
    assert value(changed, "app/WRITTEN") == "CANARY-LATER"
    [command] = [line.strip() for line in told.splitlines() if "strongroom restore --plan" in line]
    assert changed.path("plan").stat().st_mode & 0o777 == 0o600
    assert "CANARY" not in changed.path("plan").read_text() + told
    done = changed.ok(*command.split()[1:], **PASS).out
    assert "1 secret created" in done
    assert "1 secret changed" in done
    assert value(changed, "app/WRITTEN") == "CANARY-app/WRITTEN"


def test_a_stale_plan_leaves_what_moved_names_it_and_is_no_success(planned: Machine) -> None:
    planned.set("app/WRITTEN", "CANARY-LATEST")
    done = planned.run(*DO, **PASS)
    assert done.failed_with(RunDegraded)
    assert "1 secret changed since the plan was made and is left as it is:\n    app/WRITTEN\n" in done.out
    assert "1 secret created" in done.out
    assert value(planned, "app/WRITTEN") == "CANARY-LATEST"
    assert value(planned, "app/GONE") == "CANARY-app/GONE"
    [folder] = (planned.state / "undo").iterdir()
    assert '"code":"moved"' in (folder / "not-restored.jsonl").read_text()


def test_a_plan_may_be_done_twice_and_looked_at_again_before(planned: Machine) -> None:
    looked = planned.ok(*DO, "--dry-run", **PASS).out
    assert "1 secret would be created\n      app/GONE\n" in looked
    planned.set("app/SAME", "CANARY-LATER")
    looked = planned.ok(*DO, "--dry-run", **PASS).out
    assert "changed since the plan was made and would be left\n      app/SAME" in looked
    planned.run(*DO, **PASS)
    again = planned.run(*DO, "--json", **PASS).document
    assert (again["created"], again["changed"], again["moved"], again["unchanged"]) == (0, 0, 1, 2)
    assert again["moved_names"] == ["app/SAME"]
    told = planned.ok("restore", "undo", "--list").out.splitlines()
    assert sum(line.endswith("into local: nothing written (done)") for line in told) == 1


def test_a_plan_is_refused_that_was_altered_cut_off_or_is_none(planned: Machine) -> None:
    file = planned.path("plan")
    whole = file.read_bytes()
    for content, error in (
        (whole.replace(b'"action":"same"', b'"action":"leave"', 1), Tampered),
        (whole.replace(b'"overwrite":true', b'"overwrite":null', 1), Tampered),
        (whole[:-5], Truncated),
        (b"a shopping list\n" * 9, NotABackup),
        (b"", NotABackup),
    ):
        file.write_bytes(content)
        refused = planned.run(*DO, **PASS)
        assert refused.failed_with(error), content[-300:]
        assert "make another plan" in " ".join(refused.err.split())
    assert planned.run(*FROM, "--plan", "no-file", **PASS).failed_with(MissingPiece)
    assert planned.run(*FROM, "--plan", "full.sr", **PASS).failed_with(NotABackup)
    assert value(planned, "app/WRITTEN") == "CANARY-LATER"


def test_a_plan_is_refused_for_another_backup_another_place_and_from_a_stranger(
    planned: Machine,
) -> None:
    planned.seal("full.sr", "--exclude", "app/GONE")
    refused = planned.run(*DO, **PASS)
    assert refused.failed_with(PlanMismatch)
    assert "and this is another one" in " ".join(refused.err.split())
    assert "--plan-out FILE" in refused.err
    planned.ok(*PLAN, "--force", **PASS)
    moved = planned.home / "moved"
    refused = planned.run(*DO, STRONGROOM_STATE_DIR=str(moved), **PASS)
    assert refused.failed_with(UntrustedSigner)
    signer = planned.ok("keys", "signers", "list", "--json").document
    fingerprint = next(one for one in json.dumps(signer).split('"') if one.startswith("sr1:"))
    refused = planned.run(*DO, "--signer", fingerprint, STRONGROOM_STATE_DIR=str(moved), **PASS)
    assert refused.failed_with(PlanMismatch)
    assert f"{moved}/store/secrets.db now" in " ".join(refused.err.split())


def test_a_plan_that_is_altered_after_it_was_checked_is_done_as_it_was(machine: Machine) -> None:
    file = machine.path("plan")
    many = machine.path("many.jsonl")
    many.write_text("".join(f'{{"name": "N{n:03}", "value": "CANARY"}}\n' for n in range(200)))
    machine.ok("secrets", "import", many)
    machine.seal()
    write_plan(machine)
    given = parse("restore", ["--plan", str(file), "--backup-file", str(machine.path("full.sr"))]).given
    with by_plan(given, Output(), place.find(machine.env)) as (_, request):
        assert request.plan is not None
        with file.open("r+b") as shared:  # the same file, which somebody has open
            shared.write(b"x" * 100)
        assert [entry.action for entry in request.plan.entries()] == ["same"] * 200


def test_options_that_a_plan_decides_are_refused_beside_it(planned: Machine) -> None:
    for more in (("--full-restore",), ("--include", "x"), ("--overwrite-existing",), ("--relocate", "a=b")):
        assert planned.run(*DO, *more, **PASS).failed_with(UsageError)
    assert planned.run(*DO, "--to", "elsewhere", **PASS).failed_with(UsageError)


def test_a_plan_overwrites_no_file_unless_it_is_told_to(planned: Machine) -> None:
    assert planned.run(*PLAN, **PASS).failed_with(WouldOverwrite)
    planned.ok(*PLAN, "--force", **PASS)


def test_a_sealed_plan_shows_no_name_and_is_done_with_its_key(changed: Machine) -> None:
    changed.ok("keys", "new", "--output", "plan.key")
    sealing = (*PLAN, "--plan-recipient", "plan.key.pub")
    changed.ok(*sealing, **PASS)
    changed.ok(*sealing, "--force", **PASS)
    assert b"app/" not in changed.path("plan").read_bytes()
    assert changed.run(*DO, **PASS).code != 0
    changed.path("pass").write_text(PASSPHRASE)
    changed.path("pass").chmod(0o600)
    changed.ok(*DO, "--identity", "plan.key", "--passphrase-file", "pass")
    assert value(changed, "app/WRITTEN") == "CANARY-app/WRITTEN"


def test_what_lies_below_a_prefix_is_restored_below_another_and_undone_there(changed: Machine) -> None:
    words = (*FROM, "--relocate", "app/=copy/")
    told = changed.ok(*words, "--dry-run", **PASS).out
    assert "      copy/GONE (in the backup: app/GONE)\n" in told
    changed.ok(*words, **PASS)
    assert value(changed, "copy/WRITTEN") == "CANARY-app/WRITTEN"
    assert value(changed, "app/WRITTEN") == "CANARY-LATER"
    [folder] = (changed.state / "undo").iterdir()
    changed.ok("restore", "undo", folder.name, **PASS)
    assert "copy/" not in changed.ok("list").out


def test_a_relocated_plan_is_done_there(changed: Machine) -> None:
    changed.ok(*FROM, "--relocate", "app/=copy/", "--plan-out", "plan", **PASS)
    changed.ok(*DO, **PASS)
    assert value(changed, "copy/GONE") == "CANARY-app/GONE"


def test_one_secret_is_restored_under_another_name(changed: Machine) -> None:
    words = ("restore", "--backup-file", "full.sr", "--secret-name", "app/WRITTEN")
    changed.ok(*words, "--relocate", "app/WRITTEN=app/BEFORE", **PASS)
    assert value(changed, "app/BEFORE") == "CANARY-app/WRITTEN"
    assert changed.run(*words, "--relocate", "web/=app/", **PASS).failed_with(UsageError)
    changed.ok(*words, "--plan-out", "plan", "--overwrite-existing", **PASS)
    changed.ok(*DO, **PASS)
    assert value(changed, "app/WRITTEN") == "CANARY-app/WRITTEN"


@pytest.mark.parametrize("given", ["app/", "app/=app/", "app=copy/"])
def test_a_relocation_that_cannot_be_meant_is_refused(changed: Machine, given: str) -> None:
    assert changed.run(*FROM, "--relocate", given, **PASS).failed_with(UsageError)


def test_a_dry_run_names_its_digest_for_those_who_approve(planned: Machine) -> None:
    document = planned.ok(*DO, "--dry-run", "--json", **PASS).document
    assert len(document["plan"]["digest"]) == 64
    assert document["plan"]["totals"]["created"] == 1
    assert document["plan"]["destination"]["kind"] == "local"


def test_what_is_chosen_is_sealed_anew_into_a_file_for_somebody_else(changed: Machine) -> None:
    changed.ok("keys", "new", "--output", "theirs.key")
    words = (*FROM, "--include", "app/[GS]*", "--relocate", "app/=given/", "--to-file", "given.sr")
    assert changed.run(*words, "--force", **PASS).failed_with(UsageError)
    assert changed.run(*words, "--recipient", "theirs.key.pub", **PASS).failed_with(ConfirmationRequired)
    sealing = (*words, "--recipient", "theirs.key.pub", "--force")
    told = changed.ok(*words, "--dry-run", **PASS).out
    assert "2 secrets would be created\n      given/" in told
    assert not changed.path("given.sr").exists()
    made = changed.ok(*sealing, "--json", **PASS).document
    assert (made["secrets"], made["source"]) == (2, "local")
    assert list((changed.state / "rehearsals").iterdir()) == []
    read = ("get", "given/GONE", "--backup-file", "given.sr", "--show-value")
    assert changed.ok(*read, "--identity", "theirs.key").out == "CANARY-app/GONE"
    assert changed.run(*read, **PASS).code != 0
    assert '"access.restored"' in (changed.state / "accesses.jsonl").read_text()


@pytest.mark.parametrize("more", [("--plan-out", "plan"), ("--overwrite-existing",)])
def test_a_file_is_always_new_so_options_about_what_is_there_are_refused(
    changed: Machine, more: tuple[str, ...]
) -> None:
    words = (*FROM, "--full-restore", "--to-file", "given.sr", "--recipient", "full.sr", *more)
    assert changed.run(*words, **PASS).failed_with(UsageError)
    assert changed.run(*FROM, "--full-restore", "--recipient", "x", **PASS).failed_with(UsageError)


def test_a_plan_says_how_long_it_takes_at_the_pace_of_earlier_restores(machine: Machine) -> None:
    machine.path("many.env").write_text("".join(f"NAME_{n:03}=CANARY-{n}\n" for n in range(30)))
    machine.ok("secrets", "import", "many.env")
    machine.seal()
    words = (*FROM, "--full-restore", "--dry-run")
    machine.ok("secrets", "delete", *(f"NAME_{n:03}" for n in range(30)), "--force")
    assert machine.ok(*words, "--json", **PASS).document["estimate"]["seconds"] is None
    machine.ok(*FROM, "--full-restore", **PASS)
    machine.ok("secrets", "delete", "NAME_000", "--force")
    estimate = machine.ok(*words, "--json", **PASS).document["estimate"]
    assert estimate["restores"] == 1
    assert estimate["seconds"] == pytest.approx(
        30 * estimate["seconds_per_secret"] + estimate["seconds_per_write"]
    )
    assert "at the pace of the last restore into 'local'" in machine.ok(*words, **PASS).out


def test_a_plan_is_done_from_the_backup_that_it_was_made_of_though_there_is_a_newer_one(
    configured: Machine,
) -> None:
    configured.set("app/OLD", "CANARY-OLD")
    configured.ok("backup", "--policy", "full", "--force")
    configured.set("app/OLD", "CANARY-NEW")
    key = ("--identity", "recovery.key")
    planning = ("restore", "--include", "app/OLD", "--overwrite-existing", "--plan-out", "plan", *key)
    told = configured.ok(*planning).out
    configured.ok("backup", "--policy", "full", "--force")
    [command] = [line.strip() for line in told.splitlines() if "strongroom restore --plan" in line]
    configured.ok(*command.split()[1:])
    assert value(configured, "app/OLD") == "CANARY-OLD"


def test_a_lone_container_is_planned_as_any_backup(configured: Machine) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    container = next(path for path in configured.path("regions").glob("*/containers/*/*") if path.is_file())
    key = ("--identity", "recovery.key")
    configured.ok("restore", "--backup-file", container, "--full-restore", "--plan-out", "plan", *key)
    configured.ok("restore", "--backup-file", container, "--plan", "plan", *key)
