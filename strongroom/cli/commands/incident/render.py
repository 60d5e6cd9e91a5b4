"""An incident for people at a terminal, and for machines."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import to_builtins

from strongroom.cli.terminal.output import plural
from strongroom.config import Settings, load_settings
from strongroom.operations.archive.incidents import (
    Incident,
    StepOutcome,
    StepStanding,
    next_command,
    steps_of,
)
from strongroom.operations.errors import StepIncomplete
from strongroom.operations.incident.words import STEPS
from strongroom.timestamps import readable
from strongroom.wiring.calendar import media
from strongroom.words import name_first_few

_SHOWN = 10
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


def lines_of(incident: Incident) -> Iterator[str]:
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
    yield f"{STEPS[standing.step]}: {standing.state}{said}{who}"
    if counts := "; ".join(f"{what}: {count:,}" for what, count in standing.outcome.counts.items()):
        yield f"  {counts}"
    yield from (f"  {line}" for line in readers(standing.outcome))
    yield from (f"  not done: {what}: {why}" for what, why in standing.outcome.missing.items())


def readers(outcome: StepOutcome) -> Iterator[str]:
    """Yield who opened what, the latest first."""
    for reader in outcome.readers[:_SHOWN]:
        yield f"{reader.who} {reader.did}: {plural(reader.times, 'time')}, last at {readable(reader.last)}"
    if len(outcome.readers) > _SHOWN:
        yield f"and {len(outcome.readers) - _SHOWN:,} more: --json has all"


def require_everywhere(missed: Mapping[str, str]) -> None:
    """Return if every target knows; else raise which lack it."""
    # A medium lies in a safe: any later command writes to it what it has not got, once it is here.
    if missed and (lacking := tuple(sorted(missed.keys() - media(load_settings())))):
        raise StepIncomplete(
            f"The incident is on record here, and not on every target: {name_first_few(lacking)}.",
            hint="Bring those targets back. 'strongroom incident status' then writes there what they lack.",
        )
