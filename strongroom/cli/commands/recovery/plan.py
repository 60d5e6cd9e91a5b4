"""What the configuration says of recoveries. One that cannot be read keeps nobody from recovering."""

from __future__ import annotations

from strongroom.cli.terminal.output import Output
from strongroom.config import Settings, load_settings
from strongroom.config.recovery import MessageSettings, RecoverySettings
from strongroom.errors import StrongroomError
from strongroom.operations.recovery.messages import RecoveryMessage, RecoverySettingsFacts


def read_plan(output: Output) -> tuple[RecoverySettingsFacts, Settings | None]:
    """Return whom to call and what to tell, and the settings; without a sound configuration what is usual."""
    try:
        settings = load_settings()
    except StrongroomError as error:
        output.warn(f"the configuration cannot be used: {error.message} What is usual is used instead.")
        return _plan(RecoverySettings(), {}), None
    plan, escalation = _plan(settings.recovery, settings.contacts.lines), settings.contacts.escalation
    return (
        RecoverySettingsFacts(
            objective=plan.objective,
            contacts=plan.contacts,
            texts=plan.texts,
            stakeholders=settings.recovery.stakeholders,
            escalation=(escalation.mail or "") if escalation is not None else "",
        ),
        settings,
    )


def _plan(recovery: RecoverySettings, contacts: dict[str, str]) -> RecoverySettingsFacts:
    messages: MessageSettings = recovery.messages
    return RecoverySettingsFacts(
        objective=recovery.objective,
        contacts=contacts,
        texts={message: getattr(messages, message) for message in RecoveryMessage},
    )
