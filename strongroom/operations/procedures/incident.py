"""An incident, step by step: what is isolated and sealed anew, and its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any, Literal

from msgspec import Struct

from strongroom.container.marks import HOLD, QUARANTINE, HoldMark, M, MarkKind, QuarantineMark
from strongroom.errors import StrongroomError, UsageError
from strongroom.model import COMMAND
from strongroom.operations.archive import holds
from strongroom.operations.archive.cases import (
    INCIDENT,
    Incident,
    IncidentEntry,
    IncidentStep,
    Opening,
    StepOutcome,
    StepStanding,
    add_entry,
    next_command,
    read_incidents,
    spread_case,
    steps_of,
)
from strongroom.operations.archive.envelopes import UNKNOWN
from strongroom.operations.archive.quarantine import on_record, quarantine
from strongroom.operations.engine import run_log
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.statements import StatementsOn, fit, newest_on
from strongroom.operations.errors import IncidentClosed, NoSuchIncident, RunFailed, StepsOpen, TargetUnsound
from strongroom.operations.rotation.job import results, submit_rotation
from strongroom.operations.rotation.rotate import RotateOptions
from strongroom.state.records import Run, RunState, Ticket
from strongroom.times import rfc3339
from strongroom.words import plural

# -- isolate: no host restores from what is affected, and nothing of it is deleted while the incident is
# open
#
# Both are marks on the targets (:mod:`strongroom.operations.engine.statements`). A step that was killed, or
# met a target that was away, is repeated: only what lacks a mark somewhere is marked again.


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
        for opened_incident in read_incidents(services).incidents.values()
        if opened_incident.id != incident.id and opened_incident.closed is None
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


# -- The steps of an incident: performed, put on record here and on the targets, waived; and its end
#
# Each may be killed at any instruction and repeated, on any host: what is done is found, and not done again.


State = Literal["begun", "partly", "done", "waived"]


class RecordedIncident(Struct, frozen=True, kw_only=True):
    """An incident after an entry, and the targets that have not got it, with the reason."""

    incident: Incident
    missed: Mapping[str, str]


def find_incident(services: Services, name: str = "") -> Incident:
    """Return an incident; without a name, the one that is open.

    Raises:
        NoSuchIncident: neither the record here nor any target that answers has it, or several are open.
    """
    known = read_incidents(services, name)
    away = f" These targets do not answer: {', '.join(known.unread)}." if known.unread else ""
    if known.aside:
        away += f" {len(known.aside):,} entries on the targets do not count here."
    if name:
        if name not in known.incidents:
            raise NoSuchIncident(f"Neither this host nor a target that answers knows incident {name}.{away}")
        return known.incidents[name]
    still = [incident for incident in known.incidents.values() if incident.closed is None]
    if len(still) != 1:
        names = ", ".join(incident.id for incident in still) or "none"
        raise NoSuchIncident(f"Which incident? Open: {names}.{away}")
    return still[0]


def record_outcome(
    services: Services,
    incident: Incident,
    step: IncidentStep,
    outcome: StepOutcome,
    *,
    by: str,
    said: str = "",
) -> RecordedIncident:
    """Put on record what came of a step: it is done if nothing is missing. The same is not said twice."""
    state: State = "partly" if outcome.missing else "done"
    last = incident.last(step)
    fresh = last is not None and last.number > incident.looked_at
    if last is not None and fresh and (last.state, last.outcome, last.said) == (state, outcome, fit(said)):
        return RecordedIncident(incident=incident, missed=spread_case(services, INCIDENT, incident.id))
    return enter(services, incident.id, step, state, said=said, by=by, outcome=outcome)


def waive(
    services: Services, incident: Incident, step: IncidentStep, *, reason: str, by: str
) -> RecordedIncident:
    """Put on record that a step is left as it is: by whom, and why.

    Raises:
        UsageError: no reason.
        IncidentClosed: the incident is closed.
    """
    require_open(incident)
    if not reason.strip():
        raise UsageError("Give a reason: it goes on record with your name.")
    before = incident.last(step)
    outcome = before.outcome if before is not None else None
    return enter(services, incident.id, step, "waived", said=reason, by=by, outcome=outcome)


def close(services: Services, incident: Incident, *, reason: str, by: str) -> RecordedIncident:
    """Close an incident, and lift the holds that it placed. What is in quarantine stays there.

    One that is closed already is left so; a hold that could not be lifted then is lifted now.

    Raises:
        StepsOpen: a step is neither done nor waived.
    """
    if incident.closed is None:
        require_settled(incident)
        closed = enter(services, incident.id, IncidentStep.CLOSE, "done", said=reason, by=by)
    else:
        closed = RecordedIncident(incident=incident, missed={})
    unheld = {
        name: f"a hold is not lifted there: {why}" for name, why in let_go(services, incident, by=by).items()
    }
    return RecordedIncident(incident=closed.incident, missed={**closed.missed, **unheld})


def open_steps(incident: Incident) -> list[StepStanding]:
    """Return the steps that are neither done nor waived."""
    return [step for step in steps_of(incident) if not step.settled]


def require_settled(incident: Incident) -> None:
    """Return if every step is done or waived. Raises StepsOpen."""
    if left := open_steps(incident):
        words = ", ".join(f"{standing.step.value} ({standing.state})" for standing in left)
        raise StepsOpen(
            f"Incident {incident.id} cannot be closed: {words}.",
            hint=f"Nothing was changed. Next: '{next_command(incident)}'. What cannot be done: 'strongroom "
            f"incident waive {incident.id} {left[0].step.value} --reason WHY'.",
        )


def require_open(incident: Incident) -> None:
    """Return if an incident is open. Raises IncidentClosed."""
    if (closing := incident.closed) is not None:
        raise IncidentClosed(f"Incident {incident.id} was closed at {closing.at} by {closing.by}.")


def enter(
    services: Services,
    case: str,
    step: IncidentStep,
    state: State,
    *,
    said: str,
    by: str,
    opening: Opening | None = None,
    outcome: StepOutcome | None = None,
) -> RecordedIncident:
    """Put an entry on record here and on the targets, after those that are known."""
    entry = IncidentEntry(
        case=case,
        number=1,
        at=rfc3339(time.time()),
        by=by,
        step=step,
        state=state,
        said=fit(said),
        opening=opening,
        outcome=outcome,
    )
    missed = add_entry(services, INCIDENT, entry).missed
    return RecordedIncident(incident=read_incidents(services, case).incidents[case], missed=missed)


# -- reseal: what somebody else's key opens is sealed again under new keys, the most exposed first ---


Drive = Callable[[str, list[Ticket]], Run]
"""What brings a run to its end."""
_BY_COMMAND = "no policy names their recipients: 'strongroom keys replace' re-encrypts these files"
_UNREAD = "it could not be read: bring it back, then open the incident again with the same words"


def reseal(services: Services, incident: Incident, *, driven_by: Drive | None = None) -> StepOutcome:
    """Seal again what is not yet, policy by policy. What an earlier process did is found, and not done again.

    ``done`` says what each backup is now. One policy that fails keeps no other from its turn.
    """
    perform = driven_by or (lambda run, tickets: drive(run, tickets, services))
    before = _before(incident)
    done, counts = dict(before.done), dict(before.counts)
    left = {line.partition(":")[0]: line for line in before.left}
    missing: dict[str, str] = {}
    for policy, backups in incident.policies.items():
        if all(backup in done for backup in backups) and _key(policy) not in before.missing:
            continue
        try:
            rotated, short = _policy(services, policy, backups, perform)
        except StrongroomError as error:  # the others go on
            missing[_key(policy)] = f"{error.code}: {error.message}"
            continue
        done |= {result["backup"]: result["new"] for result in rotated if result.get("new")}
        still = [copy for result in rotated for copy in result.get("still", ())]
        counts[f"copies of {_key(policy)} still open"] = len(still)
        left[f"Old copies of {_key(policy)}"] = _to_delete(policy, still)
        missing |= {_key(policy): short} if short else {}
    left |= dict(_files(incident))
    if incident.files:
        missing[plural(len(incident.files), "file")] = _BY_COMMAND
    missing |= {f"backup {backup}": _UNREAD for backup in incident.opening.unread}
    return StepOutcome(
        counts={**counts, "sealed again": len(done)},
        done=done,
        missing=missing,
        left=tuple(left.values()),
    )


def _key(policy: str) -> str:
    return f"policy {policy}"


def _before(incident: Incident) -> StepOutcome:
    entry = incident.last(IncidentStep.RESEAL)
    return entry.outcome if entry is not None and entry.outcome is not None else StepOutcome()


def sealed_anew(incident: Incident) -> Mapping[str, str]:
    """Return what each backup is now that was sealed again, as far as that is on record."""
    return _before(incident).done


def _policy(
    services: Services, policy: str, backups: Sequence[str], perform: Drive
) -> tuple[list[Mapping[str, Any]], str]:
    """Return what each backup of a policy is now, and what the run fell short of."""
    options = RotateOptions(reencrypt=True, renew=True, backups=tuple(backups))
    run = perform(*submit_rotation(services, policy=policy, options=options, take_over=True))
    if run.state not in (RunState.DONE, RunState.DEGRADED):
        raise RunFailed(run_log.apart(run.error)[0] or f"run {run.id} is {run.state.value}")
    short = run_log.apart(run.error)[0] if run.state is RunState.DEGRADED else ""
    return results(services.store, run.id), short


def _files(incident: Incident) -> Iterator[tuple[str, str]]:
    """Yield what is left to do with the files of commands, each with its beginning, up to the colon."""
    if incident.files:
        words = (
            "Files: re-encrypt them with 'strongroom keys replace --current-key FILE --new-key FILE "
            "--re-encrypt-backups'; one that only a passphrase opens has to be written again, under another "
            f"passphrase. They are: {', '.join(incident.files)}."
        )
        yield "Files", words
    if incident.superseded:
        files = ", ".join(incident.superseded)
        yield "Originals", f"Originals: delete those of what is re-encrypted already: {files}."


def _to_delete(policy: str, still: Sequence[Mapping[str, Any]]) -> str:
    """Say which old copies are left to delete; its beginning, up to the colon, is its own."""
    copies = "; ".join(describe_copies(still)) or "none is known"
    return (
        f"Old copies of {_key(policy)}: delete them once the incident is closed and their locks have ended: "
        f"strongroom keys rotate {policy} --re-encrypt --remove-replaced. Until then the suspected key "
        f"opens them ({copies})."
    )


def describe_copies(still: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say of each target how many copies a key opens there, and until when they are locked, or hidden."""
    for target in sorted({copy["target"] for copy in still}):
        there = [copy for copy in still if copy["target"] == target]
        until = _latest(copy["until"] for copy in there)
        yield f"{plural(len(there), 'backup')} on {target}" + (f", locked until {until}" if until else "")
        hidden = [copy["old_versions"] for copy in there if copy["old_versions"]["count"]]
        if hidden:
            day = _latest(old_versions["until"] or old_versions["locked_until"] for old_versions in hidden)
            ends = f"until {day}" if day else "until somebody removes them, for deleting only hides"
            yield f"hidden versions of {plural(len(hidden), 'backup')} on {target}, {ends}"


def _latest(moments: Iterable[str]) -> str:
    """Return the last of some moments; a target may not tell one."""
    found = set(moments)
    return "a time that the target does not tell" if UNKNOWN in found else max(found, default="")
