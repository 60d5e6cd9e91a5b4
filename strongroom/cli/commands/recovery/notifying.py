"""Others are notified: each message once, printed here and mailed to whom the configuration names."""

from __future__ import annotations

import time

from strongroom.cli.commands.recovery.tools import RecoveryTools
from strongroom.config import Settings
from strongroom.errors import StrongroomError
from strongroom.operations.alerts.mail import plain_mail, send
from strongroom.operations.archive.recoveries import RecoveryEntryKind
from strongroom.operations.recovery.messages import SUBJECTS, RecoveryMessage, due_messages, text_of
from strongroom.wiring.channels import mail_server


def notify_others(at: RecoveryTools, settings: Settings | None) -> None:
    """Print the messages that are due, mail them, and put on record who got them."""
    for message in due_messages(at.record.recovery, at.plan, now=time.time()):
        text = text_of(message, at.record.recovery, at.plan, host=at.host, now=time.time())
        told = _mail(at, settings, message, text)
        said = "; ".join(told) if told else "mailed to nobody: pass it on yourself"
        at.screen.say("", f"  Message to others ({said}):", *(f"  | {line}" for line in text.splitlines()))
        at.record.note(RecoveryEntryKind.TOLD, reason=message.value, lines=told or ("printed",))
        if message is RecoveryMessage.LATE:
            at.screen.call("escalation")


def _mail(
    at: RecoveryTools, settings: Settings | None, message: RecoveryMessage, text: str
) -> tuple[str, ...]:
    """Mail a message; a mail server that is away must not stop a recovery."""
    recipients = at.plan.recipients(message)
    if not recipients or settings is None or at.given.arguments.no_mail:
        return ()
    try:
        server = mail_server(settings)
        about = f"[strongroom] {SUBJECTS[message]}: {at.record.recovery.id}"
        mail = plain_mail(about, text, sender=server.sender, recipients=recipients, now=time.time())
        send(mail, server, recipients)
    except StrongroomError as error:
        return (f"not mailed to {', '.join(recipients)}: {error.code}",)
    return (f"mailed to {', '.join(recipients)}",)
