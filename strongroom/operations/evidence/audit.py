"""What the record of events says of a span of time, signed, for somebody who asks for evidence.

Everything in it comes out of the chained record, and the report names the events that it begins and ends
with: so whoever holds it can have the record held against it later, and the report against the record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from strongroom import __version__
from strongroom.model import Depth
from strongroom.operations.engine import run_log
from strongroom.operations.evidence.ledger import LedgerPosition, chain, head_of
from strongroom.state.records import CatalogEntry, ChainedEvent, Replica, RunState
from strongroom.state.store import RunStore
from strongroom.times import rfc3339

CREATED, FINISHED = "run.created", "run.finished"
_PASSING = ("reconcile", "run.", "step.")
"""Events of how runs came along: they are counted, and the outcome of each run is listed instead."""


class Operation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run that began or ended in the span: times RFC 3339, ``ended`` empty while it goes on."""

    run: str
    kind: str
    policy: str
    began: str
    ended: str = ""
    state: str = RunState.ACTIVE.value
    error: str | None = None


class Happening(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An event that is no part of a run's course: access, keys, signers, incidents, refusals, shredding."""

    event: int
    at: str
    kind: str
    run: str | None
    detail: Mapping[str, Any]


class HeldOn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A replica: whether it was good when it was last read back, to which depth, and when (RFC 3339)."""

    target: str
    good: bool
    verified: Depth | None
    verified_at: str | None


class AuditedBackup(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A backup that was made in the span, as the catalog has it, and its replicas."""

    backup: CatalogEntry
    replicas: tuple[HeldOn, ...]


class Rehearsal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recovery drill of the span: how long the recovery took, and how long it might (milliseconds).

    ``took`` is ``None`` if nothing came back. Its signed report is ``drills/<run>.json`` on the targets.
    """

    run: str
    drill: str
    policy: str
    began: str
    state: str
    took: int | None
    objective: int


class AuditedIncident(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An incident of the span, by its signed entries; ``closed`` is empty while it is open."""

    incident: str
    opened: str
    due: str
    closed: str


class KeyAge(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that was in use when the report was made: what it is for, since when, and what says so."""

    name: str
    use: str
    since: str
    evidence: str


class Audit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The report. ``since`` is in the span and ``until`` is not.

    ``broken`` is the first event, of all there are, that is not what was appended; ``first`` and ``last``
    are the span's own. ``outcomes`` counts runs by kind and state, ``counted`` every event by its kind.
    What is empty from ``drills`` on is left out of the file, as it is of older reports.
    """

    strongroom: str
    made_at: str
    since: str
    until: str
    events: int
    broken: int | None
    first: LedgerPosition | None
    last: LedgerPosition | None
    outcomes: Mapping[str, Mapping[str, int]]
    counted: Mapping[str, int]
    operations: tuple[Operation, ...]
    happenings: tuple[Happening, ...]
    backups: tuple[AuditedBackup, ...]
    drills: tuple[Rehearsal, ...] = ()
    incidents: tuple[AuditedIncident, ...] = ()
    keys: tuple[KeyAge, ...] = ()
    page_sha256: str = ""
    csv_sha256: str = ""


class _RecordWalk:
    """One walk over the whole record: only what is in the span, or still goes on, is kept."""

    def __init__(self, since: float, until: float) -> None:
        self._since, self._until = since, until
        self._open: dict[str, Operation] = {}
        self.broken: int | None = None
        self.heads: list[LedgerPosition] = []
        self.events = 0
        self.counted: Counter[str] = Counter()
        self.operations: list[Operation] = []
        self.happenings: list[Happening] = []

    def see(self, link: ChainedEvent, made: str) -> None:
        if self.broken is None and link.chain != made:
            self.broken = link.id
        if link.at >= self._until:
            return
        within = link.at >= self._since
        self._follow(link, within=within)
        if within:
            self.events += 1
            self.counted[link.kind] += 1
            self.heads[1:] = [head_of(link, made)]
            if not link.kind.startswith(_PASSING):
                self.happenings.append(_happening(link))

    def _follow(self, link: ChainedEvent, *, within: bool) -> None:
        """Keep a run from its beginning to its end."""
        if link.kind == CREATED and link.run:
            detail = _detail(link)
            kind, policy = str(detail.get("kind")), str(detail.get("policy"))
            self._open[link.run] = Operation(run=link.run, kind=kind, policy=policy, began=rfc3339(link.at))
        if link.kind == FINISHED and (begun := self._open.pop(link.run or "", None)) and within:
            detail = _detail(link)
            state, error = str(detail.get("state")), detail.get("error")
            self.operations.append(replace(begun, ended=rfc3339(link.at), state=state, error=error))

    def all_operations(self) -> tuple[Operation, ...]:
        """Return what ended in the span, then what still went on at its end."""
        return (*self.operations, *self._open.values())


def audit(store: RunStore, *, since: float, until: float, now: float) -> Audit:
    """Return what is on record of a span of time, in seconds since the epoch; ``until`` is not in it."""
    walk = _RecordWalk(since, until)
    for link, made in chain(store):
        walk.see(link, made)
    operations = walk.all_operations()
    return Audit(
        strongroom=__version__,
        made_at=rfc3339(now),
        since=rfc3339(since),
        until=rfc3339(until),
        events=walk.events,
        broken=walk.broken,
        first=walk.heads[0] if walk.heads else None,
        last=walk.heads[-1] if walk.heads else None,
        outcomes=_outcomes(operations),
        counted=dict(walk.counted),
        operations=operations,
        happenings=tuple(walk.happenings),
        backups=_backups(store, rfc3339(since), rfc3339(until)),
    )


def _outcomes(operations: tuple[Operation, ...]) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for operation in operations:
        found.setdefault(operation.kind, Counter())[operation.state] += 1
    return {kind: dict(states) for kind, states in found.items()}


def _happening(link: ChainedEvent) -> Happening:
    at, detail = rfc3339(link.at), _detail(link)
    return Happening(event=link.id, at=at, kind=link.kind, run=link.run, detail=detail)


def _detail(link: ChainedEvent) -> dict[str, Any]:
    """Return what an event has besides. One that somebody wrote by hand breaks the chain, not the report.

    Of an error that is its class: its words may name a secret, and reports are handed on.
    """
    try:
        detail = msgspec.json.decode(link.detail, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {"unreadable": len(link.detail)}
    if error := detail.get("error"):
        detail["error"] = run_log.class_in(str(error)) or "see the run"
    return detail


def _backups(store: RunStore, since: str, until: str) -> tuple[AuditedBackup, ...]:
    entries = [entry for entry in store.backups() if since <= entry.created_at < until]
    replicas = store.replicas_of([entry.backup for entry in entries])
    return tuple(
        AuditedBackup(backup=entry, replicas=tuple(map(_on, replicas.get(entry.backup, ()))))
        for entry in entries
    )


def _on(replica: Replica) -> HeldOn:
    at = None if replica.verified_at is None else rfc3339(replica.verified_at)
    return HeldOn(target=replica.target, good=replica.good, verified=replica.verified, verified_at=at)
