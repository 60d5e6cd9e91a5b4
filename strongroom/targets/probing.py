"""What a target can be asked beyond its objects: its time, who reads there, what it refuses."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from msgspec import Struct

from strongroom.errors import StrongroomError, TargetError
from strongroom.targets import Target
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.resilient import Resilient, bare

# -- What a probe of a target finds, and what a target lets be tried on an object of the probe's own
#
# A refusal is shown only by asking the server for what it has to refuse. That is done to
# nothing but an object which the probe itself has just put, so that a server which does not
# refuse loses nothing of anybody's.


DESTROYS = "remove a version for good"
"""What the check is called by which a credential is too much for everybody but who deletes old backups."""
OBJECT_LOCK = "the bucket has Object Lock"
UNUSED_LOCK = "write 'lock' into the target's section: without it who may delete can remove backups early"
"""What is advised where a server would lock what it is given, and nobody asks it to."""


class ProbeResult(StrEnum):
    """The result of one check."""

    FINE = "fine"
    MISSING = "missing"
    """What has to work does not."""
    EXCESS = "too many"
    """What has to be refused was not."""
    ADVICE = "advice"
    """Nothing is wrong, and it could be better."""
    NOT_SHOWN = "not shown"
    """It could not be found out here."""


class ProbeCheck(Struct, frozen=True, kw_only=True):
    """One thing that was tried or looked up, and its result. ``error`` is the class of what it failed of."""

    what: str
    outcome: ProbeResult = ProbeResult.FINE
    detail: str = ""
    error: str = ""

    @property
    def failed(self) -> bool:
        return self.outcome in {ProbeResult.MISSING, ProbeResult.EXCESS}


@runtime_checkable
class Probed(Protocol):
    """What a target can do besides, if its server can be asked for what it has to refuse."""

    def refusals(self, name: str) -> Iterator[ProbeCheck]:
        """Ask for what no client may be given: writing over an object, removing a locked one.

        ``name`` is an object of the caller's own; afterwards it may be gone.
        """
        ...

    def excess(self, name: str) -> Iterator[ProbeCheck]:
        """Try what this target's credential has no need of. ``name`` as above."""
        ...

    def settings(self) -> Iterator[ProbeCheck]:
        """Look at how the store is set up, as far as the credential may."""
        ...


def of_mode(path: str | Path) -> ProbeCheck:
    """Look whether others than the owner and its group may use a file or directory, or its group write."""
    what = "others may not use it"
    try:
        mode = stat.S_IMODE(Path(path).stat().st_mode)
    except OSError as error:
        return ProbeCheck(what=what, outcome=ProbeResult.NOT_SHOWN, detail=os.strerror(error.errno or 0))
    open_to = [word for bit, word in _BITS.items() if mode & bit]
    if not open_to:
        return ProbeCheck(what=what)
    detail = f"mode {mode:04o}: {', '.join(open_to)}; run chmod o=,g-w"
    return ProbeCheck(what=what, outcome=ProbeResult.EXCESS, detail=detail)


_BITS = {0o020: "its group may write", 0o004: "everybody may read", 0o002: "everybody may write"}


def must_be_refused(
    what: str, attempt: Callable[[], object], *refusals: type[StrongroomError], otherwise: str = ""
) -> ProbeCheck:
    """Try what has to fail with one of ``refusals``.

    Args:
        otherwise: what it means if it does not.
    """
    try:
        attempt()
    except refusals:
        return ProbeCheck(what=what)
    except TargetUnavailable as error:
        return ProbeCheck(what=what, outcome=ProbeResult.NOT_SHOWN, detail=error.message)
    except StrongroomError as error:
        return ProbeCheck(
            what=what, outcome=ProbeResult.NOT_SHOWN, detail=f"another refusal: {error.message}"
        )
    return ProbeCheck(what=what, outcome=ProbeResult.EXCESS, detail=otherwise)


# -- Where a target's server writes down who reads there: what alone knows of a stranger with the files


@runtime_checkable
class LogsReaders(Protocol):
    """What a target can do besides, if its server says where its log of readers is."""

    def reader_log(self) -> str:
        """Return where that log is; empty if the server keeps none.

        Raises :class:`~strongroom.errors.TargetError` if this credential may not ask.
        """
        ...


def reader_log(target: Target) -> str | None:
    """Return where the log of a target's readers is, empty if there is none; ``None``: it does not tell."""
    inner = bare(target)
    return inner.reader_log() if isinstance(inner, LogsReaders) else None


# -- What time it is where backups lie: this host's clock may be wrong --------------------------


@runtime_checkable
class Clocked(Protocol):
    """What a target can do besides, if its server has a clock of its own."""

    def time(self) -> float:
        """Return the server's time, in seconds since the epoch. Raises TargetError if it does not say."""
        ...


def time_of(target: Target) -> float | None:
    """Return the time by a target's own clock, or ``None`` if it has none."""
    inner = bare(target)
    if not isinstance(inner, Clocked):
        return None
    return target.tried(inner.time) if isinstance(target, Resilient) else inner.time()


def stamped(date: str | None, title: str) -> float:
    """Return the time that an HTTP reply says it was made at."""
    try:
        return parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        raise TargetError(f"{title} does not say what time it is there") from None
