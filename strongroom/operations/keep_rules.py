"""What this process's own configuration says of keeping backups."""

from __future__ import annotations

from datetime import UTC, tzinfo

from msgspec import Struct

from strongroom.config.policies import KeepSettings
from strongroom.state.records import Spec


class KeepRules(KeepSettings, frozen=True, kw_only=True):
    """What a policy says of keeping: so many of the newest, and one of so many days, weeks and so on.

    With none of these, everything is kept. ``zone`` says when a day begins.
    """

    minimum_days: int = 365
    minimum_count: int = 3
    zone: tzinfo = UTC


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
