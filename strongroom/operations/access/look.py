"""One look at the access logs: what is new is read, matched with our own record, and put on record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from msgspec import Struct, structs, to_builtins

from strongroom.errors import StrongroomError
from strongroom.operations.access.activities import activities
from strongroom.operations.access.follow import Follower, LogBatch, LogPlace
from strongroom.operations.access.matching import (
    CHANGED,
    KEY_USED,
    REFUSED,
    STRANGERS,
    UNLOCKED,
    UNRECORDED,
    Stranger,
    Watch,
    strangers,
)
from strongroom.operations.access.parsers import FORMATS
from strongroom.operations.access.reads import Did
from strongroom.operations.evidence import access_log
from strongroom.operations.services import CheckResult, Services
from strongroom.state.store import RunStore
from strongroom.words import plural

REWRITTEN: Final = "access.log-rewritten"
SILENT: Final = "silent"
REFUSED_YET: Final = "access.refused-yet"
ROW: Final = 86_400.0
"""For how many seconds refusals of somebody are remembered, if neither another nor a success comes."""
STRANGE: Final = (UNRECORDED, KEY_USED, CHANGED, UNLOCKED, REFUSED)
DO: Final = (
    "Treat it as an incident: 'strongroom incident open --backup ID', or '--key NAME' for a key. "
    "'strongroom ledger search --who WHO' shows what else they did."
)


class AccessLog(Struct, frozen=True, kw_only=True):
    """A log that is read: where it lies, of what format it is, and what to look for in it.

    ``settle``: seconds for which a line is left alone, so that our own record of a read can come first.
    """

    name: str
    format: str
    place: Callable[[], LogPlace]
    watch: Watch
    settle: float = 60.0


def beat_of(log: str) -> str:
    """Return the name under which it is noted that a log has something new."""
    return f"access-log {log}"


def look(services: Services, logs: Sequence[AccessLog], *, now: float) -> CheckResult:
    """Read what is new in each log, and put what nobody recorded on record.

    Raises:
        StrongroomError: a log could not be read; the others were.
    """
    access_log.take(services.state_dir, services.store)
    bad: list[str] = []
    failed: list[StrongroomError] = []
    for log in logs:
        try:
            bad += _look_at(services, log, now=now)
        except StrongroomError as error:
            failed.append(error)
    if failed:
        raise failed[0]
    return CheckResult(bad=tuple(dict.fromkeys(bad)), do=DO)


def _look_at(services: Services, log: AccessLog, *, now: float) -> Iterator[str]:
    """Yield what is wrong. It is on record before the cursor moves: a process that dies tells twice."""
    store, form = services.store, FORMATS[log.format]
    if beat_of(log.name) not in store.heartbeats():
        store.heartbeat(beat_of(log.name))  # it has been awaited from now on
    follower = Follower(log.name, log.place(), form, store.access_marks(log.name), until=now - log.settle)
    policies = {entry.backup: entry.policy for entry in store.backups()}
    refused = _refused_yet(store, log.name, now=now)
    for batch in follower.new():
        before = dict(refused)
        found = tuple(_strange(services, log, batch, policies, refused))
        events: list[tuple[str, dict[str, Any]]] = [
            (stranger.kind, {**to_builtins(stranger), "by": stranger.who, "from": stranger.origin})
            for stranger in found
        ]
        events += [(REWRITTEN, {"log": log.name, "file": name, "odd": 0}) for name in batch.rewritten]
        if batch.odd:
            events.append((REWRITTEN, {"log": log.name, "file": batch.marks[0].name, "odd": batch.odd}))
        if counted := _changed(before, refused):
            events.append((REFUSED_YET, {"log": log.name, "times": counted}))
        store.append(events)
        store.put_access_marks(batch.marks)
        store.forget_access_marks(log.name, batch.gone)
        if batch.lines > batch.odd:
            store.heartbeat(beat_of(log.name))
        yield from (f"log '{log.name}': {stranger.who} {stranger.why}" for stranger in found)
        if batch.odd or batch.rewritten:
            yield f"log '{log.name}' was rewritten, or has {plural(batch.odd, 'line')} of no known form"


def _strange(
    services: Services, log: AccessLog, batch: LogBatch, policies: dict[str, str], refused: dict[str, int]
) -> Iterator[Stranger]:
    reads = [structs.replace(read, log=log.name) for read in batch.reads]
    matched = [read.at for read in reads if read.did in (Did.READ, Did.OPENED)]
    ours = activities(services.store, min(matched), max(matched)) if matched else ()
    yield from strangers(reads, log.watch, ours, policies, refused)


def _refused_yet(store: RunStore, log: str, *, now: float) -> dict[str, int]:
    """Return how often each was refused in a row by the looks before: who tries four times between two looks
    is refused again and again, too."""
    found: dict[str, int] = {}
    for event in store.happened(REFUSED_YET, since=now - ROW):
        times = event.detail.get("times")
        if event.detail.get("log") == log and isinstance(times, dict):
            found |= {who: count for who, count in times.items() if isinstance(count, int)}
    return found


def _changed(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Return what is to be remembered of a batch; 0 ends a row. Of very many, those closest to an alarm."""
    changed = {who: after.get(who, 0) for who in before | after if before.get(who) != after.get(who)}
    worst = sorted(changed.items(), key=lambda pair: (pair[1] == 0, pair[1]), reverse=True)
    return dict(worst[:STRANGERS])
