"""A fault of the command line's own goes to Sentry, if a DSN is set. Expected errors never do."""

from __future__ import annotations

import os
from collections.abc import Mapping

from strongroom import __version__
from strongroom.cli.terminal.place import find
from workers import telemetry

FLUSH_SECONDS = 2.0


def capture(error: BaseException) -> None:
    """Report an unexpected error, scrubbed as the workers' are."""
    dsn = os.environ.get("STRONGROOM_SENTRY__DSN") or _configured("dsn")
    if not dsn:
        return
    import sentry_sdk  # noqa: PLC0415 - an extra, and needed only now

    environment = _configured("environment") or "production"
    telemetry.start(dsn, process="cli", release=__version__, environment=environment)
    sentry_sdk.capture_exception(error)
    sentry_sdk.flush(FLUSH_SECONDS)


def _configured(key: str) -> str | None:
    section = find().tables.get("sentry")
    value = section.get(key) if isinstance(section, Mapping) else None
    return value if isinstance(value, str) else None
