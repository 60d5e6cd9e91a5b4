"""What a process's own configuration asks approvals for: frozen, and nothing that a row can change."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from strongroom.config.approvals import ApprovalRuleSettings
from strongroom.keys.allowed_signers import AllowedSigner


class ApprovalRule(ApprovalRuleSettings, frozen=True, kw_only=True):
    """A rule by its name."""

    name: str


def no_signers() -> Sequence[AllowedSigner]:
    """Return nobody: without rules nobody is asked."""
    return ()


class ApprovalRules(Struct, frozen=True, kw_only=True):
    """All rules, who may do without (``break_glass``), for how many seconds a request holds, and whose
    signatures count: the file is read each time, so that a person who was taken out counts no more."""

    rules: tuple[ApprovalRule, ...] = ()
    break_glass: ApprovalRule | None = None
    valid: float = 86_400.0
    signers: Callable[[], Sequence[AllowedSigner]] = no_signers
