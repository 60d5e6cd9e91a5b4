"""drill: rehearse a recovery as a run, with a signed report on the targets; list reports and show one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict, replace

from strongroom.cli.commands.restore.arguments import (
    DrillCategory,
    DrillSecret,
    ListDrills,
    RunDrill,
    ShowDrill,
)
from strongroom.cli.shared import admission, options
from strongroom.cli.shared.runs import answer_submission, drive_here, follow, known_policy, lack_of_all
from strongroom.cli.shared.services import open_services, run_store
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.config import Settings, load_settings
from strongroom.container.errors import MissingPiece
from strongroom.errors import UsageError
from strongroom.operations.drills import job
from strongroom.operations.drills import report as words
from strongroom.operations.drills.job import (
    REPORTED,
    DrillReports,
    StoredDrillReport,
    submit_drill,
)
from strongroom.operations.drills.report import REPORT, DrillReport, report_of
from strongroom.operations.engine.drive import end_abandoned
from strongroom.operations.engine.jobs import Ending
from strongroom.operations.restore.scratch import DrillScope
from strongroom.sheet import Lines, Sheet, Table
from strongroom.state.records import RunKind
from strongroom.system.files import refuse_existing, write_whole
from strongroom.targets import Target
from strongroom.wiring import adapters
from strongroom.wiring.jobs import drill_options, drilled_policy

if TYPE_CHECKING:
    from strongroom.api.client import Submission


def run_drill(given: RunDrill, output: Output) -> Answer:
    settings = load_settings()
    policy = given.policy or drilled_policy(settings, given.scope)
    services = open_services(settings, output=output)
    for gone in end_abandoned(services, RunKind.DRILL):
        output.note(f"drill {gone.id} was abandoned, for its process is gone; what it restored is removed")
    if given.way.cluster:
        submitted = _submitted(policy, given, settings)
        if not given.way.follow:
            return answer_submission(submitted, output, wait=False)
        run = follow(output, submitted.id)
    else:
        asked = drill_options(settings, given.scope, **_asked(given))
        run = drive_here(partial(submit_drill, services, policy=policy, options=asked), services, output)
    report = report_of(run, Ending(run.state, run.error), services)
    events = services.store.events(run=run.id, kind=REPORTED)
    stored = dict(events[-1].detail) if events else {"on": [], "missed": {}}
    lines = [f"It is not on {target}: {why}" for target, why in stored["missed"].items()]
    if on := stored["on"]:
        lines.insert(0, f"The signed report is on {', '.join(on)}: strongroom drill show {report.run}")
    sheet = REPORT.sheet(report)
    return Answer(
        record={**asdict(report), "stored": stored},
        sheet=replace(sheet, parts=(Lines(lines), *sheet.parts)),
        error=lack_of_all([run]),
    )


def _asked(given: RunDrill) -> dict[str, Any]:
    """Return what was typed, as the options of a drill."""
    asked = {
        "secret": given.secret if isinstance(given, DrillSecret) else None,
        "tags": options.pairs(given.tag, "--tag") if isinstance(given, DrillCategory) else None,
        "target": given.target,
        "into": given.into,
        "within_days": given.random_within,
        "objective_seconds": given.objective,
    }
    return {name: value for name, value in asked.items() if value}


def _submitted(policy: str, given: RunDrill, settings: Settings) -> Submission:
    if given.scope is DrillScope.EMERGENCY:
        raise UsageError(
            "The emergency medium lies at this host, so no worker drills with it.",
            hint="Leave --cluster out.",
        )
    known_policy(policy, settings)
    if not run_store().backups(policy=policy, limit=1):
        raise MissingPiece(
            f"There is no backup of policy '{policy}' yet; nothing was submitted.",
            hint=f"Make one: 'strongroom backup --policy {policy}'.",
        )
    from tasks.drill import recovery_drill

    submitted: Submission = recovery_drill.delay(policy=policy, drill=given.scope.value, **_asked(given))
    return submitted


# -- the reports on the targets --------------------------------------------------------


def list_drills(given: ListDrills, output: Output) -> Answer:
    listing = _listing(load_settings(), given)
    head = ("Began", "Drill", "Policy", "Result", "Took", "Objective", "On", "Run")
    nothing = "No recovery has been rehearsed: 'strongroom drill full' does."
    table = Table(head, list(map(_row, listing.reports)), nothing=nothing)
    return Answer(
        record={
            "drills": [{**asdict(found.report), "on": found.on} for found in listing.reports],
            "aside": listing.aside,
            "away": {name: error.message for name, error in listing.away.items()},
        },
        sheet=Sheet(parts=[table]),
        warnings=tuple(_unread(listing)),
        error=next(iter(listing.away.values()), None),
    )


def _row(found: StoredDrillReport) -> tuple[str, ...]:
    report = found.report
    took, objective = words.duration(report.took), words.duration(report.objective)
    result = words.OUTCOMES.get(report.outcome, report.outcome)
    return (
        *(report.began, report.drill, report.policy, result, took, objective),
        *(", ".join(found.on), report.run),
    )


def _unread(listing: DrillReports) -> Iterator[str]:
    for name, error in listing.away.items():
        yield f"target '{name}' was not looked at: {error.message}"
    for name, why in listing.aside.items():
        yield f"{name} is no report that counts: {why}"


def _listing(settings: Settings, given: ListDrills) -> DrillReports:
    trusted = admission.trusted_signers(place.find(), given.trust.signer)
    return job.list_reports(_targets(settings, given.from_target), trusted=trusted)


def _targets(settings: Settings, names: Sequence[str]) -> list[Target]:
    if unknown := [name for name in names if name not in settings.targets]:
        raise UsageError(f"There is no target '{unknown[0]}'.", hint=f"Known: {', '.join(settings.targets)}.")
    return [adapters.target(name, settings, prepare=False) for name in names or settings.targets]


# -- one report --------------------------------------------------------------------------


def show_drill(given: ShowDrill, output: Output) -> Answer:
    report, signed, page = _from_targets(given, output)
    if given.output is not None:
        _write(given.output, signed, page, replace_existing=given.force)
    sheet = REPORT.sheet(report)
    signed_by = Lines(["The report is signed, and vouches for its page."])
    return Answer(record=report, sheet=replace(sheet, parts=(signed_by, *sheet.parts)))


def _from_targets(given: ShowDrill, output: Output) -> tuple[DrillReport, bytes, bytes]:
    settings = load_settings()
    listing = _listing(settings, given)
    found = next((stored for stored in listing.reports if stored.report.run == given.drill), None)
    if found is None:
        for line in _unread(listing):
            output.warn(line)
        output.end_with(next(iter(listing.away.values()), None))
        raise MissingPiece(
            f"No target has a report of drill '{given.drill}'.", hint="See 'strongroom drill list'."
        )
    return found.report, found.signed, job.page_on(found, _targets(settings, given.from_target))


def _write(path: Path, signed: bytes, page: bytes, *, replace_existing: bool) -> None:
    content = {".html": page, ".json": signed}.get(path.suffix.lower())
    if content is None:
        raise UsageError("--output takes a file that ends in .html (the page) or .json (the signed report).")
    refuse_existing(path, replace=replace_existing)
    write_whole(path, content, replace=replace_existing)
