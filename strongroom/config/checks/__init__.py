"""How the settings fit together: every finding of every check."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

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
        *_of_sections(context),
    ):
        yield from module.check(context)


def _of_sections(context: Context) -> Iterator[ModuleType]:
    """Yield the checks of sections that most configurations have not."""
    if context.settings.rotators:
        yield rotators
    if context.settings.access_logs:
        yield access_logs
