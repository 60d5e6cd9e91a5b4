"""A recovery in six steps: what is next, what is told to whom, where its record lies."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from msgspec import Struct

from strongroom.operations.archive.recoveries import STEPS as RECOVERY_STEPS
from strongroom.operations.archive.recoveries import Recovery, RecoveryEntryKind, RecoveryStep, StepRecord
from strongroom.sheet import Mood
from strongroom.times import measured, readable
from strongroom.words import plural, spelled_out

# -- What is next in a recovery: a pure function of its record, so that every host answers the same ---


def next_step(recovery: Recovery, *, host: str) -> RecoveryStep | None:
    """Return the step that is next on a host; ``None`` once nothing is left.

    What was shown of one machine holds for no other: a host that goes on before everything is restored shows
    first that it is secure.
    """
    for step in RECOVERY_STEPS:
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


# -- A recovery in words, the same on a terminal, in a mail and on the page ---------------------


STEPS: Final[Mapping[RecoveryStep, str]] = {
    RecoveryStep.ASSESS: "Assess what is lost and what is compromised",
    RecoveryStep.SECURE: "Secure the environment",
    RecoveryStep.LOCATE: "Locate the backups",
    RecoveryStep.RESTORE: "Decrypt and restore",
    RecoveryStep.VALIDATE: "Validate what was restored",
    RecoveryStep.ROTATE: "Rotate what is compromised",
}
ENDED: Final[Mapping[RecoveryEntryKind, str]] = {
    RecoveryEntryKind.DONE: "done",
    RecoveryEntryKind.WAIVED: "skipped",
    RecoveryEntryKind.UNNEEDED: "not needed",
}

PASSED, LACKING, OPEN, NOTHING = "passed", "degraded", "open", "nothing"


class OutcomeWords(NamedTuple):
    """What came of a recovery: in short, in a sentence of its own, and within one."""

    mood: Mood
    verdict: str
    about: str
    clause: str


OUTCOMES: Final[Mapping[str, OutcomeWords]] = {
    OPEN: OutcomeWords(Mood.WARN, "Not over yet", "A step is open.", "not over yet"),
    PASSED: OutcomeWords(
        Mood.GOOD,
        "Recovered",
        "Each step was proved by a check.",
        "everything was recovered, and each step was proved",
    ),
    LACKING: OutcomeWords(
        Mood.WARN,
        "Over, and something is left to do",
        "A step was skipped, or a check left something to do.",
        "over, and something is left to do",
    ),
    NOTHING: OutcomeWords(
        Mood.PLAIN,
        "Nothing had to be recovered",
        "Nothing was lost, and nobody named a key that may be in wrong hands.",
        "nothing had to be recovered",
    ),
}


def verdict(recovery: Recovery) -> str:
    """Return what came of a recovery, as a word."""
    if not recovery.closed_at:
        return OPEN
    if recovery.waived or recovery.left:
        return LACKING
    scope = recovery.scope
    return PASSED if scope is None or scope.lost or scope.leaked else NOTHING


def step_state(record: StepRecord) -> str:
    """Say how far a step is."""
    if record.ended is None:
        return "begun" if record.began_at else "not begun"
    return ENDED[record.ended]


# -- What is told to others in a recovery: once at each of four moments, the same in print and by mail


class RecoveryMessage(StrEnum):
    """When others are told something."""

    OPENED = "opened"
    RESTORED = "restored"
    LATE = "late"
    CLOSED = "closed"


SUBJECTS: Final[Mapping[str, str]] = {
    RecoveryMessage.OPENED: "a recovery is under way",
    RecoveryMessage.RESTORED: "what was restored is back",
    RecoveryMessage.LATE: "the recovery is late",
    RecoveryMessage.CLOSED: "the recovery is over",
}


class RecoverySettingsFacts(Struct, frozen=True, kw_only=True):
    """What the configuration says of recoveries.

    ``contacts`` are lines of whom to call, by their place: primary, secondary, escalation. ``texts`` are the
    messages. ``stakeholders`` get them by mail, and ``escalation`` that of a late recovery.
    """

    objective: float
    contacts: Mapping[str, str]
    texts: Mapping[str, str]
    stakeholders: tuple[str, ...] = ()
    escalation: str = ""

    def recipients(self, message: RecoveryMessage) -> tuple[str, ...]:
        """Return who gets a message by mail."""
        more = (self.escalation,) if message is RecoveryMessage.LATE and self.escalation else ()
        return tuple(dict.fromkeys((*self.stakeholders, *more)))


def due_messages(
    recovery: Recovery, plan: RecoverySettingsFacts, *, now: float
) -> tuple[RecoveryMessage, ...]:
    """Return what others are to be told now and were not told yet."""
    told = {entry.reason for entry in recovery.told}
    closed, scope = bool(recovery.closed_at), recovery.scope
    due = {
        RecoveryMessage.OPENED: scope is not None and bool(scope.lost or scope.leaked) and not closed,
        RecoveryMessage.RESTORED: all(
            recovery.steps[step].ended is RecoveryEntryKind.DONE
            for step in (RecoveryStep.RESTORE, RecoveryStep.VALIDATE)
        ),
        RecoveryMessage.LATE: not closed and took_seconds(recovery, now) > plan.objective,
        RecoveryMessage.CLOSED: closed and RecoveryMessage.OPENED in told,
    }
    return tuple(message for message, is_due in due.items() if is_due and message not in told)


def text_of(
    message: RecoveryMessage, recovery: Recovery, plan: RecoverySettingsFacts, *, host: str, now: float
) -> str:
    """Return a message with everything filled in that it names."""
    step, scope, many = next_step(recovery, host=host), recovery.scope, len(recovery.left)
    filled = {
        "recovery": recovery.id,
        "opened": readable(recovery.opened_at),
        "elapsed": measured(took_seconds(recovery, now)),
        "objective": measured(plan.objective),
        "step": STEPS[step] if step is not None else "all steps are done",
        "lost": ", ".join(scope.lost) if scope and scope.lost else "nothing",
        "leaked": ", ".join(scope.leaked) if scope and scope.leaked else "none that is known",
        "outcome": OUTCOMES[verdict(recovery)].clause,
        "left": f"{plural(many, 'thing')}, so something may be missing or older than it was"
        if many
        else "nothing",
        "call": "; ".join(filter(None, plan.contacts.values())) or "the people you usually call",
    }
    text = plan.texts[message]
    for name, value in filled.items():  # no format(): what a text names beyond this stays as it is
        text = text.replace(f"{{{name}}}", value)
    return spelled_out(text, but="\n\t")
