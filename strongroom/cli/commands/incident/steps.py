"""The steps of an incident, one command each, how it stands, and what came of it."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import join
from typing import Any

from msgspec import structs, to_builtins

from strongroom.cli.shared import access_log, identity_options
from strongroom.cli.shared.render_run import confirm, plan_document, plan_lines
from strongroom.cli.shared.report_files import refuse_files
from strongroom.cli.shared.runs import by_ticket, drive_here, showing_progress
from strongroom.cli.shared.services import open_services
from strongroom.cli.shared.settings import asking
from strongroom.cli.terminal import place
from strongroom.cli.terminal.output import Output, encode, plural
from strongroom.config import Settings, load_settings
from strongroom.errors import StrongroomError, UsageError
from strongroom.model import ApprovalAction
from strongroom.operations.archive.cases import (
    INCIDENT,
    STEPS,
    Incident,
    IncidentStep,
    KnownIncidents,
    StepOutcome,
    StepStanding,
    Suspicion,
    next_command,
    read_incidents,
    spread_case,
    steps_of,
)
from strongroom.operations.engine.drive import Watch
from strongroom.operations.engine.services import Services
from strongroom.operations.errors import StepIncomplete
from strongroom.operations.evidence.signed_report import PAGE, beside
from strongroom.operations.keys.usage import pinned_key
from strongroom.operations.procedures import incident_exposure
from strongroom.operations.procedures.incident import (
    RecordedIncident,
    close,
    find_incident,
    record_outcome,
    require_open,
    require_settled,
    subjects,
    waive,
)
from strongroom.operations.procedures.incident_exposure import (
    Compromised,
    Unchanged,
    compromised_names,
    find_unchanged,
    look_again,
)
from strongroom.operations.procedures.incident_opening import readers_of
from strongroom.operations.procedures.incident_report import STEPS as STEP_WORDS
from strongroom.operations.procedures.incident_report import WrittenReport, write_report
from strongroom.operations.procedures.perform import AfterFailure, Guide, IncidentSteps, incomplete
from strongroom.operations.rotation.secret_plan import SecretRotationPlan
from strongroom.system.files import refuse_existing, write_whole
from strongroom.system.process import who
from strongroom.times import readable
from strongroom.wiring.calendar import media
from strongroom.wiring.keys import pin
from strongroom.words import name_first_few

# -- An incident for people at a terminal, and for machines -------------------------------------


_LINES_SHOWN = 10
"""Readers that are shown; the report has all."""


def as_document(incident: Incident) -> dict[str, Any]:
    """Return all of it for machines."""
    closing = incident.closed
    return {
        "incident": incident.id,
        "reason": incident.reason,
        "opened_at": incident.opened_at,
        "by": incident.by,
        "due_at": incident.opening.due_at,
        "overdue": incident.is_overdue(time.time()),
        "closed_at": closing.at if closing else None,
        "closed_by": closing.by if closing else None,
        "suspicion": {
            "keys": list(incident.suspicion.keys),
            "version": incident.suspicion.version,
            "backups": list(incident.suspicion.backups),
            "host": incident.suspicion.host,
            "target": incident.suspicion.target,
            "secrets": incident.suspicion.secrets,
        },
        "affected": to_builtins(incident.affected),
        "not_looked_at": dict(incident.opening.unread),
        "said_to_be_gone": list(incident.opening.gone),
        "steps": to_builtins(steps_of(incident)),
        "next": next_command(incident) or None,
    }


def incident_lines(incident: Incident) -> Iterator[str]:
    """Yield how it stands, and what comes next."""
    yield _head(incident)
    yield from (f"  {line}" for step in steps_of(incident) for line in _step(step))
    yield from (
        f"  backup {backup} was not looked at: {why}" for backup, why in incident.opening.unread.items()
    )
    yield from (f"  backup {backup}: somebody said that its file is gone" for backup in incident.opening.gone)
    yield from (f"To do: {line}" for step in steps_of(incident) for line in step.outcome.left)
    if command := next_command(incident):
        yield f"Next: {command}"


def calls(settings: Settings) -> Iterator[str]:
    """Yield whom to call about an incident."""
    yield from (f"Call ({place}): {line}" for place, line in settings.contacts.lines.items())


def summary(incident: Incident) -> Iterator[str]:
    """Yield an incident in one line."""
    yield f"{_head(incident)}: {incident.reason}"


def _head(incident: Incident) -> str:
    about = f"incident {incident.id}: {plural(len(incident.affected), 'backup')} affected"
    if (closing := incident.closed) is not None:
        return f"{about}; closed at {readable(closing.at)} by {closing.by}"
    due = f"to be closed by {readable(incident.opening.due_at)}"
    return f"{about}; {due}" + (": OVERDUE" if incident.is_overdue(time.time()) else "")


def _step(standing: StepStanding) -> Iterator[str]:
    who = f" ({readable(standing.at)}, {standing.by})" if standing.at else ""
    said = f": {standing.said}" if standing.said else ""
    yield f"{STEP_WORDS[standing.step]}: {standing.state}{said}{who}"
    if counts := "; ".join(f"{what}: {count:,}" for what, count in standing.outcome.counts.items()):
        yield f"  {counts}"
    yield from (f"  {line}" for line in readers(standing.outcome))
    yield from (f"  not done: {what}: {why}" for what, why in standing.outcome.missing.items())


def readers(outcome: StepOutcome) -> Iterator[str]:
    """Yield who opened what, the latest first."""
    for reader in outcome.readers[:_LINES_SHOWN]:
        yield f"{reader.who} {reader.did}: {plural(reader.times, 'time')}, last at {readable(reader.last)}"
    if len(outcome.readers) > _LINES_SHOWN:
        yield f"and {len(outcome.readers) - _LINES_SHOWN:,} more: --json has all"


def require_everywhere(missed: Mapping[str, str]) -> None:
    """Return if every target knows; else raise which lack it."""
    # A medium lies in a safe: any later command writes to it what it has not got, once it is here.
    if missed and (lacking := tuple(sorted(missed.keys() - media(load_settings())))):
        raise StepIncomplete(
            f"The incident is on record here, and not on every target: {name_first_few(lacking)}.",
            hint="Bring those targets back. 'strongroom incident status' then writes there what they lack.",
        )


# -- incident readers --key: who opened what a key opens, before anything is put into quarantine ---


def find_readers_of_keys(arguments: Namespace, output: Output) -> None:
    """Say who opened what some keys open; no incident is opened, and nothing is changed."""
    settings = load_settings()
    keys = tuple(sorted(key_of(word, settings) for word in arguments.key))
    named = [word for key in arguments.key for word in ("--key", key)]
    again = join(("strongroom", "incident", "readers", *named))
    found = readers_of(open_services(settings), Suspicion(keys=keys), again=again)
    output.answer(to_builtins(found), _lines(found))
    if (error := incomplete(found.missing)) is not None:
        raise error


def _lines(found: StepOutcome) -> Iterator[str]:
    yield from readers(found) if found.readers else ("Nobody, by the record of this host.",)
    yield from (f"not looked at: {backup}: {why}" for backup, why in found.missing.items())
    yield from (f"To do: {line}" for line in found.left)


def key_of(word: str, found: Any) -> str:
    """Return what stanzas call a key that was named: a configured one, or as 'keys --json' calls it."""
    if word in found.keys:
        return pinned_key(pin(word, found, asking()))
    if ":" not in word:
        known = ", ".join(found.keys) or "none"
        raise UsageError(f"There is no key '{word}'.", hint=f"Configured: {known}. Others: 'keys --json'.")
    return word


# -- The steps of an incident, one command each; and how it stands ------------------------------


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
    yield from incident_lines(performing.incident)


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
    plans, failed = incident_exposure.plan(services, incident, exposed)
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
    output.answer(as_document(performing.incident), lines)
    if error is not None:
        raise error
    require_everywhere(performing.missed)


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
    output.answer(as_document(recorded.incident), incident_lines(recorded.incident))
    require_everywhere(recorded.missed)


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
    lines = [line for opened_incident in shown for line in incident_lines(opened_incident)] or [
        _none_open(known)
    ]
    if any(opened_incident.closed is None for opened_incident in shown):
        lines += calls(settings)
    lines += [
        f"target '{name}' does not answer, and may know more: {why}" for name, why in known.unread.items()
    ]
    lines += [f"{name} does not count: {why}" for name, why in known.aside.items()]
    documents = [as_document(opened_incident) for opened_incident in shown]
    output.answer({"incidents": documents, "aside": dict(known.aside), "unread": dict(known.unread)}, lines)


# -- The report of an incident: written, and the last word of one that is closed ----------------


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
        access_log.require_approved(
            place.find(),
            ApprovalAction.RELEASE,
            {"incident": incident.id},
            lines=(f"close incident {incident.id}: lift its hold on {what}",),
        )


def _answer(
    services: Services, recorded: RecordedIncident, path: Path | None, output: Output, *, replace: bool
) -> None:
    written = write_report(services, recorded.incident)
    lines = [*incident_lines(recorded.incident), *_save(written, path, replace=replace)]
    output.answer({**as_document(recorded.incident), "report": to_builtins(written.report)}, lines)
    require_everywhere({**recorded.missed, **written.stored.missed})


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
