"""How the settings fit together: every finding of every check."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from strongroom.config.checks import people, policies, stores
from strongroom.config.checks.context import Context, Misfit

__all__ = ["Context", "Misfit", "check"]


def check(context: Context) -> Iterator[Misfit]:
    """Yield what does not fit, each with its key and what would be right."""
    for check_section in (
        policies.check_policies,
        policies.check_schedules,
        stores.check_paths,
        stores.check_secrets,
        stores.check_servers,
        stores.check_stores,
        policies.check_snapshots,
        policies.check_custody,
        policies.check_erasable,
        policies.check_limits,
        people.check_alerts,
        people.check_approvals,
        people.check_hooks,
        *_of_sections(context),
    ):
        yield from check_section(context)


def _of_sections(context: Context) -> Iterator[Callable[[Context], Iterator[Misfit]]]:
    """Yield the checks of sections that most configurations have not."""
    if context.settings.rotators:
        yield people.check_rotators
    if context.settings.access_logs:
        yield people.check_access_logs
