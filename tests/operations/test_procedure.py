"""How a procedure is led through: what fails is tried again, waived or left, and nothing is done twice."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from strongroom.errors import StrongroomError
from strongroom.operations.errors import StepIncomplete
from strongroom.operations.procedures.perform import AfterFailure, Guide, Procedure, lead


class Stage(StrEnum):
    FIRST = "first"
    SECOND = "second"
    THIRD = "third"


class Recorded(Procedure[Stage]):
    """A procedure whose record is in memory; ``fails`` says how often each step fails before it is done."""

    def __init__(self, *, fails: dict[Stage, int], needless: Collection[Stage] = ()) -> None:
        self.fails, self.without = fails, needless
        self.settled: dict[Stage, str] = {}

    def next_step(self, left: Collection[Stage]) -> Stage | None:
        return next((one for one in Stage if one not in self.settled and one not in left), None)

    def why_needless(self, step: Stage) -> str:
        return "nobody asked for it" if step in self.without else ""

    def pass_over(self, step: Stage, why: str) -> None:
        self.settled[step] = why

    def perform(self, step: Stage) -> StrongroomError | None:
        if self.fails.get(step, 0):
            self.fails[step] -= 1
            return StepIncomplete(f"{step} is not done")
        self.settled[step] = "done"
        return None

    def waive(self, step: Stage, reason: str) -> None:
        self.settled[step] = f"waived: {reason}"


class Answering(Guide[Stage]):
    """Answers, one after the other, what is done about what fails, and notes what happened."""

    def __init__(self, *answers: AfterFailure) -> None:
        self.answers = list(answers)
        self.said: list[str] = []

    def begins(self, step: Stage) -> None:
        self.said.append(f"begins {step}")

    def needless(self, step: Stage, why: str) -> None:
        self.said.append(f"needless {step}: {why}")

    def ended(self, step: Stage, error: StrongroomError | None) -> None:
        self.said.append(f"{'failed' if error else 'done'} {step}")

    def after_failure(self, step: Stage, error: StrongroomError) -> AfterFailure:
        self.said.append(f"asked about {step}: {error.code}")
        return self.answers.pop(0)


def test_a_step_that_fails_is_tried_again_until_it_is_done() -> None:
    procedure = Recorded(fails={Stage.FIRST: 2}, needless=[Stage.SECOND])
    person = Answering(AfterFailure(again=True), AfterFailure(again=True))
    lead(procedure, person)
    assert procedure.settled == {
        Stage.FIRST: "done",
        Stage.SECOND: "nobody asked for it",
        Stage.THIRD: "done",
    }
    assert person.said.count("failed first") == 2


def test_a_step_is_waived_for_a_reason_and_the_next_one_begins() -> None:
    procedure = Recorded(fails={Stage.FIRST: 9})
    lead(procedure, Answering(AfterFailure(reason="it is test data")))
    assert procedure.settled[Stage.FIRST] == "waived: it is test data"
    assert procedure.settled[Stage.THIRD] == "done"


def test_a_step_that_is_left_keeps_no_other_from_its_turn_and_stays_open() -> None:
    procedure = Recorded(fails={Stage.SECOND: 9})
    person = Answering(AfterFailure())
    lead(procedure, person)
    assert procedure.settled == {Stage.FIRST: "done", Stage.THIRD: "done"}
    assert person.said.count("begins second") == 1


def test_a_step_of_which_the_record_says_that_it_is_done_is_not_done_again() -> None:
    procedure = Recorded(fails={})
    procedure.settled[Stage.FIRST] = "done"
    person = Answering()
    lead(procedure, person)
    assert "begins first" not in person.said
