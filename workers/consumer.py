"""The worker's consumer and its mailbox: look at every message before Celery does anything with it.

Celery picks the handler by an unsigned header and, left alone, drops what it cannot read
with an acknowledgement and a log line. Here one check comes first, and all that is turned
away ends in :class:`~workers.refusals.Refusals`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

from celery.app.control import Control
from celery.worker.consumer import Consumer
from kombu.pidbox import Mailbox, Node
from redis.exceptions import RedisError

from strongroom.operations.errors import MessageRefused, OwnMessageFailed
from workers.broker import telling
from workers.host_watch import LOOK_SECONDS, HostWatch
from workers.messages import check_command, check_task
from workers.refusals import QUIET_SECONDS, Refusal, Refusals, admit, reason_of
from workers.status import TELLS_EVERY

_log = logging.getLogger(__name__)


class StrictConsumer(Consumer):  # type: ignore[misc]
    """Hands on what :func:`~workers.messages.check_task` passes, and refuses the rest."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.timer.call_repeatedly(QUIET_SECONDS, self.refusals.flush)
        watch = HostWatch(self.app.role, self.app.settings.state_dir, self.app.services.store)
        self.timer.call_after(0.0, watch.look)
        self.timer.call_repeatedly(LOOK_SECONDS, watch.look)
        if self.hub:  # this timer is the main loop's own there; where there is none, it is a thread's
            self.timer.call_repeatedly(TELLS_EVERY, self._pulse)

    def perform_pending_operations(self) -> None:
        """Tell that the main loop of a pool of threads came round."""
        if not self.hub:
            self._pulse()
        super().perform_pending_operations()

    def ensure_connected(self, conn: Any) -> Any:
        """Wait for the broker, however long, and tell meanwhile that the process works."""
        return super().ensure_connected(telling(conn, self._pulse))

    def _pulse(self) -> None:
        """Tell that the process works, unless its pool has no process left to work with."""
        processes = getattr(getattr(self.pool, "_pool", None), "_pool", None)
        if processes is None or any(process.exitcode is None for process in processes):
            self.app.pulse()

    @property
    def refusals(self) -> Refusals:
        """The counter of this worker's app."""
        refusals: Refusals = self.app.refusals
        return refusals

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Put the check before Celery's own handler."""
        handle = super().create_task_handler(*args, **kwargs)
        queue: str = self.app.role

        def checked(message: Any) -> None:
            refuse = partial(self._refuse, message)
            if order := admit(lambda: check_task(message, queue=queue), refuse):
                # From here on it is our own: what fails now is our fault, and no stranger's.
                why = partial(_failed, order.task)
                admit(lambda: handle(message), refuse, passing=self.connection_errors, why=why)

        return checked

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Refuse what the envelope could not open (remote control comes this way)."""
        self._refuse(message, reason_of(exc))

    def on_unknown_message(self, _body: Any, message: Any) -> None:
        """Refuse what has no task header."""
        self._refuse(message, MessageRefused("a message without a task"))

    def on_unknown_task(self, _body: Any, message: Any, _exc: Exception) -> None:
        """Refuse a task that this version does not have."""
        self._refuse(message, MessageRefused("a task that this version does not have"))

    def on_invalid_task(self, _body: Any, message: Any, exc: Exception) -> None:
        """Give up what Celery finds malformed although one of ours signed it."""
        self._refuse(message, _failed(message.headers["task"], exc))

    def _refuse(self, message: Any, error: Refusal) -> None:
        if not message.acknowledged:
            message.ack_log_error(_log, self.connection_errors)
        self.refusals.refuse(error, where=self.app.role, size=len(message.body or b""))


def _failed(task: str, error: Exception) -> OwnMessageFailed:
    return OwnMessageFailed(f"this installation's own message for task '{task}' ({type(error).__name__})")


# -- Remote control: signed, and for looking only --


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
