"""drill: rehearse a recovery as a run, with a signed report on the targets; list reports and show one."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from strongroom.cli.shared import options, trust
from strongroom.cli.shared.await_run import follow
from strongroom.cli.shared.drive_run import drive_here, require_whole
from strongroom.cli.shared.services import open_services, run_store
from strongroom.cli.shared.submission import answer_submission, known_policy
from strongroom.cli.terminal import place
from strongroom.cli.terminal.output import Output, fields, table
from strongroom.config import Settings, load_settings
from strongroom.container.errors import MissingPiece
from strongroom.errors import UsageError
from strongroom.operations.drills import archive, words
from strongroom.operations.drills.abandoned import end_abandoned
from strongroom.operations.drills.archive import Found, Listing
from strongroom.operations.drills.job import REPORTED, submit_drill
from strongroom.operations.drills.report import DrillReport, report_of
from strongroom.operations.recovery_objective import Scope
from strongroom.operations.runs.job import Ending
from strongroom.operations.services import Services
from strongroom.state.records import Run
from strongroom.system.atomic_file import refuse_existing, write_whole
from strongroom.targets import Target
from strongroom.wiring import adapters
from strongroom.wiring.drills import drill_options, drilled_policy

if TYPE_CHECKING:
    from strongroom.api.submission import Submission


def run_drill(arguments: Namespace, output: Output) -> None:
    settings = load_settings()
    policy = arguments.policy or drilled_policy(settings, arguments.action)
    services = open_services(settings, output=output)
    for gone in end_abandoned(services):
        output.note(f"drill {gone.id} was abandoned, for its process is gone; what it restored is removed")
    if arguments.cluster:
        submitted = _submitted(policy, arguments, settings)
        if not arguments.follow:
            answer_submission(submitted, output, wait=False)
            return
        run = follow(output, submitted.id)
    else:
        asked = drill_options(settings, arguments.action, **_asked(arguments))
        run = drive_here(*submit_drill(services, policy=policy, options=asked), services, output)
    report = report_of(run, Ending(run.state, run.error), services)
    stored = _stored(run, services)
    output.answer({**to_builtins(report), "stored": stored}, _lines(report, stored))
    require_whole(run)


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
    if arguments.action == Scope.EMERGENCY:
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


def _stored(run: Run, services: Services) -> Mapping[str, Any]:
    """Return where the report was put, and where it could not be."""
    events = services.store.events(run=run.id, kind=REPORTED)
    return dict(events[-1].detail) if events else {"on": [], "missed": {}}


def _lines(report: DrillReport, stored: Mapping[str, Any]) -> Iterator[str]:
    yield f"{words.title(report)}: {words.OUTCOMES[report.outcome].lower()}"
    yield words.verdict(report)
    yield from (f"  {line}" for line in fields(_pairs(report)))
    if on := stored["on"]:
        yield f"The signed report is on {', '.join(on)}: strongroom drill show {report.run}"
    for target, why in stored["missed"].items():
        yield f"It is not on {target}: {why}"


def _pairs(report: DrillReport) -> Iterator[tuple[str, object]]:
    for fact in (*words.rehearsed(report), *words.compared(report)):
        yield fact.about.lower(), fact.said
    for step in report.steps:
        if step.began:
            took = words.duration(step.milliseconds)
            yield words.STEPS[step.step].lower(), f"{took}, {words.step_result(step)}"
    for problem in report.problems:
        yield "problem", f"{problem.code}: {problem.means}"
        yield "to do", problem.to_do or None


# -- the reports on the targets --------------------------------------------------------


def list_drills(arguments: Namespace, output: Output) -> None:
    listing = _listing(load_settings(), arguments.signer, arguments.from_target)
    document = {
        "drills": [{**to_builtins(found.report), "on": found.on} for found in listing.reports],
        "aside": listing.aside,
        "away": {name: error.message for name, error in listing.away.items()},
    }
    output.answer(document, _table(listing))
    _tell(listing, output)


def _table(listing: Listing) -> Sequence[str]:
    if not listing.reports:
        return ["No recovery has been rehearsed: 'strongroom drill full' does."]
    head = ("BEGAN", "DRILL", "POLICY", "RESULT", "TOOK", "OBJECTIVE", "ON", "RUN")
    return table(head, map(_row, listing.reports))


def _row(found: Found) -> tuple[str, ...]:
    report = found.report
    took, objective = words.duration(report.took), words.duration(report.objective)
    result = words.OUTCOMES.get(report.outcome, report.outcome)
    return (
        *(report.began, report.drill, report.policy, result, took, objective),
        *(", ".join(found.on), report.run),
    )


def _tell(listing: Listing, output: Output) -> None:
    for name, error in listing.away.items():
        output.warn(f"target '{name}' was not looked at: {error.message}")
    for name, why in listing.aside.items():
        output.warn(f"{name} is no report that counts: {why}")
    if listing.away:
        output.end_with(next(iter(listing.away.values())))


def _listing(settings: Settings, signers: Sequence[str], names: Sequence[str] | None) -> Listing:
    return archive.list_reports(
        _targets(settings, names), trusted=trust.trusted_signers(place.find(), signers)
    )


def _targets(settings: Settings, names: Sequence[str] | None) -> list[Target]:
    if unknown := [name for name in names or () if name not in settings.targets]:
        raise UsageError(f"There is no target '{unknown[0]}'.", hint=f"Known: {', '.join(settings.targets)}.")
    return [adapters.target(name, settings, prepare=False) for name in names or settings.targets]


# -- one report --------------------------------------------------------------------------


def show_drill(arguments: Namespace, output: Output) -> None:
    report, signed, page = _from_targets(arguments, output)
    if arguments.output is not None:
        _write(arguments, signed, page)
    output.answer(to_builtins(report), _shown(report))


def _from_targets(arguments: Namespace, output: Output) -> tuple[DrillReport, bytes, bytes]:
    settings = load_settings()
    listing = _listing(settings, arguments.signer, arguments.from_target)
    found = next((one for one in listing.reports if one.report.run == arguments.drill), None)
    if found is None:
        _tell(listing, output)
        raise MissingPiece(
            f"No target has a report of drill '{arguments.drill}'.", hint="See 'strongroom drill list'."
        )
    return found.report, found.signed, archive.page_on(found, _targets(settings, arguments.from_target))


def _write(arguments: Namespace, signed: bytes, page: bytes) -> None:
    path: Path = arguments.output
    content = {".html": page, ".json": signed}.get(path.suffix.lower())
    if content is None:
        raise UsageError("--output takes a file that ends in .html (the page) or .json (the signed report).")
    refuse_existing(path, replace=arguments.force)
    write_whole(path, content, replace=arguments.force)


def _shown(report: DrillReport) -> Iterator[str]:
    yield from _lines(report, {"on": [], "missed": {}})
    yield "The report is signed, and vouches for its page."
