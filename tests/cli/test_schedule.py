"""The calendar by command line: what is due when, what came of it, run, pause and resume."""

from __future__ import annotations

import shutil
import time
from typing import Any

from strongroom.errors import ConfigError, UsageError
from strongroom.operations.errors import BackupOverdue
from strongroom.state.records import RunKind, RunStep, Spec, StepKind
from strongroom.state.store import RunStore
from tests.cli.program import Machine


def entries(machine: Machine) -> dict[str, Any]:
    return {one["name"]: one for one in machine.run("schedule", "--json").document["entries"]}


def schedule_minutely(machine: Machine, *more: str) -> None:
    text = machine.path("strongroom.toml").read_text()
    text = text.replace("[policies.metadata]\n", '[policies.metadata]\nschedule = "* * * * *"\n')
    machine.path("strongroom.toml").write_text("\n".join([text, *more]))


def recorded_run(machine: Machine, *, ago: float) -> RunStore:
    """Return the record, with a run in it that is so old: before it nobody could miss anything."""
    store = RunStore(f"sqlite:///{machine.state}/state.db")
    run = store.create(Spec(kind=RunKind.VERIFY, policy="metadata"), first=[RunStep(StepKind.PLAN)])
    assert run is not None
    with store._database.writing() as conn:
        conn.exec_driver_sql("UPDATE runs SET created_at = ? WHERE id = ?", (time.time() - ago, run.id))
    store.cancel(run.id)
    return store


def test_a_machine_on_which_nothing_ever_ran_shows_what_is_to_come(machine: Machine) -> None:
    machine.ok("init", "--output", "strongroom.toml")
    found = entries(machine)
    assert {"daily-metadata", "weekly-critical", "monthly-full", "repair", "full-drill"} <= set(found)
    assert (found["daily-metadata"]["state"], found["daily-metadata"]["last_due"]) == ("on", None)
    assert found["daily-metadata"]["next_due"].endswith("T02:00:00Z")
    assert not (machine.state / "state.db").exists(), "a look makes nothing"


def test_an_entry_that_is_off_says_what_is_missing(machine: Machine) -> None:
    found = entries(machine)["full-drill"]
    assert (found["state"], found["why"], found["next_due"]) == ("off", "no policy backs up values", None)
    refused = machine.run("schedule", "run", "full-drill")
    assert refused.failed_with(UsageError)
    assert "'full-drill' is off: no policy backs up values" in refused.err


def test_an_entry_is_run_now_without_a_cluster_and_shows_what_came_of_it(configured: Machine) -> None:
    schedule_minutely(configured)
    [run] = configured.ok("schedule", "run", "metadata", "--json").document["runs"]
    found = entries(configured)["metadata"]
    assert (run["state"], found["run"], found["run_state"]) == ("done", run["id"], "done")
    assert found["seconds"] == run["seconds"]


def test_an_entry_with_nothing_to_do_says_so_and_fails_no_script(configured: Machine) -> None:
    done = configured.ok("schedule", "run", "repair")
    assert "'repair' has nothing to do now." in done.out
    assert configured.ok("schedule", "run", "repair", "--json").document["runs"] == []


def test_a_hook_without_its_program_is_a_remark_of_the_check_and_no_problem(configured: Machine) -> None:
    file = configured.path("strongroom.toml")
    hooks = 'before = {{ command = ["{}"] }}\n'
    for program, remarked in (("/nowhere/quiesce", 1), ("/bin/true", 0)):
        file.write_text(file.read_text().partition("[hooks.repair]")[0] + "[hooks.repair]\n")
        file.write_text(file.read_text() + hooks.format(program))
        remarks = configured.ok("check", "config", "--json").document["remarks"]
        assert len([one for one in remarks if program in one]) == remarked, remarks


def test_what_is_overdue_says_since_when_and_why_and_is_an_error(configured: Machine) -> None:
    schedule_minutely(configured)
    recorded_run(configured, ago=3600.0)
    text = configured.path("strongroom.toml").read_text()
    configured.path("strongroom.toml").write_text(text.replace('"* * * * *"', f'"{_minutes_ago(10)}"'))
    done = configured.run("schedule")
    assert done.failed_with(BackupOverdue)
    assert "metadata: overdue: beat was never seen; start it: 'strongroom up'" in done.out
    assert entries(configured)["metadata"]["state"] == "overdue"


def _minutes_ago(minutes: int) -> str:
    then = time.gmtime(time.time() - 60 * minutes)
    return f"{then.tm_min} {then.tm_hour} * * *"


def test_the_last_time_is_when_it_ran_with_the_slot_beside_it_if_that_differs(
    configured: Machine,
) -> None:
    schedule_minutely(configured)
    [run] = configured.ok("schedule", "run", "metadata", "--json").document["runs"]
    with RunStore(f"sqlite:///{configured.state}/state.db")._database.writing() as conn:
        conn.exec_driver_sql("UPDATE slots SET due_at = due_at - 3600 WHERE run = ?", (run["id"],))
    found = entries(configured)["metadata"]
    assert found["last_due"] < found["last_ran"]
    [row] = [line for line in configured.run("schedule").out.splitlines() if line.startswith("metadata ")]
    assert "(due " in row


def test_what_was_due_before_the_installation_is_not_overdue(configured: Machine) -> None:
    schedule_minutely(configured)
    recorded_run(configured, ago=0.0)
    text = configured.path("strongroom.toml").read_text()
    configured.path("strongroom.toml").write_text(text.replace('"* * * * *"', f'"{_minutes_ago(10)}"'))
    done = configured.run("schedule")
    assert done.code == 0
    assert "metadata: due at once; beat was never seen" in done.out


def test_a_pause_is_shown_with_its_reason_and_ends_by_itself_or_by_hand(configured: Machine) -> None:
    schedule_minutely(configured)
    configured.ok("backup", "--policy", "metadata")
    words = ("schedule", "pause", "metadata", "--reason", "the vault moves", "--until")
    said = configured.ok(*words, "3d")
    assert "'metadata' is paused until" in said.out
    found = entries(configured)["metadata"]
    assert (found["state"], found["paused_until"] is not None) == ("paused", True)
    assert found["next_due"] == found["paused_until"], "what comes due meanwhile is made up for then"
    assert "for 2 days more" in found["why"] or "for 3 days more" in found["why"]
    assert found["why"].endswith(": the vault moves")
    assert configured.run(*words, "2020-01-01").failed_with(UsageError)
    configured.ok("schedule", "resume", "metadata", "--reason", "it has moved")
    assert entries(configured)["metadata"]["state"] == "on"
    assert configured.run("schedule", "resume", "metadata").failed_with(UsageError)
    kinds = [event.kind for event in RunStore(f"sqlite:///{configured.state}/state.db").events()]
    assert kinds[-2:] == ["schedule.paused", "schedule.resumed"]


def test_an_entry_that_the_calendar_has_not_is_named_with_the_nearest(configured: Machine) -> None:
    refused = configured.run("schedule", "pause", "repare", "--reason", "x")
    assert refused.failed_with(ConfigError)
    assert "Did you mean 'repair'?" in refused.err


def test_times_are_by_the_clock_of_the_calendars_zone(configured: Machine) -> None:
    schedule_minutely(configured, "[calendar]", 'repair = "0 2 15 1 *"', 'time_zone = "Asia/Tokyo"')
    assert "-01-15 02:00 JST" in configured.ok("schedule").out
    assert entries(configured)["repair"]["next_due"].endswith("-01-14T17:00:00Z")


def test_a_policy_that_nothing_is_tagged_for_has_not_failed_in_any_list(configured: Machine) -> None:
    """The first night of 'weekly-critical': one judgement, whoever shows it."""
    schedule_minutely(configured)
    file = configured.path("strongroom.toml")
    file.write_text(
        file.read_text().replace("[policies.metadata]\n", '[policies.metadata]\ntags = { no = "one" }\n')
    )
    assert configured.run("schedule", "run", "metadata").code != 0
    [run] = configured.run("runs", "--json").document["runs"]
    [entry] = [line for line in configured.run("schedule").out.splitlines() if line.startswith("metadata ")]
    [listed] = [line for line in configured.run("runs").out.splitlines() if line.startswith(run["id"])]
    [stands] = [line for line in configured.run("alerts").out.splitlines() if line.startswith("  metadata ")]
    shown = configured.run("runs", "show", run["id"]).out
    for told in (entry, listed, shown.partition("\n")[0]):
        assert ("nothing to back up yet" in told, "failed" in told) == (True, False), told
    assert f"metadata: run {run['id']}: " in configured.run("schedule").out
    assert stands.endswith("no backup yet")


def test_a_run_that_failed_says_why_beside_its_entry(configured: Machine) -> None:
    schedule_minutely(configured)
    shutil.rmtree(configured.path("regions"), ignore_errors=True)
    configured.path("regions").touch()
    assert configured.run("schedule", "run", "metadata").code != 0
    found = entries(configured)["metadata"]
    assert (found["state"], found["run_state"]) == ("on", "failed")
    assert f"metadata: run {found['run']} failed: " in configured.run("schedule").out
