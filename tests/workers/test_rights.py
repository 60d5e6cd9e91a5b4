"""The table of who may send what fits the tasks there are and what runs need."""

from __future__ import annotations

import pytest
from msgspec.structs import fields

from strongroom.config.model import WorkerSettings
from strongroom.operations.engine.jobs import job_of
from strongroom.operations.engine.steps import pools
from strongroom.state.records import Pool, RunKind, StepKind
from workers import names
from workers.pools import POOLS
from workers.rights import LOOKING, MAY_COMMAND, may_send, queue_of

STEPS = {names.step_task(kind): kind for kind in StepKind}


def test_every_step_of_every_run_may_be_sent_by_every_pool_that_takes_part_in_it() -> None:
    for run in RunKind:
        job = job_of(run)
        steps = job.actions.keys()
        assert job.first.kind in steps
        for pool in {pools()[kind] for kind in steps}:
            assert {names.step_task(kind) for kind in (*steps, StepKind.REPORT)} <= may_send(pool)


def test_every_task_has_a_queue_and_someone_who_may_send_it() -> None:
    tasks = names.HOME_OF.keys() | STEPS
    assert frozenset().union(*map(may_send, names.ROLES)) == tasks
    assert {queue_of(task) for task in tasks} == set(names.QUEUES)
    assert pools().keys() == set(StepKind)


def test_a_role_that_is_none_may_send_nothing() -> None:
    assert not may_send("supervisor")


@pytest.mark.parametrize(
    ("pool", "alone"),
    [
        ("seal", {StepKind.CAPTURE, StepKind.INDEX}),
        ("prune", {StepKind.MARK, StepKind.DELETE}),
        (
            "recover",
            {
                StepKind.RESTORE_PLAN,
                StepKind.APPROVE,
                StepKind.RESTORE,
                StepKind.RESTORE_COMPARE,
                StepKind.RECOVERY_CHECK,
                StepKind.RECOVERY_VALIDATE,
                StepKind.REWRAP,
                StepKind.ROTATE,
                StepKind.ROTATE_SECRET_PLAN,
                StepKind.ROTATE_SECRET,
            },
        ),
    ],
)
def test_what_needs_a_right_of_its_own_is_done_by_the_pool_that_has_it(
    pool: str, alone: set[StepKind]
) -> None:
    assert {kind for kind, performs in pools().items() if performs == pool} == alone


def test_jobs_that_name_different_pools_for_one_kind_of_step_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drill = job_of(RunKind.DRILL)
    moved = drill.actions[StepKind.PLAN]._replace(pool=Pool.RECOVER)
    monkeypatch.setattr(type(drill), "actions", {**drill.actions, StepKind.PLAN: moved})

    with pytest.raises(ValueError, match="do not agree on who performs a step plan"):
        pools.__wrapped__()


@pytest.mark.parametrize("role", ["submit", "beat", "watch", "seal", "transfer", "verify", "drill"])
def test_only_the_pool_that_recovers_and_control_send_a_restore_step(role: str) -> None:
    assert names.step_task(StepKind.RESTORE) not in may_send(role)


@pytest.mark.parametrize("role", ["submit", "beat", "watch"])
def test_who_asks_sends_no_steps(role: str) -> None:
    assert not may_send(role) & STEPS.keys()


def test_nobody_may_command_more_than_looking() -> None:
    assert set(MAY_COMMAND) == {"submit", "watch"}
    assert not LOOKING & {"shutdown", "revoke", "terminate", "pool_restart", "add_consumer", "rate_limit"}


def test_the_configuration_says_of_each_pool_how_much_it_does_at_once() -> None:
    assert set(POOLS) == {field.name for field in fields(WorkerSettings)}
