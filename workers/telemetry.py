"""Sentry, when a DSN is configured: what broke and where, and nothing of what it held.

Measured: with the SDK's defaults, frame locals and quoted source lines carried secrets out.
So both are off, and every event is rebuilt from a list of fields that are known to be
harmless, rather than searched for what looks harmful.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final, cast

from workers.redact import HIDDEN

KEPT: Final = ("event_id", "timestamp", "level", "logger", "platform", "release", "environment", "sdk")
KEPT_FRAME: Final = ("filename", "abs_path", "function", "module", "lineno", "in_app")
KEPT_CONTEXTS: Final = ("runtime", "os", "trace", "monitor")
OURS: Final = ("strongroom.", "workers.")


def start(dsn: str | None, *, process: str, release: str, environment: str = "production") -> bool:
    """Set Sentry up; return whether it is on.

    Args:
        process: which role this is, as the tag ``process``.
    """
    if not dsn:
        return False
    import sentry_sdk  # noqa: PLC0415 - heavy, and most installations have no DSN

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
    )
    sentry_sdk.set_tag("process", process)
    return True


def _integrations() -> list[Any]:
    from sentry_sdk.integrations.atexit import AtexitIntegration  # noqa: PLC0415
    from sentry_sdk.integrations.dedupe import DedupeIntegration  # noqa: PLC0415
    from sentry_sdk.integrations.excepthook import ExcepthookIntegration  # noqa: PLC0415
    from sentry_sdk.integrations.logging import LoggingIntegration  # noqa: PLC0415
    from sentry_sdk.integrations.threading import ThreadingIntegration  # noqa: PLC0415

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
    from sentry_sdk.integrations.celery import CeleryIntegration  # noqa: PLC0415

    return [CeleryIntegration(monitor_beat_tasks=True, propagate_traces=False)]


def scrub(event: Mapping[str, Any], _hint: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event with only what is known to be harmless."""
    kept: dict[str, Any] = {name: event[name] for name in KEPT if name in event}
    tags = event.get("tags") or {}
    kept["tags"] = {name: tags[name] for name in ("process", "celery_task_id") if name in tags}
    contexts = event.get("contexts") or {}
    kept["contexts"] = {name: contexts[name] for name in KEPT_CONTEXTS if name in contexts}
    if "logentry" in event:  # the template, never what was filled in
        kept["logentry"] = {"message": event["logentry"].get("message", "")}
    if "exception" in event:
        kept["exception"] = {"values": [_exception(value) for value in event["exception"].get("values", [])]}
    if "transaction" in event:
        kept["transaction"] = event["transaction"]
    return kept


def _exception(value: Mapping[str, Any]) -> dict[str, Any]:
    ours = str(value.get("module") or "").startswith(OURS)
    frames = (value.get("stacktrace") or {}).get("frames", [])
    return {
        "type": value.get("type"),
        "module": value.get("module"),
        "value": value.get("value") if ours else HIDDEN,
        "mechanism": {"type": (value.get("mechanism") or {}).get("type", "generic"), "handled": False},
        "stacktrace": {
            "frames": [{name: frame[name] for name in KEPT_FRAME if name in frame} for frame in frames]
        },
    }
