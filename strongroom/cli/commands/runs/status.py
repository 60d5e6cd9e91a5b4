"""status, cancel and retry: runs, one by one or the installation at a glance."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from msgspec.structs import replace

from strongroom.cli.commands.runs.arguments import CancelRun, ListRuns, RetryRun, ShowRun
from strongroom.cli.errors import RunEnded
from strongroom.cli.shared import render_run
from strongroom.cli.shared.runs import cluster_runs, finish, follow, lack_of_all, nobody_drives
from strongroom.cli.shared.services import open_services, run_store
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, in_line, plural
from strongroom.cli.terminal.screen import Screen, can_draw
from strongroom.cli.terminal.stopping import Terminated
from strongroom.config import load_settings
from strongroom.errors import StrongroomError, UsageError
from strongroom.model import COMMAND, Depth
from strongroom.operations.backup.verified_share import coverage_document, describe
from strongroom.operations.engine import run_log, submit
from strongroom.operations.engine.drive import end, take_up
from strongroom.operations.engine.findings import Finding
from strongroom.operations.engine.jobs import job_of
from strongroom.operations.engine.lone_run import LoneRecord, lone_record
from strongroom.operations.engine.muted import Muted, read_muted
from strongroom.operations.engine.steps import pools
from strongroom.operations.errors import BackupOverdue, RunFailed
from strongroom.operations.judge.fact_records import (
    AlertLimits,
    InstallationFacts,
    NewestOnTarget,
    Policy,
    Running,
    WatchedInstallation,
)
from strongroom.operations.judge.facts import gather, on_record
from strongroom.operations.judge.freshness import Freshness, judge, standing
from strongroom.operations.judge.judgement import alerts
from strongroom.sheet import Lines, Pairs, Sheet, Table
from strongroom.state.errors import StateError
from strongroom.state.records import Pool, Run, RunState, StepKind, StepState
from strongroom.state.store import RunStore
from strongroom.times import about, at_least, for_people, if_any
from strongroom.wiring.watching import limits, watched

# -- How each policy's newest backup stands, by the record, and how it lies on each target ------


HEAD = ("Policy", "Verified backup", "Age", "Replicas", "Read back to", "Locked until")


def table_of(facts: InstallationFacts, limits: AlertLimits) -> Table:
    """Return a table with a row for each policy."""
    return Table(HEAD, [_row(policy, _judged(policy, facts, limits)) for policy in facts.policies])


def overdue(facts: InstallationFacts, limits: AlertLimits) -> list[str]:
    """Return the policies that are overdue."""
    return [policy.name for policy in facts.policies if _judged(policy, facts, limits).overdue]


def _judged(policy: Policy, facts: InstallationFacts, limits: AlertLimits) -> Freshness:
    return judge(policy, threshold=limits.threshold_age, now=facts.now)


def _row(policy: Policy, found: Freshness) -> tuple[str, ...]:
    late = " (overdue)" if found.overdue else ""
    none = late or (f" yet, due {for_people(found.next_due)}" if found.next_due else " yet")
    good = [newest for newest in policy.on_targets if newest.good]
    return (
        policy.name,
        found.judged.backup if found.judged else f"none{none}",
        "-" if found.age is None else f"{about(found.age)}{late}",
        _replicas(policy, good),
        _depth(good),
        _locked(good),
    )


def _replicas(policy: Policy, good: list[NewestOnTarget]) -> str:
    lacks = ": fewer than demanded" if policy.lacks else ""
    return f"{len(good)} of {policy.wanted}{lacks}"


def _depth(good: list[NewestOnTarget]) -> str:
    """Return to what depth all of them were read back."""
    if not good:
        return "-"
    depths = [newest.depth for newest in good if newest.depth]
    return min(depths, key=list(Depth).index).value if len(depths) == len(good) else "not all read"


def _locked(good: list[NewestOnTarget]) -> str:
    """Return until when the first of those that are locked is."""
    ends = [newest.locked_until for newest in good if newest.locked_until]
    return f"{for_people(min(ends))} on {len(ends)}" if ends else "-"


# -- runs, runs show, cancel and retry: looking at runs, and ending or taking them up again -----


def show_run(given: ShowRun, output: Output) -> Answer:
    if (alone := lone_record(load_settings().state_dir / "undo" / Path(given.id).name)) is not None:
        return _show_lone(alone)
    store = run_store()
    run = follow(output, given.id) if given.follow else store.find(given.id)
    to_do = _to_do(run, store)
    lack = _lack_of_end(run) if given.follow else None
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


def list_runs(given: ListRuns, output: Output) -> Answer:
    settings, now = load_settings(), time.time()
    store = run_store()
    runs = store.runs(given.limit)
    gone = {run.id for run in runs if nobody_drives(run, store)}
    head = ("Run", "Kind", "Policy", "State", "Began", "Seconds")
    rows = [
        (
            run.id,
            run.spec.kind.value,
            run.spec.policy,
            _stands(run, store, gone=run.id in gone),
            for_people(run.created_at),
            f"{run.seconds:.1f}",
        )
        for run in runs
    ]
    bounds = limits(settings)
    facts = on_record(watched(settings), bounds, store, now=now)
    found = facts.verification
    assert found is not None  # the calendar has it, if only switched off
    late = ", ".join(overdue(facts, bounds))
    hint = "'strongroom schedule' says why. At once: 'strongroom backup --policy NAME'."
    return Answer(
        record={
            "policies": [standing(policy, _judged(policy, facts, bounds)) for policy in facts.policies],
            "runs": [render_run.as_document(run, [], abandoned=run.id in gone) for run in runs],
            "verification": coverage_document(found, now=now),
        },
        sheet=Sheet(
            parts=[
                table_of(facts, bounds),
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
    if run.queued:
        return render_run.WAITS_FOR_TURN
    if run_log.found_nothing_yet(run):
        return run_log.NOTHING_YET_IN_WORDS
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


def cancel_run(given: CancelRun, output: Output) -> Answer:
    services = open_services()
    found = services.store.find(given.id)
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


def retry_run(given: RetryRun, output: Output) -> Answer:
    settings = load_settings()
    services = open_services(settings)
    run = services.store.find(given.id)
    here = given.here or not cluster_runs(settings)
    if here:
        submit.require_roles(services, run.spec.kind)
    if not nobody_drives(run, services.store):
        run = submit.retry(services, run.id)
    elif run.spec.policy == COMMAND:
        raise UsageError(f"Run {run.id} wrote a file that is gone with its process.", hint=_REPEAT)
    if here:
        return finish(lambda: (run.id, take_up(run.id, services)), services, output)
    # Its steps are ready, or their leases end: the cluster's next reconcile takes and sends them.
    said = f"Run {run.id} is taken up again by the cluster."
    about = f"Follow it: strongroom runs show {run.id} --follow"
    return Answer(record={"id": run.id, "state": run.state}, sheet=Sheet(verdict=said, about=about))


# -- An installation at a glance: its policies and targets, what runs, what waits, what is wrong ---


Rows = Sequence[Sequence[str]]
RUNNING = ("RUN", "WHAT", "DONE", "RATE", "LEFT")
RUN, OVER = "run ", "over"
QUEUES = ("QUEUE", "STEPS WAITING", "BEING DONE", "OLDEST")


def glance_lines(
    facts: InstallationFacts, alerts: Iterable[Finding], muted: Muted, *, limits: AlertLimits, width: int
) -> list[str]:
    """Return it in lines that are not wider than the terminal, where that can be."""
    if facts.state is not None:
        return [f"The state database does not answer: {in_line(facts.state)}"]
    parts = {  # what is wrong comes first: a low terminal cuts off what comes last
        "ALERTS": [f"{key}: {what}" for key, what in alerts_of(alerts, muted).items()],
        "POLICIES": _fitted(*_policies(facts, limits), width),
        "RUNNING": _fitted(RUNNING, [_running(run) for run in facts.active], width),
        "QUEUES": _fitted(QUEUES, list(_queues(facts)), width),
    }
    return [line for title, part in parts.items() for line in _part(title, part)][:-1]


def _part(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield title
    yield from (f"  {line}" for line in lines or ("none",))
    yield ""


def changes_of(facts: InstallationFacts, alerts: Iterable[Finding], muted: Muted) -> dict[str, str]:
    """Return what there is to say of each thing: where it differs from before, it has changed."""
    if facts.state is not None:
        return {"the state database": f"does not answer: {in_line(facts.state)}"}
    said = {
        f"'{in_line(policy.name)}' on '{in_line(newest.target)}'": _cell(newest, facts.away)
        for policy in facts.policies
        for newest in policy.on_targets
    }
    said |= {f"{RUN}{run.run}": f"{_what(run)}, {_far(run)}" for run in facts.active}
    wrong = alerts_of(alerts, muted)
    counts = (plural(len(facts.policies), "policy"), plural(len(facts.active), "active run"))
    said["in all"] = f"{', '.join(counts)}, {plural(len(wrong), 'alert')}"
    return said | {f"alert {key}": what for key, what in wrong.items()}


def alerts_of(alerts: Iterable[Finding], muted: Muted) -> dict[str, str]:
    """Return each alert by its key, in words: the worst first, as they are judged."""
    return {
        in_line(finding.key): f"{finding.severity.value}: {in_line(finding.what)}{_muted(finding, muted)}"
        for finding in alerts
    }


def _muted(alert: Finding, muted: Muted) -> str:
    if muted.silence_of(alert.key):
        return " (silenced)"
    return " (acknowledged)" if alert.key in muted.acknowledged else ""


def _policies(facts: InstallationFacts, limits: AlertLimits) -> tuple[Sequence[str], Rows]:
    """Return policies by targets: the age of the backup, and how it lies on each."""
    targets = sorted({newest.target for policy in facts.policies for newest in policy.on_targets})
    rows = []
    for policy in facts.policies:
        found = judge(policy, threshold=limits.threshold_age, now=facts.now)
        late = " (overdue)" if found.overdue else ""
        age = "none" if found.age is None else about(found.age)
        rows.append((policy.name, f"{age}{late}", *(_on(policy, target, facts.away) for target in targets)))
    return ("POLICY", "VERIFIED BACKUP", *(in_line(target).upper() for target in targets)), rows


def _on(policy: Policy, target: str, away: Sequence[str]) -> str:
    return next((_cell(newest, away) for newest in policy.on_targets if newest.target == target), "-")


def _cell(newest: NewestOnTarget, away: Sequence[str]) -> str:
    if not newest.good:
        return "no answer" if newest.target in away else "BAD"
    return f"good, read to {newest.depth.value}" if newest.depth else "good, not read"


def _what(run: Running) -> str:
    return f"{run.kind.value} of '{in_line(run.policy)}'"


def _running(run: Running) -> tuple[str, ...]:
    left = "waits for approval" if run.waits_for_approval else run.pace.left_words
    return (run.run, _what(run), run.pace.words, run.pace.rate_words, left)


def _far(run: Running) -> str:
    """Say how far a run is, in tenths: each step would be a line."""
    if run.waits_for_approval:
        return "waits for approval"
    if run.pace.left is None or not run.pace.total:
        return "running"
    left = f"{at_least(run.pace.left)} left" if run.pace.left else "almost done"
    return f"{run.pace.done * 10 // run.pace.total * 10} % done, {left}"


def _queues(facts: InstallationFacts) -> Iterator[tuple[str, ...]]:
    for pool in Pool:
        steps = [waiting_step for waiting_step in facts.waiting if pools()[waiting_step.kind] is pool]
        waiting = [waiting_step for waiting_step in steps if waiting_step.state is not StepState.RUNNING]
        if steps:
            many = sum(waiting_step.steps for waiting_step in steps) - (
                waits := sum(waiting_step.steps for waiting_step in waiting)
            )
            oldest = (
                about(facts.now - min(waiting_step.since for waiting_step in waiting)) if waiting else "-"
            )
            yield pool.value, f"{waits:,}", f"{many:,}", oldest


def _fitted(head: Sequence[str], rows: Rows, width: int) -> list[str]:
    """Return a table; one that is wider than the terminal has its cells below each other."""
    lines = Sheet(parts=[Table(head, rows)]).text().splitlines()
    if all(len(line) <= width - 2 for line in lines):
        return lines
    pairs = [pair for row in rows for pair in zip(head, row, strict=True)]
    return Sheet(parts=[Pairs(pairs)]).text().splitlines()


def said_of(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield what is new or different, and that what is gone is over."""
    yield from ((about_it, words) for about_it, words in now.items() if before.get(about_it) != words)
    yield from ((about_it, OVER) for about_it in before if about_it not in now)


# -- status --watch: the installation at a glance, drawn again whenever something has changed ---


SECONDS: Final = 1.0
"""Between two looks at the record, which announces nothing."""


class WatchedState(NamedTuple):
    """What one look found."""

    facts: InstallationFacts
    alerts: tuple[Finding, ...]
    muted: Muted


def watch_installation(given: ListRuns, output: Output) -> None:
    """Show the installation until somebody types ``q`` or Ctrl-C: both are how a person ends this."""
    if output.json:
        raise UsageError(
            "--watch shows all of the installation, to people.",
            hint="One run: 'strongroom runs show ID --follow'. For machines: 'strongroom runs --json' or "
            "'strongroom metrics'.",
        )
    settings = load_settings()
    looking = Looking(watched(settings), limits(settings))
    try:
        _draw(looking) if can_draw() else _tell(looking)
    except KeyboardInterrupt as stopped:
        if isinstance(stopped, Terminated):
            raise


class Looking:
    """Looks at the record, as often as asked. That it does not answer is shown, and ends nothing."""

    def __init__(self, seen: WatchedInstallation, bounds: AlertLimits) -> None:
        self.bounds = bounds
        self._watched = seen

    def look(self) -> WatchedState:
        now = time.time()
        facts = gather(self._watched, self.bounds, now=now, look=False)
        muted = Muted() if facts.state is not None else read_muted(self._watched.store(), now=now)
        return WatchedState(facts, alerts(facts, self.bounds), muted)

    def end_of(self, about_it: str) -> str:
        """Say how something ended: a run has a state."""
        with suppress(StateError):
            if about_it.startswith(RUN):
                return self._watched.store().load(about_it.removeprefix(RUN)).state.value
        return OVER


def _draw(looking: Looking) -> None:
    with Screen() as screen:
        while True:
            seen = looking.look()
            head = f"{for_people(seen.facts.now)}, by the record. q ends this look; the runs go on."
            screen.draw([head, "", *glance_lines(*seen, limits=looking.bounds, width=screen.size[0])])
            if screen.asked_to_leave(SECONDS):
                return


def _tell(looking: Looking) -> None:
    """Say each change in a line: what is shown goes into a pipe, or onto a terminal that only prints."""
    before: dict[str, str] = {}
    while True:
        seen = looking.look()
        now = changes_of(*seen)
        for about_it, words in said_of(before, now):
            how = looking.end_of(about_it) if words == OVER else words
            print(f"{for_people(seen.facts.now)}  {about_it}: {how}", flush=True)
        before = now
        time.sleep(SECONDS)
