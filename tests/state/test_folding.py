"""The steps of runs of long ago become a few records: what is kept, who reads it, and who is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace
from sqlalchemy import delete, func, select, text, update

from strongroom.errors import UsageError
from strongroom.operations.evidence.ledger import check
from strongroom.state import folding, tables
from strongroom.state.records import Run, RunKind, RunState, RunStep, StepKind, StepState
from strongroom.state.store import RunStore
from tests.state.pipeline import PLAN, SPEC, TARGETS, claimed, decide, decide_again, new_run, take, work_off

YEAR = 365 * 86_400.0


def ended(store: RunStore, *, kind: RunKind = RunKind.BACKUP) -> Run:
    """Work a run off to its end, and sweep what it left."""
    run = store.create(replace(SPEC, kind=kind), first=[PLAN])
    assert run is not None
    work_off(store, run)
    store.swept(run.id)
    return store.load(run.id)


def years_pass(store: RunStore, *, unseen: bool = False) -> None:
    """Make all that ended a year older. Unless nobody saw that time pass, other runs began meanwhile."""
    with store._database.writing() as conn:
        conn.execute(update(tables.runs).values(finished_at=tables.runs.c.finished_at - YEAR))
    for days in () if unseen else (15, 45, 75):
        run = store.create(SPEC, first=[])
        assert run is not None
        store.cancel(run.id)
        began = {"created_at": run.created_at - days * 86_400.0, "state": "done"}
        with store._database.writing() as conn:
            conn.execute(update(tables.runs).where(tables.runs.c.id == run.id).values(**began))
            conn.execute(delete(tables.steps).where(tables.steps.c.run == run.id))


def fold(store: RunStore, *keeps: RunKind, seconds: float = 60.0) -> int:
    return store.fold(keeps=lambda: keeps, seconds=seconds)


def steps_of(store: RunStore, run: Run) -> int:
    with store._database.reading() as conn:
        query = select(func.count()).select_from(tables.steps).where(tables.steps.c.run == run.id)
        return int(conn.execute(query).scalar_one())


def test_what_is_kept_says_the_same_in_fewer_records(store: RunStore) -> None:
    run = ended(store)
    tally, rows = store.tally(run.id), store.rows(run.id)
    years_pass(store)
    assert fold(store) == len(rows)
    assert steps_of(store, run) == 0
    assert store.tally(run.id) == tally
    kept = store.rows(run.id)
    assert sum(row.steps for row in kept) == len(rows)
    assert len(kept) < len(rows)
    uploads = store.rows(run.id, StepKind.UPLOAD)
    assert [(row.step.target, row.steps, row.attempts) for row in uploads] == [
        (name, 3, 3) for name in TARGETS
    ]
    assert {row.owner for row in uploads} == {"worker:"}  # of a real worker: its host
    assert min(row.started_at or 0.0 for row in uploads) == min(
        row.started_at or 0.0 for row in rows if row.step.kind is StepKind.UPLOAD
    )
    assert store.row(run.id, RunStep(StepKind.VERIFY, -1, "a")) == next(
        row for row in rows if row.step == RunStep(StepKind.VERIFY, -1, "a")
    )
    assert store.load(run.id) == replace(run, finished_at=(run.finished_at or 0.0) - YEAR)


def test_no_proof_is_touched(store: RunStore) -> None:
    ended(store)
    years_pass(store)
    before = check(store)
    fold(store)
    assert check(store) == before
    assert store.run_without_event() is None


def test_young_and_active_runs_and_those_that_others_read_stay(store: RunStore) -> None:
    restore, old = ended(store, kind=RunKind.RESTORE), ended(store)
    left = ended(store)
    with store._database.writing() as conn:
        conn.execute(update(tables.runs).where(tables.runs.c.id == left.id).values(remains=True))
    years_pass(store)
    young, active = ended(store), new_run(store)
    before = {run.id: steps_of(store, run) for run in (restore, left, young, active)}
    assert fold(store, RunKind.RESTORE) > 0
    assert {run.id: steps_of(store, run) for run in (restore, left, young, active)} == before
    assert steps_of(store, old) == 0
    assert fold(store, RunKind.RESTORE) == 0


def test_a_large_run_goes_in_slices_and_is_read_whole_meanwhile(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ended(store)
    rows, tally = len(store.rows(run.id)), store.tally(run.id)
    years_pass(store)
    monkeypatch.setattr(folding, "SLICE", 2)
    assert fold(store, seconds=0.0) == 2, "who is killed here leaves the rest for the next"
    assert steps_of(store, run) == rows - 2
    assert store.tally(run.id) == tally
    assert sum(row.steps for row in store.rows(run.id)) == rows
    assert fold(store) == rows - 2
    assert sum(row.steps for row in store.rows(run.id)) == rows


@pytest.mark.parametrize(
    "odd", [{"kind": "sorcery"}, {"state": "sorcery"}, {"attempts": -1000}, {"finished_at": 1e300}]
)
@pytest.mark.parametrize("which", [StepKind.UPLOAD, StepKind.COMMIT])
def test_an_edited_run_stays_as_it_is_and_keeps_no_other_from_it(
    store: RunStore, odd: dict[str, str | float], which: StepKind
) -> None:
    edited, whole = ended(store), ended(store)
    years_pass(store)
    before = steps_of(store, edited)
    with store._database.writing() as conn:
        mine = (tables.steps.c.run == edited.id) & (tables.steps.c.kind == which.value)
        conn.execute(update(tables.steps).where(mine).values(**odd))
    assert fold(store) == before
    assert (steps_of(store, edited), steps_of(store, whole)) == (before, 0)
    assert fold(store) == 0, "it was looked at"


def test_a_kind_of_run_that_only_a_newer_version_knows_stays_as_it_is(store: RunStore) -> None:
    run = ended(store)
    years_pass(store)
    with store._database.writing() as conn:
        conn.execute(update(tables.runs).values(kind="sorcery"))
    assert fold(store) == 0
    assert steps_of(store, run) > 0


def test_several_that_fold_at_once_fold_once(store: RunStore) -> None:
    runs = [ended(store) for _ in range(6)]
    tallies = {run.id: store.tally(run.id) for run in runs}
    steps = sum(steps_of(store, run) for run in runs)
    years_pass(store)
    with ThreadPoolExecutor(4) as threads:
        went = sum(threads.map(lambda _: fold(store), range(4)))
    went += fold(store)
    assert went == steps
    assert {run.id: store.tally(run.id) for run in runs} == tallies


def test_a_failed_run_of_long_ago_can_only_be_started_over(store: RunStore) -> None:
    run = new_run(store)
    (ticket,) = take(store, run)
    store.fail(claimed(store, ticket), "broken", settle=StepState.POISONED, decide=decide)
    work_off(store, run)
    store.swept(run.id)
    years_pass(store)
    fold(store)
    with pytest.raises(UsageError, match="long ago"):
        store.retry(run.id, decide_again)
    assert [row.error for row in store.rows(run.id, StepKind.PLAN)] == ["broken"]
    store.retry(run.id, decide_again, first=[PLAN])
    assert work_off(store, run).state is RunState.DONE
    assert all(row.steps == 1 for row in store.rows(run.id))


def test_ten_years_stay_small(store: RunStore) -> None:
    runs = [ended(store) for _ in range(20)]
    before = sum(steps_of(store, run) for run in runs)
    years_pass(store)
    fold(store)
    with store._database.reading() as conn:
        size = conn.execute(select(func.sum(func.length(tables.folded_steps.c.steps)))).scalar_one()
        left = conn.execute(text("SELECT count(*) FROM steps")).scalar_one()
    assert (before, left) == (20 * 18, 0)
    assert size / len(runs) < 4_000


def test_a_clock_that_was_set_far_ahead_folds_nothing(
    store: RunStore, caplog: pytest.LogCaptureFixture
) -> None:
    run = ended(store)
    before = steps_of(store, run)
    years_pass(store, unseen=True)
    assert fold(store) == 0
    assert steps_of(store, run) == before
    assert "steps-not-folded" in caplog.messages
    years_pass(store)
    assert fold(store) == before


KILLED = """
import os, signal, sys
from sqlalchemy import event
from strongroom.state import folding
from strongroom.state.store import RunStore

url, after = sys.argv[1], int(sys.argv[2])
folding.SLICE = 2
store, begun = RunStore(url), 0

def killed(_conn, _cursor, statement, *_):
    global begun
    begun += statement.startswith(("DELETE FROM steps", "INSERT INTO folded_steps"))
    if begun > after:
        os.kill(os.getpid(), signal.SIGKILL)

event.listen(store._database.engine, "after_cursor_execute", killed)
store.fold(keeps=lambda: (), seconds=600.0)
"""


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_process_that_is_killed_while_it_folds_changes_nothing(
    store: RunStore, url: str, after: int
) -> None:
    run = ended(store)
    tally, rows = store.tally(run.id), len(store.rows(run.id))
    years_pass(store)
    died = subprocess.run([sys.executable, "-c", KILLED, url, str(after)], env=os.environ, check=False)
    assert died.returncode == -signal.SIGKILL
    left = steps_of(store, run)
    assert (left < rows) is (after > 1), "what was committed has gone, and nothing else"
    assert store.tally(run.id) == tally
    assert sum(row.steps for row in store.rows(run.id)) == rows
    assert fold(store) == left
    assert store.tally(run.id) == tally
    assert sum(row.steps for row in store.rows(run.id)) == rows
