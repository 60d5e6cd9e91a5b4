"""Remote control (``inspect``, Flower): signed, and for looking only."""

from __future__ import annotations

from typing import Any, cast

from celery.app.control import Control
from kombu.pidbox import Mailbox, Node

from strongroom.errors import MessageRefused
from workers.messages import check_command


class SignedNode(Node):
    """A worker's mailbox: obeys what :func:`~workers.messages.check_command` passes."""

    def handle_message(self, body: Any, message: Any = None) -> Any:
        """Obey, or refuse aloud."""
        try:
            check_command(body)
        except MessageRefused as error:
            size = len(message.body or b"") if message else 0
            cast("Any", self.state).app.refusals.refuse(error, where="remote control", size=size)
            return None
        return super().handle_message(body, message)  # type: ignore[no-untyped-call]

    dispatch_from_message = handle_message


class SignedMailbox(Mailbox):
    """The mailbox of an app whose serializer signs."""

    node_cls = SignedNode


class SignedControl(Control):  # type: ignore[misc]
    """Celery's remote control over signed messages."""

    Mailbox = SignedMailbox
