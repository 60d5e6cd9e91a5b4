"""The one base task: acknowledgement, limits, retry, logging, all set here and only here."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, cast

from celery import Task
from celery.exceptions import Retry, SoftTimeLimitExceeded

from strongroom.errors import StrongroomError
from strongroom.operations.errors import RunFailed
from workers import logs
from workers.app import Strongroom, app
from workers.deadline import deadline
from workers.logs import TaskCrashed, TaskFailed, message_of
from workers.pools import POOLS

if TYPE_CHECKING:
    from strongroom.api.client import Submission

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class StrongroomTask(Task):  # type: ignore[misc]
    """Late acknowledgement, no results, bounded time, and nothing foreign in an exception.

    A transient failure (``StrongroomError.transient``) and a killed process are tried again
    at most twice; then the task has failed. One that kills each worker thus stops. Its
    step is not lost, since reconcile counts starts and sends it again.
    """

    abstract = True
    acks_late = True
    reject_on_worker_lost = True
    retry_on_worker_lost = True
    max_retries = 2
    default_retry_delay = 1
    ignore_result = True
    store_errors_even_if_ignored = False
    resultrepr_maxsize = 0
    throws = (StrongroomError, TaskFailed)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Perform it with its identifiers in every log line."""
        began = time.monotonic()
        with logs.bound(task=self.name, task_id=self.request.id, **_identifiers(kwargs)), self._limit():
            try:
                return super().__call__(*args, **kwargs)
            except (RunFailed, Retry):  # recorded and told already; this is for Celery to count
                raise
            except StrongroomError as error:
                if self.request.called_directly:
                    raise
                log.warning("task-failed", extra={"error": error.code, "why": message_of(error)})
                raise self._again(error) from None
            except SoftTimeLimitExceeded:
                log.warning("task-over-limit")
                raise
            except Exception as error:
                log.exception("task-crashed")
                raise TaskCrashed.of(error) from None
            finally:
                log.debug("task-ended", extra={"seconds": round(time.monotonic() - began, 4)})

    def _again(self, error: StrongroomError) -> Exception:
        """Return what to raise: a new try for a transient error, while there is one left."""
        shown = TaskFailed(error.code)
        if not error.transient or self.request.retries >= self.max_retries:
            return shown
        again: Exception = self.retry(exc=shown, countdown=2.0**self.request.retries, throw=False)
        return again

    def _limit(self) -> AbstractContextManager[None]:
        pool = POOLS.get(cast("Strongroom", self.app).role)
        if pool is None or pool.kind != "threads":
            return nullcontext()
        return deadline(pool.limit, self.name)


def _identifiers(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: kwargs[name] for name in ("run", "piece", "target", "dispatch") if name in kwargs}


class TypedTask(Protocol, Generic[P, R_co]):
    """A task as callers see it: Celery's own classes have no types."""

    @property
    def name(self) -> str: ...

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> Submission: ...

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


def define(name: str) -> Callable[[Callable[P, R]], TypedTask[P, R]]:
    """Make a function the task of that name. Its queue is that of the name: see ``workers/rights.py``.

    Takes no other option: Celery accepts a misspelt one in silence.
    """

    def decorate(function: Callable[P, R]) -> TypedTask[P, R]:
        return cast("TypedTask[P, R]", app.task(name=name)(function))

    return decorate
