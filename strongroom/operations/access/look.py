"""One look at the access logs: what is new, matched with our own record, and put on record."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from typing import Any, Final

from msgspec import Struct, structs, to_builtins

from strongroom.errors import StrongroomError
from strongroom.operations.access.follow import Follower, LogBatch, LogPlace
from strongroom.operations.access.parsers import FORMATS, Did, Read
from strongroom.operations.backup.scrub import Slice
from strongroom.operations.engine.jobs import job_of, read_facts
from strongroom.operations.engine.services import CheckResult, Services
from strongroom.operations.evidence import access_log
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Event, Run, RunKind
from strongroom.state.store import RunStore
from strongroom.words import plural

# -- From what access logs say and what our own record has to what nobody recorded. Pure --------


UNRECORDED: Final = "access.unrecorded"
KEY_USED: Final = "access.key-used"
REFUSED: Final = "access.refused"
CHANGED: Final = "access.changed"
UNLOCKED: Final = "access.unlocked"
SLACK: Final = 120.0
"""Seconds by which the clocks of a server and of the state database may differ."""
BACKUPS: Final = 50
"""Backups that are named of one stranger."""
STRANGERS: Final = 200
"""Strangers that are told apart in one look; the others are added to the last."""
_VAULT_WIDE = ("sys/audit", "sys/policy", "sys/policies")
_CONTAINER = re.compile(r"containers/([A-Za-z0-9_-][A-Za-z0-9._-]*)/")


class Activity(Struct, frozen=True, kw_only=True):
    """A time in which somebody of ours, by our own record, may have read backups.

    ``backups``: of these; ``policy``: of any of this policy; neither: of any at all. ``opens``: keys were
    used.
    """

    began: float
    ended: float
    backups: frozenset[str] = frozenset()
    policy: str = ""
    opens: bool = False


class Watch(Struct, frozen=True, kw_only=True):
    """What to look for in a log.

    ``places`` is what the names begin with of all that lies on the targets, ``keys`` the keys of backups as
    the log names them, ``ours`` patterns of who we are there, ``networks`` where our hosts are; empty:
    that is not known. ``refusals``: so many in a row are an alarm.
    """

    places: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    refusals: int = 5


class Stranger(Struct, frozen=True, kw_only=True):
    """Somebody who did what nobody of ours recorded: who, from where, what, when, and by which log."""

    kind: str
    who: str
    origin: str
    what: str
    how: str
    log: str
    why: str
    times: int
    first: float
    last: float
    backups: tuple[str, ...] = ()


def strangers(
    reads: Iterable[Read],
    watch: Watch,
    activities: Sequence[Activity],
    policies: dict[str, str],
    refused: dict[str, int],
) -> tuple[Stranger, ...]:
    """Return who did what nobody recorded.

    Args:
        policies: of each backup on record.
        refused: how often each was refused in a row until now; what these reads add is written into it.
    """
    found: dict[tuple[str, str, str, str], Stranger] = {}
    for kind, why, read, times in _judged(reads, watch, activities, policies, refused):
        key = (kind, read.who, read.origin, why)
        if key not in found and len(found) >= STRANGERS:
            key = next(reversed(found))
        found[key] = _with(found.get(key), kind, why, read, times)
    return tuple(found.values())


def _judged(
    reads: Iterable[Read],
    watch: Watch,
    activities: Sequence[Activity],
    policies: dict[str, str],
    refused: dict[str, int],
) -> Iterator[tuple[str, str, Read, int]]:
    for read in reads:
        if not is_meant(read, watch):
            continue
        if read.did is Did.REFUSED:
            refused[read.who] = refused.get(read.who, 0) + 1
            if refused[read.who] >= watch.refusals:
                yield (
                    REFUSED,
                    "was refused again and again",
                    read,
                    1 if refused[read.who] > watch.refusals else watch.refusals,
                )
            continue
        refused.pop(read.who, None)
        if (told := _judge(read, watch, activities, policies)) is not None:
            yield *told, read, 1


def _judge(
    read: Read, watch: Watch, activities: Sequence[Activity], policies: dict[str, str]
) -> tuple[str, str] | None:
    """Return the kind of alarm, and why; nothing if the record has it."""
    if read.did is Did.CHANGED:
        return CHANGED, "changed permissions or logging"
    if read.did is Did.UNLOCKED:
        return UNLOCKED, "shortened or lifted a lock"
    kind = KEY_USED if read.did is Did.OPENED else UNRECORDED
    if why := stranger(read, watch):
        return kind, why
    backup = backup_of(read.what)
    if read.did is Did.READ and not backup:
        return None  # manifests and heads: every look of ours reads them, and they hold no values
    if any(_covers(activity, read, backup, policies) for activity in activities):
        return None
    return kind, "did what no run and no command on record did"


def stranger(read: Read, watch: Watch) -> str:
    """Say why this is none of ours; nothing if it may be."""
    if watch.ours and not any(fnmatchcase(read.who, address) for address in watch.ours):
        return "is not who Strongroom is there"
    if watch.networks and not _is_within(read.origin, watch.networks):
        return "came from a foreign address"
    return ""


def _is_within(origin: str, networks: Iterable[str]) -> bool:
    try:
        address = ip_address(origin)
    except ValueError:
        return False
    return any(address in ip_network(network, strict=False) for network in networks)


def _covers(activity: Activity, read: Read, backup: str, policies: dict[str, str]) -> bool:
    if not activity.began - SLACK <= read.at <= activity.ended + SLACK:
        return False
    if read.did is Did.OPENED:
        return activity.opens
    if activity.backups:
        return backup in activity.backups
    return not activity.policy or policies.get(backup) == activity.policy


def is_meant(read: Read, watch: Watch) -> bool:
    """Tell whether this is about our backups, their keys, or what guards them."""
    if read.did is Did.READ:
        return read.what.startswith(watch.places)
    if read.did is Did.OPENED:
        return any(_is_key(read.what, key) for key in watch.keys)
    guarded = (*watch.places, *(key.replace("//", "/") for key in watch.keys))
    if read.what.startswith(_VAULT_WIDE) or not read.what or ":trail/" in read.what:
        return True  # a policy, or a log as a whole: it may be about anything
    if read.what.startswith("sys/"):
        return f"{read.what.split('/')[-1]}/" in {
            f"{guarded_name.partition('/')[0]}/" for guarded_name in guarded
        }
    above = f"{read.what.rstrip('/')}/"
    return (
        read.what.startswith(watch.places)
        or any(_is_key(read.what, key) for key in watch.keys)
        or any(place.startswith(above) for place in watch.places)
    )


def _is_key(what: str, key: str) -> bool:
    """Tell whether a path or ARN is of a key. A key of Vault is named ``mount//name``."""
    mount, slashes, name = key.partition("//")
    if not slashes:
        return what == key or what.endswith(f"/{key}")
    parts = what.removeprefix(f"{mount}/").split("/")
    return what.startswith(f"{mount}/") and name in parts[1:]


def backup_of(what: str) -> str:
    """Return the backup whose container a name is of; empty if it is of none."""
    match = _CONTAINER.search(what)
    return match[1] if match else ""


def _with(known: Stranger | None, kind: str, why: str, read: Read, times: int) -> Stranger:
    backup = backup_of(read.what)
    if known is None:
        return Stranger(
            kind=kind, why=why, who=read.who, origin=read.origin, what=read.what, how=read.how, log=read.log,
            times=times, first=read.at, last=read.at, backups=(backup,) if backup else (),
        )  # fmt: skip
    more = bool(backup) and backup not in known.backups and len(known.backups) < BACKUPS
    return structs.replace(
        known,
        times=known.times + times,
        first=min(known.first, read.at),
        last=max(known.last, read.at),
        backups=(*known.backups, backup) if more else known.backups,
    )


# -- What our own record has of who read backups: the runs, and the commands that opened something ---


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


# -- One look at the access logs: what is new is read, matched with our own record, and put on record


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
