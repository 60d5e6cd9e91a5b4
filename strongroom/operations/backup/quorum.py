"""The policy's quorum: which targets count towards it, and what it still lacks. Pure."""

from __future__ import annotations

from msgspec import structs

from strongroom.operations.backup.facts import pieces_of
from strongroom.state.records import Run, RunStep, Spec, StepConsequence, StepKind, StepState, Tally
from strongroom.words import plural, verb


def complete_targets(
    spec: Spec, tally: Tally, pieces: int, *, kind: StepKind = StepKind.UPLOAD
) -> tuple[str, ...]:
    """Name the targets that are through with a kind of step: after the uploads, those that hold
    every container."""
    return tuple(
        pin.name
        for pin in spec.targets
        if tally.of(kind, target=pin.name, states=(StepState.DONE,)) == pieces
    )


def missing_from_quorum(spec: Spec, held: tuple[str, ...]) -> str | None:
    """Say what the targets in ``held`` lack to make a backup, or ``None``.

    A target in the source's own failure domain never counts: it is lost with the source.
    """
    counting = [pin for pin in spec.targets if pin.name in held and pin.counts]
    counts = {
        "target": (len(counting), spec.quorum),
        "region": (len({pin.region for pin in counting}), spec.regions),
        "provider": (len({pin.provider for pin in counting}), spec.providers),
    }
    for what, (have, demanded) in counts.items():
        if have < demanded:
            of = f"{have} of the {plural(demanded, what)} that the policy demands"
            return f"{of} {verb(have, 'hold')} the whole backup"
    return None


def quorum_is_open(run: Run, tally: Tally, step: RunStep) -> bool:
    """Tell whether the targets that are through with this kind of step do not make a backup yet."""
    through = complete_targets(run.spec, tally, pieces_of(run), kind=step.kind)
    return missing_from_quorum(run.spec, through) is not None


def needs_target(run: Run, tally: Tally, step: RunStep) -> bool:
    """Tell whether the quorum cannot be met without this step's target: too many others gave up a piece."""
    sound = (
        pin.name
        for pin in run.spec.targets
        if pin.name != step.target and not tally.of(step.kind, target=pin.name, states=(StepState.MISSED,))
    )
    return missing_from_quorum(run.spec, tuple(sound)) is not None


def with_wake(verdict: StepConsequence, run: Run, tally: Tally, step: RunStep) -> StepConsequence:
    """End the pauses of a kind of step if it is this step with which the policy's quorum is met.

    A resting region was waited for until now. Tried once more, it answers or is given up at once.
    """
    return structs.replace(verdict, wake=(step.kind,)) if _meets_quorum(run, tally, step) else verdict


def _meets_quorum(run: Run, tally: Tally, step: RunStep) -> bool:
    if not tally.unsettled(step.kind):
        return False
    through = complete_targets(run.spec, tally, pieces_of(run), kind=step.kind)
    before = tuple(name for name in through if name != step.target)
    lacked = missing_from_quorum(run.spec, before) is not None
    return lacked and missing_from_quorum(run.spec, through) is None
