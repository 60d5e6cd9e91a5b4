"""What our own record has of who read backups: the runs, and the commands that opened something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from strongroom.operations.access.matching import SLACK, Activity
from strongroom.operations.backup.scrub import Slice
from strongroom.operations.evidence import access_log
from strongroom.operations.runs.job import job_of, read_facts
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Event, Run, RunKind
from strongroom.state.store import RunStore

KEY_PROOF: Final = "keys"
"""The check of the calendar that opens backups; the others read no container."""
LONGEST_COMMAND: Final = 6 * 3600.0
"""Seconds for which a command may read that left no word of how it ended: it was killed, or goes on."""
_BEGIN: Final = (access_log.ATTEMPTED, access_log.READING)
_ENDS: Final = (access_log.OPENED, access_log.FAILED, access_log.READ)


def activities(store: RunStore, since: float, until: float) -> tuple[Activity, ...]:
    """Return what of ours may have read backups between two times (epoch seconds)."""
    runs = store.runs_between(since - SLACK, until + SLACK)
    return (*_runs(runs, until), *_commands(store, since - LONGEST_COMMAND))


def _runs(runs: list[Run], until: float) -> Iterator[Activity]:
    for run in runs:
        ended = run.finished_at if run.finished_at is not None else until + SLACK
        opens = job_of(run.spec.kind).opens or _proves_keys(run)
        if (read := _read_by(run)) is not None:
            backups, policy = read
            yield Activity(began=run.created_at, ended=ended, backups=backups, policy=policy, opens=opens)


def _read_by(run: Run) -> tuple[frozenset[str], str] | None:
    """Return the backups that a run may read, or the policy of those; nothing if it reads none."""
    spec = run.spec
    if spec.kind is RunKind.BACKUP:
        return frozenset((run.id,)), ""
    if spec.kind is RunKind.SCRUB:
        read = _scrubbed(run)
        return (read, "") if read else None
    if spec.backup:
        return frozenset((spec.backup,)), ""
    if job_of(spec.kind).opens:
        return frozenset(), spec.policy
    return (frozenset(), "") if _proves_keys(run) else None


def _proves_keys(run: Run) -> bool:
    return run.spec.kind is RunKind.CHECK and run.spec.policy == KEY_PROOF


def _scrubbed(run: Run) -> frozenset[str]:
    """Return what a slice of verification reads; nothing before it is planned, or if its row is odd."""
    try:
        return frozenset(place.backup for place in read_facts(run, Slice).places)
    except RecordRefused:
        return frozenset()


def _commands(store: RunStore, since: float) -> Iterator[Activity]:
    begun: dict[tuple[str, ...], list[Event]] = {}
    for event in store.happened(*_BEGIN, *_ENDS, since=since):
        key = tuple(str(event.detail.get(name)) for name in ("by", "host", "command", "backup"))
        if event.kind in _BEGIN:
            begun.setdefault(key, []).append(event)
        elif begun.get(key):
            yield _command(begun[key].pop(0), ended=noted(event))
    for events in begun.values():
        yield from (_command(event, ended=noted(event) + LONGEST_COMMAND) for event in events)


def _command(event: Event, *, ended: float) -> Activity:
    backups = frozenset(str(event.detail.get("backup", "")).split())
    return Activity(
        began=noted(event),
        ended=ended,
        backups=backups or frozenset(("",)),
        opens=event.kind == access_log.ATTEMPTED,
    )


def noted(event: Event) -> float:
    """Return when something was noted: it may have come into the record much later."""
    said = event.detail.get("noted")
    return float(said) if isinstance(said, int | float) else event.at
