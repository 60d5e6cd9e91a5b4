"""The steps of an incident, one command each; and how it stands."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import structs

from strongroom.cli.commands.incident import render
from strongroom.cli.commands.incident.suspected import find_readers_of_keys
from strongroom.cli.shared import identity_options
from strongroom.cli.shared.drive_run import drive_here
from strongroom.cli.shared.follow_run import by_ticket, showing_progress
from strongroom.cli.shared.rotation_plan import confirm, plan_document, plan_lines
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal.output import Output, encode, plural
from strongroom.config import load_settings
from strongroom.errors import StrongroomError, UsageError
from strongroom.operations.archive.cases import spread_case
from strongroom.operations.archive.incidents import (
    INCIDENT,
    STEPS,
    Incident,
    IncidentStep,
    KnownIncidents,
    read_incidents,
)
from strongroom.operations.errors import StepIncomplete
from strongroom.operations.incident import rotate
from strongroom.operations.incident.exposed import (
    Compromised,
    Unchanged,
    compromised_names,
    find_unchanged,
)
from strongroom.operations.incident.perform import IncidentSteps
from strongroom.operations.incident.steps import RecordedIncident, find_incident, require_open, waive
from strongroom.operations.procedure import AfterFailure, Guide
from strongroom.operations.rotators.records import SecretRotationPlan
from strongroom.operations.runs.drive import Watch
from strongroom.operations.services import Services
from strongroom.system.atomic_file import refuse_existing, write_whole
from strongroom.system.person import who


def incident_steps(
    services: Services,
    incident: Incident,
    output: Output,
    *,
    steps: Sequence[IncidentStep] = STEPS,
    exposed: Unchanged | None = None,
    missed: Mapping[str, str] | None = None,
) -> IncidentSteps:
    """Return the steps of an incident, as this terminal shows how far they are."""
    return IncidentSteps(
        services,
        incident,
        by=who(),
        steps=steps,
        driven_by=lambda run, tickets: drive_here(run, tickets, services, output),
        watching=lambda: _watching(services, output),
        exposed=exposed,
        missed=missed,
    )


@contextmanager
def _watching(services: Services, output: Output) -> Iterator[Watch | None]:
    with showing_progress(output, services.store) as watch:
        yield by_ticket(watch)


class Unattended(Guide[IncidentStep]):
    """Goes on with the other steps where one fails; what failed is raised in the end."""

    def __init__(self) -> None:
        self.failed: list[StrongroomError] = []

    def after_failure(self, step: IncidentStep, error: StrongroomError) -> AfterFailure:
        self.failed.append(error)
        return AfterFailure()


def lines_of(performing: IncidentSteps) -> Iterator[str]:
    """Yield which secrets are left, for this terminal alone, and how the incident stands."""
    if (rotation := performing.rotation) is not None:
        yield from rotation.to_do
        for source, names in rotation.unchanged.names.items():
            yield from (f"still as before in '{source}': {name}" for name in names[:_SHOWN])
            if len(names) > _SHOWN:
                yield f"and {len(names) - _SHOWN:,} more: --secrets FILE lists all"
    yield from render.lines_of(performing.incident)


_SHOWN = 20
"""Names that are printed of one source."""


def isolate_backups(arguments: Namespace, output: Output) -> None:
    _one(IncidentStep.ISOLATE, open_services(), arguments, output)


def find_readers(arguments: Namespace, output: Output) -> None:
    if arguments.key and arguments.incident:
        raise UsageError("An incident knows its keys: --key asks without one.")
    if arguments.key:
        find_readers_of_keys(arguments, output)
    else:
        _one(IncidentStep.READERS, open_services(), arguments, output)


def reseal_backups(arguments: Namespace, output: Output) -> None:
    _one(
        IncidentStep.RESEAL,
        identity_options.with_identities(open_services(), arguments, output),
        arguments,
        output,
    )


def rotate_secrets(arguments: Namespace, output: Output) -> None:
    """Show what gets a new value and ask, as 'rotate-secret' does; then do it."""
    if arguments.secrets is not None:
        refuse_existing(arguments.secrets, replace=arguments.force)
    services = identity_options.with_identities(open_services(), arguments, output)
    incident = find_incident(services, arguments.incident)
    require_open(incident)
    exposed = find_unchanged(services, incident)
    plans, failed = rotate.plan(services, incident, exposed)
    if arguments.dry_run:
        _answer_planned(incident, plans, failed, output)
        return
    if any(plan.to_rotate for plan in plans):
        confirm(plans, output, force=arguments.force)
    _one(IncidentStep.ROTATE, services, arguments, output, exposed=exposed)


def _answer_planned(
    incident: Incident, plans: Sequence[SecretRotationPlan], failed: Mapping[str, str], output: Output
) -> None:
    lines = [line for plan in plans for line in plan_lines(plan)]
    lines += [f"{what} could not be read: {why}" for what, why in failed.items()]
    planned = [plan_document(plan) for plan in plans]
    output.answer(
        {"incident": incident.id, "plans": planned, "unknown": dict(failed)},
        lines or ["No secret has a value any more that others may know: there is nothing to rotate."],
    )


def _one(
    step: IncidentStep,
    services: Services,
    arguments: Namespace,
    output: Output,
    *,
    exposed: Unchanged | None = None,
) -> None:
    incident = find_incident(services, arguments.incident)
    require_open(incident)
    performing = incident_steps(services, incident, output, exposed=exposed)
    error = performing.perform(step)
    if error is not None and not isinstance(error, StepIncomplete):
        raise error
    given = vars(arguments)
    path, replace = given.get("secrets"), bool(given.get("force"))
    written = write_names(
        services,
        performing.incident,
        path,
        only=performing.unchanged,
        replace=replace,
    )
    lines = [*lines_of(performing)]
    if written is not None and (written.names or not written.unlisted):
        lines.append(f"{plural(len(written.names), 'secret')} to change: {arguments.secrets} names them.")
    output.answer(render.as_document(performing.incident), lines)
    if error is not None:
        raise error
    render.require_everywhere(performing.missed)


def write_names(
    services: Services,
    incident: Incident,
    path: Path | None,
    *,
    only: frozenset[str] | None = None,
    replace: bool = False,
) -> Compromised | None:
    """Write which secrets have to be changed, if that was asked for: all, or ``only`` those that are left.

    Where no list could be read, no file is written: an empty one would say that there is nothing to change.
    """
    if path is None:
        return None
    found = compromised_names(services, incident)
    names = {name: held for name, held in found.names.items() if only is None or name in only}
    if names or not found.unlisted:
        write_whole(path, encode(names), replace=replace)
    return structs.replace(found, names=names)


def waive_step(arguments: Namespace, output: Output) -> None:
    services = open_services()
    incident = find_incident(services, arguments.incident)
    recorded = waive(services, incident, IncidentStep(arguments.step), reason=arguments.reason, by=who())
    answer(recorded, output)


def answer(recorded: RecordedIncident, output: Output) -> None:
    """Say how an incident stands after an entry."""
    output.answer(render.as_document(recorded.incident), render.lines_of(recorded.incident))
    render.require_everywhere(recorded.missed)


def _none_open(known: KnownIncidents) -> str:
    """Say that no incident is open, and not so where that is not known."""
    if known.unread or known.aside:
        return "Of the incidents that could be read and count here, none is open. Not all could, or do:"
    return "No incident is open."


def show_status(arguments: Namespace, output: Output) -> None:
    """Show one incident, or all that are open; what a target that was away has missed, it is given now."""
    settings = load_settings()
    services = open_services(settings)
    known = read_incidents(services)
    if arguments.incident:
        shown = [find_incident(services, arguments.incident)]
    else:
        shown = [
            opened_incident for opened_incident in known.incidents.values() if opened_incident.closed is None
        ]
    for incident in shown:
        spread_case(services, INCIDENT, incident.id)
    lines = [line for opened_incident in shown for line in render.lines_of(opened_incident)] or [
        _none_open(known)
    ]
    if any(opened_incident.closed is None for opened_incident in shown):
        lines += render.calls(settings)
    lines += [
        f"target '{name}' does not answer, and may know more: {why}" for name, why in known.unread.items()
    ]
    lines += [f"{name} does not count: {why}" for name, why in known.aside.items()]
    documents = [render.as_document(opened_incident) for opened_incident in shown]
    output.answer({"incidents": documents, "aside": dict(known.aside), "unread": dict(known.unread)}, lines)
