"""drill: rehearse a recovery as a run, with a signed report on the targets; list reports and show one."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict, replace

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
    end_abandoned,
    submit_drill,
)
from strongroom.operations.drills.report import REPORT, DrillReport, report_of
from strongroom.operations.engine.jobs import Ending
from strongroom.operations.restore.scratch import DrillScope
from strongroom.sheet import Lines, Sheet, Table
from strongroom.system.files import refuse_existing, write_whole
from strongroom.targets import Target
from strongroom.wiring import adapters
from strongroom.wiring.jobs import drill_options, drilled_policy

if TYPE_CHECKING:
    from strongroom.api.client import Submission


def run_drill(arguments: Namespace, output: Output) -> Answer:
    settings = load_settings()
    policy = arguments.policy or drilled_policy(settings, arguments.action)
    services = open_services(settings, output=output)
    for gone in end_abandoned(services):
        output.note(f"drill {gone.id} was abandoned, for its process is gone; what it restored is removed")
    if arguments.cluster:
        submitted = _submitted(policy, arguments, settings)
        if not arguments.follow:
            return answer_submission(submitted, output, wait=False)
        run = follow(output, submitted.id)
    else:
        asked = drill_options(settings, arguments.action, **_asked(arguments))
        run = drive_here(*submit_drill(services, policy=policy, options=asked), services, output)
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


def _asked(arguments: Namespace) -> dict[str, Any]:
    """Return what was said on the command line, as the options of a drill."""
    given = {
        "secret": getattr(arguments, "secret", None),
        "tags": options.pairs(getattr(arguments, "tag", []), "--tag"),
        "target": arguments.target,
        "into": arguments.into,
        "within_days": arguments.random_within,
        "objective_seconds": arguments.objective,
    }
    return {name: value for name, value in given.items() if value}


def _submitted(policy: str, arguments: Namespace, settings: Settings) -> Submission:
    if arguments.action == DrillScope.EMERGENCY:
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

    submitted: Submission = recovery_drill.delay(policy=policy, drill=arguments.action, **_asked(arguments))
    return submitted


# -- the reports on the targets --------------------------------------------------------


def list_drills(arguments: Namespace, output: Output) -> Answer:
    listing = _listing(load_settings(), arguments.signer, arguments.from_target)
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


def _listing(settings: Settings, signers: Sequence[str], names: Sequence[str] | None) -> DrillReports:
    return job.list_reports(
        _targets(settings, names), trusted=admission.trusted_signers(place.find(), signers)
    )


def _targets(settings: Settings, names: Sequence[str] | None) -> list[Target]:
    if unknown := [name for name in names or () if name not in settings.targets]:
        raise UsageError(f"There is no target '{unknown[0]}'.", hint=f"Known: {', '.join(settings.targets)}.")
    return [adapters.target(name, settings, prepare=False) for name in names or settings.targets]


# -- one report --------------------------------------------------------------------------


def show_drill(arguments: Namespace, output: Output) -> Answer:
    report, signed, page = _from_targets(arguments, output)
    if arguments.output is not None:
        _write(arguments, signed, page)
    sheet = REPORT.sheet(report)
    signed_by = Lines(["The report is signed, and vouches for its page."])
    return Answer(record=report, sheet=replace(sheet, parts=(signed_by, *sheet.parts)))


def _from_targets(arguments: Namespace, output: Output) -> tuple[DrillReport, bytes, bytes]:
    settings = load_settings()
    listing = _listing(settings, arguments.signer, arguments.from_target)
    found = next((stored for stored in listing.reports if stored.report.run == arguments.drill), None)
    if found is None:
        for line in _unread(listing):
            output.warn(line)
        output.end_with(next(iter(listing.away.values()), None))
        raise MissingPiece(
            f"No target has a report of drill '{arguments.drill}'.", hint="See 'strongroom drill list'."
        )
    return found.report, found.signed, job.page_on(found, _targets(settings, arguments.from_target))


def _write(arguments: Namespace, signed: bytes, page: bytes) -> None:
    path: Path = arguments.output
    content = {".html": page, ".json": signed}.get(path.suffix.lower())
    if content is None:
        raise UsageError("--output takes a file that ends in .html (the page) or .json (the signed report).")
    refuse_existing(path, replace=arguments.force)
    write_whole(path, content, replace=arguments.force)
