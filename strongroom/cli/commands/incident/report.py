"""The report of an incident: written, and the last word of one that is closed."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from msgspec import to_builtins

from strongroom.cli.commands.incident import render
from strongroom.cli.shared import approval, identity_options
from strongroom.cli.shared.report_files import refuse_files
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal import place
from strongroom.cli.terminal.output import Output
from strongroom.model import ApprovalAction
from strongroom.operations.archive.incidents import Incident, IncidentStep, StepOutcome
from strongroom.operations.incident.isolate import subjects
from strongroom.operations.incident.report import WrittenReport, write_report
from strongroom.operations.incident.rotate import look_again
from strongroom.operations.incident.steps import (
    RecordedIncident,
    close,
    find_incident,
    record_outcome,
    require_settled,
)
from strongroom.operations.services import Services
from strongroom.operations.signed_report import PAGE, beside
from strongroom.system.atomic_file import write_whole
from strongroom.system.person import who


def make_report(arguments: Namespace, output: Output) -> None:
    refuse_files(arguments.output, endings=(PAGE,), replace=arguments.replace)
    services = open_services()
    incident = find_incident(services, arguments.incident)
    recorded = RecordedIncident(incident=incident, missed={})
    if incident.closed is None:
        said = "" if arguments.output is None else f"written to {arguments.output.name}"
        recorded = record_outcome(services, incident, IncidentStep.REPORT, StepOutcome(), by=who(), said=said)
    _answer(services, recorded, arguments.output, output, replace=arguments.replace)


def close_incident(arguments: Namespace, output: Output) -> None:
    refuse_files(arguments.output, endings=(PAGE,), replace=False)
    services = identity_options.with_identities(open_services(), arguments, output)
    incident = find_incident(services, arguments.incident)
    recorded = close_approved(services, incident, reason=arguments.reason)
    _answer(services, recorded, arguments.output, output, replace=False)


def close_approved(services: Services, incident: Incident, *, reason: str) -> RecordedIncident:
    """Close an incident once every step is settled, no former value is back, and who has to approved it."""
    if incident.closed is None:
        require_settled(incident)
        look_again(services, incident, by=who())
        _require_approved(incident)
    return close(services, incident, reason=reason, by=who())


def _require_approved(incident: Incident) -> None:
    """Closing lifts holds, so whoever has to approve that approves this."""
    if held := list(subjects(incident)):
        what = ", ".join(f"{kind} '{name}'" for kind, name in held)
        approval.require_approved(
            place.find(),
            ApprovalAction.RELEASE,
            {"incident": incident.id},
            lines=(f"close incident {incident.id}: lift its hold on {what}",),
        )


def _answer(
    services: Services, recorded: RecordedIncident, path: Path | None, output: Output, *, replace: bool
) -> None:
    written = write_report(services, recorded.incident)
    lines = [*render.lines_of(recorded.incident), *_save(written, path, replace=replace)]
    output.answer({**render.as_document(recorded.incident), "report": to_builtins(written.report)}, lines)
    render.require_everywhere({**recorded.missed, **written.stored.missed})


def write_files(services: Services, incident: Incident, path: Path | None) -> list[str]:
    """Write how an incident stands now to files, if that was asked for; say where that is."""
    return [] if path is None else list(_save(write_report(services, incident), path, replace=False))


def _save(written: WrittenReport, path: Path | None, *, replace: bool) -> Iterator[str]:
    if path is None:
        yield f"The report is on {len(written.stored.on)} targets. --output FILE.json writes it here too."
        return
    write_whole(beside(path), written.page, replace=replace)
    write_whole(path, written.signed, replace=replace)
    yield f"The report is in {path}, signed by this installation; the page is {beside(path)}."
