"""Celery's own settings, with the reason for each that is not a matter of course."""

from __future__ import annotations

from typing import Any, Final

from workers import names
from workers.envelope import SERIALIZER
from workers.pools import HARD_GRACE, POOLS
from workers.rights import queue_of, unacked_keys

VISIBILITY_SECONDS: Final = 900
"""After which the transport hands a message out again. A step may take longer: the second
copy finds it claimed and does nothing."""

SHELL_PATIENCE: Final = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}
WORKER_PATIENCE: Final = {"max_retries": 100, "interval_start": 0, "interval_step": 0.2, "interval_max": 1}


def celery_settings(*, role: str, broker: str, tls: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the settings of the app of one role."""
    return _MESSAGES | _WORKERS | _connection(role, broker) | {"broker_use_ssl": tls} | _limits(role)


def route(name: str, *_: Any, **__: Any) -> dict[str, str]:
    """Return for Celery where a task goes."""
    return {"queue": queue_of(name)}


_MESSAGES: Final[dict[str, Any]] = {
    "task_serializer": SERIALIZER,
    "accept_content": [SERIALIZER],
    "event_serializer": "json",  # unsigned: only Flower reads events, and decides nothing
    "result_serializer": "json",
    "result_accept_content": ["json"],
    "task_ignore_result": True,  # the run record has the outcome
    "task_store_errors_even_if_ignored": False,
    "task_routes": [route],
    "task_default_queue": names.CONTROL,
    "task_create_missing_queues": True,
    "task_remote_tracebacks": False,
    "enable_utc": True,
    "timezone": "UTC",
}

_WORKERS: Final[dict[str, Any]] = {
    "worker_send_task_events": True,  # Flower sees what ends while it is about to ask for events, too
    "worker_consumer": "workers.consumer:StrictConsumer",
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_soft_shutdown_timeout": 10.0,
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    "worker_enable_remote_control": True,
    "beat_scheduler": "workers.scheduler:MemoryScheduler",
    "beat_max_loop_interval": 5,
}


def _connection(role: str, broker: str) -> dict[str, Any]:
    shell = role in (names.SUBMIT, names.WATCH)
    transport: dict[str, Any] = {
        "visibility_timeout": VISIBILITY_SECONDS,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "priority_steps": [0],  # one list a queue, so that a role is granted that list and no other
        **unacked_keys(role),
    }
    if shell:
        transport |= {"socket_connect_timeout": 1.0, "socket_timeout": 5.0}
    else:  # else the kernel's two minutes, in which the main loop could not tell that it works
        transport |= {"socket_connect_timeout": 10.0}
    return {
        "broker_url": broker,
        "broker_transport_options": transport,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # a worker waits for its broker, however long
        "broker_connection_timeout": 1.0 if shell else 4.0,
        # Finite: with None, Celery falls back to three tries where a task follows a task.
        "task_publish_retry_policy": SHELL_PATIENCE if shell else WORKER_PATIENCE,
        "result_backend": None,
    }


def _limits(role: str) -> dict[str, Any]:
    pool = POOLS.get(role)
    if pool is None or pool.kind == "threads":
        return {}  # the threads pool ignores limits: see workers.deadline
    return {"task_soft_time_limit": pool.limit, "task_time_limit": pool.limit + HARD_GRACE}
