"""Access logs: each lies somewhere, is of targets that there are, and knows networks that are some."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from strongroom.config.access_logs import AccessLogSettings
from strongroom.config.checks.context import Context, Misfit
from strongroom.config.model import Settings


def check(context: Context) -> Iterator[Misfit]:
    """Yield logs that lie nowhere or at two places, and names and networks that are none."""
    for name, log in context.settings.access_logs.items():
        at = ("access_logs", name)
        if (log.directory is None) == (log.store is None) and not context.is_bad(*at):
            yield Misfit(
                (*at, "directory"), "name either directory or store", "One of them is where it lies."
            )
        if not _knows_any(log, context.settings):
            yield Misfit(
                (*at, "format"),
                "no target and no key here is of a kind that such a log tells of",
                "Name the target that it is about, or take the log out.",
            )
        for target in log.targets:
            yield from context.reference((*at, "targets"), target, "targets")
        for network in log.networks:
            try:
                ip_network(network, strict=False)
            except ValueError:
                yield Misfit((*at, "networks"), "one of them is no network", 'As "10.2.0.0/16".')


def _knows_any(log: AccessLogSettings, settings: Settings) -> bool:
    targets = (target for name, target in settings.targets.items() if not log.targets or name in log.targets)
    return any(target.logged_as(log.format) for target in (*targets, *settings.keys.values()))
