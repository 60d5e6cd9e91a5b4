"""Stores: two targets in one bucket, container or Vault are lost together, and count as one copy."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.config.checks.context import Context, Misfit
from strongroom.config.policies import PolicySettings


def check(context: Context) -> Iterator[Misfit]:
    """Yield policies that would count one store twice."""
    for name, policy in context.settings.policies.items():
        if not context.is_bad("policies", name, "targets"):
            yield from _each_its_own(context, name, policy)


def _each_its_own(context: Context, name: str, policy: PolicySettings) -> Iterator[Misfit]:
    first: dict[tuple[str, ...], str] = {}
    for index, target in enumerate(policy.targets):
        found = None if context.is_bad("targets", target) else context.settings.targets.get(target)
        store = found.store(context.settings.vaults) if found else None
        if store is None or first.setdefault(store, target) == target:
            continue
        yield Misfit(
            ("policies", name, "targets", index),
            f"'{target}' and '{first[store]}' lie in one {store[0]}: they are lost together",
            f"Name one of them, or give '{target}' another {store[0]}.",
        )
