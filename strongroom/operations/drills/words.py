"""A drill report in words, the same on a page and on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from strongroom.durations import at_least, measured
from strongroom.errors import by_name
from strongroom.operations.drills.facts import LOCAL
from strongroom.operations.drills.report import (
    CANCELLED,
    FAILED,
    LACKING,
    LATE,
    PASSED,
    DrillReport,
    Timed,
)
from strongroom.operations.errors import NothingSelected
from strongroom.operations.recovery_objective import DrillScope
from strongroom.sources.errors import SecretNotFound
from strongroom.timestamps import readable
from strongroom.words import plural, verb

DRILLS: Final[Mapping[str, str]] = {
    DrillScope.SINGLE: "Recovery of one secret",
    DrillScope.CATEGORY: "Recovery of a category",
    DrillScope.FULL: "Full recovery",
    DrillScope.FAILOVER: "Recovery without a region",
    DrillScope.EMERGENCY: "Recovery from the emergency medium",
}
STEPS: Final[Mapping[str, str]] = {
    "plan": "Pick the backup",
    "drill-prove": "Prove the environment",
    "drill-restore": "Fetch, open and restore",
    "drill-compare": "Compare every value",
    "drill-teardown": "Remove what was restored",
    "drill-live": "Compare with the source",
}
COUNTED: Final = ("drill-prove", "drill-restore", "drill-compare")
"""The steps whose time counts for the objective: those that a real recovery has."""


class Fact(NamedTuple):
    """One line of a report: what it is about, and what is to be said."""

    about: str
    said: str


def title(report: DrillReport) -> str:
    """Return what was rehearsed, in one line."""
    return f"{DRILLS.get(report.drill, report.drill)}, policy '{report.policy}'"


def verdict(report: DrillReport) -> str:
    """Return in one or two sentences what came of it."""
    took = f"{_took(report)}; the objective is {duration(report.objective)}."
    less = _less(report)
    said = {
        PASSED: f"{_came_back(report)} The recovery took {took}",
        LATE: f"{_came_back(report)} But it was too slow: {took}{f' {less}' if less else ''}",
        LACKING: f"{_came_back(report)} {less or 'But something else is not as it should be.'}",
        CANCELLED: "The drill was cancelled, or its process was killed. It shows nothing about a recovery.",
    }
    return said.get(report.outcome) or _failure(report)


def _less(report: DrillReport) -> str:
    why = report.shortfall.why() if report.shortfall is not None else ""
    return f"The backup is not all that is known: {why}." if why else ""


def _failure(report: DrillReport) -> str:
    restoring = [step for step in report.steps if step.step == "drill-restore" and step.began]
    if not restoring or _is_no_fault_of_the_backup(restoring[0].problem):
        return "The drill could not be carried out, so nothing shows that this backup could be recovered."
    if report.secrets is None:
        return "The recovery failed: nothing came back that could be compared. Do not count on this backup."
    return "Not everything came back as it was backed up. Do not count on this backup alone."


def _is_no_fault_of_the_backup(code: str) -> bool:
    """Tell whether what stopped a drill lies elsewhere: no target answered, or nothing was asked for."""
    kind = by_name(code)
    return kind is not None and (kind.transient or issubclass(kind, NothingSelected | SecretNotFound))


def _came_back(report: DrillReport) -> str:
    secrets, values = report.secrets or 0, report.compared or 0
    each = "its value" if secrets == values == 1 else f"each of {plural(values, 'value')}"
    return f"{plural(secrets, 'secret')} came back, and {each} is the one that was backed up."


def _took(report: DrillReport) -> str:
    if report.least > report.took:
        least = at_least(report.least / 1000)
        return f"{duration(report.took)} here, and at least {least} at the source's own pace"
    return duration(report.took)


def duration(milliseconds: int) -> str:
    """Write a length of time as people say it."""
    return measured(milliseconds / 1000)


def rehearsed(report: DrillReport) -> Iterator[Fact]:
    """Yield what was rehearsed, and from where."""
    if report.backup:
        yield Fact("Backup", report.backup)
        yield Fact("Made", readable(report.backup_made))
        yield Fact("Picked", report.picked)
        yield Fact("Of source", report.source)
    for tag, value in report.tags.items():
        yield Fact("Tag", f"{tag} = {value}")
    into = "a scratch store on the host" if report.into == LOCAL else f"a mount of its own on '{report.into}'"
    yield Fact("Restored into", into)
    for target, region in report.cut_off.items():
        yield Fact("Cut off", f"{target}, in region {region}: nothing was asked of it")
    for target, number in report.read_from.items():
        yield Fact("Read from", f"{target}: {plural(number, 'secret')}")
    yield Fact("Began", readable(report.began))
    yield Fact("Ended", readable(report.ended))


def compared(report: DrillReport) -> Iterator[Fact]:
    """Yield what was compared."""
    if report.secrets is not None:
        yield Fact("Came back", f"{report.secrets:,} of {plural(report.expected or 0, 'secret')}")
    for code, number in report.not_restored.items():
        yield Fact("Did not come back", f"{plural(number, 'secret')}: {code}")
    if report.compared is not None:
        wrong = f"{report.differ:,} differ, {report.missing:,} missing"
        yield Fact("With the backup", f"{plural(report.compared, 'value')} by keyed digest: {wrong}")
    for line in report.shortfall.lines() if report.shortfall is not None else ():
        yield Fact("With earlier backups", line.strip())
    if report.stand_out is not None:
        yield Fact("Each by itself", f"{report.stand_out:,} {verb(report.stand_out, 'stand')} out")
    yield Fact("With the source", _live(report))
    removed = {True: "yes", False: "no: see what went wrong", None: "nothing was restored"}
    yield Fact("Removed again", removed[report.torn_down])


def _live(report: DrillReport) -> str:
    live = report.live
    if live is None:
        return "not compared"
    said = f"{live.same:,} the same, {live.changed:,} changed since, {live.missing:,} no longer there"
    return said + (f", {live.unread:,} unreadable there" if live.unread else "")


def step_result(step: Timed) -> str:
    """Say how a step ended."""
    if not step.began:
        return "not reached"
    return "done" if step.done else step.problem or "not done"


OUTCOMES: Final[Mapping[str, str]] = {
    PASSED: "Passed",
    LATE: "Passed, but too slow",
    LACKING: "Passed, with a fault",
    FAILED: "Failed",
    CANCELLED: "Cancelled",
}
