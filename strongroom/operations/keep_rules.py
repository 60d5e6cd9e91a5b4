"""What this process's own configuration says of a policy, and of keeping its backups."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, tzinfo

from msgspec import Struct

from strongroom.config.policies import KeepSettings
from strongroom.errors import StrongroomError
from strongroom.model import Depth
from strongroom.state.records import Spec


class KeepRules(KeepSettings, frozen=True, kw_only=True):
    """What a policy says of keeping: so many of the newest, and one of so many days, weeks and so on.

    With none of these, everything is kept. ``zone`` says when a day begins.
    """

    minimum_days: int = 365
    minimum_count: int = 3
    zone: tzinfo = UTC


class ConfiguredPolicy(Struct, frozen=True, kw_only=True):
    """A policy as this host's own configuration has it: what it backs up, when, and how long that is kept.

    ``spec`` says what makes a backup of it whole. ``offline``: its targets are media that lie in a safe.
    ``unpinned`` are those of its keys whose key services did not say which key it is, with why: where they
    were asked, ``spec.recipients`` are the others. ``legal_hold`` says why nothing of it may be removed for
    now. ``grace_days`` is how long a backup is marked before it is deleted.
    """

    spec: Spec
    schedule: str | None = None
    time_zone: str = "UTC"
    offline: bool = False
    keep: KeepRules = KeepRules()
    legal_hold: str = ""
    grace_days: float = 7
    unpinned: Mapping[str, StrongroomError] = {}

    @property
    def name(self) -> str:
        return self.spec.policy

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(pin.name for pin in self.spec.targets)

    @property
    def depth(self) -> Depth:
        return self.spec.depth
