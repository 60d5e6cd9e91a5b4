"""incident open: quarantine what others may read, find its readers, seal it anew; list, and release."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from strongroom.cli.commands.incident.arguments import OpenIncident, ReleaseBackups, SuspectedOptions
from strongroom.cli.commands.incident.steps import (
    Unattended,
    answer_status,
    calls,
    incident_steps,
    key_of,
    named_in,
    parts_of,
    write_files,
    write_names,
)
from strongroom.cli.parameters import Nothing
from strongroom.cli.shared import access_log, identities
from strongroom.cli.shared.report_files import refuse_files
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural
from strongroom.config import Settings, load_settings
from strongroom.container.errors import MissingPiece, WrongKey
from strongroom.errors import StrongroomError, UsageError
from strongroom.model import ApprovalAction
from strongroom.operations.archive.cases import Incident, IncidentStep, Suspicion, read_incidents
from strongroom.operations.archive.quarantine import Unmarked, all_quarantined, release
from strongroom.operations.engine.services import Services
from strongroom.operations.errors import RunDegraded, StepIncomplete
from strongroom.operations.evidence.signed_report import PAGE
from strongroom.operations.procedures.incident_exposure import Compromised
from strongroom.operations.procedures.incident_opening import DUE, open_case
from strongroom.operations.procedures.incident_report import account_of, status_of
from strongroom.operations.procedures.perform import IncidentSteps, lead
from strongroom.sheet import Cell, Lines, Part, Sheet, Table
from strongroom.system.files import refuse_existing
from strongroom.system.process import who
from strongroom.targets.reading import ManifestListing
from strongroom.times import rfc3339


def respond_to_leak(given: OpenIncident, output: Output) -> Answer:
    refuse_files(given.output, endings=(PAGE,), replace=False)
    if given.secrets is not None:
        refuse_existing(given.secrets, replace=given.force)
    settings, secrets = load_settings(), _secrets(given.suspected)
    suspicion = _suspicion(given.suspected, settings, secrets)
    services = identities.with_identities(open_services(settings), given.opening, output)
    warning = "This puts an incident on record"
    if suspicion.is_about_backups:
        warning = f"This quarantines backups{'' if given.quarantine_only else ' and re-encrypts them'}"
    prompts.confirm(warning, force=given.force)
    performing, failed = begin(
        services,
        suspicion,
        output,
        reason=given.reason,
        secrets=secrets,
        since="" if given.since is None else rfc3339(given.since),
        due=given.due,
        steps=OPENING[:-1] if given.quarantine_only else OPENING,
    )
    names = write_names(services, performing.incident, given.secrets, replace=given.force)
    written = write_files(services, performing.incident, given.output)
    unlisted = names.unlisted if names is not None else {}
    more = [f"{backup}: its secrets are not listed: {why}" for backup, why in unlisted.items()]
    return answer_status(
        performing.incident,
        *parts_of(performing),
        calls(settings),
        Lines([*named_in(given.secrets, names), *written, *more], "Written"),
        missed=performing.missed,
        error=not_all_seen(performing.incident, names) or worst(failed),
        secrets_not_listed=unlisted,
    )


OPENING = (IncidentStep.ISOLATE, IncidentStep.READERS, IncidentStep.RESEAL)
"""What is done at once when an incident is opened."""


def begin(
    services: Services,
    suspicion: Suspicion,
    output: Output,
    *,
    reason: str,
    secrets: Sequence[str] = (),
    since: str = "",
    due: float = DUE,
    steps: Sequence[IncidentStep] = OPENING,
) -> tuple[IncidentSteps, list[StrongroomError]]:
    """Put an incident on record, or find the one that is, and do what can be done at once, as far as it is
    needed; return what failed, too: one that fails keeps no other from its turn."""
    opened = open_case(services, suspicion, by=who(), reason=reason, secrets=secrets, since=since, due=due)
    performing = incident_steps(services, opened.incident, output, steps=steps, missed=opened.missed)
    unattended = Unattended()
    lead(performing, unattended)
    return performing, unattended.failed


def worst(failed: Sequence[StrongroomError]) -> StrongroomError | None:
    """Return what did not work; that counts before what is merely not done yet."""
    return min(failed, key=lambda failure: isinstance(failure, StepIncomplete), default=None)


def _secrets(suspected: SuspectedOptions) -> list[str]:
    names = list(suspected.secret)
    if suspected.secret_list is not None:
        names += suspected.secret_list.read_text(encoding="utf-8").splitlines()
    return sorted({name.strip() for name in names} - {""})


def _suspicion(suspected: SuspectedOptions, settings: Settings, secrets: Sequence[str]) -> Suspicion:
    """Return what is suspected.

    Raises:
        UsageError: nothing is, or what is cannot be looked for together.
    """
    others = suspected.key or secrets or suspected.host or suspected.target
    if not (others or suspected.backup):
        raise UsageError("Say what is suspected: --key, --backup, --secret, --host or --target.")
    if suspected.backup and others:
        raise UsageError("--backup goes alone: open another incident for what else is suspected.")
    if suspected.key_version is not None and len(suspected.key) != 1:
        raise UsageError("--key-version goes with one --key.")
    if suspected.target and suspected.target not in settings.targets:
        raise UsageError(f"There is no target '{suspected.target}'.", hint="See 'strongroom check config'.")
    return Suspicion(
        keys=tuple(sorted(key_of(word, settings) for word in suspected.key)),
        version=suspected.key_version,
        backups=tuple(sorted(suspected.backup)),
        host=suspected.host or "",
        target=suspected.target or "",
    )


def not_all_seen(incident: Incident, names: Compromised | None) -> StrongroomError | None:
    """Return what to say if something that is affected could not be looked at; the incident is on record in
    any case."""
    if unread := incident.opening.unread:
        return MissingPiece(
            f"{plural(len(unread), 'backup')} could not be read; others may be able to.",
            hint="They count as affected and are in quarantine. Bring them back, as the report says. "
            "Then open the incident again with the same words: it goes on.",
        )
    if names is not None and names.unlisted:
        outcome = (
            "they are not in the file of what has to be changed" if names.names else "no file was written"
        )
        return WrongKey(
            f"The secrets in {plural(len(names.unlisted), 'backup')} could not be listed: {outcome}.",
            hint="Give what opens them (--identity, --passphrase-file), then: "
            f"strongroom incident rotate {incident.id} --secrets FILE",
        )
    return None


def list_quarantined(given: Nothing, output: Output) -> Answer:
    services = open_services()
    backups = all_quarantined(services)
    deleted = _deleted(backups, services)
    known, now = read_incidents(services), time.time()
    rows = [
        (backup, why + ("; since deleted: no target has it any more" if backup in deleted else ""))
        for backup, why in sorted(backups.items())
    ]
    standing = [status_of(incident, now=now) for incident in known.incidents.values()]
    accounts = [account_of(status) for status in standing]
    incidents = [
        (account.case, Cell(account.verdict, account.mood), status.reason)
        for account, status in zip(accounts, standing, strict=True)
    ]
    parts: list[Part] = [
        Table(("Backup", "Why"), rows, "In quarantine" if rows else "", nothing="Nothing is in quarantine."),
        Table(("Incident", "State", "Reason"), incidents, "Incidents"),
        Lines([f"target '{name}' was not asked: {why}" for name, why in known.unread.items()]),
    ]
    return Answer(
        record={
            "quarantined": backups,
            "deleted": deleted,
            "incidents": standing,
            "unread": known.unread,
        },
        sheet=Sheet(parts=parts),
    )


def _deleted(backups: Iterable[str], services: Services) -> list[str]:
    """Return those that the catalog has no more and no target shows, as after 'rotate --remove-replaced'.

    Where a target does not answer, nobody knows: then none is called deleted.
    """
    forgotten = [backup for backup in backups if services.store.backup(backup) is None]
    try:
        listings = [ManifestListing(target) for target in services.targets.values()] if forgotten else []
    except StrongroomError:
        return []
    return sorted(
        backup_id for backup_id in forgotten if not any(backup_id in listing for listing in listings)
    )


def release_backups(given: ReleaseBackups, output: Output) -> Answer:
    services = open_services()
    backups = all_quarantined(services)
    if unknown := [backup for backup in given.backup if backup not in backups]:
        raise UsageError(f"Backup {unknown[0]} is not in quarantine.", hint="See 'strongroom incident list'.")
    access_log.require_approved(
        place.find(),
        ApprovalAction.RELEASE,
        {"backups": sorted(given.backup)},
        lines=tuple(f"release {backup} from quarantine ({backups[backup]})" for backup in given.backup),
    )
    unmarked = release(services, given.backup, reason=given.reason, by=who())
    return Answer(
        record={"released": given.backup, "not_marked": unmarked},
        sheet=Sheet(parts=[Lines([f"{backup} is released." for backup in given.backup])]),
        error=_not_marked(unmarked),
    )


def _not_marked(unmarked: Unmarked) -> RunDegraded | None:
    """Return what to say if a target lacks the mark: other hosts go by it."""
    if not unmarked:
        return None
    missed = "; ".join(f"{n}: {why}" for failed in unmarked.values() for n, why in failed.items())
    return RunDegraded(
        f"The mark of {plural(len(unmarked), 'backup')} could not be written everywhere: {missed}",
        hint="It is on record here. Bring those targets back, then repeat.",
    )
