"""The summary of many runs, and what they must show together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.chaos.attempt import Outcome
from tests.chaos.plan import Phase, Victim


def line(outcome: Outcome) -> str:
    """Return one run's line."""
    kills = ", ".join(str(killed.kill) for killed in outcome.kills)
    verdict = "held" if not outcome.violations else "BROKEN"
    captures = f"{outcome.captures} of {outcome.pieces}"
    times = f"{outcome.seconds:>6.1f} s  {outcome.stall:>5.1f} s"
    return f"{outcome.seed:>6}  {times}  {captures:>12}  {outcome.reconciled:>3}  {verdict:<6}  {kills}"


HEAD = f"{'seed':>6}  {'time':>8}  {'stall':>7}  {'captures':>12}  {'rec':>3}  {'':<6}  kills"


def summary(outcomes: Sequence[Outcome]) -> str:
    """Return what all runs showed together."""
    victims, phases = Counter[Victim](), Counter[Phase]()
    for outcome in outcomes:
        victims.update(killed.kill.victim for killed in outcome.kills)
        phases.update(killed.kill.phase for killed in outcome.kills)
    acted = sum(outcome.reconciled > 0 for outcome in outcomes)
    seconds = sorted(outcome.seconds for outcome in outcomes)
    captures = sum(outcome.captures - outcome.pieces for outcome in outcomes)
    broken = sum(bool(outcome.violations) for outcome in outcomes)
    reconciled = sum(outcome.reconciled for outcome in outcomes)
    lines = [
        f"{len(outcomes)} runs, {sum(victims.values())} kills, {broken} broken",
        "victims: " + ", ".join(f"{victim} {victims[victim]}" for victim in Victim),
        "phases: " + ", ".join(f"{phase} {phases[phase]}" for phase in Phase),
        f"captured again: {captures}; reconcile acted in {acted} runs, {reconciled} times",
        f"seconds a run: {seconds[0]:.0f} to {seconds[-1]:.0f}, median {seconds[len(seconds) // 2]:.0f}",
    ]
    return "\n".join(lines)


def unshown(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield what the runs together failed to show: then they prove less than they claim."""
    kills = [killed.kill for outcome in outcomes for killed in outcome.kills]
    for victim in set(Victim) - {kill.victim for kill in kills}:
        yield f"no {victim} was killed"
    for phase in set(Phase) - {kill.phase for kill in kills}:
        yield f"nothing was killed during {phase}"
    acted = sum(outcome.reconciled > 0 for outcome in outcomes)
    if acted * 5 < len(outcomes):
        yield f"reconcile had to act in {acted} of {len(outcomes)} runs only"
