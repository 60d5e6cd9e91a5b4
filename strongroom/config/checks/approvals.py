"""Approvals: rules that name what is not there, or that nobody could meet, stop all that they ask for."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.config.approvals import ApprovalRuleSettings, BreakGlassSettings
from strongroom.config.checks.context import Context, Misfit
from strongroom.config.problems import KeyPath


def check(context: Context) -> Iterator[Misfit]:
    """Yield rules that name what is not there, or more people than they have."""
    found = context.settings.approvals
    if context.is_bad("approvals"):
        return
    for name, rule in found.rules.items():
        yield from _references(context, ("approvals", "rules", name), rule)
        yield from _people(("approvals", "rules", name), rule)
    if found.break_glass is not None:
        yield from _people(("approvals", "break_glass"), found.break_glass)
    # A file that is not there is no problem here: a host that executes nothing of it needs none.
    if found.rules and found.allowed_signers is None:
        at = ("approvals", "allowed_signers")
        yield Misfit(at, "missing, and there are rules", "Name OpenSSH's file of allowed signers.")


def _references(context: Context, at: KeyPath, rule: ApprovalRuleSettings) -> Iterator[Misfit]:
    for index, name in enumerate(rule.destinations):
        yield from context.reference((*at, "destinations", index), name, "sources")
    for index, name in enumerate(rule.policies):
        yield from context.reference((*at, "policies", index), name, "policies")


def _people(at: KeyPath, rule: ApprovalRuleSettings | BreakGlassSettings) -> Iterator[Misfit]:
    people = len(set(rule.people))
    if rule.k > people:
        what = f"asks for {rule.k} and there are {people} in 'people'"
        yield Misfit((*at, "k"), what, f"At most {people}, or more people.")
