"""What is due at the times of a cron expression."""

from __future__ import annotations

import msgspec

from strongroom.state.records import RunKind


class Scheduled(msgspec.Struct, frozen=True, kw_only=True):
    """A policy's backups, or with an objective its drills, at the times of a cron expression
    (five fields, UTC). The slots of an ``offline`` policy wait until its media are brought."""

    policy: str
    schedule: str
    objective_seconds: float | None = None
    offline: bool = False

    @property
    def kind(self) -> RunKind:
        """What is run."""
        return RunKind.BACKUP if self.objective_seconds is None else RunKind.DRILL

    @property
    def slot(self) -> str:
        """The name that its slots are claimed under."""
        return self.policy if self.objective_seconds is None else f"drill {self.policy}"
