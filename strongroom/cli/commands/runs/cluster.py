"""schedule: the calendar, each entry with its last and next time, and what is overdue and why."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from strongroom.cli.shared import render_run
from strongroom.cli.shared.await_run import cluster_runs
from strongroom.cli.shared.drive_run import lack_of_all
from strongroom.cli.shared.follow_run import by_ticket, showing_progress
from strongroom.cli.shared.services import existing_run_store, open_services, run_store
from strongroom.cli.shared.submission import answer_submission
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.config import load_settings
from strongroom.durations import measured
from strongroom.errors import UsageError
from strongroom.operations.errors import BackupOverdue, NothingToDo
from strongroom.operations.health.calendar import EntryState, EntryStatus, overview, planned
from strongroom.operations.runs.drive import drive
from strongroom.operations.runs.submit import run_now
from strongroom.operations.scheduled import Scheduled
from strongroom.schedule import by_the_clock_of
from strongroom.sheet import Lines, Sheet, Table
from strongroom.state.records import Pause, Run
from strongroom.system.person import who
from strongroom.timestamps import if_any
from strongroom.wiring.calendar import calendar, entries_named
from strongroom.wiring.read_only import looking_services


def show_calendar(arguments: Namespace, output: Output) -> Answer:
    settings, now = load_settings(), time.time()
    entries = calendar(settings)
    if existing_run_store(settings) is None:
        found = planned(entries, now=now)
    else:
        found = overview(looking_services(settings), entries, now=now)
    late = ", ".join(status.entry.name for status in found if status.state is EntryState.OVERDUE)
    table = Table(("Entry", "Last", "Came to", "Next", "State"), list(map(_row, found)))
    return Answer(
        record={"entries": [_as_document(entry) for entry in found]},
        sheet=Sheet(parts=[table, Lines([_why(entry) for entry in found if entry.why])]),
        error=BackupOverdue(f"overdue: {late}", hint="Each says why, above.") if late else None,
    )


def _why(found: EntryStatus) -> str:
    state = "" if found.state is EntryState.ON else f"{found.state.value}: "
    return f"{found.entry.name}: {state}{found.why}"


def _row(found: EntryStatus) -> tuple[str, ...]:
    zone = found.entry.time_zone
    slot = f" (due {_moment(found.made_up_for, zone)})" if found.made_up_for else ""
    last = f"{_moment(found.last_ran, zone) or 'never'}{slot}"
    return (
        found.entry.name,
        last,
        _came_to(found.run),
        _moment(found.next_due, zone) or "-",
        found.state.value,
    )


def _came_to(run: Run | None) -> str:
    if run is None:
        return "-"
    took = "" if run.finished_at is None else f" in {measured(run.finished_at - run.created_at)}"
    return f"{run.state.value}{took}"


def _moment(moment: float | None, zone: str) -> str:
    return "" if moment is None else by_the_clock_of(zone, moment)


def _as_document(found: EntryStatus) -> dict[str, Any]:
    entry, run, pause = found.entry, found.run, found.pause
    return {
        "name": entry.name,
        "kind": entry.kind,
        "policy": entry.policy or None,
        "reason": entry.reason,
        "schedule": entry.schedule,
        "time_zone": entry.time_zone,
        "state": found.state.name.lower(),
        "why": found.why or None,
        "last_ran": if_any(found.last_ran),
        "last_due": if_any(found.last_due),
        "run": run and run.id,
        "run_state": run and run.state,
        "seconds": run and render_run.seconds(run),
        "next_due": if_any(found.next_due),
        "missed": if_any(found.missed_at),
        "paused_until": if_any(pause.until) if pause else None,
    }


def run_entry(arguments: Namespace, output: Output) -> Answer:
    """Run an entry now: by the cluster, if there is one, else in this process."""
    settings = load_settings()
    entries = entries_named(arguments.entry, settings)
    try:
        if not arguments.here and cluster_runs(settings):
            return _submit(arguments.entry, output, wait=arguments.follow)
        return _run_here(entries, output)
    except NothingToDo as nothing:  # a script that has everything repaired is to go on where all is whole
        sheet = Sheet(verdict=nothing.message, about=nothing.hint or "")
        return Answer(record={"runs": []}, sheet=sheet)


def _submit(entry: str, output: Output, *, wait: bool) -> Answer:
    from tasks.schedule import run_entry as task

    return answer_submission(task.delay(entry=entry), output, wait=wait)


def _run_here(entries: Sequence[Scheduled], output: Output) -> Answer:
    services = open_services()
    runs = []
    for run, tickets in run_now(services, entries):
        with showing_progress(output, services.store) as watch:
            runs.append(drive(run, tickets, services, watch=by_ticket(watch)))
    return replace(render_run.answer_runs(runs, services.store), error=lack_of_all(runs))


def pause_entry(arguments: Namespace, output: Output) -> Answer:
    settings, now = load_settings(), time.time()
    entry = entries_named(arguments.entry, settings)[0]
    until = arguments.until
    if until is not None and until <= now:
        raise UsageError("--until is over already.", hint="Name a time to come, or a length such as '3d'.")
    store = run_store()
    store.pause(Pause(entry=arguments.entry, reason=arguments.reason, by=who(), since=now, until=until))
    ends = f"until {_moment(until, entry.time_zone)}" if until else "until 'strongroom schedule resume'"
    said = f"'{arguments.entry}' is paused {ends}. What came due meanwhile is made up for then, once."
    record = {"entry": arguments.entry, "until": if_any(until)}
    return Answer(record=record, sheet=Sheet(verdict=said))


def resume_entry(arguments: Namespace, output: Output) -> Answer:
    name = arguments.entry
    entries_named(name, load_settings())
    if not run_store().resume(name, reason=arguments.reason, by=who()):
        raise UsageError(f"'{name}' is not paused.", hint="'strongroom schedule' shows what is.")
    return Answer(record={"entry": name}, sheet=Sheet(verdict=f"'{name}' runs again at its times."))
