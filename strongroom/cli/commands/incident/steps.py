"""The steps of an incident, one command each, how it stands, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import join
from typing import Any

from msgspec import structs

from strongroom.cli.commands.incident.arguments import (
    CloseIncident,
    FindReaders,
    ReportIncident,
    ResealBackups,
    RotateExposed,
    WaiveStep,
    WhichIncident,
)
from strongroom.cli.shared import access_log, identities
from strongroom.cli.shared.passphrases import asking
from strongroom.cli.shared.render_run import confirm, plan_table
from strongroom.cli.shared.report_files import refuse_files
from strongroom.cli.shared.runs import by_ticket, drive_here, showing_progress
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, encode, plural
from strongroom.config import Settings, load_settings
from strongroom.errors import StrongroomError, UsageError
from strongroom.model import ApprovalAction
from strongroom.operations.archive.cases import (
    INCIDENT,
    STEPS,
    Incident,
    IncidentStep,
    StepOutcome,
    Suspicion,
    read_incidents,
    spread_case,
)
from strongroom.operations.engine.drive import Watch
from strongroom.operations.engine.services import Services
from strongroom.operations.errors import StepIncomplete
from strongroom.operations.evidence.signed_report import PAGE, beside
from strongroom.operations.keys.usage import pinned_key
from strongroom.operations.procedures import incident_exposure
from strongroom.operations.procedures.account import together
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
from strongroom.operations.procedures.incident_report import (
    REPORT,
    WrittenReport,
    account_of,
    readers,
    status_of,
    write_report,
)
from strongroom.operations.procedures.perform import AfterFailure, Guide, IncidentSteps, incomplete
from strongroom.sheet import Lines, Pairs, Part, Sheet
from strongroom.system.files import refuse_existing, write_whole
from strongroom.system.process import who
from strongroom.wiring.calendar import media
from strongroom.wiring.keys import pin
from strongroom.words import name_first_few

# -- An incident for people at a terminal, and for machines -------------------------------------


_SHOWN = 20
"""Names of secrets that are printed of one source."""


def answer_status(
    incident: Incident,
    *parts: Part,
    missed: Mapping[str, str],
    error: StrongroomError | None = None,
    **also: object,
) -> Answer:
    """Answer with how an incident stands; that a target lacks its newest entry comes after another error."""
    status = status_of(incident, now=time.time())
    return Answer(
        record={**structs.asdict(status), **also},
        sheet=account_of(status).status(*parts),
        error=error or not_everywhere(missed),
    )


def calls(settings: Settings) -> Part:
    """Return whom to call about an incident."""
    return Pairs(list(settings.contacts.lines.items()), "Call")


def not_everywhere(missed: Mapping[str, str]) -> StepIncomplete | None:
    """Return what to say if a target does not know; nothing if all do."""
    # A medium lies in a safe: any later command writes to it what it has not got, once it is here.
    if missed and (lacking := tuple(sorted(missed.keys() - media(load_settings())))):
        return StepIncomplete(
            f"The incident is on record here, and not on every target: {name_first_few(lacking)}.",
            hint="Bring those targets back. 'strongroom incident status' then writes there what they lack.",
        )
    return None


# -- incident readers --key: who opened what a key opens, before anything is put into quarantine ---


def _readers_of_keys(words: Sequence[str]) -> Answer:
    """Say who opened what some keys open; no incident is opened, and nothing is changed."""
    settings = load_settings()
    keys = tuple(sorted(key_of(word, settings) for word in words))
    again = join(("strongroom", "incident", "readers", *(part for word in words for part in ("--key", word))))
    outcome = readers_of(open_services(settings), Suspicion(keys=keys), again=again)
    missing = [f"{backup}: {why}" for backup, why in outcome.missing.items()]
    parts = [*readers(outcome.readers), Lines(missing, "What was not looked at")]
    return Answer(
        record=outcome,
        sheet=Sheet(parts=[*parts, Lines(outcome.left, "What is left to do", style="list")]),
        error=incomplete(outcome.missing),
    )


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
        driven_by=lambda run, tickets: drive_here(lambda: (run, tickets), services, output),
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


def parts_of(performing: IncidentSteps) -> Iterator[Part]:
    """Yield what names secrets, for this terminal alone: what is left of a rotation."""
    if (rotation := performing.rotation) is None:
        return
    yield Lines(rotation.to_do, "What a person must still do", style="list")
    for source, names in rotation.unchanged.names.items():
        more = [f"and {len(names) - _SHOWN:,} more: --secrets FILE lists all"] if len(names) > _SHOWN else []
        yield Lines([*names[:_SHOWN], *more], f"Still as before in '{source}'")


def isolate_backups(given: WhichIncident, output: Output) -> Answer:
    return _take(IncidentStep.ISOLATE, open_services(), given.incident, output)


def find_readers(given: FindReaders, output: Output) -> Answer:
    if given.key and given.incident:
        raise UsageError("An incident knows its keys: --key asks without one.")
    if given.key:
        return _readers_of_keys(given.key)
    return _take(IncidentStep.READERS, open_services(), given.incident, output)


def reseal_backups(given: ResealBackups, output: Output) -> Answer:
    services = identities.with_identities(open_services(), given.opening, output)
    return _take(IncidentStep.RESEAL, services, given.incident, output)


def rotate_secrets(given: RotateExposed, output: Output) -> Answer:
    """Show what gets a new value and ask, as 'secrets rotate' does; then do it."""
    if given.secrets is not None:
        refuse_existing(given.secrets, replace=given.force)
    services = identities.with_identities(open_services(), given.opening, output)
    incident = find_incident(services, given.incident)
    require_open(incident)
    exposed = find_unchanged(services, incident)
    plans, failed = incident_exposure.plan(services, incident, exposed)
    if given.dry_run:
        none = "No secret has a value any more that others may know: there is nothing to rotate."
        unread = [f"{what} could not be read: {why}" for what, why in failed.items()]
        return Answer(
            record={"incident": incident.id, "plans": plans, "unknown": failed},
            sheet=Sheet(parts=[*map(plan_table, plans), Lines(unread or ([] if plans else [none]))]),
        )
    if any(plan.to_rotate for plan in plans):
        confirm(plans, output, force=given.force)
    return _take(
        IncidentStep.ROTATE,
        services,
        given.incident,
        output,
        exposed=exposed,
        names=given.secrets,
        replace=given.force,
    )


def _take(
    step: IncidentStep,
    services: Services,
    name: str,
    output: Output,
    *,
    exposed: Unchanged | None = None,
    names: Path | None = None,
    replace: bool = False,
) -> Answer:
    """Do a step; write to a file which secrets still have a value that others may know."""
    incident = find_incident(services, name)
    require_open(incident)
    performing = incident_steps(services, incident, output, exposed=exposed)
    error = performing.perform(step)
    if error is not None and not isinstance(error, StepIncomplete):
        raise error
    written = write_names(services, performing.incident, names, only=performing.unchanged, replace=replace)
    parts = (*parts_of(performing), Lines(named_in(names, written), "Written"))
    return answer_status(performing.incident, *parts, missed=performing.missed, error=error)


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


def named_in(path: Path | None, written: Compromised | None) -> list[str]:
    """Say what a file names, if it was written."""
    if written is None or (written.unlisted and not written.names):
        return []
    return [f"{plural(len(written.names), 'secret')} to change: {path} names them."]


def waive_step(given: WaiveStep, output: Output) -> Answer:
    services = open_services()
    incident = find_incident(services, given.incident)
    recorded = waive(services, incident, IncidentStep(given.step), reason=given.reason, by=who())
    return answer_status(recorded.incident, missed=recorded.missed)


def show_status(given: WhichIncident, output: Output) -> Answer:
    """Show one incident, or all that are open; what a target that was away has missed, it is given now."""
    settings = load_settings()
    services = open_services(settings)
    known = read_incidents(services)
    shown = [incident for incident in known.incidents.values() if incident.closed is None]
    if given.incident:
        shown = [find_incident(services, given.incident)]
    for incident in shown:
        spread_case(services, INCIDENT, incident.id)
    standing = [status_of(incident, now=time.time()) for incident in shown]
    parts: list[Part] = list(together(map(account_of, standing)))
    if not shown:
        # That none is open is not said where that is not known.
        none = "Of the incidents that could be read and count here, none is open. Not all could, or do:"
        parts = [Lines([none if known.unread or known.aside else "No incident is open."])]
    if any(incident.closed is None for incident in shown):
        parts.append(calls(settings))
    away = [f"target '{name}' does not answer: {why}" for name, why in known.unread.items()]
    aside = [f"{name} does not count: {why}" for name, why in known.aside.items()]
    return Answer(
        record={"incidents": standing, "aside": known.aside, "unread": known.unread},
        sheet=Sheet(parts=[*parts, Lines([*away, *aside], "What may be known elsewhere")]),
    )


# -- The report of an incident: written, and the last word of one that is closed ----------------


def make_report(given: ReportIncident, output: Output) -> Answer:
    refuse_files(given.output, endings=(PAGE,), replace=given.replace)
    services = open_services()
    incident = find_incident(services, given.incident)
    recorded = RecordedIncident(incident=incident, missed={})
    if incident.closed is None:
        said = "" if given.output is None else f"written to {given.output.name}"
        recorded = record_outcome(services, incident, IncidentStep.REPORT, StepOutcome(), by=who(), said=said)
    return _answer_report(services, recorded, given.output, replace=given.replace)


def close_incident(given: CloseIncident, output: Output) -> Answer:
    refuse_files(given.output, endings=(PAGE,), replace=False)
    services = identities.with_identities(open_services(), given.opening, output)
    incident = find_incident(services, given.incident)
    recorded = close_approved(services, incident, reason=given.reason)
    return _answer_report(services, recorded, given.output, replace=False)


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


def _answer_report(
    services: Services, recorded: RecordedIncident, path: Path | None, *, replace: bool
) -> Answer:
    written = write_report(services, recorded.incident)
    sheet = REPORT.sheet(written.report)
    where = Lines(list(_save(written, path, replace=replace)), "Where it is")
    return Answer(
        record=written.report,
        sheet=structs.replace(sheet, parts=(*sheet.parts, where)),
        error=not_everywhere({**recorded.missed, **written.stored.missed}),
    )


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
