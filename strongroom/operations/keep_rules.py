"""What this process's own configuration says of keeping backups."""

from __future__ import annotations

from datetime import UTC, tzinfo

from msgspec import Struct

from strongroom.state.records import Spec


class KeepRules(Struct, frozen=True, kw_only=True):
    """What a policy says of keeping: so many of the newest, and one of so many days, weeks and so on.

    With none of these, everything is kept. ``zone`` says when a day begins.
    """

    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    minimum_days: int = 365
    minimum_count: int = 3
    zone: tzinfo = UTC

    @property
    def keep_everything(self) -> bool:
        """Whether the policy names no rule by which anything would be dropped."""
        return not (self.last or self.daily or self.weekly or self.monthly or self.yearly)


class RetentionPolicy(Struct, frozen=True, kw_only=True):
    """A policy as retention has it.

    ``spec`` has no recipients: whoever deletes asks no key service. ``legal_hold`` says why nothing of it may
    be removed for now. The targets of an ``offline`` policy are media that are mostly away. ``grace_days`` is
    how long a backup is marked before it is deleted.
    """

    spec: Spec
    keep: KeepRules
    legal_hold: str = ""
    offline: bool = False
    grace_days: float = 7
