"""The table of who may send what fits the tasks there are and what runs need."""

from __future__ import annotations

import pytest
from msgspec.structs import fields

from strongroom.config.model import WorkerSettings
from strongroom.operations.runs.job import job_of
from strongroom.state.records import RunKind, StepKind
from workers import names
from workers.pools import POOLS
from workers.rights import LOOKING, MAY_COMMAND, MAY_SEND, STEPS_OF


def test_every_step_of_every_run_may_be_sent_by_every_pool_that_takes_part_in_it() -> None:
    for run in RunKind:
        job = job_of(run)
        steps = job.actions.keys()
        assert steps | {job.first.kind, StepKind.REPORT} <= STEPS_OF[run]
        for pool in {names.QUEUE_OF_STEP[kind] for kind in steps}:
            assert {names.step_task(kind) for kind in steps} <= MAY_SEND[pool]


def test_every_role_is_in_the_table() -> None:
    assert set(MAY_SEND) == set(names.ROLES)


def test_every_task_has_a_queue_and_someone_who_may_send_it() -> None:
    assert frozenset().union(*MAY_SEND.values()) == set(names.QUEUE_OF)
    assert set(names.QUEUE_OF.values()) == set(names.QUEUES)
    assert set(names.QUEUE_OF_STEP) == set(StepKind)


@pytest.mark.parametrize("role", ["submit", "beat", "watch", "seal", "transfer", "verify", "drill"])
def test_only_the_pool_that_recovers_and_control_send_a_restore_step(role: str) -> None:
    assert names.step_task(StepKind.RESTORE) not in MAY_SEND[role]


@pytest.mark.parametrize("role", ["submit", "beat", "watch"])
def test_who_asks_sends_no_steps(role: str) -> None:
    assert not MAY_SEND[role] & {names.step_task(kind) for kind in StepKind}


def test_nobody_may_command_more_than_looking() -> None:
    assert set(MAY_COMMAND) == {"submit", "watch"}
    assert not LOOKING & {"shutdown", "revoke", "terminate", "pool_restart", "add_consumer", "rate_limit"}


def test_the_configuration_says_of_each_pool_how_much_it_does_at_once() -> None:
    assert set(POOLS) == {field.name for field in fields(WorkerSettings)}
