"""A rotation that people have to approve: nothing is changed before, and the same call goes on after."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from strongroom.model import ApprovalAction
from strongroom.operations.engine.services import ApprovalRule
from strongroom.operations.errors import ApprovalNeeded
from strongroom.operations.rotation.secrets_job import rotate_secrets
from strongroom.sources.local import LocalStore
from strongroom.state.records import RunState, StepKind
from tests.operations.approval.office import PEOPLE, case_of, make_office
from tests.operations.rotators.world import OLD, REASON, held, random_rotator, services_for, values
from tests.operations.world import make_world


def test_a_rotation_waits_for_its_approvals_and_the_same_call_goes_on_when_they_are_there(
    tmp_path: Path,
) -> None:
    office = make_office(tmp_path, make_world(tmp_path / "world", secrets=()))
    store = LocalStore(tmp_path / "world", name="local")
    store.import_([held("prod/a"), held("prod/b")])
    rule = ApprovalRule(name="two", actions=(ApprovalAction.ROTATE_SECRET,), k=2, people=PEOPLE)
    services = replace(
        services_for(office.world, store, random_rotator()), approvals=office.rules(rules=(rule,))
    )

    def rotate() -> tuple[str, ...]:
        names = ["prod/a", "prod/b"]
        return rotate_secrets(services, names, source="local", reason=REASON, by="dave@host").done

    with pytest.raises(ApprovalNeeded):
        rotate()
    [run] = services.store.runs()
    assert run.state is RunState.ACTIVE
    assert services.store.rows(run.id, StepKind.ROTATE_SECRET) == []
    asked = case_of(services, run.id).document
    assert (asked.request.size, asked.request.requester) == (2, "dave@host")
    assert "prod/" not in str(asked)
    office.sign(services, asked, "alice", "bob")
    assert (values(store, "prod/a"), values(store, "prod/b")) == ([OLD], [OLD])
    assert rotate() == ("prod/a", "prod/b")
    assert [one.id for one in services.store.runs()] == [run.id]
