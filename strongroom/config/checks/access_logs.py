"""Access logs: each lies somewhere, is of targets that there are, and knows networks that are some."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from strongroom.config.checks.context import Context, Finding


def check(context: Context) -> Iterator[Finding]:
    """Yield logs that lie nowhere or at two places, and names and networks that are none."""
    for name, log in context.settings.access_logs.items():
        at = ("access_logs", name)
        if (log.directory is None) == (log.store is None) and not context.is_bad(*at):
            yield Finding(
                (*at, "directory"), "name either directory or store", "One of them is where it lies."
            )
        for target in log.targets:
            yield from context.reference((*at, "targets"), target, "targets")
        for network in log.networks:
            try:
                ip_network(network, strict=False)
            except ValueError:
                yield Finding((*at, "networks"), "one of them is no network", 'As "10.2.0.0/16".')
