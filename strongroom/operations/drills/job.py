"""The drill as a job: its steps, what came of it, and its reports on the targets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import msgspec
from msgspec import Struct, structs

from strongroom.container.errors import MissingPiece, VerificationFailed
from strongroom.errors import ConfigError, StrongroomError, UsageError
from strongroom.model import COMMAND, Role
from strongroom.operations.archive.shortfall import Shortfall
from strongroom.operations.backup.verify import had_backup, spec_of_policy
from strongroom.operations.drills import steps
from strongroom.operations.drills.facts import (
    DrillComparison,
    DrillFacts,
    DrillOptions,
    DrillPlan,
    Live,
    Proved,
    Rehearsed,
    TornDown,
    cut_off,
    options_of,
    took_seconds,
)
from strongroom.operations.drills.report import PREFIX, REPORT, DrillReport, report_of
from strongroom.operations.drills.work import AttendedDrill
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.integrity import TERMS
from strongroom.operations.engine.jobs import Ending, Job, Result, RunAccount, StepAction, read_facts
from strongroom.operations.engine.lone_run import LoneStore, drive_alone, lone_services
from strongroom.operations.engine.run_log import error_text
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.statements import put_checked
from strongroom.operations.engine.submit import Submitted, submit
from strongroom.operations.evidence.signed_report import PAGE, vouch, vouches
from strongroom.operations.restore.scratch import objective_missed
from strongroom.state.errors import RecordRefused
from strongroom.state.records import (
    Pool,
    Run,
    RunKind,
    RunState,
    RunStep,
    Spec,
    StepConsequence,
    StepKind,
    StepRow,
    StepState,
    Tally,
)
from strongroom.targets import Target
from strongroom.words import plural, verb

# -- Drill reports on the targets, beside the backups: put there by the drill, read by any host ---
#
# A report is ``drills/<run>.json``, its page ``drills/<run>.html``, which is put first: a report that is
# there has its page.


_NAME = re.compile(PREFIX + r"([A-Za-z0-9][A-Za-z0-9._-]{0,199})\.json")
LISTED = 1_000
"""Names that are read on one target, the newest first: anyone who may write there can leave any number."""


class Stored(Struct, frozen=True, kw_only=True):
    """Where a report was put, and where it could not be, with the reason."""

    on: tuple[str, ...]
    missed: dict[str, str]


def put_report(report: DrillReport, names: Sequence[str], services: Services, *, keep: timedelta) -> Stored:
    """Sign a report and put it with its page on targets. A target that is away keeps none from the others.

    If none takes it, any other target of this host may: a medium that did not come has no report of that.

    Args:
        keep: for how long it is locked where a target locks.
    """
    beside = REPORT.files(report)
    signed = REPORT.sign(vouch(report, beside), services.signers(Role.CONTROL))
    files = {f"{PREFIX}{report.run}.html": beside[PAGE], f"{PREFIX}{report.run}.json": signed}
    stored = put_files(names, files, services, keep=keep)
    if stored.on:
        return stored
    others = [name for name in services.targets if name not in names]
    instead = put_files(others, files, services, keep=keep)
    return Stored(on=instead.on, missed=stored.missed)


def put_files(
    names: Iterable[str], files: Mapping[str, bytes], services: Services, *, keep: timedelta
) -> Stored:
    """Put files on targets, in their order, and read them back. One that is away keeps none from others."""
    missed: dict[str, str] = {}
    on: list[str] = []
    for name in names:
        try:
            _put(services.target(name), files, until=datetime.now(UTC) + keep)
        except StrongroomError as error:
            missed[name] = f"{error.code}: {error.message}"
        else:
            on.append(name)
    return Stored(on=tuple(on), missed=missed)


def _put(target: Target, files: Mapping[str, bytes], *, until: datetime) -> None:
    for name, content in files.items():
        put_checked(target, name, content, until=until)


class StoredDrillReport(Struct, frozen=True, kw_only=True):
    """A report, as it was signed, and the targets that have it."""

    report: DrillReport
    signed: bytes
    on: tuple[str, ...]


class DrillReports(Struct, frozen=True, kw_only=True):
    """The reports on some targets, the newest first, the names that are of none, and the targets that do not
    answer, each with the reason."""

    reports: tuple[StoredDrillReport, ...]
    aside: dict[str, str]
    away: dict[str, StrongroomError]


def list_reports(targets: Sequence[Target], *, trusted: frozenset[str]) -> DrillReports:
    """Read all reports that somebody trusted signed."""
    found: dict[bytes, StoredDrillReport] = {}
    aside: dict[str, str] = {}
    away: dict[str, StrongroomError] = {}
    for target in targets:
        try:
            runs = _runs_on(target)
            for run in runs[:LISTED]:
                _read(target, run, trusted, found, aside)
            if len(runs) > LISTED:  # true reports may be hidden behind names that somebody made up
                aside[f"{PREFIX} on {target.name}"] = (
                    f"it has {len(runs):,} names; the first {LISTED:,} were read"
                )
        except StrongroomError as error:
            away[target.name] = error
    reports = sorted(
        found.values(), key=lambda stored: (stored.report.began, stored.report.run), reverse=True
    )
    return DrillReports(reports=tuple(reports), aside=aside, away=away)


def _runs_on(target: Target) -> list[str]:
    matches = (_NAME.fullmatch(info.name) for info in target.list(PREFIX))
    return sorted((match[1] for match in matches if match), reverse=True)


def _read(
    target: Target,
    run: str,
    trusted: frozenset[str],
    found: dict[bytes, StoredDrillReport],
    aside: dict[str, str],
) -> None:
    name = f"{PREFIX}{run}.json"
    signed = b"".join(target.read(name, length=REPORT.most + 1))
    try:
        known = found.get(signed)
        report = known.report if known else REPORT.parse(signed, trusted=trusted)
        if report.run != run:
            raise VerificationFailed("it is the report of another drill")
    except StrongroomError as error:  # of what lies there; that a target is away was told before
        aside[f"{name} on {target.name}"] = f"{error.code}: {error.message}"
    else:
        found[signed] = StoredDrillReport(
            report=report, signed=signed, on=(*(known.on if known else ()), target.name)
        )


def page_on(found: StoredDrillReport, targets: Sequence[Target]) -> bytes:
    """Return the page of a report, from the first target that has the one which the report vouches for.

    Raises:
        MissingPiece: none has.
    """
    for target in targets:
        if target.name in found.on:
            content = b"".join(target.read(f"{PREFIX}{found.report.run}.html", length=8 * REPORT.most))
            if vouches(found.report, content):
                return content
    raise MissingPiece(f"no target has the page that the report of drill {found.report.run} vouches for")


# -- The drill as a job: plan → prove → restore → compare → teardown → compare with the source → report


REPORTED = "drill.reported"
TRIED = 20
"""Backups that are looked through for one that was begun before a drill was due."""
_REPORT = RunStep(StepKind.REPORT)


class DrillJob(Job):
    """Rehearses a recovery, and times it.

    What fails on the way is tolerated, so that each drill comes to its teardown, where the place is.
    """

    first = RunStep(StepKind.PLAN)
    in_turn = True
    opens = True
    reads = True
    swept_again = ""
    terms = TERMS
    actions: ClassVar[Mapping[StepKind, StepAction[Any]]] = {
        StepKind.PLAN: StepAction(steps.pick, DrillPlan, Pool.CONTROL),
        StepKind.DRILL_PROVE: StepAction(steps.prove, Proved, Pool.DRILL),
        StepKind.DRILL_RESTORE: StepAction(steps.restore, Rehearsed, Pool.DRILL, tolerated=True),
        StepKind.DRILL_COMPARE: StepAction(steps.compare, DrillComparison, Pool.DRILL, tolerated=True),
        StepKind.DRILL_TEARDOWN: StepAction(steps.tear_down, TornDown, Pool.DRILL, tolerated=True),
        StepKind.DRILL_LIVE: StepAction(steps.compare_with_source, Live, Pool.VERIFY, tolerated=True),
    }

    def decide(self, run: Run, tally: Tally, step: RunStep, result: Result) -> StepConsequence:
        facts = {} if result is None else {step.kind.value: msgspec.to_builtins(result)}
        return StepConsequence(facts=facts, follow=(_following(run, step, result),))

    def asked(self, run: Run) -> Sequence[str]:
        away = cut_off(run.spec.targets, options_of(run))
        return [pin.name for pin in run.spec.targets if pin.name not in away]

    def left_behind(self, run: Run, rows: Sequence[StepRow]) -> str:
        return "nothing but the place of the drill was written to"

    def again(self, run: Run) -> str:
        return f"'strongroom drill {run.spec.options.get('drill', 'full')}'"

    def account(self, run: Run, rows: Sequence[StepRow]) -> RunAccount:
        return RunAccount((("signed report", f"strongroom drill show {run.id}"),) if run.state.final else ())

    def outcome(self, run: Run, services: Services) -> Ending:
        """Hold a drill that brought everything back to its objective."""
        facts = read_facts(run, DrillFacts)
        if facts.picked is None or facts.drill_prove is None:
            raise RecordRefused(f"run {run.id} does not record what its drill picked and proved")
        wrong = _unready(facts.drill_prove) or _unfinished(run, facts, services) or _not_the_same(facts)
        if wrong:
            return Ending(RunState.FAILED, wrong)
        lacking = _less(facts) or _late(run, facts, services) or _left_behind(run, facts, services)
        return Ending(RunState.DEGRADED, lacking) if lacking else Ending(RunState.DONE)

    def shortfall_of(self, run: Run) -> Shortfall | None:
        rehearsed = read_facts(run, DrillFacts).drill_restore
        return rehearsed.shortfall if rehearsed is not None else None

    def sweep(self, run: Run, services: Services) -> dict[str, str]:
        """Remove the place, if no step came to that: the run failed early, or was cancelled."""
        rows = services.store.rows(run.id, StepKind.DRILL_TEARDOWN)
        if any(row.state is StepState.DONE for row in rows):
            return {}
        try:
            services.drilling(run, services).place.remove(run.id)
        except ConfigError:  # this process has no such place: the next drill on a host that has removes it
            return {"place": "the mount of the drill may be left; the next drill there removes it"}
        except StrongroomError as error:
            return {"place": f"{error.code}: {error.message}"}
        return {}

    def conclude(self, run: Run, ending: Ending, services: Services) -> Ending:
        """Put the signed report on the targets. A drill without one has shown nothing to anybody, but to the
        person who drives it: that one's has no targets."""
        if not run.spec.targets:
            return ending
        report = report_of(run, ending, services)
        keep = timedelta(days=run.spec.minimum_retention_days)
        names = [pin.name for pin in run.spec.targets]
        stored = put_report(report, names, services, keep=keep)
        services.store.event(REPORTED, run.id, on=list(stored.on), missed=stored.missed)
        if stored.on or ending.state is not RunState.DONE:
            return ending
        return Ending(
            RunState.DEGRADED, f"everything came back, but no target took the report: {stored.missed}"
        )

    def scheduled_spec(self, entry: Scheduled, services: Services, due: float) -> Spec | None:
        """Return the drill that a slot runs.

        Nothing at a time before the policy's first backup: there was nothing to rehearse. Where a backup was
        tried by then and there is none, the drill is made, and fails.
        """
        tried = services.store.runs_of(entry.policy, RunKind.BACKUP, limit=TRIED)
        if not had_backup(services, entry.policy, due) and not any(run.created_at <= due for run in tried):
            return None
        return drill_spec(services, entry.policy, msgspec.convert(entry.options, DrillOptions))

    def backup_of(self, run: Run) -> str:
        """Return the backup that was picked; an odd row names none."""
        try:
            picked = read_facts(run, DrillFacts).picked
        except RecordRefused:
            return ""
        return picked.backup if picked else ""

    def check_retry(self, run: Run, services: Services) -> None:
        raise UsageError(
            "A drill that failed stays on record as failed, and its report is written.",
            hint=f"Remove the cause, then rehearse again: 'strongroom drill {options_of(run).drill}'.",
        )


def _following(run: Run, step: RunStep, result: Result) -> RunStep:
    if step.kind is StepKind.DRILL_PROVE and isinstance(result, Proved):
        return _REPORT if result.wrong else RunStep(StepKind.DRILL_RESTORE)
    if step.kind is StepKind.DRILL_RESTORE and options_of(run).only_open:
        return _REPORT
    if step.kind is StepKind.DRILL_RESTORE:
        return RunStep(StepKind.DRILL_TEARDOWN if result is None else StepKind.DRILL_COMPARE)
    if step.kind is StepKind.DRILL_TEARDOWN:
        came_back = read_facts(run, DrillFacts).drill_restore is not None
        return RunStep(StepKind.DRILL_LIVE) if came_back and options_of(run).live else _REPORT
    return _FOLLOWING.get(step.kind, _REPORT)


_FOLLOWING = {
    StepKind.PLAN: RunStep(StepKind.DRILL_PROVE),
    StepKind.DRILL_COMPARE: RunStep(StepKind.DRILL_TEARDOWN),
}


# -- what came of it -------------------------------------------------------------


def _unready(proved: Proved) -> str:
    wrong = proved.wrong
    return f"{wrong.code}: the drill could not be carried out: {wrong.what}" if wrong else ""


def _unfinished(run: Run, facts: DrillFacts, services: Services) -> str:
    """Say which of the steps that bring secrets back was given up, in the words of its error."""
    done: dict[StepKind, object] = {StepKind.DRILL_RESTORE: facts.drill_restore}
    if not options_of(run).only_open:
        done[StepKind.DRILL_COMPARE] = facts.drill_compare
    for kind in (kind for kind, result in done.items() if result is None):
        row = services.store.row(run.id, RunStep(kind))
        if row.state is StepState.DONE:
            raise RecordRefused(f"run {run.id} does not record what its step {kind.value} found")
        return f"{kind.value}: {row.error or 'it was given up'}"
    return ""


def _not_the_same(facts: DrillFacts) -> str:
    rehearsed, compared = facts.drill_restore, facts.drill_compare
    assert rehearsed is not None
    if rehearsed.secrets != rehearsed.expected:
        code = next(iter(rehearsed.not_done), "VerificationFailed")
        return f"{code}: {rehearsed.secrets:,} of {plural(rehearsed.expected, 'secret')} came back"
    if compared is None:  # all was opened, and nothing restored
        return ""
    if wrong := compared.differ + compared.missing:
        of = plural(compared.compared, "value")
        return f"VerificationFailed: {wrong:,} of {of} {verb(wrong, 'are')} not what was backed up"
    if compared.compared != rehearsed.versions:
        of = plural(rehearsed.versions, "value")
        return f"VerificationFailed: {compared.compared:,} of {of} were compared"
    return ""


def _less(facts: DrillFacts) -> str:
    """Say why what came back is not all that is known."""
    assert facts.drill_restore is not None
    found = facts.drill_restore.shortfall
    error = found.error() if found is not None else None
    return f"{error.code}: {error_text(error)}" if error is not None else ""


def _late(run: Run, facts: DrillFacts, services: Services) -> str:
    assert facts.drill_restore is not None
    least = steps.least_seconds(run, facts.drill_restore, services)
    objective = options_of(run).objective_seconds
    late = objective_missed(took_seconds(facts), least=least, objective=objective)
    return f"RecoveryTooSlow: everything came back, but {late}" if late else ""


def _left_behind(run: Run, facts: DrillFacts, services: Services) -> str:
    if facts.drill_teardown is not None or options_of(run).only_open:
        return ""
    row = services.store.row(run.id, RunStep(StepKind.DRILL_TEARDOWN))
    return f"drill-teardown: {row.error or 'it was given up'}"


JOB = DrillJob()


def submit_drill(
    services: Services, *, policy: str, options: DrillOptions, request_id: str | None = None
) -> Submitted:
    """Create a drill of a policy's backups.

    Raises:
        ConfigError: the policy has no such target, or nothing that is left when a region is cut off.
        UsageError: its backups hold no values.
    """
    return submit(services, drill_spec(services, policy, options), request_id=request_id)


def drill_spec(services: Services, policy: str, options: DrillOptions) -> Spec:
    """Return the spec of a drill."""
    pinned = services.pinned(policy).spec
    if not pinned.values:
        raise UsageError(f"Policy '{policy}' backs up no values, so nothing can be recovered from it.")
    cut_off(pinned.targets, options)
    return spec_of_policy(
        services, RunKind.DRILL, policy, source=pinned.source, options=msgspec.to_builtins(options)
    )


# -- A drill that a person drives alone, with no record but this process's ------------------------


class LoneDrill(NamedTuple):
    """What came of it: its run, its report, and what it failed of."""

    run: Run
    report: DrillReport
    error: BaseException | None


def drill_alone(
    drill: AttendedDrill,
    options: DrillOptions,
    *,
    state_dir: Path,
    watch: Callable[[RunStep], object] = lambda _: None,
) -> LoneDrill:
    """Rehearse a backup that a person opens: no target is asked for it, and no database.

    Args:
        watch: is told of each step before it begins.
    """
    store = LoneStore()
    given = msgspec.to_builtins(structs.replace(options, live=False))
    spec = Spec(kind=RunKind.DRILL, policy=COMMAND, options=given)
    services = lone_services(store, spec, state_dir=state_dir, drilling=lambda _run, _services: drill)
    run, error = drive_alone(store, spec, services, watch=watch)
    return LoneDrill(run, report_of(run, Ending(run.state, run.error), services), error)
