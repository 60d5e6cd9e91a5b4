"""How the settings fit together: every finding of every check."""

from __future__ import annotations

from collections.abc import Callable, Iterator

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
from strongroom.config.checks.context import Context, Misfit

__all__ = ["Context", "Misfit", "check"]


def check(context: Context) -> Iterator[Misfit]:
    """Yield what does not fit, each with its key and what would be right."""
    for check_section in (
        policies.check,
        schedules.check,
        paths.check,
        secrets.check,
        servers.check,
        stores.check,
        snapshots.check,
        custody.check,
        erasable.check,
        limits.check,
        alerts.check,
        approvals.check,
        hooks.check,
        *_of_sections(context),
    ):
        yield from check_section(context)


def _of_sections(context: Context) -> Iterator[Callable[[Context], Iterator[Misfit]]]:
    """Yield the checks of sections that most configurations have not."""
    if context.settings.rotators:
        yield rotators.check
    if context.settings.access_logs:
        yield access_logs.check
