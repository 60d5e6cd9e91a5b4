"""What is next in a recovery: a pure function of its record, so that every host answers the same."""

from __future__ import annotations

from datetime import datetime

from strongroom.operations.archive.recoveries import STEPS, Recovery, RecoveryStep


def next_step(recovery: Recovery, *, host: str) -> RecoveryStep | None:
    """Return the step that is next on a host; ``None`` once nothing is left.

    What was shown of one machine holds for no other: a host that goes on before everything is restored shows
    first that it is secure.
    """
    for step in STEPS:
        if recovery.steps[step].ended is None or _was_elsewhere(step, recovery, host):
            return step
    return None


def _was_elsewhere(step: RecoveryStep, recovery: Recovery, host: str) -> bool:
    restored = recovery.steps[RecoveryStep.RESTORE].ended is not None
    return step is RecoveryStep.SECURE and not restored and recovery.steps[step].host != host


def why_unneeded(step: RecoveryStep, recovery: Recovery) -> str:
    """Say why a step is not needed; nothing if it is."""
    scope = recovery.scope
    if scope is None or step is RecoveryStep.ASSESS:
        return ""
    if step is RecoveryStep.ROTATE:
        return "" if scope.leaked else "Nobody named a key that may be in wrong hands."
    if step is RecoveryStep.SECURE:
        return "" if scope.lost or scope.leaked else "Nothing is lost and no key is named."
    return "" if scope.lost else "Nothing is lost, so nothing has to be restored."


def took_seconds(recovery: Recovery, now: float) -> float:
    """Return how long a recovery has taken: to its end, or until now."""
    opened = datetime.fromisoformat(recovery.opened_at).timestamp()
    until = datetime.fromisoformat(recovery.closed_at).timestamp() if recovery.closed_at else now
    return max(0.0, until - opened)
