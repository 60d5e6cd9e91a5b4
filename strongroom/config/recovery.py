"""Whom to call on the night of a recovery, what to tell others, and how long it may take."""

# Annotations are no text here: see strongroom.config.schema.
from typing import Annotated

from msgspec import Meta

from strongroom.config.schema import SettingsSection
from strongroom.config.values import Duration, MailAddress, Text

PLACES = ("recovery", "opened", "elapsed", "objective", "step", "lost", "leaked", "outcome", "left", "call")
"""What a message may name in braces."""


class ContactSettings(SettingsSection, frozen=True, kw_only=True):
    """Somebody to call."""

    who: Annotated[Text | None, Meta(description="Who they are.", examples=["DevOps team (24/7)"])] = None
    phone: Annotated[Text | None, Meta(description="Their number.", examples=["+49 30 1234567"])] = None
    mail: Annotated[
        MailAddress | None,
        Meta(
            description="Their address. That of `escalation` gets a mail once a recovery is late.",
            examples=["devops@example.org"],
        ),
    ] = None

    @property
    def line(self) -> str:
        """All of it on one line; empty if nothing is known."""
        return ", ".join(filter(None, (self.who, self.phone, self.mail)))


class ContactsSettings(SettingsSection, frozen=True, kw_only=True):
    """Whom to call in an emergency, in this order. `strongroom recover` and `incident` print them when they
    are needed."""

    primary: Annotated[
        ContactSettings | None, Meta(description="First.", examples=[{"who": "DevOps team (24/7)"}])
    ] = None
    secondary: Annotated[
        ContactSettings | None, Meta(description="Then.", examples=[{"who": "Security team"}])
    ] = None
    escalation: Annotated[
        ContactSettings | None,
        Meta(description="If nobody answers, or it takes too long.", examples=[{"who": "CTO"}]),
    ] = None

    @property
    def lines(self) -> dict[str, str]:
        """Whom to call, by their place, in this order: those of whom anything is known."""
        called = {"primary": self.primary, "secondary": self.secondary, "escalation": self.escalation}
        return {
            place: contact.line for place, contact in called.items() if contact is not None and contact.line
        }


_OPENED = """\
A recovery of secrets is under way since {opened}.
Lost: {lost}.
Keys that may be in wrong hands: {leaked}.
It should be over within {objective}. Services that need these secrets may fail until then.
Questions: {call}. The recovery is {recovery}.
"""
_RESTORED = """\
What was restored is back and was compared with the backup, {elapsed} after {opened}. Left to do: {left}.
Keys that may be in wrong hands: {leaked}. If there are any, what they open gets new values next.
The recovery is {recovery}.
"""
_CLOSED = """\
The recovery {recovery} has ended. Result: {outcome}.
It took {elapsed}; the objective is {objective}.
"""
_LATE = """\
The recovery {recovery} is late: it has taken {elapsed}, and the objective is {objective}.
It is at this step: {step}.
Lost: {lost}.
Please call: {call}.
"""


class MessageSettings(SettingsSection, frozen=True, kw_only=True):
    """What is printed and mailed at some steps: `{lost}`, `{call}` and others are filled in."""

    opened: Annotated[
        Text,
        Meta(
            description="Once it is known what is lost.",
            examples=["A recovery is under way: {lost}. Call {call}."],
            extra={"default": "a few sentences"},
        ),
    ] = _OPENED
    restored: Annotated[
        Text,
        Meta(
            description="Once what could be restored is back and validated.",
            examples=["The secrets are back after {elapsed}."],
            extra={"default": "a few sentences"},
        ),
    ] = _RESTORED
    closed: Annotated[
        Text,
        Meta(
            description="At the end.",
            examples=["Recovery {recovery} is over: {outcome}."],
            extra={"default": "a few sentences"},
        ),
    ] = _CLOSED
    late: Annotated[
        Text,
        Meta(
            description="Once it takes longer than the objective; mailed to `contacts.escalation` too.",
            examples=["Recovery {recovery} is late, at: {step}."],
            extra={"default": "a few sentences"},
        ),
    ] = _LATE


class RecoverySettings(SettingsSection, frozen=True, kw_only=True):
    """A guided recovery (`strongroom recover`)."""

    objective: Annotated[
        Duration,
        Meta(
            ge=60,
            le=30 * 86_400,
            description="How long all six steps may take.",
            examples=["2h"],
            extra={"default": '`"4h"`'},
        ),
    ] = 4 * 3600
    stakeholders: Annotated[
        tuple[MailAddress, ...],
        Meta(
            description="Who gets the messages by mail; it needs `[mail]`.",
            examples=[["service-owners@example.org"]],
        ),
    ] = ()
    messages: MessageSettings = MessageSettings()
