"""What can go wrong with a target."""

from __future__ import annotations

from strongroom.errors import TargetError


class TargetUnavailable(TargetError):
    """The target did not answer. Trying again can help.

    ``retry_after`` is how many seconds the target asked to be left alone for, if it said so.
    """

    transient = True

    def __init__(self, message: str, *, hint: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class TargetGarbled(TargetUnavailable):
    """The object is whole on the target, but its bytes were changed on the way. Trying again can help."""

    default_hint = "Nothing on the target is damaged. Look at what lies between, and use TLS."


class StageDiffers(TargetError):
    """The stage gave other bytes than were put there, or none. Nothing was made of them."""

    transient = True
    default_hint = (
        "It is asked again. If it stays so, find out who else writes to the stage, then begin again with "
        "'strongroom runs retry RUN'."
    )


class TargetAbsent(TargetError):
    """The target's bucket or container does not exist there. Nothing was read or written."""

    default_hint = (
        "Correct the target's name, region and address, or make the bucket: 'strongroom cluster rules aws "
        "--target NAME' prints how, and the same of 'azure'. Then 'strongroom check storage'."
    )


class TargetLocked(TargetError):
    """A retention lock protects the object. It cannot be removed or replaced yet."""

    default_hint = (
        "It stays until its lock ends. 'strongroom backups repair' puts a whole copy beside a damaged one."
    )
