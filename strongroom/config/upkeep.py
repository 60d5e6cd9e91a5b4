"""What is done from time to time so that keys stay fit for use."""

from __future__ import annotations

from pydantic import Field

from strongroom.config.base import Section
from strongroom.config.fields import Name, Text


class RotationSettings(Section):
    """Bringing the backups of policies to new keys, or new versions of their keys, as a matter of course."""

    schedule: Text | None = Field(
        default=None,
        description="When it is due: five cron fields, in UTC. The recover workers do it, and are normally "
        "stopped: it waits for them.",
        examples=["0 4 2 1 *"],
    )
    policies: tuple[Name, ...] = Field(
        default=(),
        description="Which policies. Those that custodians alone open cannot be rotated by a worker.",
        examples=[["weekly-critical"]],
        json_schema_extra={"default": "every one that seals"},
    )
    rate: float | None = Field(
        default=None,
        gt=0,
        description="At most so many wrapping keys a second, over the processes of a host.",
        examples=[5.0],
        json_schema_extra={"default": "as fast as it goes"},
    )


class KeyHealthSettings(Section):
    """Trying every key that backups depend on."""

    schedule: Text = Field(
        default="0 6 1 1,4,7,10 *",
        description="When it is due: five cron fields, in UTC. The verify workers do it.",
        examples=["0 6 1 * *"],
    )
