"""Sentry, when a DSN is configured: what broke and where, and nothing of what it held. And the collector of
traces, when one is.

Measured: with the SDK's defaults, frame locals and quoted source lines carried secrets out.
So both are off, and every event is rebuilt from a list of fields that are known to be
harmless, rather than searched for what looks harmful.
"""

from __future__ import annotations

import hashlib
import logging
import re
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from strongroom import __version__
from strongroom.errors import StrongroomError, by_name
from strongroom.state.records import Run, RunKind, RunState
from strongroom.system.lazy import lazy
from workers.logs import HIDDEN, TOLD, TaskCrashed

if TYPE_CHECKING:
    from strongroom.config import Settings
    from strongroom.state.records import Run
    from strongroom.state.store import RunStore

KEPT: Final = ("event_id", "timestamp", "level", "logger", "platform", "release", "environment", "sdk")
KEPT_FRAME: Final = ("filename", "abs_path", "function", "module", "lineno", "in_app")
KEPT_CONTEXTS: Final = ("runtime", "os", "trace", "monitor")
KEPT_CHECK_IN: Final = (
    "type",
    "event_id",  # the envelope is addressed by it
    "check_in_id",
    "monitor_slug",
    "monitor_config",
    "status",
    "duration",
    "release",
    "environment",
)
OURS: Final = ("strongroom.", "workers.")
PACKAGES: Final = ("strongroom", "tasks", "workers", "beat_schedule")
LIFTED: Final = ("run", "policy", "kind", "step", "target", "error_class")
"""Fields of a log line that become tags: names out of the configuration, and our own identifiers."""
_PLAIN: Final = re.compile(r"[\w.:@()/ -]{1,200}")

MONITORED: Final = ("ledger-head", "shred-pending", "alerts")
"""Beat's entries that do their work in the task. The others only ask, and what they ask for is a run: a
policy's monitor is checked in when its run has ended."""
MARGIN_MINUTES: Final = 30


def start(dsn: str | None, *, process: str, release: str, environment: str = "production") -> bool:
    """Set Sentry up; return whether it is on.

    Args:
        process: which role this is, as the tag ``process``.
    """
    if not dsn:
        return False
    import sentry_sdk.crons

    sentry_sdk.init(
        dsn=dsn,
        release=release,
        environment=environment,
        include_local_variables=False,
        include_source_context=False,
        send_default_pii=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        traces_sample_rate=None,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=_integrations(),
        before_send=cast("Any", scrub),
        in_app_include=list(PACKAGES),
    )
    sentry_sdk.set_tag("process", process)
    return True


def _integrations() -> list[Any]:
    from sentry_sdk.integrations.atexit import AtexitIntegration
    from sentry_sdk.integrations.dedupe import DedupeIntegration
    from sentry_sdk.integrations.excepthook import ExcepthookIntegration
    from sentry_sdk.integrations.logging import LoggingIntegration
    from sentry_sdk.integrations.threading import ThreadingIntegration

    return [
        *_celery(),
        AtexitIntegration(callback=lambda _pending, _timeout: None),
        DedupeIntegration(),
        ExcepthookIntegration(),
        LoggingIntegration(level=None),
        ThreadingIntegration(propagate_hub=False),
    ]


def _celery() -> list[Any]:
    if "celery" not in sys.modules:  # the command line, which starts fast by not loading it
        return []
    from sentry_sdk.integrations.celery import CeleryIntegration

    return [
        CeleryIntegration(
            monitor_beat_tasks=True,
            propagate_traces=False,
            exclude_beat_tasks=[rf"^(?!(?:{'|'.join(MONITORED)})$)"],
        )
    ]


def scrub(event: Mapping[str, Any], _hint: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return an event with only what is known to be harmless; ``None`` for one that was sent already."""
    if event.get("type") == "check_in":
        kept = {name: event[name] for name in KEPT_CHECK_IN if name in event}
        return kept | {"contexts": _among(event.get("contexts"), ("trace",))}
    exceptions = (event.get("exception") or {}).get("values", [])
    if any(value.get("type") == TaskCrashed.__name__ for value in exceptions):
        return None  # it stands for the one that the base task has logged
    kept = {name: event[name] for name in KEPT if name in event}
    lifted = _lifted(event.get("extra"))
    kept["tags"] = _among(event.get("tags"), ("process", "celery_task_id")) | lifted
    kept["contexts"] = _among(event.get("contexts"), KEPT_CONTEXTS)
    if "logentry" in event:  # the template, never what was filled in
        kept["logentry"] = {"message": event["logentry"].get("message", "")}
    if "exception" in event:
        kept["exception"] = {"values": [_exception(value) for value in exceptions]}
    if "transaction" in event:
        kept["transaction"] = event["transaction"]
    if "error_class" in lifted:  # one issue a cause, whatever the line of code, the policy or the piece
        kept["fingerprint"] = [lifted["error_class"], lifted.get("step", "")]
    return kept


def _among(found: Mapping[str, Any] | None, names: Iterable[str]) -> dict[str, Any]:
    return {name: found[name] for name in names if name in found} if found else {}


def _lifted(extra: Any) -> dict[str, str]:
    found = _among(extra if isinstance(extra, Mapping) else None, LIFTED)
    return {
        name: value for name, value in found.items() if isinstance(value, str) and _PLAIN.fullmatch(value)
    }


def check_in(run: Run, schedules: Mapping[str, tuple[str, str]]) -> None:
    """Tell the monitor of a scheduled policy that a backup of it has ended, and how.

    What ran and failed is an error there; what never ran is missed, which Sentry notices by the schedule.
    """
    policy, sdk = run.spec.policy, sys.modules.get("sentry_sdk")
    backup = run.spec.kind is RunKind.BACKUP and run.state is not RunState.CANCELLED
    if sdk is None or not sdk.is_initialized() or not backup or policy not in schedules:
        return
    schedule, time_zone = schedules[policy]
    sdk.crons.capture_checkin(
        monitor_slug=slug(policy),
        status="error" if run.state is RunState.FAILED else "ok",
        duration=(run.finished_at or run.created_at) - run.created_at,
        monitor_config={
            "schedule": {"type": "crontab", "value": schedule},
            "timezone": time_zone,
            "checkin_margin": MARGIN_MINUTES,
        },
    )


def slug(policy: str) -> str:
    """Return the name of a policy's monitor: Sentry takes up to 50 of lower case, digits, hyphens and
    underscores. A name that has to be written otherwise gets a digest, or two policies could share a monitor,
    where the good run of one hides that the other's failed."""
    plain = re.sub(r"[^a-z0-9_-]+", "-", policy.lower())[:40]
    if plain == policy:
        return f"policy-{plain}"
    return f"policy-{plain[:34]}-{hashlib.sha256(policy.encode()).hexdigest()[:8]}"


def _exception(value: Mapping[str, Any]) -> dict[str, Any]:
    kind = by_name(str(value.get("type"))) if str(value.get("module") or "").startswith(OURS) else None
    frames = (value.get("stacktrace") or {}).get("frames", [])
    return {
        "type": value.get("type"),
        "module": value.get("module"),
        "value": value.get("value") if kind is not None and issubclass(kind, TOLD) else HIDDEN,
        "mechanism": {"type": (value.get("mechanism") or {}).get("type", "generic"), "handled": False},
        "stacktrace": {
            "frames": [{name: frame[name] for name in KEPT_FRAME if name in frame} for frame in frames]
        },
    }


# -- Handing the trace of a run that has ended to a collector --


log = logging.getLogger(__name__)

as_trace = lazy("strongroom.operations.engine.run_log:as_trace")
post = lazy("strongroom.system.program:post")

PATIENCE: Final = 5.0
"""Seconds that a collector may take. A trace is a help, and no run waits longer for it."""


def hand_over(run: Run, store: RunStore, settings: Settings) -> None:
    """Send a run's trace. Whatever keeps it from being taken changes nothing for the run."""
    if settings.traces.url is None:
        return
    try:
        trace = as_trace(run, store.rows(run.id), version=__version__)
        post(settings.traces.url, msgspec.json.encode(trace), timeout=PATIENCE)
    except (StrongroomError, OSError) as error:
        log.warning("trace-not-sent", extra={"run": run.id, "why": type(error).__name__})
