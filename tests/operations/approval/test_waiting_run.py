"""A restore run that people have to approve: it waits without a process, and does once what they signed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from msgspec import structs
from sqlalchemy import create_engine, text

from strongroom.model import ApprovalAction, Role
from strongroom.operations.engine import approvals
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.grant import reject
from strongroom.operations.engine.services import ApprovalRule, Services
from strongroom.operations.engine.steps import perform, reconcile
from strongroom.operations.engine.submit import retry
from strongroom.operations.errors import ApprovalNeeded
from strongroom.operations.restore.job import submit_restore
from strongroom.operations.restore.staged import (
    DOMAIN,
    RestoreOptions,
    UndoOptions,
    facts_of,
    staged_plan_of,
)
from strongroom.operations.restore.undo_job import submit_undo
from strongroom.sources import SecretChange
from strongroom.sources.local import LocalStore
from strongroom.sources.memory import MemoryStore
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run, RunState, RunStep, StepKind, StepState
from tests.operations.approval.office import PEOPLE, Office, case_of, events, make_office, refusals
from tests.operations.world import made_up, make_world

COUNT = 50


@pytest.fixture(scope="module")
def staff(tmp_path_factory: pytest.TempPathFactory) -> Office:
    folder = tmp_path_factory.mktemp("office")
    return make_office(folder, make_world(folder / "world", secrets=()))


@pytest.fixture
def office(staff: Office, tmp_path: Path) -> Office:
    world = make_world(tmp_path / "world", secrets=made_up(COUNT))
    return Office(world=world, people=staff.people, allowed=staff.allowed)


@pytest.fixture
def production() -> MemoryStore:
    return MemoryStore(name="production")


@pytest.fixture
def services(office: Office, production: MemoryStore) -> Iterator[Services]:
    rule = ApprovalRule(
        name="two",
        actions=frozenset({ApprovalAction.RESTORE, ApprovalAction.UNDO}),
        k=2,
        people=PEOPLE,
        above=10,
    )
    found = office.world.services(
        approvals=office.rules(rules=(rule,)),
        destinations={"production": production},
        signers=lambda role: office.world.signers[role],
    )
    yield found
    found.store.close()


def begin(office: Office, services: Services, *, requester: str = "dave@host") -> str:
    """Submit a restore, and go on with it until it waits."""
    backup = office.world.back_up()
    options = RestoreOptions(destination="production", requester=requester)
    run, tickets = submit_restore(services, backup=backup.id, options=options)
    with pytest.raises(ApprovalNeeded):
        drive(run, tickets, services, processes=1)
    return run


def go_on(run: str, services: Services) -> Run:
    return drive(run, (), services, processes=1)


def test_a_run_waits_without_a_process_and_goes_on_where_it_was_killed_once_it_is_approved(
    office: Office, services: Services, production: MemoryStore
) -> None:
    run = begin(office, services)
    # Nothing holds the step, and none of its attempts is used up, however often somebody looks.
    for _ in range(7):
        services.store.wake(run, StepKind.APPROVE)
        for ticket in services.store.take_ready(run, window=8):
            assert perform(ticket, services) == []
    row = services.store.row(run, RunStep(StepKind.APPROVE))
    assert (row.state, row.attempts) == (StepState.READY, 0)
    assert row.waits_since is not None
    assert "2 of alice@example.org" in (row.error or "")
    assert names(production) == []
    document = case_of(services, run).document
    assert (document.request.size, document.request.destination) == (COUNT, "production")
    office.sign(services, document, "alice", "bob")
    # Signing woke the step: what the cluster's reconcile takes next is it.
    tickets = reconcile(services)
    assert [ticket.step.kind for ticket in tickets] == [StepKind.APPROVE]
    done = drive(run, tickets, services, processes=1)
    assert done.state is RunState.DONE, done.error
    assert len(names(production)) == COUNT
    assert len(events(services, approvals.USED)) == len(events(services, approvals.SPENT)) == 1


def test_a_plan_that_waited_for_approval_while_the_host_was_upgraded_is_still_the_signed_one(
    office: Office, services: Services, production: MemoryStore
) -> None:
    run = begin(office, services)
    sign_as_before_stages(office, services, run)
    office.sign(services, case_of(services, run).document, "alice", "bob")
    done = go_on(run, services)
    assert done.state is RunState.DONE, done.error
    assert len(names(production)) == COUNT


def test_a_plan_whose_signer_is_not_trusted_any_more_says_what_else_may_be_why(
    office: Office, services: Services, production: MemoryStore
) -> None:
    run = begin(office, services)
    office.sign(services, case_of(services, run).document, "alice", "bob")
    without = {Role.RECOVER: ()}
    distrusting = replace(services, trusted=lambda role, *at: without.get(role, services.trusted(role, *at)))
    with pytest.raises(RecordRefused) as refused:
        staged_plan_of(services.store.load(run), distrusting)
    assert "thrown out" in refused.value.hint
    assert names(production) == []


def test_no_edited_row_of_a_step_gets_past_the_approval(
    office: Office, services: Services, production: MemoryStore
) -> None:
    run = begin(office, services)
    put_past_approval(office, run)
    ended = go_on(run, services)
    assert ended.state is RunState.FAILED
    assert "has to be approved first" in (ended.error or "")
    assert names(production) == []


def test_a_name_that_stands_for_another_place_since_the_approval_gets_nothing(
    office: Office, services: Services, tmp_path: Path
) -> None:
    here, there = (LocalStore(tmp_path / name, name="production") for name in ("here", "there"))
    run = begin(office, replace(services, destinations={"production": here}))
    office.sign(services, case_of(services, run).document, "alice", "bob")
    ended = go_on(run, replace(services, destinations={"production": there}))
    assert ended.state is RunState.FAILED
    assert "PlanMismatch" in (ended.error or "")
    assert not list(there.list())


def test_a_run_that_was_done_is_not_done_again_by_whoever_makes_it_active_again(
    office: Office, services: Services, production: MemoryStore
) -> None:
    run = begin(office, services)
    office.sign(services, case_of(services, run).document, "alice", "bob")
    assert go_on(run, services).state is RunState.DONE
    production.delete(names(production))
    edit(office, "UPDATE runs SET state='active', finished_at=NULL")
    edit(office, "DELETE FROM steps WHERE kind IN ('report', 'restore-compare')")
    edit(office, "DELETE FROM events WHERE kind IN ('approval.used', 'approval.spent')")
    edit(office, "DELETE FROM leases")
    edit(office, "UPDATE steps SET state='ready', attempts=0, silent=0, not_before=0 WHERE kind='restore'")
    ended = go_on(run, services)
    assert ended.state is RunState.FAILED
    assert "its approval was used before" in (ended.error or "")
    assert names(production) == []
    assert any("used before" in why for why in refusals(services))


def test_a_rejected_run_ends_and_a_retry_asks_for_its_new_plan(
    office: Office, services: Services, production: MemoryStore
) -> None:
    run = begin(office, services)
    first = case_of(services, run).document
    office.sign(services, first, "alice", "bob")
    reject(services.store, case_of(services, run), by="carol@desk", reason="not on a Friday")
    ended = go_on(run, services)
    assert ended.state is RunState.FAILED
    assert "not on a Friday" in (ended.error or "")
    production.write([SecretChange(secret=made_up(1)[0], expected=None)])  # so that the plan is another one
    retry(services, run)
    with pytest.raises(ApprovalNeeded):
        go_on(run, services)
    second = case_of(services, run).document
    assert second.request.digest != first.request.digest
    assert any("another plan" in why for why in refusals(services)), "the stale plan is on record"
    assert len(names(production)) == 1
    office.sign(services, second, "alice", "bob")
    assert go_on(run, services).state is RunState.DONE


def test_undoing_it_asks_too(office: Office, services: Services, production: MemoryStore) -> None:
    run = begin(office, services)
    office.sign(services, case_of(services, run).document, "alice", "bob")
    go_on(run, services)
    undo, tickets = submit_undo(services, options=UndoOptions(undoes=run, requester="bob@host"))
    with pytest.raises(ApprovalNeeded):
        drive(undo, tickets, services, processes=1)
    document = case_of(services, undo).document
    assert document.request.action is ApprovalAction.UNDO
    office.sign(services, document, "alice", "carol")
    assert go_on(undo, services).state is RunState.DONE
    assert names(production) == []


def test_no_edited_row_of_a_step_undoes_it_without_approval(
    office: Office, services: Services, production: MemoryStore
) -> None:
    run = begin(office, services)
    office.sign(services, case_of(services, run).document, "alice", "bob")
    go_on(run, services)
    undo, tickets = submit_undo(services, options=UndoOptions(undoes=run, requester="bob@host"))
    with pytest.raises(ApprovalNeeded):
        drive(undo, tickets, services, processes=1)
    put_past_approval(office, undo)
    ended = go_on(undo, services)
    assert ended.state is RunState.FAILED
    assert "has to be approved first" in (ended.error or "")
    assert len(names(production)) == COUNT


def test_an_undo_touches_no_more_than_its_plan_so_a_small_one_does_not_grow_unapproved(
    office: Office, services: Services, production: MemoryStore
) -> None:
    run = begin(office, services)
    office.sign(services, case_of(services, run).document, "alice", "bob")
    go_on(run, services)
    restored = production.read(list(production.list()))
    some = [one for one in restored if one is not None][5:]
    production.delete([one.name for one in some])  # so that the plan is below the size of the rule
    undo, tickets = submit_undo(services, options=UndoOptions(undoes=run, requester="dave@host"))
    for _ in range(3):  # plan, restore-plan, approve: nobody is asked
        tickets = [follow for ticket in tickets for follow in perform(ticket, services)]
    assert not approvals.read_cases(services.store).about(undo)
    production.write([SecretChange(secret=one, expected=None) for one in some])
    ended = drive(undo, tickets, services, processes=1)
    assert ended.state is RunState.DEGRADED
    assert len(names(production)) == COUNT - 5, "what nobody planned is left"
    assert f"{COUNT - 5} secrets" in (ended.error or "")


def test_below_the_size_of_the_rule_nobody_is_asked(
    office: Office, services: Services, production: MemoryStore
) -> None:
    backup = office.world.back_up()
    chosen = tuple(secret.name for secret in made_up(10))
    options = RestoreOptions(destination="production", names=chosen)
    run, tickets = submit_restore(services, backup=backup.id, options=options)
    assert drive(run, tickets, services, processes=1).state is RunState.DONE
    assert len(names(production)) == 10
    assert not events(services, approvals.REQUESTED)


def sign_as_before_stages(office: Office, services: Services, run: str) -> None:
    """Sign the run's plan as versions did whose runs had no stage."""
    found = services.store.load(run)
    plan = structs.replace(facts_of(found).restore_plan, signature="")
    spec = json.dumps(msgspec.to_builtins(found.spec), separators=(",", ":"))
    assert spec.endswith(',"stage":null}')
    before = spec.removesuffix(',"stage":null}') + "}"
    plain = json.dumps(msgspec.to_builtins(plan), separators=(",", ":"))
    signer = office.world.signers[Role.RECOVER]
    signature = signer.sign(DOMAIN, f'["{run}",{before},{plain}]'.encode()).hex()
    set_signature = f"json_set(facts, '$.restore_plan.signature', '{signature}')"
    edit(office, f"UPDATE runs SET facts = {set_signature} WHERE id = '{run}'")


def put_past_approval(office: Office, run: str) -> None:
    """Make the run's step that waits one that is done, and the next one due."""
    values = "0, target, 'ready', 0, 0, 0, 0, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL"
    where = f"FROM steps WHERE kind='approve' AND run='{run}'"
    edit(office, f"UPDATE steps SET state='done', result='{{}}' WHERE kind='approve' AND run='{run}'")
    edit(office, f"INSERT INTO steps SELECT run, 'restore', {values} {where}")


def names(store: MemoryStore) -> list[str]:
    return [entry.name for entry in store.list()]


def edit(office: Office, statement: str) -> None:
    """Edit the state database as somebody does who reaches it."""
    engine = create_engine(office.world.database)
    with engine.begin() as conn:
        conn.execute(text(statement))
    engine.dispose()
