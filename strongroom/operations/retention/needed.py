"""What needs a backup: as long as something does, no rule drops it.

Judged by the record alone. Where it was lost nobody knows what ran, but whatever a deletion takes was marked
days before, and may be undeleted until then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct

from strongroom.model import prepare
from strongroom.operations.evidence.access_log import ATTEMPTED
from strongroom.operations.restore.journal import unfinished
from strongroom.operations.services import Services
from strongroom.state.records import Run, RunKind
from strongroom.timestamps import rfc3339

OPENED_LATELY = 86_400.0
"""Seconds for which a backup is kept that a command began to read: such a command is no run."""
RESUMED = 30 * 86_400.0
"""Seconds for which the backup of an interrupted restore is kept: the next restore goes on with it."""


def needed_backups(services: Services, *, now: float) -> dict[str, str]:
    """Return the backups that something needs, each with what that is."""
    return dict([*_opened_lately(services, now), *_being_restored(services, now), *_in_runs(services)])


def _opened_lately(services: Services, now: float) -> Iterator[tuple[str, str]]:
    for event in services.store.happened(ATTEMPTED, since=now - OPENED_LATELY):
        command = event.detail.get("command", "a command")
        yield str(event.detail.get("backup", "")), f"'{command}' began to read it at {rfc3339(event.at)}"


def _being_restored(services: Services, now: float) -> Iterator[tuple[str, str]]:
    for folder, journal in unfinished(services.state_dir / "undo"):
        if journal.started_at > rfc3339(now - RESUMED):
            yield journal.backup, f"the restore in {folder} has not ended, and may go on with it"


def _in_runs(services: Services) -> Iterator[tuple[str, str]]:
    for run in services.store.active():
        for backup in _about(run, services):
            yield backup, f"run {run.id} ({run.spec.kind.value}) is at work on it"


def _about(run: Run, services: Services) -> Sequence[str]:
    """Return the backups that a run makes or reads. A rotation that names none reads all of its policy."""
    named = run.spec.options.get("backups", ())
    if run.spec.kind is RunKind.ROTATE and not named:
        return services.store.names(run.spec.policy)
    return (run.id, run.spec.backup, *named, *_chosen(run))


class _Picked(Struct, frozen=True):
    backup: str


class _ChosenBackups(Struct, frozen=True):
    """The backups that a run chose itself: what a drill picked, and since which one a source is compared."""

    picked: _Picked | None = None
    since: str = ""


def _chosen(run: Run) -> Iterator[str]:
    try:
        facts = msgspec.convert(run.facts, _ChosenBackups)
    except msgspec.ValidationError:  # the run refuses such a row itself
        return
    if facts.picked is not None:
        yield facts.picked.backup
    yield facts.since


prepare(_ChosenBackups)
