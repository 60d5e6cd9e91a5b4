"""What a file system, or whoever else writes there, stands in the way of."""

from __future__ import annotations

from strongroom.errors import ConfigError, InstallationError, Refused, TargetError


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

    default_hint = "Nothing half-written was left. Free space, then run 'strongroom runs retry'."


class KeyFileUnreadable(ConfigError):
    """The file of a key, a PIN or a share cannot be read, or its content is not whole."""

    default_hint = "No backup is affected. Check the path, or bring the file back from its copy."


class KeyFileExposed(ConfigError):
    """Others on this machine may read a key's file, so Strongroom does not use it."""

    default_hint = "Close the file to others (chmod 600). If somebody may have read it, make a new key."


class PackageMissing(ConfigError):
    """This host lacks a Python package that the configuration, or the command, needs. Nothing was changed."""


class NotTaken(InstallationError):
    """A server did not take what was sent to its address. No backup is affected.

    ``lasting``: it said no, so that sending the same again is in vain.
    """

    transient = True
    default_hint = "Check whether it can be reached from this host, and the address in the configuration."

    def __init__(self, message: str, *, lasting: bool = False, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.lasting = lasting
