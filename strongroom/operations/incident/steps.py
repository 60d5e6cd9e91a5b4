"""The steps of an incident: performed, put on record here and on the targets, waived; and its end.

Each may be killed at any instruction and repeated, on any host: what is done is found, and not done again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from strongroom.errors import UsageError
from strongroom.operations.archive.cases import add_entry, spread_case
from strongroom.operations.archive.incidents import (
    INCIDENT,
    Incident,
    IncidentEntry,
    IncidentStep,
    StepOutcome,
    StepStanding,
    next_command,
    read_incidents,
    steps_of,
)
from strongroom.operations.errors import IncidentClosed, NoSuchIncident, StepsOpen
from strongroom.operations.incident.isolate import let_go
from strongroom.operations.services import Services
from strongroom.operations.statements import fit
from strongroom.timestamps import rfc3339

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
    return _enter(services, incident, step, state, said=said, by=by, outcome=outcome)


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
    return _enter(services, incident, step, "waived", said=reason, by=by, outcome=outcome)


def close(services: Services, incident: Incident, *, reason: str, by: str) -> RecordedIncident:
    """Close an incident, and lift the holds that it placed. What is in quarantine stays there.

    One that is closed already is left so; a hold that could not be lifted then is lifted now.

    Raises:
        StepsOpen: a step is neither done nor waived.
    """
    if incident.closed is None:
        require_settled(incident)
        closed = _enter(services, incident, IncidentStep.CLOSE, "done", said=reason, by=by)
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


def _enter(
    services: Services,
    incident: Incident,
    step: IncidentStep,
    state: State,
    *,
    said: str,
    by: str,
    outcome: StepOutcome | None = None,
) -> RecordedIncident:
    entry = IncidentEntry(
        case=incident.id,
        number=1,
        at=rfc3339(time.time()),
        by=by,
        step=step,
        state=state,
        said=fit(said),
        outcome=outcome,
    )
    added = add_entry(services, INCIDENT, entry)
    return RecordedIncident(
        incident=read_incidents(services, incident.id).incidents[incident.id], missed=added.missed
    )
