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

    default_hint = "Nothing half-written was left. Free space, then repeat."


class KeyFileUnreadable(ConfigError):
    """The file of a key, a PIN or a share cannot be read, or its content is not whole."""

    default_hint = "No backup is affected. Check the path, or bring the file back from its copy."


class KeyFileExposed(ConfigError):
    """Others on this machine may read a key's file, so Strongroom does not use it."""

    default_hint = "Close the file to others (chmod 600). If somebody may have read it, make a new key."


class PackageMissing(ConfigError):
    """This host lacks a Python package that the configuration, or the command, needs. Nothing was changed."""


class NameTaken(ConfigError):
    """Another package has taken the name of a module of Strongroom. It was not run."""

    default_hint = "Give Strongroom an environment of its own: a virtual environment, or pipx."


class PluginBroken(ConfigError):
    """A plug-in of another package cannot be used on this host. What is not its own goes on without it."""

    default_hint = (
        "Mend or update its package in the environment of this program; 'strongroom check config' says if "
        "that helped."
    )


class PluginNotImported(PluginBroken):
    """A plug-in's code failed when it was loaded, or when it was to make its source, target or the like."""


class PluginOfAnotherVersion(PluginBroken):
    """A plug-in was written for another version of what Strongroom asks of a plug-in."""

    default_hint = "Install the version of its package that fits this Strongroom."


class PluginNotARecord(PluginBroken):
    """A plug-in does not keep to what docs/how-to/write-a-plug-in.md asks for, so it is not used."""


class PluginNamedTwice(PluginBroken):
    """Two packages have a plug-in of one name. Strongroom loads neither."""

    default_hint = "Take one of the two packages out of the environment of this program (pip uninstall)."


class NotTaken(InstallationError):
    """A server did not take what was sent to its address. No backup is affected.

    ``lasting``: it said no, so that sending the same again is in vain.
    """

    transient = True
    default_hint = "Check whether it can be reached from this host, and the address in the configuration."

    def __init__(self, message: str, *, lasting: bool = False, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.lasting = lasting


class HostExhausted(InstallationError):
    """This host gives the program no further thread or process, or no memory. No backup is affected."""

    transient = True
    default_hint = (
        "Raise the limit, then repeat: a shell shows its own by 'ulimit -a', a service has TasksMax and "
        "MemoryMax, a container one of processes (pids) and one of memory."
    )


def lack_of_host(error: BaseException) -> HostExhausted | None:
    """Return what a person is told if the system had not enough of something; ``None`` if it is a fault."""
    if isinstance(error, MemoryError):
        return HostExhausted("This host has no memory left that the program may use.")
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return HostExhausted("This host lets the program start no further thread.")
    return None
