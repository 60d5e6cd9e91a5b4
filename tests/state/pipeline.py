"""A small backup pipeline over the run store, and the passing of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import update

from strongroom.state import tables
from strongroom.state.records import (
    Claim,
    Run,
    RunKind,
    RunState,
    RunStep,
    Spec,
    StepConsequence,
    StepKind,
    StepState,
    Tally,
    Ticket,
)
from strongroom.state.store import RunStore

TARGETS = ("a", "b", "c")
PIECES = 3
PLAN, COMMIT, REPORT = RunStep(StepKind.PLAN), RunStep(StepKind.COMMIT), RunStep(StepKind.REPORT)
SPEC = Spec(kind=RunKind.BACKUP, policy="weekly-critical", source="local")


def capture(piece: int) -> RunStep:
    """The capture of a piece."""
    return RunStep(StepKind.CAPTURE, piece)


def upload(piece: int, target: str = "a") -> RunStep:
    """The upload of a piece."""
    return RunStep(StepKind.UPLOAD, piece, target)


def decide(run: Run, tally: Tally, step: RunStep) -> StepConsequence:
    """plan → captures → uploads → commit → verify → report, as the real one does."""
    if step.kind is StepKind.PLAN:
        return StepConsequence(follow=tuple(map(capture, range(PIECES))), facts={"pieces": PIECES})
    if step.kind is StepKind.REPORT:
        missed = tally.of(StepKind.UPLOAD, states=(StepState.MISSED,))
        return StepConsequence(state=RunState.DEGRADED if missed else RunState.DONE)
    return StepConsequence(follow=_followers(tally, step))


def _followers(tally: Tally, step: RunStep) -> tuple[RunStep, ...]:
    match step.kind:
        case StepKind.CAPTURE:
            return tuple(upload(step.piece, target) for target in TARGETS)
        case StepKind.UPLOAD if tally.unsettled(StepKind.CAPTURE) + tally.unsettled(StepKind.UPLOAD) == 0:
            return (COMMIT,)
        case StepKind.COMMIT:
            return tuple(RunStep(StepKind.VERIFY, -1, target) for target in TARGETS)
        case StepKind.VERIFY if tally.unsettled(StepKind.VERIFY) == 0:
            return (REPORT,)
    return ()


def decide_again(run: Run, tally: Tally, step: RunStep, _result: Mapping[str, Any]) -> StepConsequence:
    """The same, as a retry asks."""
    return decide(run, tally, step)


def new_run(store: RunStore, first: Sequence[RunStep] = (PLAN,)) -> Run:
    """Create a run."""
    run = store.create(SPEC, first=first)
    assert run is not None
    return run


def take(store: RunStore, run: Run | str, *, window: int = 100) -> list[Ticket]:
    """Take what is ready."""
    return store.take_ready(run if isinstance(run, str) else run.id, window=window)


def claimed(store: RunStore, ticket: Ticket, owner: str = "worker") -> Claim:
    """Claim a step that must be claimable."""
    claim = store.claim(ticket, owner=owner)
    assert claim is not None, f"{ticket.step} could not be claimed"
    return claim


def start(store: RunStore, first: Sequence[RunStep]) -> list[Claim]:
    """Create a run of these steps and claim all of them; the claims come in this order."""
    tickets = {ticket.step: ticket for ticket in take(store, new_run(store, first))}
    return [claimed(store, tickets[step]) for step in first]


def do(store: RunStore, ticket: Ticket) -> Run:
    """Claim a step and record its success."""
    return store.finish(claimed(store, ticket), {}, decide)[0]


def work_off(store: RunStore, run: Run | str) -> Run:
    """Do what is due until nothing is; return the run as it is then."""
    name = run if isinstance(run, str) else run.id
    while tickets := take(store, name):
        for ticket in tickets:
            do(store, ticket)
    return store.load(name)


def state_of(store: RunStore, run: Run | str, step: RunStep) -> StepState:
    """How a step stands."""
    name = run if isinstance(run, str) else run.id
    return {row.step: row.state for row in store.rows(name)}[step]


def let_pass(store: RunStore, seconds: float) -> None:
    """Let time pass: everything recorded becomes so much older.

    Leases, grace and backoff all are differences to the database's clock, so moving the
    records into the past is the same to them, and takes no time.
    """
    steps = tables.steps.c
    times = (
        steps.sent_at,
        steps.not_before,
        steps.lease_expires,
        steps.started_at,
        steps.finished_at,
        steps.waits_since,
    )
    with store._database.writing() as conn:
        conn.execute(update(tables.steps).values({column: column - seconds for column in times}))
        for table, column in (
            (tables.heartbeats, tables.heartbeats.c.at),
            (tables.leases, tables.leases.c.renewed_at),
        ):
            conn.execute(update(table).values({column: column - seconds}))
