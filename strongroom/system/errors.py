"""What a file system, or whoever else writes there, stands in the way of."""

from __future__ import annotations

from strongroom.errors import Refused, TargetError


class Conflict(Refused):
    """A secret or a backup file changed between reading and writing it."""

    default_hint = "Somebody else changed it. Look at it, then repeat."


class WouldOverwrite(Refused):
    """Something of that name exists, and overwriting was not allowed."""

    default_hint = "Nothing was changed. Choose another name, or move away what is there."


class TargetReadOnly(TargetError):
    """The target accepts no writes."""


class TargetFull(TargetError):
    """The target or the stage has no room."""

    default_hint = "Nothing half-written was left. Free space, then run 'strongroom retry'."
