"""Remote control (``inspect``, Flower): signed, and for looking only."""

from __future__ import annotations

from functools import partial
from typing import Any, Final, cast

from celery.app.control import Control
from kombu.pidbox import Mailbox, Node
from redis.exceptions import RedisError

from workers.messages import check_command
from workers.refusals import admit

LOST: Final = (OSError, RedisError)
"""What says that the broker went away, and nothing about a command."""


class SignedNode(Node):
    """A worker's mailbox: obeys what :func:`~workers.messages.check_command` passes."""

    def handle_message(self, body: Any, message: Any = None) -> Any:
        """Obey, or refuse aloud."""
        size = len(message.body or b"") if message else 0
        refuse = partial(cast("Any", self.state).app.refusals.refuse, where="remote control", size=size)
        if not admit(lambda: check_command(body), refuse):
            return None
        obey = super().handle_message
        return admit(lambda: obey(body, message), refuse, passing=LOST)  # type: ignore[no-untyped-call]

    dispatch_from_message = handle_message


class SignedMailbox(Mailbox):
    """The mailbox of an app whose serializer signs."""

    node_cls = SignedNode


class SignedControl(Control):  # type: ignore[misc]
    """Celery's remote control over signed messages."""

    Mailbox = SignedMailbox
