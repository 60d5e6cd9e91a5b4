"""What is kept for longer than the configuration says, because people have to approve less first."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.config import Settings
from strongroom.operations.services import Services
from strongroom.wiring.policies import retention


def unapproved(settings: Settings, services: Services, policy: str | None) -> Iterator[str]:
    """Yield a line for each policy, or the one that is named, whose shorter keeping waits for approval."""
    configured, in_force = retention(settings, services.targets), services.retention()
    for name in [policy] if policy else configured:
        if name in in_force and in_force[name] != configured[name]:
            yield (
                f"policy '{name}' keeps its backups as long as before: less has to be approved first "
                "('strongroom approvals list')"
            )
