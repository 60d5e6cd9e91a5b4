"""What is told to others in a recovery: once at each of four moments, the same in print and by mail."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from msgspec import Struct

from strongroom.operations.archive.recoveries import Recovery, RecoveryEntryKind, RecoveryStep
from strongroom.operations.recovery import words
from strongroom.operations.recovery.decide import next_step, took_seconds
from strongroom.timestamps import readable
from strongroom.words import spelled_out


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
    step = next_step(recovery, host=host)
    scope = recovery.scope
    filled = {
        "recovery": recovery.id,
        "opened": readable(recovery.opened_at),
        "elapsed": words.length(took_seconds(recovery, now)),
        "objective": words.length(plan.objective),
        "step": words.STEPS[step] if step is not None else "all steps are done",
        "lost": ", ".join(scope.lost) if scope and scope.lost else "nothing",
        "leaked": ", ".join(scope.leaked) if scope and scope.leaked else "none that is known",
        "outcome": words.outcome(recovery),
        "left": words.left(recovery),
        "call": "; ".join(filter(None, plan.contacts.values())) or "the people you usually call",
    }
    text = plan.texts[message]
    for name, value in filled.items():  # no format(): what a text names beyond this stays as it is
        text = text.replace(f"{{{name}}}", value)
    return spelled_out(text, but="\n\t")
