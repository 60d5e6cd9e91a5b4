"""What a program gets of a run that has ended: which backup it is about, well or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom import Submission
from strongroom.container.errors import MissingPiece
from strongroom.operations.backup.verify_job import submit_verify
from strongroom.operations.errors import RunDegraded
from strongroom.state.records import Run
from tests.operations.alerts.test_gather import Dead
from tests.operations.drills.drilling import drilled
from tests.operations.world import POLICY, World, make_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, pieces=1)


def ended(run: Run, world: World) -> Submission:
    return Submission(id="request", run=run.id, store=world.services().store)


def test_a_drill_is_about_the_backup_that_it_rehearsed(world: World) -> None:
    made = world.back_up()
    drill = drilled(world.services())
    assert ended(made, world).wait(0).backup == made.id
    assert ended(drill, world).wait(0).backup == made.id != drill.id


def test_what_a_degraded_run_made_is_known_from_its_error(world: World) -> None:
    world.targets["us"] = Dead(name="us", region="us")
    made = world.back_up()
    with pytest.raises(RunDegraded) as told:
        ended(made, world).wait(0)
    assert told.value.backup == made.id


def test_who_names_a_policy_where_a_backup_is_meant_is_told_to_give_an_id(world: World) -> None:
    with pytest.raises(MissingPiece) as told:
        submit_verify(world.services(), backup=POLICY)
    assert "strongroom backups list" in told.value.hint
    assert "replica" not in told.value.hint
