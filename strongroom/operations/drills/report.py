"""What came of a drill: a signed document, in words and as a page, beside the backups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec import Struct

from strongroom import __version__
from strongroom.errors import by_name, meaning_of
from strongroom.model import COMMAND
from strongroom.operations.archive.shortfall import Shortfall
from strongroom.operations.drills.facts import (
    LOCAL,
    DrillFacts,
    DrillOptions,
    EnvironmentCheck,
    options_of,
    took_seconds,
)
from strongroom.operations.drills.steps import least_seconds
from strongroom.operations.engine import run_log
from strongroom.operations.engine.jobs import Ending, read_facts
from strongroom.operations.engine.services import Services
from strongroom.operations.errors import NothingSelected
from strongroom.operations.evidence.signed_report import ReportKind
from strongroom.operations.restore.journal import Restored
from strongroom.operations.restore.scratch import DrillScope
from strongroom.sheet import Content, Lines, Mood, Pairs, Part, Share, Sheet, Table, marked
from strongroom.sources.errors import SecretNotFound
from strongroom.state.records import Run, RunState, StepKind, StepRow, StepState
from strongroom.times import at_least, measured, readable, rfc3339
from strongroom.words import plural, verb

# -- What came of a drill, as a signed document that an auditor keeps ---------------------------
#
# It is made from the run's record alone, so that it is the same bytes whoever makes it and however often.
# No value is in it and no secret's name, which can be sensitive: an error that names one stands in it by its
# class, and in the run's own record with its words.


PASSED, LATE, LACKING, FAILED, CANCELLED = "passed", "late", "degraded", "failed", "cancelled"


class Timed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A step of the drill: when it began (RFC 3339; empty if it never did), and how long it took.

    ``problem`` is the class of the error that it ended with.
    """

    step: str
    began: str
    milliseconds: int
    attempts: int
    done: bool
    problem: str


class DrillProblem(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What went wrong: the class of the error, what that means and what to do."""

    code: str
    means: str
    to_do: str


class SourceComparison(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the secrets that came back stood in their source after the drill."""

    same: int
    changed: int
    missing: int
    unread: int


class DrillReport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The report. Times are RFC 3339, lengths of time in milliseconds; ``None``: it did not come to that.

    ``page_sha256`` is the digest of the HTML page beside it, which says the same to people. ``shortfall`` is
    what the backup lacks of those before it; where it lacks nothing it is left out, as in older reports.
    ``would`` is what a restore would do, where a person had all opened and nothing restored.
    """

    strongroom: str
    run: str
    drill: str
    outcome: str
    policy: str
    source: str
    into: str
    host: str
    began: str
    ended: str
    backup: str
    backup_made: str
    picked: str
    tags: Mapping[str, str]
    cut_off: Mapping[str, str]
    read_from: Mapping[str, int]
    expected: int | None
    secrets: int | None
    versions: int | None
    not_restored: Mapping[str, int]
    compared: int | None
    differ: int | None
    missing: int | None
    stand_out: int | None
    live: SourceComparison | None
    torn_down: bool | None
    took: int
    least: int
    objective: int
    objective_met: bool | None
    checks: tuple[EnvironmentCheck, ...]
    steps: tuple[Timed, ...]
    problems: tuple[DrillProblem, ...]
    page_sha256: str
    shortfall: Shortfall | None = None
    would: Restored | None = None


def report_of(run: Run, ending: Ending, services: Services) -> DrillReport:
    """Return what is on record of a drill, without the digest of its page."""
    facts, options = read_facts(run, DrillFacts), options_of(run)
    rows = [row for row in services.store.rows(run.id) if row.step.kind is not StepKind.REPORT]
    rehearsed, compared, picked = facts.drill_restore, facts.drill_compare, facts.picked
    least = least_seconds(run, rehearsed, services) if rehearsed is not None else 0.0
    took = took_seconds(facts)
    came_back = ending.state in (RunState.DONE, RunState.DEGRADED)
    met = max(took, least) <= options.objective_seconds
    return DrillReport(
        strongroom=__version__,
        run=run.id,
        drill=options.drill.value,
        outcome=_outcome(ending.state, met=met),
        policy=run.spec.policy,
        source=rehearsed.source if rehearsed else picked.source if picked else "",
        into=options.into,
        host=_host(rows),
        began=rfc3339(run.created_at),
        ended=rfc3339(_ended(run, rows)),
        backup=rehearsed.backup if rehearsed else picked.backup if picked else "",
        backup_made=rehearsed.created_at if rehearsed else picked.created_at if picked else "",
        picked=_picked(options, picked.among if picked else 0) if run.spec.targets else "",
        tags=dict(rehearsed.tags) if rehearsed else {},
        cut_off={pin.name: pin.region for pin in run.spec.targets if picked and pin.name in picked.cut_off},
        read_from=dict(rehearsed.gave) if rehearsed else {},
        expected=rehearsed.expected if rehearsed else None,
        secrets=rehearsed.secrets if rehearsed else None,
        versions=rehearsed.versions if rehearsed else None,
        not_restored=dict(rehearsed.not_done) if rehearsed else {},
        compared=compared.compared if compared else None,
        differ=compared.differ if compared else None,
        missing=compared.missing if compared else None,
        stand_out=compared.stand_out if compared else None,
        live=_source(facts),
        torn_down=_torn_down(facts, rows),
        took=_milliseconds(took),
        least=_milliseconds(least),
        objective=_milliseconds(options.objective_seconds),
        objective_met=met if came_back else None,
        checks=facts.drill_prove.checks if facts.drill_prove else (),
        steps=_steps(rows, options),
        problems=_problems(ending, rows),
        page_sha256="",
        shortfall=rehearsed.shortfall if rehearsed else None,
        would=rehearsed.would if rehearsed else None,
    )


def _outcome(state: RunState, *, met: bool) -> str:
    if state is RunState.DEGRADED:
        return LACKING if met else LATE
    return {RunState.DONE: PASSED, RunState.CANCELLED: CANCELLED}.get(state, FAILED)


def _picked(options: DrillOptions, among: int) -> str:
    if not options.within_days:
        return "the newest"
    return f"at random, one of {among} of the last {options.within_days:g} days"


def _host(rows: Sequence[StepRow]) -> str:
    """Return the host that the environment was proved on: it restores too."""
    owners = (row.owner for row in rows if row.step.kind is StepKind.DRILL_PROVE)
    return (next(owners, None) or "").partition(":")[0]


def _torn_down(facts: DrillFacts, rows: Sequence[StepRow]) -> bool | None:
    """Tell whether the place was removed; ``None`` if nothing was ever restored."""
    if facts.drill_teardown is not None:
        return True
    return False if any(row.step.kind is StepKind.DRILL_RESTORE for row in rows) else None


def _source(facts: DrillFacts) -> SourceComparison | None:
    live = facts.drill_live
    if live is None:
        return None
    return SourceComparison(same=live.same, changed=live.changed, missing=live.missing, unread=live.unread)


def _ended(run: Run, rows: Sequence[StepRow]) -> float:
    return max((row.finished_at or row.started_at or run.created_at for row in rows), default=run.created_at)


def _steps(rows: Sequence[StepRow], options: DrillOptions) -> tuple[Timed, ...]:
    by_kind = {row.step.kind: row for row in rows}
    asked = STEPS[:3] if options.only_open else STEPS if options.live else STEPS[:-1]
    return tuple(_timed(kind, by_kind.get(kind)) for kind in asked)


STEPS = (
    *(StepKind.PLAN, StepKind.DRILL_PROVE, StepKind.DRILL_RESTORE, StepKind.DRILL_COMPARE),
    *(StepKind.DRILL_TEARDOWN, StepKind.DRILL_LIVE),
)


def _timed(kind: StepKind, row: StepRow | None) -> Timed:
    if row is None or row.started_at is None:
        return Timed(step=kind.value, began="", milliseconds=0, attempts=0, done=False, problem="")
    done = row.state is StepState.DONE
    return Timed(
        step=kind.value,
        began=rfc3339(row.started_at),
        milliseconds=_milliseconds((row.finished_at or row.started_at) - row.started_at),
        attempts=row.attempts,
        done=done,
        problem="" if done else run_log.code_of(row.error or ""),
    )


def _problems(ending: Ending, rows: Sequence[StepRow]) -> tuple[DrillProblem, ...]:
    """Return what the drill failed of first, then what else its steps ended with, each once.

    That the source could not be compared with is no problem of the recovery: the step says so.
    """
    error = run_log.parse_error(ending.error)
    failed = ending.state is RunState.FAILED
    codes = [error.code] if error is not None else ["RunFailed"] if failed else []
    undone = (row for row in rows if row.state is not StepState.DONE)
    codes += [run_log.code_of(row.error or "") for row in undone if row.step.kind is not StepKind.DRILL_LIVE]
    return tuple(_problem(code) for code in dict.fromkeys(filter(None, codes)))


def _problem(code: str) -> DrillProblem:
    kind = by_name(code)
    return DrillProblem(
        code=code,
        means=meaning_of(kind) if kind else "",
        to_do=kind.default_hint if kind else "",
    )


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))


# -- A drill report in words, the same on a page and on a terminal ------------------------------


DRILLS: Final[Mapping[str, str]] = {
    DrillScope.SINGLE: "Recovery of one secret",
    DrillScope.CATEGORY: "Recovery of a category",
    DrillScope.FULL: "Full recovery",
    DrillScope.FAILOVER: "Recovery without a region",
    DrillScope.EMERGENCY: "Recovery from the emergency medium",
}
STEP_WORDS: Final[Mapping[str, str]] = {
    "plan": "Pick the backup",
    "drill-prove": "Prove the environment",
    "drill-restore": "Fetch, open and restore",
    "drill-compare": "Compare every value",
    "drill-teardown": "Remove what was restored",
    "drill-live": "Compare with the source",
}
COUNTED: Final = ("plan", "drill-prove", "drill-restore", "drill-compare")
"""The steps whose time counts for the objective: those that a real recovery has."""


class Fact(NamedTuple):
    """One line of a report: what it is about, and what is to be said."""

    about: str
    said: str


def title(report: DrillReport) -> str:
    """Return what was rehearsed, in one line."""
    of = "by hand" if report.policy == COMMAND else f"policy '{report.policy}'"
    return f"{DRILLS.get(report.drill, report.drill)}, {of}"


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
    if report.would is not None:
        opened = f"{plural(secrets, 'secret')} {verb(secrets, 'open')}, and {verb(secrets, 'are')} whole."
        return f"{opened} Nothing was written."
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
        if report.picked:
            yield Fact("Picked", report.picked)
        yield Fact("Of source", report.source)
    for tag, value in report.tags.items():
        yield Fact("Tag", f"{tag} = {value}")
    if report.would is None:
        local = report.into == LOCAL
        into = "a scratch store on the host" if local else f"a mount of its own on '{report.into}'"
        yield Fact("Restored into", into)
    for target, region in report.cut_off.items():
        yield Fact("Cut off", f"{target}, in region {region}: nothing was asked of it")
    for target, number in report.read_from.items():
        yield Fact("Read from", f"{target}: {plural(number, 'secret')}")
    yield Fact("Began", readable(report.began))
    yield Fact("Ended", readable(report.ended))


def compared(report: DrillReport) -> Iterator[Fact]:
    """Yield what was compared."""
    if (would := report.would) is not None:
        said = f"{would.created:,} created, {would.changed:,} changed (with --overwrite-existing alone)"
        yield Fact(f"A restore into '{report.into}'", f"{said}, {would.unchanged:,} already as in the backup")
        return
    if report.secrets is not None:
        yield Fact("Came back", f"{report.secrets:,} of {plural(report.expected or 0, 'secret')}")
    for code, number in report.not_restored.items():
        yield Fact("Did not come back", f"{plural(number, 'secret')}: {code}")
    if report.compared is not None:
        wrong = f"{report.differ:,} differ, {report.missing:,} missing"
        by = "read once more" if report.policy == COMMAND else "by keyed digest"
        yield Fact("With the backup", f"{plural(report.compared, 'value')} {by}: {wrong}")
    for line in report.shortfall.lines() if report.shortfall is not None else ():
        yield Fact("With earlier backups", line.strip())
    if report.stand_out is not None:
        yield Fact("Each by itself", f"{report.stand_out:,} {verb(report.stand_out, 'stand')} out")
    if report.live is not None or report.policy != COMMAND:
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


# -- A drill report as a sheet: a pure function of the report, whose signed document vouches for its page


PREFIX = "drills/"
_MOODS = {
    PASSED: Mood.GOOD,
    LATE: Mood.WARN,
    LACKING: Mood.WARN,
    FAILED: Mood.BAD,
    CANCELLED: Mood.PLAIN,
}


def sheet_of(report: DrillReport) -> Sheet:
    """Return what came of a drill."""
    return Sheet(
        kind="Recovery drill",
        title=title(report),
        verdict=OUTCOMES.get(report.outcome, report.outcome),
        mood=_MOODS.get(report.outcome, Mood.PLAIN),
        about=verdict(report),
        parts=list(_parts(report)),
        foot=f"{report.strongroom}, run {report.run}",
    )


def _parts(report: DrillReport) -> Iterator[Part]:
    if report.problems:
        problems = [(problem.code, problem.means, problem.to_do) for problem in report.problems]
        yield Table(("Problem", "It means", "To do"), problems, "What went wrong, and what to do")
        more = f" On a host of the installation, strongroom runs show {report.run} has the exact words."
        yield Lines([f"This report names no secret.{more if report.policy != COMMAND else ''}"], style="note")
    yield Pairs(list(rehearsed(report)), "What was rehearsed")
    yield Pairs(list(_times(report)), "How long it took")
    longest = max((step.milliseconds for step in report.steps), default=0) or 1
    steps = [_step(step, longest) for step in report.steps]
    yield Table(("Step", "Began (UTC)", "Took", "Result"), steps)
    yield Lines(["The objective is for the steps marked ●, which a real recovery has too."], style="note")
    yield Pairs(list(compared(report)), "What was compared")
    if report.checks:
        checks = [
            (marked(check.check, bad=bool(check.code)), check.state, check.what, check.to_do)
            for check in report.checks
        ]
        yield Table(("Check", "State", "Found", "To do"), checks, f"The host of the drill: {report.host}")


def _times(report: DrillReport) -> Iterator[tuple[str, Content]]:
    if report.objective_met is None:
        yield "Until it failed", duration(report.took)
        return
    yield "Recovery", duration(report.took)
    if report.least:
        yield "At the source's pace", f"at least {duration(report.least)}"
    met = "met" if report.objective_met else "missed"
    yield "Objective", f"{duration(report.objective)}: {met}"
    share = max(report.took, report.least) / max(report.objective, 1)
    percent = f"{100 * share:,.0f} %" if share >= 0.01 else "less than 1 %"
    mood = Mood.GOOD if report.objective_met else Mood.BAD
    yield "Of the objective", Share(share, percent, mood)


def _step(step: Timed, longest: int) -> tuple[Content, ...]:
    name = STEP_WORDS.get(step.step, step.step) + (" ●" if step.step in COUNTED else "")
    took = duration(step.milliseconds) if step.began else ""
    tries = f" after {plural(step.attempts, 'attempt')}" if step.attempts > 1 else ""
    return (
        marked(name, bad=bool(step.began) and not step.done),
        readable(step.began).removesuffix(" UTC"),
        Share(step.milliseconds / longest, took) if took else "",
        step_result(step) + tries,
    )


REPORT = ReportKind(
    name="drill-report",
    words="drill report",
    record=DrillReport,
    sheet=sheet_of,
    moment="ended",
    most=1024 * 1024,
    file_name=lambda report: report.run,
    stored=lambda _: PREFIX,
)
