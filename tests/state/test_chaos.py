"""Everything that may go wrong, in every order: each run ends, once, with nothing undone."""

from __future__ import annotations

import random

import pytest

from strongroom.state.errors import ClaimLost
from strongroom.state.records import Claim, Run, RunState, StepKind, StepState, Ticket
from strongroom.state.store import RunStore
from tests.state.pipeline import COMMIT, decide, decide_again, let_pass, new_run

ROUNDS = 3000


class Chaos:
    """A broker that loses, repeats and reorders messages, and workers that die or stall."""

    def __init__(self, store: RunStore, run: Run, seed: int) -> None:
        self.store = store
        self.run = run
        self.random = random.Random(seed)
        self.messages: list[Ticket] = []
        self.working: list[Claim] = []
        self.commits = 0

    def until_it_ends(self) -> Run:
        """Let things happen until the run has ended; fail if it does not."""
        for _ in range(ROUNDS):
            run = self.store.load(self.run.id)
            if run.state.final:
                return run
            self.random.choice(HAPPENINGS)(self)
        raise AssertionError(f"still active after {ROUNDS} events: {self.store.tally(self.run.id).counts}")

    def send(self) -> None:
        self.messages += self.store.take_ready(self.run.id, window=2)

    def deliver(self) -> None:
        if self.messages:
            ticket = self.messages.pop(self.random.randrange(len(self.messages)))
            if claim := self.store.claim(ticket, owner="worker"):
                self.working.append(claim)

    def finish(self) -> None:
        if self.working:
            claim = self.working.pop(self.random.randrange(len(self.working)))
            try:
                self.store.finish(claim, {}, decide)
            except ClaimLost:
                return
            self.commits += claim.ticket.step == COMMIT

    def fail(self) -> None:
        if self.working:
            claim = self.working.pop(self.random.randrange(len(self.working)))
            try:
                self.store.fail(claim, "the target did not answer", retry_in=3, decide=decide)
            except ClaimLost:
                return

    def lose_message(self) -> None:
        if self.messages:
            self.messages.pop(self.random.randrange(len(self.messages)))

    def repeat_message(self) -> None:
        if self.messages:
            self.messages.append(self.random.choice(self.messages))

    def stall(self) -> None:
        """Time passes in which nobody renews: every lease runs out, every worker lives on."""
        let_pass(self.store, 20)

    def reconcile(self) -> None:
        let_pass(self.store, 7)
        self.store.reconcile(decide)

    def lose_broker(self) -> None:
        if self.random.random() < 0.2:
            self.messages.clear()

    def kill_workers(self) -> None:
        if self.random.random() < 0.2:
            self.working.clear()


HAPPENINGS = [
    *[Chaos.send, Chaos.deliver, Chaos.deliver, Chaos.finish, Chaos.finish, Chaos.finish, Chaos.reconcile],
    *[Chaos.fail, Chaos.lose_message, Chaos.repeat_message, Chaos.stall, Chaos.lose_broker],
    Chaos.kill_workers,
]


def check_ended(store: RunStore, run: Run, commits: int) -> None:
    tally = store.tally(run.id)
    assert not any(tally.unsettled(kind) for kind in StepKind)
    assert tally.of(StepKind.COMMIT) == commits <= 1
    if run.state is RunState.DONE:
        assert tally.of(StepKind.UPLOAD, states=(StepState.DONE,)) == 9
        assert commits == 1
    if run.state is RunState.FAILED:
        assert tally.of(StepKind.CAPTURE, states=(StepState.POISONED,)) or run.error


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_a_run_ends_and_commits_once(store: RunStore, seed: int) -> None:
    chaos = Chaos(store, new_run(store), seed)
    run = chaos.until_it_ends()
    check_ended(store, run, chaos.commits)
    assert run.state in (RunState.DONE, RunState.DEGRADED, RunState.FAILED)


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("seed", range(6))
def test_a_run_cancelled_at_any_moment_ends(store: RunStore, seed: int) -> None:
    chaos = Chaos(store, new_run(store), seed)
    for _ in range(10 * seed):
        chaos.random.choice(HAPPENINGS)(chaos)
    store.cancel(chaos.run.id)
    run = chaos.until_it_ends()
    assert not any(store.tally(run.id).unsettled(kind) for kind in StepKind)
    assert run.state in (RunState.CANCELLED, RunState.DONE, RunState.DEGRADED, RunState.FAILED)


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("seed", range(4))
def test_a_run_failed_at_any_moment_can_be_retried_to_its_end(store: RunStore, seed: int) -> None:
    chaos = Chaos(store, new_run(store), seed)
    while not (chaos.working and chaos.random.random() < 0.1):
        chaos.random.choice(HAPPENINGS)(chaos)
    run, _ = store.fail(chaos.working.pop(), "gone", settle=StepState.POISONED, decide=decide)
    while chaos.until_it_ends().state is RunState.FAILED:
        store.retry(run.id, decide_again)
    assert store.tally(run.id).of(StepKind.UPLOAD) == 9
    assert store.tally(run.id).of(StepKind.COMMIT, states=(StepState.DONE,)) == 1
