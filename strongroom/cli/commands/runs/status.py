"""runs, runs show, cancel and retry: looking at runs, and ending or taking them up again."""

from __future__ import annotations

import time
from argparse import Namespace
from pathlib import Path

from msgspec.structs import replace

from strongroom.cli.commands.runs import render_policies
from strongroom.cli.errors import RunEnded
from strongroom.cli.shared import render_run
from strongroom.cli.shared.await_run import cluster_runs, follow, nobody_drives
from strongroom.cli.shared.drive_run import finish, lack_of_all
from strongroom.cli.shared.services import open_services, run_store
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.config import load_settings
from strongroom.errors import StrongroomError, UsageError
from strongroom.model import COMMAND
from strongroom.operations.errors import BackupOverdue, RunFailed
from strongroom.operations.facts.gather import on_record
from strongroom.operations.runs import submit
from strongroom.operations.runs.abandoned import take_up
from strongroom.operations.runs.drive import end
from strongroom.operations.runs.job import job_of
from strongroom.operations.runs.lone_run import LoneRecord, lone_record
from strongroom.operations.verification.description import coverage_document, describe
from strongroom.sheet import Lines, Sheet, Table
from strongroom.state.records import Run, RunState, StepKind
from strongroom.state.store import RunStore
from strongroom.timestamps import for_people, if_any
from strongroom.wiring.alerts import limits, watched


def show_run(arguments: Namespace, output: Output) -> Answer:
    if (alone := lone_record(load_settings().state_dir / "undo" / Path(arguments.id).name)) is not None:
        return _show_lone(alone)
    store = run_store()
    run = follow(output, arguments.id) if arguments.follow else store.find(arguments.id)
    to_do = _to_do(run, store)
    lack = _lack_of_end(run) if arguments.follow else None
    return replace(render_run.answer_run(run, render_run.rows_of(store, run), abandoned=to_do), error=lack)


def _show_lone(found: LoneRecord) -> Answer:
    """Show a run that one process drove: what a person restored, or undid, on this host."""
    to_do = "" if found.run.state.final else f"{job_of(found.run.spec.kind).again(found.run)}"
    return render_run.answer_run(found.run, list(found.steps), abandoned=to_do)


def require_end(run: Run) -> None:
    """Return if a run that was followed did all that it was to do."""
    if (lack := _lack_of_end(run)) is not None:
        raise lack


def _lack_of_end(run: Run) -> StrongroomError | None:
    if to_do := _to_do(run, run_store()):
        return RunFailed(f"run {run.id} is worked on by nobody: its process is gone", hint=to_do)
    return lack_of_all([run])


def list_runs(arguments: Namespace, output: Output) -> Answer:
    settings, now = load_settings(), time.time()
    store = run_store()
    runs = store.runs(arguments.limit)
    gone = {run.id for run in runs if nobody_drives(run, store)}
    head = ("Run", "Kind", "Policy", "State", "Began", "Seconds")
    rows = [
        (
            run.id,
            run.spec.kind.value,
            run.spec.policy,
            _stands(run, store, gone=run.id in gone),
            for_people(run.created_at),
            f"{render_run.seconds(run):.1f}",
        )
        for run in runs
    ]
    bounds = limits(settings)
    facts = on_record(watched(settings), bounds, store, now=now)
    found = facts.verification
    assert found is not None  # the calendar has it, if only switched off
    late = ", ".join(render_policies.overdue(facts, bounds))
    hint = "'strongroom schedule' says why. At once: 'strongroom backup --policy NAME'."
    return Answer(
        record={
            "policies": render_policies.as_document(facts, bounds),
            "runs": [render_run.as_document(run, [], abandoned=run.id in gone) for run in runs],
            "verification": coverage_document(found, now=now),
        },
        sheet=Sheet(
            parts=[
                render_policies.table_of(facts, bounds),
                Table(head, rows, nothing="There has been no run yet."),
                Lines([f"{line[:1].upper()}{line[1:]}." for line in describe(found, now=now)]),
            ]
        ),
        error=BackupOverdue(f"overdue: {late}", hint=hint) if late else None,
    )


def _stands(run: Run, store: RunStore, *, gone: bool) -> str:
    """Say how a run stands, in a word or two."""
    waits = not run.state.final and render_run.waits_for_people(store.rows(run.id, StepKind.APPROVE))
    if waits:  # it needs no process, so that none is missing
        return render_run.WAITS_FOR_APPROVAL
    return render_run.ABANDONED if gone else run.state.value


_REPEAT = "Make the backup again: that ends this run first, and removes what it left."


def _to_do(run: Run, store: RunStore) -> str:
    """Say what to type about a run whose process was killed; nothing about any other."""
    if not nobody_drives(run, store):
        return ""
    cancel = f"'strongroom runs cancel {run.id}' ends it and removes what it left"
    if run.spec.policy == COMMAND:
        return f"{_REPEAT} Or: {cancel}."
    if cluster_runs(load_settings()):
        return (
            f"The cluster takes it up by itself; 'strongroom runs retry {run.id} --here' goes on here. "
            f"{cancel}."
        )
    return f"'strongroom runs retry {run.id}' goes on with it; {cancel}."


def cancel_run(arguments: Namespace, output: Output) -> Answer:
    services = open_services()
    found = services.store.find(arguments.id)
    run = services.store.cancel(found.id)
    if not run.state.final:
        # The sweep is a step like any other; done here it needs no cluster.
        run = end(run.id, services, take_up(run.id, services))
    ended = RunEnded(
        f"run {run.id} had ended already, {run.state.value}, {if_any(run.finished_at)}: nothing was cancelled"
    )
    cancelled = not found.state.final and run.state is RunState.CANCELLED
    return replace(
        render_run.answer_run(run, render_run.rows_of(services.store, run)),
        error=None if cancelled else ended,
    )


def retry_run(arguments: Namespace, output: Output) -> Answer:
    settings = load_settings()
    services = open_services(settings)
    run = services.store.find(arguments.id)
    if not nobody_drives(run, services.store):
        run = submit.retry(services, run.id)
    elif run.spec.policy == COMMAND:
        raise UsageError(f"Run {run.id} wrote a file that is gone with its process.", hint=_REPEAT)
    if arguments.here or not cluster_runs(settings):
        return finish(run.id, take_up(run.id, services), services, output)
    # Its steps are ready, or their leases end: the cluster's next reconcile takes and sends them.
    said = f"Run {run.id} is taken up again by the cluster."
    about = f"Follow it: strongroom runs show {run.id} --follow"
    return Answer(record={"id": run.id, "state": run.state}, sheet=Sheet(verdict=said, about=about))
