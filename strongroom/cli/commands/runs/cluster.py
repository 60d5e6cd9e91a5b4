"""up, repair and schedule: the cluster, and what it is asked to do."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from shlex import quote
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from strongroom.cli.commands.runs.arguments import (
    PauseEntry,
    RepairBackups,
    ResumeEntry,
    RunEntry,
    StartCluster,
)
from strongroom.cli.parameters import Nothing
from strongroom.cli.shared import render_run
from strongroom.cli.shared.runs import (
    answer_submission,
    cluster_runs,
    drive_here,
    known_backup,
    lack_of_all,
    log_to,
)
from strongroom.cli.shared.services import existing_run_store, open_services, run_store
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, in_line, plural
from strongroom.config import Settings, load_settings
from strongroom.errors import StrongroomError, UsageError
from strongroom.operations.archive.inventory import LostReplica, look_over, put_on_record
from strongroom.operations.archive.shredding import shredded_backups
from strongroom.operations.backup.repair import degraded, submit_repair
from strongroom.operations.engine import run_log
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.drive import ended_if_interrupted
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import run_now
from strongroom.operations.errors import NOTHING_YET, BackupOverdue, NothingToDo, TargetUnsound
from strongroom.operations.judge.calendar import EntryState, EntryStatus, overview, planned
from strongroom.schedule import by_the_clock_of
from strongroom.sheet import Lines, Sheet, Table
from strongroom.state.records import Pause, Run, StepKind
from strongroom.system.lazy import require_package
from strongroom.system.process import who
from strongroom.times import for_people, if_any, measured
from strongroom.wiring.calendar import calendar, entries_named
from strongroom.wiring.read_only import looking_services
from workers.pools import POOLS

if TYPE_CHECKING:
    from workers.supervisor import Cluster

# -- repair: bring missing or damaged replicas up again, from any good one ----------------------


NOTHING = (
    "Nothing to repair: no replica is on record as bad, and every target that answers shows the manifests "
    "that it was given. 'strongroom backups repair --all' also looks at what lies behind them; 'strongroom "
    "backups repair "
    "BACKUP' reads it."
)
NOTHING_AT_ALL = (
    "Nothing to repair: on every target that answers, every manifest is the one on record, and every "
    "container is there in its size. 'strongroom backups repair BACKUP' reads what is in them."
)
SHOWN = 20


def repair_backups(given: RepairBackups, output: Output) -> Answer:
    services, away = open_services(), list[str]()
    wanted = [given.backup] if given.backup else _wanting(given, services, output, away)
    runs = [_one(backup, services, output) for backup in wanted]
    error = lack_of_all(runs) or _not_looked_at(away)
    if not runs:
        nothing = NOTHING_AT_ALL if given.target or given.all else NOTHING
        return Answer(record={"runs": []}, sheet=Sheet(verdict=nothing), error=error)
    return replace(render_run.answer_runs(runs, services.store), error=error)


def _not_looked_at(away: Sequence[str]) -> StrongroomError | None:
    """Return what a repair ends with that could not look at targets. Media in a safe need not answer."""
    policies = load_settings().policies.values()
    expected = {name for policy in policies if not policy.offline for name in policy.targets}
    if not (missed := [name for name in away if name in expected]):
        return None
    named = ", ".join(f"'{name}'" for name in missed)
    return TargetUnsound(f"Nobody knows what is missing on {named}.", hint="Bring it back, then repeat.")


def repair_there(given: RepairBackups, output: Output) -> Answer:
    """Have the cluster restore a backup's bad replicas."""
    assert given.backup is not None  # as the parameters ask for
    backup = known_backup(given.backup, load_settings())
    from tasks.repair import repair_backup

    return answer_submission(repair_backup.delay(backup=backup), output, wait=given.where.follow)


def _wanting(given: RepairBackups, services: Services, output: Output, away: list[str]) -> list[str]:
    """Look at targets, put on record what they lack, and return the backups that lack something.

    Args:
        away: gets the names of those that could not be looked at.

    Raises:
        TargetError: a target that was named does not answer.
    """
    names = given.target or list(services.targets)
    deep, trusted = bool(given.target or given.all), services.signer_fingerprints
    gone = frozenset(shredded_backups(services.store, trusted))
    for name in names:
        try:
            lost = look_over(services.store, services.target(name), trusted=trusted, gone=gone, deep=deep)
            put_on_record(services.store, lost)
            _say(name, lost, output)
        except StrongroomError as error:
            if given.target:
                raise
            away.append(name)
            output.note(f"not looked at: '{name}': {error.message}")
    wanted = degraded(services)
    if not given.target:
        return wanted
    bad = services.store.replicas_of(wanted)
    return [backup for backup in wanted if any(not r.good and r.target in names for r in bad.get(backup, ()))]


def _say(name: str, lost: Sequence[LostReplica], output: Output) -> None:
    for replica in lost[:SHOWN]:
        output.note(f"'{name}' does not have {replica.replica.backup} as is on record: {replica.why}")
    if len(lost) > SHOWN:
        output.note(f"'{name}': and {plural(len(lost) - SHOWN, 'more backup')}")


def _one(backup: str, services: Services, output: Output) -> Run:
    return drive_here(partial(submit_repair, services, backup=backup), services, output)


# -- schedule: the calendar, each entry with its last and next time, and what is overdue and why ---


def show_calendar(given: Nothing, output: Output) -> Answer:
    settings, now = load_settings(), time.time()
    entries = calendar(settings)
    if existing_run_store(settings) is None:
        found = planned(entries, now=now)
    else:
        found = overview(looking_services(settings), entries, now=now)
    late = ", ".join(status.entry.name for status in found if status.state is EntryState.OVERDUE)
    table = Table(("Entry", "Last", "Came to", "Next", "State"), list(map(_row, found)))
    return Answer(
        record={"entries": [entry.record for entry in found]},
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
    if run_log.found_nothing_yet(run):
        return run_log.NOTHING_YET_IN_WORDS
    took = "" if run.finished_at is None else f" in {measured(run.finished_at - run.created_at)}"
    return f"{run.state.value}{took}"


def _moment(moment: float | None, zone: str) -> str:
    return "" if moment is None else by_the_clock_of(zone, moment)


def run_entry(given: RunEntry, output: Output) -> Answer:
    """Run an entry now: by the cluster, if there is one, else in this process."""
    settings = load_settings()
    entries = entries_named(given.entry, settings)
    try:
        if not given.here and cluster_runs(settings):
            from tasks.schedule import run_entry as task

            return answer_submission(task.delay(entry=given.entry), output, wait=given.follow)
        return _run_here(entries, output)
    except NothingToDo as nothing:  # a script that has everything repaired is to go on where all is whole
        sheet = Sheet(verdict=nothing.message, about=nothing.hint or "")
        return Answer(record={"runs": []}, sheet=sheet)


def _run_here(entries: Sequence[Scheduled], output: Output) -> Answer:
    services = open_services()
    with ended_if_interrupted(services):  # those too whose turn has not come: nobody else would drive them
        begun, runs = run_now(services, entries), []
        while begun:
            runs.append(drive_here(lambda: begun.pop(0), services, output))
    return replace(render_run.answer_runs(runs, services.store), error=lack_of_all(runs))


def pause_entry(given: PauseEntry, output: Output) -> Answer:
    settings, now = load_settings(), time.time()
    entry = entries_named(given.entry, settings)[0]
    until = given.until
    if until is not None and until <= now:
        raise UsageError("--until is over already.", hint="Name a time to come, or a length such as '3d'.")
    store = run_store()
    store.pause(Pause(entry=given.entry, reason=given.reason, by=who(), since=now, until=until))
    ends = f"until {_moment(until, entry.time_zone)}" if until else "until 'strongroom schedule resume'"
    said = f"'{given.entry}' is paused {ends}. What came due meanwhile is made up for then, once."
    record = {"entry": given.entry, "until": if_any(until)}
    return Answer(record=record, sheet=Sheet(verdict=said))


def resume_entry(given: ResumeEntry, output: Output) -> Answer:
    name = given.entry
    entries_named(name, load_settings())
    if not run_store().resume(name, reason=given.reason, by=who()):
        raise UsageError(f"'{name}' is not paused.", hint="'strongroom schedule' shows what is.")
    return Answer(record={"entry": name}, sheet=Sheet(verdict=f"'{name}' runs again at its times."))


# -- up: the whole cluster on this machine, until Ctrl-C ----------------------------------------


SOON: Final = 3
"""Entries of the calendar that are named as the next."""
REMEMBERED: Final = 1000
"""Things that were said, so that they are not said again."""


def start_cluster(given: StartCluster, output: Output) -> None:
    from workers.supervisor import run_cluster

    settings = load_settings()
    for package, wanted in {"flower": given.flower, "sentry_sdk": settings.sentry.dsn}.items():
        if wanted:
            require_package(package)
    logs = settings.state_dir / "logs"
    log_to(logs, output)
    output.note(f"Starting the cluster; its logs: {logs}")
    run_cluster(
        settings,
        flower=given.flower,
        metrics=given.metrics,
        page=given.page,
        ephemeral=given.ephemeral,
        pools=[pool.role for pool in POOLS.values() if pool.always or given.with_recover],
        on_ready=lambda cluster: _ready(cluster, settings, given, output),
        log_folder=logs,
        on_line=RunReporter(output),
    )
    output.note("The cluster has stopped. Nothing is left running.")


def _ready(cluster: Cluster, settings: Settings, given: StartCluster, output: Output) -> None:
    from workers import flower, http_server, metrics_server, page_server

    processes = {child.name: child.pid for child in cluster.children}
    broker = settings.broker.url or "the embedded broker"
    lines = [f"The cluster is up ({', '.join(processes)}) and does what {broker} brings. Ctrl-C stops it."]
    if given.flower:
        where, file = http_server.address(settings.served(settings.flower)), flower.password_file(settings)
        lines.append(f"Flower: {where}; user '{settings.flower.user}', its password: cat {quote(str(file))}")
    if given.metrics:
        where, file = metrics_server.address(settings), metrics_server.token_file(settings)
        lines.append(f"Metrics: {where}; the token: cat {quote(str(file))}")
    if given.page:
        where, file = page_server.address(settings), page_server.password_file(settings)
        lines.append(f"Page: {where}; user '{settings.page.user}', its password: cat {quote(str(file))}")
    lines.append(_next(settings))
    output.give(Answer(record={"ready": True, "processes": processes}, sheet=Sheet(parts=[Lines(lines)])))
    output.settle()


def _next(settings: Settings) -> str:
    """Say what runs next by itself."""
    now = time.time()
    on = (entry for entry in calendar(settings) if not (entry.needs or entry.offline))
    due = sorted((at, entry.name) for entry in on if (at := entry.next(now)) is not None)
    shown = "; ".join(f"{in_line(name)} at {for_people(at)}" for at, name in due[:SOON])
    return f"Next: {shown or 'nothing is scheduled'}. 'strongroom schedule' shows all."


class RunReporter:
    """Says in one line each what becomes of runs: each begins once, and waits for one thing once."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._said: deque[tuple[str, ...]] = deque(maxlen=REMEMBERED)

    def __call__(self, line: Mapping[str, Any]) -> None:
        at = f"{str(line['at'])[:19]}Z"
        match line["event"]:
            case "run-begun":
                why = f"{in_line(str(line['slot']))} is due" if line["slot"] else "somebody asked for it"
                self._once(("begun", line["run"]), f"{at} {_who(line)}: begins, {why} ({line['run']})")
            case "step-waits":
                what = f"run {line['run']} waits at {in_line(str(line['step']))}: {line['error_class']}"
                key = ("waits", line["run"], str(line["error_class"]))
                self._once(key, f"{at} {what}. See 'strongroom runs show {line['run']}'.")
            case "settings-taken" | "settings-refused" | "settings-wait-for-restart":
                self._tell_settings(at, line)
            case "run-done":
                took = measured(line["seconds"])
                self._output.note(f"{at} {_who(line)}: done in {took} ({line['run']})")
            case "run-cancelled":
                self._output.note(f"{at} {_who(line)}: cancelled ({line['run']})")
            case "run-failed" if line["error_class"] in NOTHING_YET:
                see = f"'strongroom runs show {line['run']}' says more."
                self._output.note(f"{at} {_who(line)}: {run_log.NOTHING_YET_IN_WORDS}. {see}")
            case "run-degraded" | "run-failed" as event:
                how = "degraded" if event == "run-degraded" else "FAILED"
                see = f"'strongroom runs show {line['run']}' says why."
                self._output.warn(f"{at} {_who(line)}: {how}{_where(line)}: {line['error_class']}. {see}")

    def _tell_settings(self, at: str, line: Mapping[str, Any]) -> None:
        file, key = f"{at} the changed {line['file']}", (line["event"], str(line["sha256"]))
        match line["event"]:
            case "settings-taken":
                self._once(key, f"{file} is in force")
            case "settings-refused":
                why = f"{in_line(str(line['why']))}. 'strongroom check config' shows all."
                self._once(key, f"{file} is wrong, so the settings before it stay in force: {why}", warn=True)
            case _:
                what = f"{file} waits for a restart of 'strongroom up' ({line['sections']})"
                self._once(key, what, warn=True)

    def _once(self, key: tuple[str, ...], words: str, *, warn: bool = False) -> None:
        if key not in self._said:
            self._said.append(key)
            (self._output.warn if warn else self._output.note)(words)


def _who(line: Mapping[str, Any]) -> str:
    return f"{line['kind']} of '{in_line(str(line['policy']))}'"


def _where(line: Mapping[str, Any]) -> str:
    """Return at which step, and on which target, where one is known."""
    target = f" ({in_line(str(line['target']))})" if line["target"] else ""
    return f" at {in_line(str(line['step']))}{target}" if line["step"] != StepKind.REPORT else ""
