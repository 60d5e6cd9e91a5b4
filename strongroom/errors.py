"""What can go wrong: one base class, and the families that an exit code stands for.

Every error that can reach a person derives from :class:`StrongroomError`. It says what happened, what that
means for the data (the first line of its class's docstring) and what to do next (``hint``). The families
(:data:`FAMILIES`) give their leaves their exit code; a shell script needs no more. A public leaf is defined
in the ``errors`` module beside what raises it (:data:`MODULES`). Its class name is its identity: ``--json``,
the record of a run and logs name it. A class defined elsewhere is for that package's own ``except``: outside
it has the name of its nearest public ancestor.

Messages name secrets' *names* at most; a value never enters an exception.
"""

from __future__ import annotations

from importlib import import_module
from typing import ClassVar, Final


class StrongroomError(Exception):
    """Base of all expected failures.

    Args:
        message: what happened, in one sentence a person can act on.
        hint: what to do next; the class's own hint when left out.
    """

    family: ClassVar[str] = ""
    exit_code: ClassVar[int] = 1
    transient: ClassVar[bool] = False
    """Whether trying again can help."""
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint

    @property
    def code(self) -> str:
        """The stable machine name of this failure, e.g. ``WrongKey``: that of its public class."""
        return public_class(type(self)).__name__


# -- the families ---------------------------------------------------------------


class UsageError(StrongroomError):
    """The command line, or a call, was put together wrongly."""

    family, exit_code = "usage", 2
    default_hint = "See --help."


class ConfigError(StrongroomError):
    """The configuration is wrong. Nothing was read or written."""

    family, exit_code = "configuration", 3
    default_hint = "Run 'strongroom check config' to see every problem at once."


class Refused(StrongroomError):
    """Strongroom refused, to protect data or a key."""

    family, exit_code = "refused", 4


class CannotOpen(StrongroomError):
    """The backup cannot be opened here. No damage is known."""

    family, exit_code = "cannot-open", 10


class Damaged(StrongroomError):
    """Data is not what was written: it is damaged, incomplete, or another file in its place."""

    family, exit_code = "damaged", 11


class Missing(StrongroomError):
    """Something that was asked for, or that should be there, is not there."""

    family, exit_code = "missing", 12


class Untrusted(StrongroomError):
    """The data may be whole, but nobody who is trusted here vouches for it."""

    family, exit_code = "untrusted", 13


class SourceError(StrongroomError):
    """The source refused or did not answer, or its answer makes no sense."""

    family, exit_code = "source", 30
    default_hint = "Earlier backups are not affected. Check the source, then try again."


class TargetError(StrongroomError):
    """The target refused or did not answer, or its answer makes no sense."""

    family, exit_code = "target", 40
    default_hint = "Run 'strongroom check config', then check the target's address and rights."


class KeyServiceError(StrongroomError):
    """An HSM, a Vault or a KMS refused to use a key or did not answer, or its answer makes no sense."""

    family, exit_code = "key-service", 50
    default_hint = "No backup is damaged. Check the key and its service, or open with another recipient."


class InstallationError(StrongroomError):
    """The state database, broker or mail server cannot be used. Backups on targets are not affected."""

    family, exit_code = "installation", 60


class Degraded(StrongroomError):
    """The result stands, but it is less than was asked for, or there are warnings."""

    family, exit_code = "degraded", 70


class Alarm(StrongroomError):
    """Something needs a person: the run failed or was cancelled, or a check found a problem."""

    family, exit_code = "alarm", 80


FAMILIES: Final = (
    *(UsageError, ConfigError, Refused, CannotOpen, Damaged, Missing, Untrusted),
    *(SourceError, TargetError, KeyServiceError, InstallationError, Degraded, Alarm),
)


# -- the leaves -------------------------------------------------------------------

MODULES: Final = (
    "strongroom.system.errors",
    "strongroom.container.errors",
    "strongroom.keys.errors",
    "strongroom.keys.quorum.record",
    "strongroom.sources.errors",
    "strongroom.targets.errors",
    "strongroom.state.errors",
    "strongroom.operations.errors",
    "strongroom.cli.errors",
    "workers.errors",
    "strongroom.config.schema",
)
"""Where the public leaves are defined: a record may name each of them."""


def public_class(kind: type[StrongroomError]) -> type[StrongroomError]:
    """Return the nearest class that a record, an alert and ``--json`` may name."""
    return next(ancestor for ancestor in kind.__mro__ if ancestor.__module__ in (__name__, *MODULES))


def meaning_of(kind: type[StrongroomError]) -> str:
    """Return what a class says of the data: the first line of its documentation."""
    return (kind.__doc__ or "").strip().partition("\n\n")[0].replace("\n    ", " ")


def by_name(name: str) -> type[StrongroomError] | None:
    """Return the class that a record names; ``None`` if there is no such class."""
    found = (getattr(import_module(module), name, None) for module in (__name__, *MODULES))
    return next(
        (kind for kind in found if isinstance(kind, type) and issubclass(kind, StrongroomError)), None
    )


def name_of(error: BaseException) -> str:
    """Return what a record, a log or ``--json`` names an error, expected or not."""
    return error.code if isinstance(error, StrongroomError) else type(error).__name__


def raised_at(error: BaseException) -> str:
    """Return the file and line where an error arose, of which neither quotes data."""
    found, trace = "?", error.__traceback__
    while trace is not None:
        found = f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found
