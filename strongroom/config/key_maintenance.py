"""What is done from time to time so that keys stay fit for use."""

# Annotations are no text here: see strongroom.config.base.
from typing import Annotated

from msgspec import Meta

from strongroom.config.base import SettingsSection
from strongroom.config.fields import Name


class RotationSettings(SettingsSection, frozen=True, kw_only=True):
    """Bringing the backups of policies to new keys, or new versions of their keys, as a matter of course."""

    policies: Annotated[
        tuple[Name, ...],
        Meta(
            description="Which policies. Those that custodians alone open cannot be rotated by a worker.",
            examples=[["weekly-critical"]],
            extra={"default": "every one that seals to a key with versions (`transit`, `kms`)"},
        ),
    ] = ()
    rate: Annotated[
        float | None,
        Meta(
            gt=0,
            description="At most so many wrapping keys a second, over the processes of a host.",
            examples=[5.0],
            extra={"default": "as fast as it goes"},
        ),
    ] = None
