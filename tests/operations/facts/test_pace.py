"""How far a run is told while it goes on: by its record, the same to everybody who looks."""

from __future__ import annotations

from pathlib import Path

from strongroom.operations.backup.job import submit_backup
from strongroom.operations.engine.steps import perform
from strongroom.operations.judge.fact_records import pace_of
from strongroom.state.records import RunKind, StepKind
from tests.operations.world import POLICY, make_world


def test_a_backup_tells_how_far_it_is_how_fast_and_how_long_the_rest_takes(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    services = world.services()
    run, tickets = submit_backup(services, policy=POLICY)
    began = services.store.load(run).created_at
    assert pace_of(services.store.load(run), services.store, now=began + 10).left is None  # no plan yet
    queue = list(tickets)
    while queue[0].step.kind is not StepKind.UPLOAD:
        queue += perform(queue.pop(0), services)
    [running] = services.store.active()
    assert (running.id, running.spec.kind, running.spec.policy) == (run, RunKind.BACKUP, POLICY)
    pace = pace_of(running, services.store, now=began + 10)
    targets = len(services.store.load(run).spec.targets)
    assert (pace.done, pace.total % (1 + 2 * targets)) == (pace.total // (1 + 2 * targets), 0), "captured"
    assert pace.rate == pace.done / 10
    assert pace.left == (pace.total - pace.done) / pace.rate
