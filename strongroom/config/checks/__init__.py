"""How the settings fit together: every finding of every check."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.config.checks import (
    access_logs,
    alerts,
    approvals,
    custody,
    erasable,
    hooks,
    limits,
    paths,
    policies,
    rotators,
    schedules,
    secrets,
    servers,
    snapshots,
    stores,
)
from strongroom.config.checks.context import Context, Finding

__all__ = ["Context", "Finding", "check"]


def check(context: Context) -> Iterator[Finding]:
    """Yield what does not fit, each with its key and what would be right."""
    for module in (
        policies,
        schedules,
        paths,
        secrets,
        servers,
        stores,
        snapshots,
        custody,
        erasable,
        limits,
        alerts,
        approvals,
        hooks,
        rotators,
        access_logs,
    ):
        yield from module.check(context)
