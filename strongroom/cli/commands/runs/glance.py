"""An installation at a glance: its policies and targets, what runs, what waits, what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from strongroom.cli.terminal.output import fields, in_line, plural, table
from strongroom.durations import about, at_least
from strongroom.operations.facts.freshness import judge
from strongroom.operations.facts.records import (
    AlertLimits,
    InstallationFacts,
    NewestOnTarget,
    Policy,
    Running,
)
from strongroom.operations.findings import Finding
from strongroom.operations.muted import Muted
from strongroom.operations.runs.steps import pools
from strongroom.state.records import Pool, StepState

Rows = Sequence[Sequence[str]]
RUNNING = ("RUN", "WHAT", "DONE", "RATE", "LEFT")
RUN, OVER = "run ", "over"
QUEUES = ("QUEUE", "STEPS WAITING", "BEING DONE", "OLDEST")


def lines_of(
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
    lines = table(head, rows) if rows else []
    if all(len(line) <= width - 2 for line in lines):
        return lines
    return [line for row in rows for line in fields(zip(head, row, strict=True))]


def said_of(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield what is new or different, and that what is gone is over."""
    yield from ((about_it, words) for about_it, words in now.items() if before.get(about_it) != words)
    yield from ((about_it, OVER) for about_it in before if about_it not in now)
