"""What comes next: pure decisions, called inside the transaction that records an outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import structs

from strongroom.operations.backup.commit import complete_targets, missing_from_quorum
from strongroom.state.records import (
    ROTATING,
    Run,
    RunKind,
    RunState,
    Step,
    StepKind,
    StepState,
    Tally,
    Verdict,
)

Result = Mapping[str, Any]

PLAN, REPORT = Step(StepKind.PLAN), Step(StepKind.REPORT)

FIRST: Mapping[RunKind, Step] = {
    RunKind.BACKUP: PLAN,
    RunKind.VERIFY: PLAN,
    RunKind.REPAIR: PLAN,
    RunKind.RESTORE: Step(StepKind.RESTORE),
    RunKind.DRILL: Step(StepKind.DRILL_RESTORE),
    RunKind.ROTATE: PLAN,
}

# One target's trouble costs its replica, not the backup; one backup's trouble not the others' rotation.
TOLERATED = frozenset({StepKind.UPLOAD, StepKind.VERIFY, StepKind.REPAIR, *ROTATING})


def exhausted(step: Step) -> StepState:
    """Say what becomes of a step that was started too often without an outcome."""
    return StepState.MISSED if step.kind in TOLERATED else StepState.POISONED


def decide_given_up(run: Run, tally: Tally, step: Step) -> Verdict:
    """Decide after a step was given up that the run can do without (MISSED)."""
    return decide(run, tally, step, {})


def decide(run: Run, tally: Tally, step: Step, result: Result) -> Verdict:
    """Decide what follows from a recorded outcome."""
    if step.kind is StepKind.REPORT:
        return Verdict(state=RunState(result["state"]), error=result["error"], facts={"report": dict(result)})
    verdict = _DECIDERS[run.spec.kind](run, tally, step, result)
    return structs.replace(verdict, wake=(step.kind,)) if _meets_quorum(run, tally, step) else verdict


def _meets_quorum(run: Run, tally: Tally, step: Step) -> bool:
    """Tell whether it is this step with which the policy's quorum is met.

    A resting region was waited for until now. Tried once more, it is there, or is given up at once.
    """
    if step.kind not in (StepKind.UPLOAD, StepKind.VERIFY) or not tally.unsettled(step.kind):
        return False
    through = complete_targets(run.spec, tally, run.facts["plan"]["pieces"], kind=step.kind)
    before = tuple(name for name in through if name != step.target)
    lacked = missing_from_quorum(run.spec, before) is not None
    return lacked and missing_from_quorum(run.spec, through) is None


def _decide_backup(run: Run, tally: Tally, step: Step, result: Result) -> Verdict:
    match step.kind:
        case StepKind.PLAN:
            pieces = range(result["plan"]["pieces"])
            return Verdict(facts=result, follow=tuple(Step(StepKind.CAPTURE, piece) for piece in pieces))
        case StepKind.CAPTURE:
            return Verdict(
                follow=tuple(Step(StepKind.UPLOAD, step.piece, pin.name) for pin in run.spec.targets)
            )
        case StepKind.UPLOAD:
            return _decide_uploaded(run, tally)
        case StepKind.COMMIT:
            facts = {
                name: result[name] for name in ("manifest", "counts", "unlocked", "left_out", "unplaced")
            }
            return Verdict(facts=facts, follow=_verifications(run.facts["plan"]["pieces"], result["targets"]))
        case _:
            return _report_when_settled(tally)


def _decide_uploaded(run: Run, tally: Tally) -> Verdict:
    pieces = run.facts["plan"]["pieces"]
    captured = tally.of(StepKind.CAPTURE, states=(StepState.DONE,))
    if captured < pieces or tally.unsettled(StepKind.UPLOAD):
        return Verdict()
    lacking = missing_from_quorum(run.spec, complete_targets(run.spec, tally, pieces))
    if lacking:
        return Verdict(state=RunState.FAILED, error=f"QuorumNotMet: {lacking}")
    return Verdict(follow=(Step(StepKind.COMMIT),))


def _decide_verify(run: Run, tally: Tally, step: Step, result: Result) -> Verdict:
    if step.kind is not StepKind.PLAN:
        return _report_when_settled(tally)
    follow = _verifications(result["plan"]["pieces"], result["present"])
    return Verdict(facts=result, follow=follow or (REPORT,))


def _decide_repair(run: Run, tally: Tally, step: Step, result: Result) -> Verdict:
    match step.kind:
        case StepKind.PLAN:
            lacking = [Step(StepKind.REPAIR, piece, target) for target, piece in result["lacking"]]
            nothing = REPORT if result["idle"] else Step(StepKind.COMMIT)
            return Verdict(facts=result, follow=tuple(lacking) or (nothing,))
        case StepKind.REPAIR:
            return Verdict() if tally.unsettled(StepKind.REPAIR) else Verdict(follow=(Step(StepKind.COMMIT),))
        case StepKind.COMMIT:
            doubted = [name for name in result["targets"] if name not in run.facts.get("held", ())]
            follow = _verifications(run.facts["plan"]["pieces"], doubted)
            facts = {name: result[name] for name in ("unlocked", "unplaced")}
            return Verdict(facts=facts, follow=follow or (REPORT,))
        case _:
            return _report_when_settled(tally)


def _decide_restore(run: Run, tally: Tally, step: Step, result: Result) -> Verdict:
    return Verdict(facts={"restore": dict(result)}, follow=(REPORT,))


def _decide_drill(run: Run, tally: Tally, step: Step, result: Result) -> Verdict:
    following = {
        StepKind.DRILL_RESTORE: Step(StepKind.DRILL_COMPARE),
        StepKind.DRILL_COMPARE: Step(StepKind.DRILL_TEARDOWN),
        StepKind.DRILL_TEARDOWN: REPORT,
    }
    return Verdict(facts={step.kind.value: dict(result)}, follow=(following[step.kind],))


def _decide_rotate(run: Run, tally: Tally, step: Step, result: Result) -> Verdict:
    from strongroom.operations.rotation import batch  # noqa: PLC0415 - what rotates, which no backup needs

    if step.kind is StepKind.PLAN:
        first = batch.first_steps(run, result["plan"]["pieces"])
        return Verdict(facts=result, follow=first or (REPORT,))
    if follow := batch.following(run, step, result):
        return Verdict(follow=follow)
    busy = any(tally.unsettled(kind) for kind in ROTATING)
    return Verdict() if busy else Verdict(follow=(REPORT,))


_DECIDERS: Mapping[RunKind, Callable[[Run, Tally, Step, Result], Verdict]] = {
    RunKind.BACKUP: _decide_backup,
    RunKind.VERIFY: _decide_verify,
    RunKind.REPAIR: _decide_repair,
    RunKind.RESTORE: _decide_restore,
    RunKind.DRILL: _decide_drill,
    RunKind.ROTATE: _decide_rotate,
}


def _verifications(pieces: int, targets: list[str]) -> tuple[Step, ...]:
    return tuple(Step(StepKind.VERIFY, piece, target) for target in targets for piece in range(pieces))


def _report_when_settled(tally: Tally) -> Verdict:
    return Verdict() if tally.unsettled(StepKind.VERIFY) else Verdict(follow=(REPORT,))
