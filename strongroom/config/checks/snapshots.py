"""Snapshots of a whole server: one is restored whole, and compares with nothing that is live."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.config.checks.context import Context, Misfit
from strongroom.config.failure_domains import home_of, is_lost_with
from strongroom.config.policies import PolicySettings
from strongroom.config.sources import SourceSettings
from strongroom.model import Depth

_SELECTING = ("include", "exclude", "tags")


def check(context: Context) -> Iterator[Misfit]:
    """Yield what does not fit about sources of snapshots and the policies that name one."""
    for name, source in context.settings.sources.items():
        if source.SNAPSHOT:
            yield from _source(context, name, source)
    for name, policy in context.settings.policies.items():
        found = context.settings.sources.get(policy.source)
        if found is not None and found.SNAPSHOT:
            yield from _policy(context, name, policy)


def _source(context: Context, name: str, source: SourceSettings) -> Iterator[Misfit]:
    vault = context.settings.vaults.get(source.on_vault or "")
    if vault is not None and vault.namespace.strip("/"):
        yield Misfit(
            ("sources", name, "vault"),
            f"a snapshot is of the whole server, and '{source.on_vault}' is a namespace of it",
            "Name a server under [vaults] without 'namespace'.",
        )


def _policy(context: Context, name: str, policy: PolicySettings) -> Iterator[Misfit]:
    at = ("policies", name)
    if policy.kind != "full":
        yield Misfit((*at, "kind"), "names without values bring no server back", 'Make it kind = "full".')
    for key in _SELECTING:
        if getattr(policy, key):
            yield Misfit((*at, key), "an incomplete snapshot brings nothing back", "Leave it out.")
    if policy.verify is Depth.LIVE:
        yield Misfit(
            (*at, "verify"),
            "a snapshot is of a moment that is over: there is nothing live to compare it with",
            'At most verify = "compared".',
        )
    if not context.is_bad(*at, "targets"):
        yield from _inside(context, name, policy)


def _inside(context: Context, name: str, policy: PolicySettings) -> Iterator[Misfit]:
    home = home_of(context.settings, policy.source)
    for index, target in enumerate(policy.targets):
        if is_lost_with(context.settings, target, home):
            yield Misfit(
                ("policies", name, "targets", index),
                "lies in the server itself: each snapshot would hold all those before it",
                "Name a target elsewhere.",
            )
