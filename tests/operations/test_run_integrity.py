"""Neither the state database nor the stage is a root of trust: edited rows are refused."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from strongroom.container.signing import Signers
from strongroom.operations.archive.open import open_backup
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.backup.outcome import sweep_targets
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.steps import perform
from strongroom.operations.engine.submit import retry
from strongroom.state.records import Run, RunState, StepKind, Ticket
from tests.certified import certified
from tests.operations.world import POLICY, World, make_world, names_on


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def edit(world: World, table: str, column: str, where: str, change: Callable[[Any], Any]) -> None:
    """Change a JSON column behind the product's back."""
    with sqlite3.connect(world.folder / "state.db") as connection:
        for rowid, text in connection.execute(
            f"SELECT rowid, {column} FROM {table} WHERE {where}"
        ).fetchall():
            value = json.dumps(change(json.loads(text)))
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, rowid))


def run_edited_after(world: World, kind: StepKind, edits: Callable[[], None]) -> Run:
    """Run a backup and edit the database as soon as a step of ``kind`` is recorded."""
    services = world.services()
    run, tickets = submit_backup(services, policy=POLICY)
    done: list[Ticket] = []

    def watch(ticket: Ticket) -> None:
        if ticket.step.kind is kind and not done:
            done.append(ticket)
            edits()

    return drive(run, tickets, services, processes=1, watch=watch)


def assert_refused(world: World, run: Run) -> None:
    assert run.state is RunState.FAILED
    assert "RecordRefused" in (run.error or "")
    assert all(names_on(target) == [] for target in world.targets.values())


def test_a_recipient_added_to_the_row_is_refused(world: World) -> None:
    def add_reader(spec: dict[str, Any]) -> dict[str, Any]:
        reader = {**spec["recipients"][0], "name": "mallory", "fingerprint": "keyfile:00"}
        return {**spec, "recipients": [*spec["recipients"], reader]}

    run = run_edited_after(world, StepKind.PLAN, lambda: edit(world, "runs", "spec", "1", add_reader))
    assert_refused(world, run)


def test_a_target_redirected_in_the_row_is_refused(tmp_path: Path) -> None:
    world = make_world(tmp_path, pieces=1)  # or the next capture would refuse the row first

    def redirect(spec: dict[str, Any]) -> dict[str, Any]:
        return {**spec, "targets": [{**pin, "address": "/mallory"} for pin in spec["targets"]]}

    run = run_edited_after(world, StepKind.CAPTURE, lambda: edit(world, "runs", "spec", "1", redirect))
    assert run.state is RunState.FAILED
    assert all(names_on(target) == [] for target in world.targets.values())
    errors = [row.error or "" for row in world.services().store.rows(run.id, StepKind.UPLOAD)]
    assert any("RecordRefused" in error for error in errors)


def test_a_quorum_lowered_in_the_row_is_refused(world: World) -> None:
    lower = lambda spec: {**spec, "quorum": 1, "regions": 1}  # noqa: E731
    run = run_edited_after(world, StepKind.UPLOAD, lambda: edit(world, "runs", "spec", "1", lower))
    assert_refused(world, run)


def test_a_digest_swapped_in_the_row_is_refused(world: World) -> None:
    def swap(result: dict[str, Any]) -> dict[str, Any]:
        return {**result, "receipt": {**result["receipt"], "sha256": "00" * 32}}

    run = run_edited_after(
        world,
        StepKind.CAPTURE,
        lambda: edit(world, "steps", "result", "kind = 'capture' AND result <> ''", swap),
    )
    assert run.state is RunState.FAILED
    errors = [row.error or "" for row in world.services().store.rows(run.id)]
    assert any("RecordRefused" in error for error in errors)


def test_a_receipt_of_another_run_is_refused(world: World) -> None:
    old = world.back_up()
    stolen = world.services().store.rows(old.id, StepKind.CAPTURE)[0].result
    run = run_edited_after(
        world,
        StepKind.CAPTURE,
        lambda: edit(
            world,
            "steps",
            "result",
            f"kind = 'capture' AND result <> '' AND run <> '{old.id}'",
            lambda _: stolen,
        ),
    )
    assert run.state is RunState.FAILED
    errors = [row.error or "" for row in world.services().store.rows(run.id)]
    assert any("RecordRefused" in error for error in errors)


def test_a_plan_that_leaves_pieces_out_is_refused(world: World) -> None:
    def shrink(facts: dict[str, Any]) -> dict[str, Any]:
        return {**facts, "plan": {**facts["plan"], "pieces": facts["plan"]["pieces"] - 1}}

    run = run_edited_after(world, StepKind.PLAN, lambda: edit(world, "runs", "facts", "1", shrink))
    assert_refused(world, run)


def test_a_stale_ticket_does_nothing(world: World) -> None:
    services = world.services()
    run, tickets = submit_backup(services, policy=POLICY)
    drive(run, tickets, services, processes=1)
    before = services.store.rows(run)
    assert perform(tickets[0], services) == []
    assert services.store.rows(run) == before


def test_a_row_edited_to_look_uncommitted_removes_nothing_of_a_backup(world: World) -> None:
    made = world.back_up()
    before = {name: names_on(target) for name, target in world.targets.items()}
    ended = structs.replace(made, facts={"ending": "failed", "error": "edited"})
    assert sweep_targets(ended, world.services()) == {}
    assert {name: names_on(target) for name, target in world.targets.items()} == before


def test_a_capture_edited_after_the_commit_removes_nothing_of_a_backup(world: World) -> None:
    def swap(result: dict[str, Any]) -> dict[str, Any]:
        return {**result, "receipt": {**result["receipt"], "sha256": "00" * 32}}

    run = run_edited_after(
        world, StepKind.COMMIT, lambda: edit(world, "steps", "result", "kind = 'capture'", swap)
    )
    backup = open_backup(world.targets["eu"], identities=[world.identity], trusted=None)
    assert run.state is RunState.DONE
    assert len(list(backup.secrets())) == 30


@pytest.mark.parametrize("role", ["control", "seal"])
def test_a_run_whose_signer_is_distrusted_meanwhile_fails_and_a_retry_makes_the_backup(
    world: World, role: str
) -> None:
    """As where a host that had a part in it is thrown out as leaked: nothing counts that it signed."""
    services = world.services()
    run, tickets = submit_backup(services, policy=POLICY)
    while tickets[0].step.kind is not StepKind.COMMIT:
        tickets += perform(tickets.pop(0), services)
    leaked = world.signers[role].certificate.key_fingerprint
    others = {**world.signers, role: certified(role, installation=world.installation)}
    distrusting = world.services(
        signers=lambda wanted: others[wanted],
        trusted=lambda wanted, _: (others[wanted].public,),
        signer_fingerprints=Signers(
            {world.installation.fingerprint}, distrusted={leaked: "2026-11-25T00:00:00Z: stolen"}
        ),
    )
    failed = drive(run, tickets, distrusting, processes=1)
    assert failed.state is RunState.FAILED
    assert "a host thrown out" in (failed.error or "")
    retry(distrusting, run)
    done = drive(run, distrusting.store.take_ready(run, window=9), distrusting, processes=1)
    assert done.state is RunState.DONE, done.error
