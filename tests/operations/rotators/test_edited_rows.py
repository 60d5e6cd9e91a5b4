"""Rows of the state database that somebody edited: nothing is rotated that has no rotator."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.steps import perform
from strongroom.operations.rotation.secret_plan import RotateSecretsOptions
from strongroom.operations.rotation.secrets_job import rotated_by, submit_secrets
from strongroom.state.records import RunState
from tests.operations.rotators.world import (
    OLD,
    REASON,
    held,
    random_rotator,
    services_for,
    store_world,
    values,
)

NAMES = ("prod/a", "test/b")


def planned(services: Services) -> str:
    """Return a run that is planned: the first secret has a rotator, the second has none."""
    options = RotateSecretsOptions(names=NAMES, reason=REASON)
    run, tickets = submit_secrets(services, source="local", options=options)
    for _ in ("signed", "planned"):
        (ticket,) = tickets
        tickets = perform(ticket, services)
    return run


@pytest.mark.parametrize(
    ("column", "old", "new", "state"),
    [
        ("facts", '["passwords",""]', '["passwords","passwords"]', RunState.DEGRADED),
        ("spec", "prod/a", "test/b", RunState.FAILED),
    ],
)
def test_what_no_rotator_is_for_or_nobody_signed_stays_as_it_is(
    tmp_path: Path, column: str, old: str, new: str, state: RunState
) -> None:
    world, store = store_world(tmp_path)
    store.import_([held(name) for name in NAMES])
    services = services_for(world, store, random_rotator())
    run = planned(services)
    with create_engine(world.database).begin() as connection:
        change = f"UPDATE runs SET {column} = replace({column}, :old, :new) WHERE {column} LIKE :any"
        changed = connection.execute(text(change), {"old": old, "new": new, "any": f"%{old}%"})
        assert changed.rowcount == 1
    ended = drive(run, [], services, processes=1)
    assert ended.state is state
    assert values(store, "test/b") == [OLD]
    if state is RunState.DEGRADED:
        assert (
            "is not one of those that rotator 'passwords' is for"
            in rotated_by(ended, services).secrets[1].why
        )
