"""Hooks: called around a run with what they need to know, and nothing else; ended when their time is over."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strongroom.operations.engine.calendar_entries import Hook, Hooks, Scheduled
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.hooks import FAILED
from strongroom.operations.engine.run_log import failure_of
from strongroom.operations.engine.services import CheckResult, Services
from strongroom.operations.engine.submit import open_due, retry
from strongroom.state.records import Run, RunKind, RunState, StepKind
from tests.operations.alerts.receiver import Receiver
from tests.operations.world import POLICY, World, make_world
from tests.patience import PATIENCE
from tests.workers.cluster import is_alive

NOTE = """
import json, os, sys
fds = sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in "012") + sorted(os.listdir("/proc/self/fd"))
told = {"env": dict(os.environ), "cwd": os.getcwd(), "fds": fds}
open(sys.argv[1], "a").write(json.dumps(told) + "\\n")
"""
BACKUPS = f"policy {POLICY}"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Where a hook notes what it was given."""
    return tmp_path / "notes"


def noting(notes: Path) -> Hook:
    return Hook(command=(sys.executable, "-I", "-S", "-c", NOTE, str(notes)))


def noted(notes: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []


def backed_up(world: World, **hooks: Hook) -> Run:
    return world.back_up(world.services(hooks={BACKUPS: Hooks(**hooks)}))


def test_a_hook_is_told_of_the_run_and_finds_no_secret_no_name_and_no_descriptor(
    world: World, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRONGROOM_PASSPHRASE", "CANARY-passphrase")
    run = backed_up(world, before=noting(notes), after=noting(notes), on_error=noting(notes))
    assert run.state is RunState.DONE

    before, after = noted(notes)
    assert before["env"].keys() - {"PATH", "LANG", "LC_CTYPE"} == after["env"].keys() - {
        "PATH",
        "LANG",
        "LC_CTYPE",
    }
    told = {name: value for name, value in after["env"].items() if name.startswith("HOOK_")}
    assert told.pop("HOOK_BEGAN").endswith("Z")
    assert told == {
        "HOOK_WHEN": "after",
        "HOOK_ENTRY": BACKUPS,
        "HOOK_KIND": "backup",
        "HOOK_RUN": run.id,
        "HOOK_STATE": "done",
        "HOOK_ERROR": "",
        "HOOK_FAMILY": "",
    }
    assert (before["env"]["HOOK_WHEN"], before["env"]["HOOK_STATE"]) == ("before", "active")
    assert "CANARY" not in notes.read_text()
    assert "app/" not in notes.read_text()
    assert before["cwd"] == "/"
    assert before["fds"] == ["/dev/null"] * 3 + ["0", "1", "2", "3"]


def test_where_no_hook_comes_before_a_run_it_has_no_step_for_one(world: World, notes: Path) -> None:
    services = world.services(hooks={BACKUPS: Hooks(after=noting(notes))})
    run = world.back_up(services)
    assert services.store.rows(run.id, StepKind.HOOK) == []
    assert len(noted(notes)) == 1


def test_a_run_whose_hook_before_it_fails_is_not_begun_and_the_hook_on_error_is_told(
    world: World, notes: Path
) -> None:
    run = backed_up(world, before=Hook(command=("/bin/false",)), after=noting(notes), on_error=noting(notes))
    assert run.state is RunState.FAILED
    assert f"hook: HookFailed: the hook before '{BACKUPS}' ended with status 1" in (run.error or "")
    assert f"then 'strongroom runs retry {run.id}'" in failure_of(run).hint
    services = world.services()
    assert [row.step.kind for row in services.store.rows(run.id)] == [StepKind.HOOK, StepKind.REPORT]
    [told] = noted(notes)
    assert told["env"]["HOOK_WHEN"] == "on_error"
    assert (told["env"]["HOOK_ERROR"], told["env"]["HOOK_FAMILY"]) == ("HookFailed", "alarm")

    whole = world.services(hooks={BACKUPS: Hooks(before=noting(notes))})
    retry(whole, run.id)
    tickets = whole.store.take_ready(run.id, window=whole.limits.window)
    assert drive(run.id, tickets, whole, processes=1).state is RunState.DONE
    assert noted(notes)[-1]["env"]["HOOK_WHEN"] == "before"


def test_a_hook_after_a_run_that_fails_is_told_and_the_run_stays_what_it_is(world: World) -> None:
    run = backed_up(world, after=Hook(command=("/no/such/program",)))
    assert run.state is RunState.DONE
    [event] = world.services().store.events(kind=FAILED)
    assert (event.run, event.detail["entry"], event.detail["when"]) == (run.id, BACKUPS, "after")
    assert "could not be started: No such file" in event.detail["error"]


def test_a_hook_is_ended_with_all_that_it_started_when_its_time_is_over(world: World, notes: Path) -> None:
    script = f"sleep 1000 & echo $! > {notes}; wait"
    for seconds in (0.5, 5.0, 50.0):  # a time in which it gets as far as its note
        run = backed_up(world, before=Hook(command=("/bin/sh", "-c", script), timeout=seconds))
        assert run.state is RunState.FAILED
        assert f"did not end within {seconds:g} s" in (run.error or "")
        if notes.exists() and (started := notes.read_text()):
            break
    else:
        pytest.fail("it never got as far as its note")
    assert not is_alive(int(started))


@pytest.mark.parametrize("slot", ["health", "health subject"])
def test_the_hooks_of_an_entry_of_the_calendar_are_found_by_the_slot_of_the_run(
    world: World, notes: Path, slot: str
) -> None:
    entry = Scheduled(name=slot, kind=RunKind.CHECK, schedule="* * * * *", options={"check": "health"})
    services = world.services(
        hooks={"health": Hooks(before=noting(notes), after=noting(notes))},
        checks={"health": lambda _services: CheckResult()},
    )
    tickets = open_due(services, [entry])
    assert drive(tickets[0].run, tickets, services, processes=1).state is RunState.DONE
    assert [one["env"]["HOOK_ENTRY"] for one in noted(notes)] == ["health", "health"]


# -- URLs ------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[Receiver]:
    with Receiver(status=204) as made:
        yield made


def calling(server: Receiver, *, timeout: float = PATIENCE) -> Hook:
    return Hook(url=lambda: f"{server.url}?a=b", timeout=timeout)


def failure(services: Services) -> str:
    [event] = services.store.events(kind=FAILED)
    assert "CANARY" not in str(event.detail)
    return str(event.detail["error"])


def test_a_url_gets_a_small_json(world: World, server: Receiver) -> None:
    run = backed_up(world, before=calling(server), after=calling(server))
    assert server.paths == ["?a=b", "?a=b"]
    before, after = (post.document for post in server.posts)
    assert (before["when"], before["state"]) == ("before", "active")
    assert (after["when"], after["state"], after["run"], after["entry"]) == ("after", "done", run.id, BACKUPS)
    assert world.services().store.events(kind=FAILED) == []


def test_a_redirect_is_not_followed(world: World, server: Receiver) -> None:
    with Receiver() as other:
        server.status, server.location = 307, other.url
        backed_up(world, after=calling(server))
        assert "status 307, a redirect, which is not followed" in failure(world.services())
        assert other.posts == []


def test_a_url_that_does_not_answer_is_waited_for_so_long_and_no_longer(
    world: World, server: Receiver
) -> None:
    server.status = 0
    run = backed_up(world, before=calling(server, timeout=0.5))
    server.over.set()
    assert run.state is RunState.FAILED
    assert "CANARY" not in (run.error or "")
    assert "no answer within 0.5 s" in (run.error or "")


def test_an_address_that_is_none_is_told_without_it(world: World) -> None:
    backed_up(world, after=Hook(url=lambda: "file:///CANARY"))
    assert "no http or https address" in failure(world.services())
