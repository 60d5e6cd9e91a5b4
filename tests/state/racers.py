"""What the processes of a race do. Each is a process of its own, with its own connections."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any

from strongroom.state import runs
from strongroom.state.errors import StateUnavailable
from strongroom.state.records import Claim, Run, RunState, RunStep, StepConsequence, Tally, Ticket
from strongroom.state.store import RunStore
from tests.patience import PATIENCE
from tests.state.pipeline import PLAN, SPEC, decide

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([__name__])
"""Each racer is a fork of a process that has imported all this, and opened nothing."""


def race(target: Callable[..., object], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Run ``target(barrier, *arguments)`` in one process each, at once; return the results.

    Raises:
        AssertionError: one of them raised.
    """
    barrier = _processes.Barrier(len(arguments))
    results = _processes.Queue()
    racers = [
        _processes.Process(target=_run, args=(results, number, target, barrier, *given))
        for number, given in enumerate(arguments)
    ]
    for racer in racers:
        racer.start()
    found = dict(results.get(timeout=PATIENCE) for _ in racers)
    for racer in racers:
        racer.join(PATIENCE)
    failed = [result for result in found.values() if isinstance(result, Exception)]
    assert not failed, failed
    return [found[number] for number in range(len(racers))]


def _run(results: Any, number: int, target: Callable[..., object], *given: Any) -> None:
    try:
        results.put((number, target(*given)))
    except Exception as error:  # noqa: BLE001  # whatever it is, the test shows it
        results.put((number, RuntimeError(f"{type(error).__name__}: {error}")))


def two_events() -> tuple[Any, Any]:
    """Two events that processes share."""
    return _processes.Event(), _processes.Event()


def finish_while_the_other_counts(
    barrier: Any, url: str, claim: Claim, events: tuple[Any, Any], locked: bool
) -> None:
    """Record a piece, and stay inside the transaction until the other one has counted too,
    or cannot, because it waits for our lock."""
    if not locked:
        runs.lock = runs.load

    def slowly(run: Run, tally: Tally, step: RunStep) -> StepConsequence:
        events[0].set()
        events[1].wait(1.0 if locked else PATIENCE)
        return decide(run, tally, step)

    store = _opened(url)
    barrier.wait(PATIENCE)
    store.finish(claim, {}, slowly)


def finish_all(barrier: Any, url: str, claims: Sequence[Claim]) -> None:
    """Record pieces, one after another."""
    store = _opened(url)
    barrier.wait(PATIENCE)
    for claim in claims:
        store.finish(claim, {}, decide)


def claim_all(barrier: Any, url: str, tickets: Sequence[Ticket], owner: str) -> list[RunStep]:
    """Try to claim every ticket; return those that were."""
    store = _opened(url)
    barrier.wait(PATIENCE)
    return [ticket.step for ticket in tickets if store.claim(ticket, owner=owner) is not None]


def take_all(barrier: Any, url: str, run: str, window: int) -> list[Ticket]:
    """Take what is ready, a few times."""
    store = _opened(url)
    barrier.wait(PATIENCE)
    return [ticket for _ in range(5) for ticket in store.take_ready(run, window=window)]


def create(barrier: Any, url: str, request_id: str | None, slot: tuple[str, float] | None) -> str | None:
    """Make a run, trying again when told that another process is at it."""
    store = _opened(url)
    barrier.wait(PATIENCE)
    while True:
        try:
            run = store.create(SPEC, first=[PLAN], request_id=request_id, slot=slot)
        except StateUnavailable:
            continue
        return None if run is None else run.id


def reconcile(barrier: Any, url: str) -> None:
    """Put right what got lost."""
    store = _opened(url)
    barrier.wait(PATIENCE)
    store.reconcile(decide)


def open_first(barrier: Any, url: str) -> list[str]:
    """Open a database that nobody has opened before."""
    store = RunStore(url)
    barrier.wait(PATIENCE)
    store.check()
    store.event("opened")
    return [event.kind for event in store.events()]


def work_until_done(barrier: Any, url: str, run: str, owner: str) -> int:
    """Take, claim and finish whatever is due until the run ends; return how many steps."""
    store = _opened(url)
    barrier.wait(PATIENCE)
    done = 0
    while store.load(run).state is RunState.ACTIVE:
        for ticket in store.take_ready(run, window=8):
            claim = store.claim(ticket, owner=owner)
            assert claim is not None
            store.finish(claim, {"sha256": "0" * 64, "size": 1}, decide)
            done += 1
    return done


def _opened(url: str) -> RunStore:
    store = RunStore(url)
    store.check()
    return store


def append_events(barrier: Any, url: str, count: int) -> None:
    """Append events as fast as it goes."""
    store = RunStore(url)
    barrier.wait(PATIENCE)
    for number in range(count):
        store.event("key.proven", number=number)
    store.close()
