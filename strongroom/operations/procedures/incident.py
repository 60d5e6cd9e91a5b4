"""isolate: no host restores from what is affected, and nothing of it is deleted while the incident is open.

Both are marks on the targets (:mod:`strongroom.operations.statements`). A step that was killed, or met a
target that was away, is repeated: only what lacks a mark somewhere is marked again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial

from strongroom.container.marks import HOLD, QUARANTINE, HoldMark, M, MarkKind, QuarantineMark
from strongroom.errors import StrongroomError
from strongroom.model import COMMAND
from strongroom.operations.archive import holds
from strongroom.operations.archive.incidents import Incident, StepOutcome, read_incidents
from strongroom.operations.archive.quarantine import on_record, quarantine
from strongroom.operations.errors import TargetUnsound
from strongroom.operations.services import Services
from strongroom.operations.statements import StatementsOn, newest_on
from strongroom.words import plural

TOGETHER = 8
"""Backups that are marked together: each mark is three requests to every target, and haste counts."""

Places = Mapping[str, StatementsOn[M] | None]
"""The marks of each target; ``None`` where it does not answer."""


def isolate(services: Services, incident: Incident, *, by: str) -> StepOutcome:
    """Put what is affected into quarantine and hold it; what a person released since stays released."""
    backups = (
        [affected_backup.backup for affected_backup in incident.affected]
        if incident.suspicion.is_about_backups
        else []
    )
    missing = _quarantine(services, incident, backups, by) if backups else {}
    held, holding = list(subjects(incident)), _holding(services, incident)
    for kind, name in held:
        unheld = _hold(services, incident, kind, name, by)
        for target, why in (
            (target_name, why) for target_name, why in unheld.items() if target_name in holding
        ):
            before = f"{missing[target]}; " if target in missing else ""
            missing[target] = f"{before}{kind} {name} not held: {why}"
    return StepOutcome(
        counts={"backups in quarantine": len(backups), "holds": len(held)},
        missing=missing,
        left=tuple(_for_people(incident)),
    )


def _for_people(incident: Incident) -> Iterator[str]:
    """Yield what only people can take away from whom is suspected."""
    suspicion = incident.suspicion
    if suspicion.keys:
        yield "Destroy the suspected key at its holders once everything is sealed again, and ask who had it."
    if suspicion.host:
        yield (
            f"Withdraw what host {suspicion.host} may do: its credentials at sources, targets and key "
            "services, at the broker and the database."
        )
        yield (
            f"Distrust the signing keys of host {suspicion.host}: strongroom keys signers distrust "
            "FINGERPRINT"
        )
    if suspicion.target:
        yield f"Change the credentials of target {suspicion.target} at its server, and look at who had them."
        yield (
            f"Read again what target {suspicion.target} holds: strongroom backups verify {suspicion.target}, "
            f"with --backup ID for older ones; then strongroom backups repair --target {suspicion.target}"
        )


def _holding(services: Services, incident: Incident) -> set[str]:
    """Return the targets that have what is affected, by the record; by none, that may be any."""
    replicas = services.store.replicas_of([affected_backup.backup for affected_backup in incident.affected])
    found = {replica.target for copies in replicas.values() for replica in copies}
    return found or set(services.targets)


def subjects(incident: Incident) -> Iterator[tuple[holds.Kind, str]]:
    """Yield what is held: the backups that were named, or else all of the policies that are affected."""
    if incident.suspicion.backups:
        yield from (
            ("backup", affected_backup.backup)
            for affected_backup in incident.affected
            if not affected_backup.file
        )
        return
    policies = dict.fromkeys(backup.policy for backup in incident.affected if backup.policy != COMMAND)
    yield from (("policy", policy) for policy in policies)


def let_go(services: Services, incident: Incident, *, by: str) -> dict[str, str]:
    """Lift the holds that this incident placed, and no other's; return why a target could not be told.

    What another incident that is open holds too stays held, in its name.
    """
    missing: dict[str, str] = {}
    heirs = {
        subject: opened_incident
        for opened_incident in _others(services, incident)
        for subject in subjects(opened_incident)
    }
    for subject in subjects(incident):
        word = holds.said_last(services, *subject)
        if word is None or not _is_ours(word, incident):
            continue
        if (heir := heirs.get(subject)) is not None:
            missing |= holds.hold(services, *subject, reason=_reason(heir), by=by)
        else:
            reason = f"incident {incident.id} is closed"
            missing |= holds.release(services, *subject, reason=reason, by=by)
    return missing


def _others(services: Services, incident: Incident) -> Iterator[Incident]:
    known = read_incidents(services).incidents.values()
    return (
        opened_incident
        for opened_incident in known
        if opened_incident.id != incident.id and opened_incident.closed is None
    )


# -- quarantine --------------------------------------------------------------------


def _quarantine(services: Services, incident: Incident, backups: list[str], by: str) -> dict[str, str]:
    places = _marks_on(services, QUARANTINE)
    here = on_record(services.store)
    to_mark = [
        backup
        for backup in backups
        if not _is_released(places, backup, incident)
        and (backup not in here or _lacks_mark(services, places, backup))
    ]
    mark = partial(quarantine, services, incident=incident.id, reason=incident.reason, by=by)
    with ThreadPoolExecutor(TOGETHER) as pool:
        unmarked = list(pool.map(lambda backup: mark([backup]), to_mark))
    return dict(_by_target({name: why for failed in unmarked for name, why in failed.items()}))


def _is_released(places: Places[QuarantineMark], backup: str, incident: Incident) -> bool:
    """Tell whether somebody looked at a backup since the incident began, and gave it free."""
    newest = newest_on((place for place in places.values() if place is not None), QUARANTINE, backup)
    return (
        newest is not None
        and newest.state == "released"
        and datetime.fromisoformat(newest.at) >= datetime.fromisoformat(incident.opened_at)
    )


def _lacks_mark(services: Services, places: Places[QuarantineMark], backup: str) -> bool:
    """Tell whether a target that holds a backup, or may, does not say that it is in quarantine."""
    holding = {replica.target for replica in services.store.replicas(backup)} & places.keys()
    if not holding and services.store.backup(backup) is None:
        holding = set(places)
    here = [place for name, place in places.items() if name in holding]
    return any(place is None or _is_free(place, backup) for place in here)


def _is_free(place: StatementsOn[QuarantineMark], backup: str) -> bool:
    try:
        mark = place.newest(backup)
    except TargetUnsound:
        return True
    return mark is None or mark.state != "quarantined"


def _by_target(unmarked: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield each target that lacks marks: of how many backups, and why."""
    reasons = {target: why for failed in unmarked.values() for target, why in failed.items()}
    for target, why in reasons.items():
        lacking = sum(target in failed for failed in unmarked.values())
        yield target, f"{plural(lacking, 'backup')} not marked: {why}"


# -- holds -------------------------------------------------------------------------


def _hold(services: Services, incident: Incident, kind: holds.Kind, name: str, by: str) -> Mapping[str, str]:
    """Hold something on every target, unless somebody else does: their hold outlives the incident."""
    word = holds.said_last(services, kind, name)
    if word is not None and word.state == "held":
        places = _marks_on(services, HOLD, word.folder)
        marks = [None if place is None else place.newest(word.folder) for place in places.values()]
        everywhere = all(mark is not None and mark.state == "held" for mark in marks)
        if everywhere or not _is_ours(word, incident):
            return {}
    return holds.hold(services, kind, name, reason=_reason(incident), by=by)


def _reason(incident: Incident) -> str:
    return f"incident {incident.id}"


def _is_ours(word: HoldMark, incident: Incident) -> bool:
    return word.state == "held" and word.reason == _reason(incident)


def _marks_on(services: Services, kind: MarkKind[M], folder: str = "") -> Places[M]:
    found: dict[str, StatementsOn[M] | None] = {}
    for name, target in services.targets.items():
        try:
            found[name] = StatementsOn(target, kind, trusted=services.signer_fingerprints, folder=folder)
        except StrongroomError:
            found[name] = None
    return found
