"""What came of a drill, as a signed document that an auditor keeps.

It is made from the run's record alone, so that it is the same bytes whoever makes it and however often.
No value is in it and no secret's name, which can be sensitive: an error that names one stands in it by its
class, and in the run's own record with its words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from strongroom import __version__
from strongroom.errors import by_name, meaning_of
from strongroom.operations import recorded_errors
from strongroom.operations.archive.shortfall import Shortfall
from strongroom.operations.drills.facts import (
    DrillFacts,
    DrillOptions,
    EnvironmentCheck,
    options_of,
    took_seconds,
)
from strongroom.operations.drills.steps import least_seconds
from strongroom.operations.runs.job import Ending, read_facts
from strongroom.operations.services import Services
from strongroom.state.records import Run, RunState, StepKind, StepRow, StepState
from strongroom.timestamps import rfc3339

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


def report_of(run: Run, ending: Ending, services: Services) -> DrillReport:
    """Return what is on record of a drill, without the digest of its page."""
    facts, options = read_facts(run, DrillFacts), options_of(run)
    rows = [row for row in services.store.rows(run.id) if row.step.kind is not StepKind.REPORT]
    rehearsed, compared, picked = facts.drill_restore, facts.drill_compare, facts.picked
    least = least_seconds(rehearsed, services) if rehearsed is not None else 0.0
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
        picked=_picked(options, picked.among if picked else 0),
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
        steps=_steps(rows),
        problems=_problems(ending, rows),
        page_sha256="",
        shortfall=rehearsed.shortfall if rehearsed else None,
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


def _steps(rows: Sequence[StepRow]) -> tuple[Timed, ...]:
    by_kind = {row.step.kind: row for row in rows}
    return tuple(_timed(kind, by_kind.get(kind)) for kind in STEPS)


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
        problem="" if done else recorded_errors.code_of(row.error or ""),
    )


def _problems(ending: Ending, rows: Sequence[StepRow]) -> tuple[DrillProblem, ...]:
    """Return what the drill failed of first, then what else its steps ended with, each once.

    That the source could not be compared with is no problem of the recovery: the step says so.
    """
    error = recorded_errors.parse_error(ending.error)
    failed = ending.state is RunState.FAILED
    codes = [error.code] if error is not None else ["RunFailed"] if failed else []
    undone = (row for row in rows if row.state is not StepState.DONE)
    codes += [
        recorded_errors.code_of(row.error or "") for row in undone if row.step.kind is not StepKind.DRILL_LIVE
    ]
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
