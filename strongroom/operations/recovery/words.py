"""A recovery in words, the same on a terminal, in a mail and on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from strongroom.durations import measured
from strongroom.operations.archive.recoveries import Recovery, RecoveryEntryKind, RecoveryStep, StepRecord
from strongroom.words import plural

STEPS: Final[Mapping[RecoveryStep, str]] = {
    RecoveryStep.ASSESS: "Assess what is lost and what is compromised",
    RecoveryStep.SECURE: "Secure the environment",
    RecoveryStep.LOCATE: "Locate the backups",
    RecoveryStep.RESTORE: "Decrypt and restore",
    RecoveryStep.VALIDATE: "Validate what was restored",
    RecoveryStep.ROTATE: "Rotate what is compromised",
}
ENDED: Final[Mapping[RecoveryEntryKind | None, str]] = {
    RecoveryEntryKind.DONE: "done",
    RecoveryEntryKind.WAIVED: "skipped",
    RecoveryEntryKind.UNNEEDED: "not needed",
    None: "open",
}

PASSED, LACKING, OPEN, NOTHING = "passed", "degraded", "open", "nothing"


def verdict(recovery: Recovery) -> str:
    """Return what came of a recovery, as a word: also the class that the page colours it by."""
    if not recovery.closed_at:
        return OPEN
    if recovery.waived or recovery.left:
        return LACKING
    scope = recovery.scope
    return PASSED if scope is None or scope.lost or scope.leaked else NOTHING


def outcome(recovery: Recovery) -> str:
    """Say what came of a recovery."""
    return {
        OPEN: "not over yet",
        PASSED: "everything was recovered, and each step was proved",
        LACKING: "over, and something is left to do",
        NOTHING: "nothing had to be recovered",
    }[verdict(recovery)]


def left(recovery: Recovery) -> str:
    """Say how much is left to do, for people who have no use for the commands."""
    many = len(recovery.left)
    return f"{plural(many, 'thing')}, so something may be missing or older than it was" if many else "nothing"


def step_state(record: StepRecord) -> str:
    """Say how far a step is."""
    if record.ended is None:
        return "begun" if record.began_at else "not begun"
    return ENDED[record.ended]


def length(seconds: float) -> str:
    """Write a length of time as people say it."""
    return measured(seconds)
