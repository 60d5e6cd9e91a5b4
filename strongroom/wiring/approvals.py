"""What has to be approved, as this process's own configuration has it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from msgspec import structs

from strongroom.config import Settings
from strongroom.config.approvals import BreakGlassSettings
from strongroom.errors import ConfigError
from strongroom.keys.allowed_signers import read_allowed_signers
from strongroom.model import ApprovalAction
from strongroom.operations.approval_rules import ApprovalRule, ApprovalRules, no_signers


def approval_rules(settings: Settings) -> ApprovalRules:
    """Return the rules for approvals, and whose signatures count."""
    found = settings.approvals
    return ApprovalRules(
        rules=tuple(ApprovalRule(name=name, **structs.asdict(rule)) for name, rule in found.rules.items()),
        break_glass=None if found.break_glass is None else _break_glass(found.break_glass),
        valid=found.valid,
        signers=partial(read_allowed_signers, found.allowed_signers) if found.allowed_signers else no_signers,
    )


def keyless(settings: Settings) -> Iterator[str]:
    """Yield what keeps rules from ever being met on this host: people who have no key among the allowed
    signers, or no such file."""
    rules = approval_rules(settings)
    asking = [*rules.rules, *([rules.break_glass] if rules.break_glass else [])]
    try:
        names = {name for signer in rules.signers() for name in signer.names} if asking else set()
    except ConfigError as error:
        yield f"{error.message} {error.hint}"
        return
    for rule in asking:
        for person in rule.people:
            if person not in names:
                yield f"'{person}' of rule '{rule.name}' has no key in {settings.approvals.allowed_signers}."


def _break_glass(found: BreakGlassSettings) -> ApprovalRule:
    return ApprovalRule(name="break-glass", actions=tuple(ApprovalAction), k=found.k, people=found.people)
