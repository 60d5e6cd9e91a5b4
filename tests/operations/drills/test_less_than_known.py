"""Drills of a backup that holds less than is known: said in the signed report, and no unreserved success."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.container import canonical
from strongroom.operations.drills import report as words
from strongroom.operations.drills.job import page_on
from strongroom.operations.drills.report import REPORT
from strongroom.operations.restore.scratch import DrillScope
from strongroom.state.records import RunState
from tests.operations.drills.drilling import drilled
from tests.operations.drills.test_drill import listed, only_report
from tests.operations.world import World, make_world

WHOLE = {"full": {}, "category": {"tags": {"parity": "odd"}}, "failover": {"target": "us"}}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, pieces=1)


def shrink(world: World) -> str:
    """Delete 20 of 30 secrets and back up; return the backup that has them."""
    before = world.back_up().id
    world.source.delete([f"app/{number:04}" for number in range(20)])
    world.back_up()
    return before


@pytest.mark.parametrize("drill", WHOLE)
def test_a_drill_after_a_mass_deletion_says_how_many_are_missing_and_which_backup_has_them(
    world: World, drill: str
) -> None:
    before = shrink(world)
    run = drilled(world.services(), drill=DrillScope(drill), **WHOLE[drill])
    assert run.state is RunState.DEGRADED
    assert str(run.error).startswith("LessThanKnown: ")
    report = only_report(world)
    assert (report.outcome, report.problems[0].code) == ("degraded", "LessThanKnown")
    found = report.shortfall
    assert found is not None
    missing = 10 if drill == "category" else 20
    assert (found.missing, found.names, found.sound) == (missing, (), before)
    assert [(one.backup, one.secrets) for one in found.groups] == [(before, missing)]
    assert f"{missing} secrets of earlier ones are not in it" in words.verdict(report)
    said = " ".join(fact.said for fact in words.compared(report))
    assert f"{missing} of them are in backup {before}" in said


def test_no_name_of_a_missing_secret_is_in_the_report_its_page_or_the_record(world: World) -> None:
    shrink(world)
    run = drilled(world.services())
    [found] = listed(world).reports
    page = page_on(found, list(world.targets.values()))
    assert b"20 secrets that earlier ones have are not in it" in page
    for told in (found.signed, page, canonical.encode(run.facts), str(run.error).encode()):
        assert b"app/" not in told


def test_a_secret_that_was_deleted_is_a_remark_of_a_drill_that_passes(world: World) -> None:
    world.back_up()
    world.source.delete(["app/0000"])
    world.back_up()
    assert drilled(world.services()).state is RunState.DONE
    report = only_report(world)
    assert (report.outcome, report.shortfall is not None and report.shortfall.missing) == ("passed", 1)
    assert "1 secret that earlier ones have is not in it" in " ".join(f.said for f in words.compared(report))


def test_a_drill_of_one_secret_and_one_of_the_last_sound_backup_pass(world: World) -> None:
    world.back_up()
    assert drilled(world.services()).state is RunState.DONE
    assert only_report(world).shortfall is None
    shrink(world)
    assert drilled(world.services(), drill=DrillScope.SINGLE, secret="app/0029").state is RunState.DONE


def test_what_a_policy_does_not_mean_is_not_missing(world: World) -> None:
    world.back_up()
    part = world.with_spec(selection=replace(world.spec.selection, tags={"parity": "odd"}))
    part.back_up()
    run = drilled(part.services())
    assert (run.state, only_report(part).shortfall) == (RunState.DONE, None)


def test_one_that_is_late_too_says_both(world: World) -> None:
    shrink(world)
    drilled(world.services(), objective_seconds=1e-6)
    report = only_report(world)
    assert (report.outcome, report.objective_met) == ("late", False)
    assert "too slow" in words.verdict(report)
    assert "not all that is known" in words.verdict(report)


def test_a_report_from_before_reports_said_it_is_read_as_it_was_signed(world: World) -> None:
    world.back_up()
    drilled(world.services())
    [found] = listed(world).reports
    assert found.report.shortfall is None
    assert b'"shortfall"' not in found.signed
    assert REPORT.parse(found.signed, trusted=None) == found.report
