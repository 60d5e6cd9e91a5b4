"""What the state database remembers of a run, as frozen records.

A *run* is one execution of a policy or command; its *steps* are rows, one per piece of
work. A step row that exists is due: rows are inserted when what they need is done, so no
row ever waits for another. The database decides, messages only carry :class:`Ticket`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct, structs

from strongroom.model import Depth, Role, Selection


class RunKind(StrEnum):
    """What a run does."""

    BACKUP = "backup"
    VERIFY = "verify"
    REPAIR = "repair"
    RESTORE = "restore"
    RECOVERY = "recovery"
    UNDO = "undo"
    DRILL = "drill"
    ROTATE = "rotate"
    DRIFT = "drift"
    SCRUB = "verification"
    CHECK = "check"
    PRUNE = "prune"
    ROTATE_SECRET = "rotate-secret"  # noqa: S105  # the name of a kind


class RunState(StrEnum):
    """How far a run is. ``DEGRADED`` is a good backup with a replica missing."""

    ACTIVE = "active"
    DONE = "done"
    DEGRADED = "degraded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self is not RunState.ACTIVE


class StepKind(StrEnum):
    """The kinds of work; each is one task of the workers."""

    HOOK = "hook"
    PLAN = "plan"
    CAPTURE = "capture"
    UPLOAD = "upload"
    COMMIT = "commit"
    VERIFY = "verify"
    INDEX = "index"
    INDEX_RECEIPT = "index-receipt"
    INDEX_UPLOAD = "index-upload"
    REPAIR = "repair"
    RECOVERY_CHECK = "recovery-check"
    RESTORE_PLAN = "restore-plan"
    APPROVE = "approve"
    RESTORE = "restore"
    RESTORE_COMPARE = "restore-compare"
    RECOVERY_VALIDATE = "recovery-validate"
    DRILL_PROVE = "drill-prove"
    DRILL_RESTORE = "drill-restore"
    DRILL_COMPARE = "drill-compare"
    DRILL_TEARDOWN = "drill-teardown"
    DRILL_LIVE = "drill-live"
    REWRAP = "rewrap"
    ROTATE = "rotate"
    CHECK = "check"
    DRIFT = "drift"
    FREEZE = "freeze"
    MARK = "mark"
    DELETE = "delete"
    ROTATE_SECRET_PLAN = "rotate-secret-plan"  # noqa: S105  # the name of a kind
    ROTATE_SECRET = "rotate-secret"  # noqa: S105  # the name of a kind
    REPORT = "report"


ROTATING = (StepKind.REWRAP, StepKind.ROTATE)
"""The kinds of steps that rotate backups."""
RESTORING = (
    StepKind.RECOVERY_CHECK,
    StepKind.RESTORE_PLAN,
    StepKind.RESTORE,
    StepKind.RESTORE_COMPARE,
    StepKind.RECOVERY_VALIDATE,
)
"""The kinds of steps that restore, or undo that: the recover workers perform them."""
RESTORES = (RunKind.RESTORE, RunKind.RECOVERY, RunKind.UNDO)
"""The kinds of runs that restore, or undo that."""


class Pool(StrEnum):
    """A pool of workers. It serves the queue of its name, in the role of its name."""

    CONTROL = Role.CONTROL.value
    SEAL = Role.SEAL.value
    TRANSFER = Role.TRANSFER.value
    VERIFY = Role.VERIFY.value
    DRILL = Role.DRILL.value
    RECOVER = Role.RECOVER.value
    PRUNE = Role.PRUNE.value


class StepState(StrEnum):
    """Where a step is.

    ``READY`` waits to be sent, ``SENT`` is with the broker, ``RUNNING`` is claimed.
    ``MISSED`` was given up without failing the run (one replica); ``POISONED`` was given
    up and fails it.
    """

    READY = "ready"
    SENT = "sent"
    RUNNING = "running"
    DONE = "done"
    MISSED = "missed"
    POISONED = "poisoned"

    @property
    def settled(self) -> bool:
        return self in (StepState.DONE, StepState.MISSED, StepState.POISONED)


class RunStep(Struct, frozen=True, order=True):
    """One piece of work: its kind, the container's number (-1: none), the target (or "")."""

    kind: StepKind
    piece: int = -1
    target: str = ""

    def __str__(self) -> str:
        parts = [self.kind.value]
        if self.piece >= 0:
            parts.append(str(self.piece))
        if self.target:
            parts.append(self.target)
        return "/".join(parts)


class StepRange(Struct, frozen=True, array_like=True):
    """Steps of one kind and target whose pieces follow each other."""

    kind: StepKind
    target: str
    first: int
    count: int

    @staticmethod
    def of(steps: Iterable[RunStep]) -> list[StepRange]:
        """Return the ranges that these steps make, in their order."""
        ranges: list[StepRange] = []
        kind, target, first, count = StepKind.PLAN, "", 0, 0
        for step in steps:
            if count and (step.kind, step.target, step.piece) == (kind, target, first + count):
                count += 1
                continue
            if count:
                ranges.append(StepRange(kind, target, first, count))
            kind, target, first, count = step.kind, step.target, step.piece, 1
        return [*ranges, StepRange(kind, target, first, count)] if count else ranges

    def split(self, at: int) -> tuple[StepRange, StepRange]:
        """Return the first so many, and those after them."""
        return structs.replace(self, count=at), structs.replace(
            self, first=self.first + at, count=self.count - at
        )

    def steps(self) -> Iterator[RunStep]:
        """Yield the steps."""
        pieces = range(self.first, self.first + self.count)
        return (RunStep(self.kind, piece, self.target) for piece in pieces)


class RecipientPin(Struct, frozen=True, kw_only=True):
    """A recipient as a run froze it; all of it public. ``composition`` names the keys of an all-of as its
    stanzas do."""

    name: str
    type: str
    fingerprint: str
    post_quantum: bool
    describes: str
    composition: str = ""


class TargetPin(Struct, frozen=True, kw_only=True):
    """A target as a run froze it. ``counts`` is false for one that would be lost together
    with the source: it may hold a replica, and makes no backup."""

    name: str
    address: str
    region: str
    provider: str
    counts: bool = True


class StagePin(Struct, frozen=True, kw_only=True):
    """A stage as a run froze it: what its steps hand on lies there until the run ends."""

    name: str
    address: str


class Spec(Struct, frozen=True, kw_only=True):
    """What a run is to do, frozen when it is created.

    Workers rebuild it from their own configuration and refuse a run that differs, so an
    edited row adds no reader and redirects no target. ``backup`` names the backup that a
    verify, repair, restore or drill is about. ``stage`` is one of ``[stages]``; without it, a folder in the
    state directory of the one host that there is.
    """

    kind: RunKind
    policy: str
    source: str = ""
    values: bool = True
    sealed: bool = True
    selection: Selection = Selection()
    targets: tuple[TargetPin, ...] = ()
    recipients: tuple[RecipientPin, ...] = ()
    quorum: int = 1
    regions: int = 1
    providers: int = 1
    minimum_retention_days: int = 365
    depth: Depth = Depth.DIGEST
    container_bytes: int = 32 * 1024 * 1024
    backup: str = ""
    options: dict[str, Any] = {}
    stage: StagePin | None = None


class Run(Struct, frozen=True, kw_only=True):
    """A run as recorded. ``facts`` are what steps found out for the whole run (the plan's
    counts, the manifest's digest…): small, JSON-able, and free of secrets and names.
    Times are seconds since the epoch by the database's clock.

    ``closing``: the run failed or was cancelled and only its REPORT step may still run;
    ``facts["ending"]`` (``failed`` or ``cancelled``) and ``facts["error"]`` say why.
    ``queued``: it has not begun, and waits for its turn.
    ``unmade``: steps that follow and are not in their table yet, where there are too many for one
    transaction. Nothing of the run is given out before they are."""

    id: str
    spec: Spec
    state: RunState
    request_id: str | None
    created_at: float
    finished_at: float | None
    error: str | None
    facts: Mapping[str, Any]
    closing: bool = False
    queued: bool = False
    unmade: tuple[StepRange, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it took, or takes so far."""
        return round(max(0.0, (self.finished_at or time.time()) - self.created_at), 3)

    @property
    def readers(self) -> tuple[RecipientPin, ...]:
        """Who can open its backup: not the keys whose services were away."""
        absent = self.facts.get("left_out", ())
        return tuple(pin for pin in self.spec.recipients if pin.name not in absent)


class RunCount(Struct, frozen=True, kw_only=True):
    """How many runs of a policy, or entry of the calendar, and kind stand in a state, and how often a person
    or the cluster took them up again after they had failed."""

    policy: str
    kind: RunKind
    state: RunState
    runs: int
    retries: int = 0

    @property
    def failures(self) -> int:
        """The attempts that failed: each retry comes after one."""
        return self.retries + (self.runs if self.state is RunState.FAILED else 0)


class Waiting(Struct, frozen=True, kw_only=True):
    """How many steps of a kind have not ended and stand in a state, and since when the oldest of them has."""

    kind: StepKind
    state: StepState
    steps: int
    since: float


class Ticket(Struct, frozen=True):
    """What a message carries: identifiers and the dispatch number, nothing else.

    A dispatch number is given out once, ascending over the whole database; a message
    whose number is not the row's is stale and does nothing.
    """

    run: str
    step: RunStep
    dispatch: int


class Claim(Struct, frozen=True, kw_only=True):
    """A lease on a step, and its run as it stood when the step began. Every write checks ``fence``;
    ``attempt`` counts from 1."""

    ticket: Ticket
    run: Run
    owner: str
    fence: int
    attempt: int


class Tally(Struct, frozen=True):
    """How many steps of a run stand where: ``counts[kind, target, state]``."""

    counts: Mapping[tuple[StepKind, str, StepState], int]

    def of(self, kind: StepKind, *, target: str | None = None, states: tuple[StepState, ...] = ()) -> int:
        """Count steps of a kind, of one target or all, in the given states (all: any)."""
        return sum(
            n
            for (k, t, s), n in self.counts.items()
            if k is kind and (target is None or t == target) and (not states or s in states)
        )

    def unsettled(self, kind: StepKind) -> int:
        """Count steps of a kind that may still change."""
        return self.of(kind, states=(StepState.READY, StepState.SENT, StepState.RUNNING))


class RunProgress(Struct, frozen=True, kw_only=True):
    """How far a run is: its steps, and when one was last begun or ended (0: none was)."""

    tally: Tally
    moved_at: float


class StepRow(Struct, frozen=True, kw_only=True):
    """A step as recorded, with its outcome. ``result`` is small and free of secrets;
    ``not_before`` is when a READY step that failed is due again; ``waits_since`` is since when
    it has been waiting for room, or for a place that does not answer.

    Of a run that ended long ago one record stands for ``steps`` alike steps, which ``worked`` for so many
    seconds together."""

    step: RunStep
    state: StepState
    attempts: int
    result: Mapping[str, Any] | None
    error: str | None
    started_at: float | None
    finished_at: float | None
    owner: str | None = None
    not_before: float | None = None
    waits_since: float | None = None
    steps: int = 1
    worked: float | None = None


class StepConsequence(Struct, frozen=True, kw_only=True):
    """What a recorded outcome leads to, decided by ``operations.decide`` inside the
    transaction that records it: rows to insert (those that exist stay), facts to add to
    the run, kinds of steps whose pause ends now, and, if this ends the run, its final state and error."""

    follow: tuple[RunStep, ...] = ()
    facts: Mapping[str, Any] = {}
    wake: tuple[StepKind, ...] = ()
    state: RunState | None = None
    error: str | None = None


Decide = Callable[[Run, Tally, RunStep], StepConsequence]
"""What follows from a recorded outcome. It is called in the transaction that records it, and is pure."""
DecideAgain = Callable[[Run, Tally, RunStep, Mapping[str, Any]], StepConsequence]
Needed = Callable[[Run, Tally], bool]
"""Whether the run cannot do without a step any more."""


class Slot(Struct, frozen=True, kw_only=True):
    """A due time of an entry of the calendar (epoch seconds) that was claimed, and the run that it became."""

    name: str
    due_at: float
    run: str


class Pause(Struct, frozen=True, kw_only=True):
    """An entry of the calendar that is not to run: why, by whose word, since and until when (epoch seconds;
    ``None``: until it is resumed)."""

    entry: str
    reason: str
    by: str
    since: float
    until: float | None = None

    def holds(self, now: float) -> bool:
        """Tell whether it has not ended by itself."""
        return self.until is None or now < self.until


class RotationState(StrEnum):
    """How far the rotation of a secret is: ``BEGUN`` until its end is on record."""

    BEGUN = "begun"
    DONE = "done"
    FAILED = "failed"


class SecretRotation(Struct, frozen=True, kw_only=True):
    """The newest rotation of a secret. ``secret`` is a keyed digest of its source and name.

    ``expected`` is the version that was current when it began. ``was`` is a keyed digest of the value before,
    ``becomes`` one of the value after; empty where Strongroom did not know it.
    """

    secret: str
    run: str
    rotator: str
    incident: str = ""
    state: RotationState = RotationState.BEGUN
    began_at: float = 0.0
    expected: int | None = None
    was: str = ""
    becomes: str = ""


class AccessMark(Struct, frozen=True, kw_only=True):
    """How far a file of an access log was read. ``head`` is a digest of its beginning, ``tail`` of the bytes
    before ``offset``; ``size`` is how large the file was when all of it was read, else -1.
    """

    log: str
    head: str
    name: str
    size: int = -1
    offset: int = 0
    tail: str = ""


class Replica(Struct, frozen=True, kw_only=True):
    """One backup on one target. ``verified`` is the deepest depth last read back, and
    ``verified_at`` when; ``good`` is false once a read-back failed or it is missing."""

    backup: str
    target: str
    good: bool
    verified: Depth | None
    verified_at: float | None


class HeldReplica(Struct, frozen=True, kw_only=True):
    """A good replica, with what the catalog has of its backup. ``verified`` and ``verified_at`` are those of
    :class:`Replica`: no container of it was read less deep, or longer ago."""

    backup: str
    target: str
    policy: str
    made_at: float
    size: int
    containers: int
    verified: Depth | None
    verified_at: float | None


class ReadContainers(Struct, frozen=True, kw_only=True):
    """How many containers of a replica were read back to a depth, all of them since some time or none
    (``lately``). ``manifests`` of them are its manifest, and ``oldest`` is when the first was read."""

    depth: Depth
    lately: bool
    containers: int
    manifests: int
    oldest: float


class ContainerCheck(Struct, frozen=True, kw_only=True):
    """One container of a replica that was read back whole: how deep, and when it was last.

    ``piece`` is its number in the manifest; -1 is the manifest itself, with its envelopes."""

    backup: str
    target: str
    piece: int
    depth: Depth
    checked_at: float


class CatalogEntry(Struct, frozen=True, kw_only=True):
    """A backup as the catalog knows it; all of it can be rebuilt from any target."""

    backup: str
    policy: str
    source: str
    created_at: str
    values: bool
    secrets: int
    size: int
    containers: int
    manifest_sha256: str


class Event(Struct, frozen=True, kw_only=True):
    """One line of what happened. ``detail`` is small and free of secrets; ``id`` ascends."""

    at: float
    kind: str
    run: str | None
    detail: Mapping[str, Any]
    id: int = 0


class ChainedEvent(Struct, frozen=True):
    """An event as it is chained: ``detail`` as it is stored, and the digest that it carries."""

    id: int
    at: float
    kind: str
    run: str | None
    detail: str
    chain: str
