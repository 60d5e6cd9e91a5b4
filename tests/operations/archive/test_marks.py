"""Marks on several targets: which counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.container.marks import DELETION, HOLD, MAX_NUMBER, DeletionMark, HoldMark
from strongroom.container.signing import CertifiedSigner
from strongroom.operations.engine.statements import StatementsOn, merge_newest, newest_on, write_mark
from strongroom.targets import Target
from tests.container.parts import INSTALLATION, TRUSTED, certified
from tests.operations.archive.test_select_backup import put
from tests.operations.world import World, make_world

PRUNE, CONTROL = (certified(role, installation=INSTALLATION) for role in ("prune", "control"))
MARKED = DeletionMark(
    backup_id="x",
    number=1,
    state="marked",
    after="2026-02-07T00:00:00Z",
    reason="",
    run="",
    by="",
    at="2026-01-31T00:00:00Z",
)
UNDELETED = replace(MARKED, state="undeleted", after="")
HELD = HoldMark(
    kind="tag",
    subject="a=b",
    number=1,
    state="held",
    reason="",
    by="",
    at="2026-01-31T00:00:00Z",
    until="",
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def write(target: Target, mark: DeletionMark, *, signer: CertifiedSigner = PRUNE, ahead: int = 1) -> None:
    assert write_mark([target], DELETION, mark, signer=signer, trusted=TRUSTED, ahead=ahead) == {}


def counting(world: World) -> DeletionMark | None:
    there = [StatementsOn(world.targets[name], DELETION, trusted=TRUSTED) for name in ("eu", "us")]
    mark = newest_on(there, DELETION, "x")
    assert merge_newest(DELETION, [one.all() for one in there]).newest.get("x") == mark
    return mark


def test_of_two_marks_with_one_number_the_one_counts_that_harms_nothing(world: World) -> None:
    for marked, undeleted in (("eu", "us"), ("us", "eu")):
        write(world.targets[marked], MARKED)
        write(world.targets[undeleted], UNDELETED)
        mark = counting(world)
        assert mark is not None
        assert mark.state == "undeleted"


def test_a_mark_that_goes_far_ahead_counts_over_those_that_its_writer_did_not_see(world: World) -> None:
    write(world.targets["us"], MARKED)
    write(world.targets["us"], MARKED)
    write(world.targets["eu"], UNDELETED, signer=CONTROL, ahead=100)
    mark = counting(world)
    assert mark is not None
    assert (mark.state, mark.number) == ("undeleted", 100)


def test_a_hold_that_may_lie_hidden_holds_everything(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    target = world.targets["eu"]
    write_mark([target], HOLD, HELD, signer=CONTROL, trusted=TRUSTED)
    for number in range(4):
        put(target, HOLD.object_name(HELD.folder, MAX_NUMBER - number), b"junk")
    assert StatementsOn(target, HOLD, trusted=TRUSTED).newest(HELD.folder) == replace(HELD, number=1)
    monkeypatch.setattr("strongroom.operations.engine.statements.LOOKED_THROUGH", 3)
    held = StatementsOn(target, HOLD, trusted=TRUSTED).all().newest
    assert [(mark.kind, mark.subject) for mark in held.values()] == [("everything", "")]
