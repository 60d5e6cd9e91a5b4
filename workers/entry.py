"""Entry tasks: what a person, a program or beat asks for, each of which makes a run.

Where they are asked for from a shell, the run is put on record first, under the request's id; the message
only makes the cluster look at once. So a broker that is emptied, or dies, loses nothing: reconcile finds
the run. A shell that does not reach the record waits until the control pool says that it has seen it.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Final, ParamSpec, cast

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from strongroom.errors import ConfigError, StrongroomError
from strongroom.keys.keyring import Keyring
from strongroom.state.errors import RunNotFound, StateUnavailable
from workers import broker, status, submission_receipts
from workers.app import Strongroom, app
from workers.base import StrongroomTask, TypedTask
from workers.logs import TaskFailed
from workers.names import SUBMIT
from workers.paths import role_keys
from workers.send import send_tickets

if TYPE_CHECKING:
    from strongroom.api.client import Submission
    from strongroom.operations.engine.services import Services
    from strongroom.operations.engine.submit import Submitted

log = logging.getLogger(__name__)

P = ParamSpec("P")
Create = Callable[Concatenate["Services", str, P], "Submitted"]

REFUSED: Final = "submission-refused"
DELAYED: Final = "submission-delayed"
MOST_TRIES: Final = 1_000_000
LONGEST_PAUSE: Final = 60.0
LOST: Final = (OperationalError, RedisError, OSError)


class EntryTask(StrongroomTask):
    """A task whose only work is to put a run on record."""

    abstract = True
    create: ClassVar[Callable[..., Any]]

    def apply_async(self, args: Any = None, kwargs: Any = None, task_id: Any = None, **options: Any) -> Any:
        """Submit it.

        Returns:
            from a shell a :class:`~strongroom.api.client.Submission`, whose run is on record.

        Raises:
            ConfigError, UsageError: what is asked for does not exist; nothing was submitted.
            BrokerUnavailable: nothing was submitted.
            NotYetSeen: it was handed to the broker, and nobody has answered.
        """
        if cast("Strongroom", self.app).role != SUBMIT:
            return super().apply_async(args, kwargs, task_id=task_id, **options)
        request = task_id or str(uuid.uuid4())
        send = partial(super().apply_async, args, kwargs, task_id=request, **options)
        return submit(self, request, send, kwargs or {})

    def _again(self, error: StrongroomError) -> Exception:
        """Return what to raise: a request is never given up because the record does not answer."""
        if not isinstance(error, StateUnavailable):
            return super()._again(error)
        pause = min(LONGEST_PAUSE, 2.0 ** min(self.request.retries, 6))
        shown = TaskFailed(error.code)
        again: Exception = self.retry(exc=shown, countdown=pause, throw=False, max_retries=MOST_TRIES)
        return again


def define_entry(name: str) -> Callable[[Create[P]], TypedTask[P, str]]:
    """Make a function that creates a run the entry task of that name.

    The function gets the process's services and the request's id before its own options.
    """

    def decorate(create: Create[P]) -> TypedTask[P, str]:
        def entry(*args: P.args, **kwargs: P.kwargs) -> str:
            return perform(create, *args, **kwargs)

        entry.__name__, entry.__doc__ = create.__name__, create.__doc__
        entry.__module__ = create.__module__
        options = {"name": name, "base": EntryTask, "create": staticmethod(create)}
        return cast("TypedTask[P, str]", app.task(**options)(entry))

    return decorate


# -- in the control pool -------------------------------------------------------


def perform(create: Create[P], *args: P.args, **kwargs: P.kwargs) -> str:
    """Put the run of the request being performed on record, if it is not, and send its first step.

    The task's id is the request's, so a message that comes twice makes one run. A request that makes no
    run leaves an event of kind ``submission-refused``; one that had to wait, ``submission-delayed``.
    """
    services, task = app.services.get(), app.current_task
    request: str = task.request.id
    try:
        run, tickets = _known(services, request) or create(services, request, *args, **kwargs)
    except StrongroomError as error:
        if not error.transient or (not isinstance(error, StateUnavailable) and _is_last(task)):
            services.store.event(REFUSED, request=request, code=error.code, why=error.message)
        raise
    if task.request.retries:
        services.store.event(DELAYED, run, request=request, tries=task.request.retries + 1)
    submission_receipts.tell(app, request=request, run=run)
    send_tickets(app, tickets)
    return run


def _is_last(task: Any) -> bool:
    return bool(task.request.retries >= task.max_retries)


def _known(services: Services, request: str) -> Submitted | None:
    """Return the run that the request has already, and what is due of it."""
    from strongroom.operations.engine.submit import first_tickets

    with suppress(RunNotFound):
        run = services.store.find(request)
        return run.id, [] if run.state.final else first_tickets(services, run)
    return None


# -- in a shell ----------------------------------------------------------------


def submit(task: EntryTask, request: str, send: Callable[[], Any], arguments: dict[str, Any]) -> Submission:
    """Put a run on record and send its message; without the record, send and wait for an answer."""
    from strongroom.api.client import Submission

    _require_policy(arguments.get("policy"))
    _require_key()
    services = app.services.get()
    broker.check(app.conf.broker_url, tls=app.conf.broker_use_ssl)
    try:
        run = _on_record(task, services, request, arguments)
        if run is None:
            run = _handed_over(request, send)
        else:
            _tell_cluster(run, send)
    except KeyboardInterrupt as stopped:
        stopped.add_note(f"what was asked for may go on: look with 'strongroom runs show {request}'.")
        raise
    return Submission(id=request, run=run, store=services.store)


def _tell_cluster(run: str, send: Callable[[], Any]) -> None:
    try:
        send()
    except LOST as error:  # it stands all the same: reconcile finds it
        log.warning("submitted-without-a-message", extra={"run": run, "why": type(error).__name__})


def _handed_over(request: str, send: Callable[[], Any]) -> str:
    with broker.failing_fast(app.conf.broker_url, tls=app.conf.broker_use_ssl):
        send()
    return submission_receipts.wait(app, request)


def _require_policy(name: str | None) -> None:
    if name is not None and name not in app.settings.policies:
        known = ", ".join(sorted(app.settings.policies)) or "none"
        raise ConfigError(f"There is no policy '{name}'; nothing was submitted.", hint=f"Known: {known}.")


def _require_key() -> None:
    """Refuse on a host that cannot sign the message, before a run is on record that nobody was told of."""
    try:
        Keyring(role_keys(app.settings.state_dir)).signer(SUBMIT)
    except ConfigError as error:
        raise ConfigError(
            f"This host cannot ask the cluster for a run: {error.message}; nothing was submitted.",
            hint=error.hint,
        ) from None


def _on_record(task: EntryTask, services: Services, request: str, arguments: dict[str, Any]) -> str | None:
    try:
        if not _shares_its_record(services):
            return None
        run: str = task.create(services, request, **arguments)[0]
    except StateUnavailable:
        return None
    return run


def _shares_its_record(services: Services) -> bool:
    """Tell whether this machine's record is the one that the cluster reads.

    A shell on another host may name the broker alone; its own SQLite file is then read by nobody.
    """
    settings = app.settings
    if settings.broker.url is None or not settings.database_url.startswith("sqlite"):
        return True
    return status.read(settings.state_dir) is not None or bool(services.store.heartbeats())
