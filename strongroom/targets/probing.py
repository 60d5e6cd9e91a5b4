"""What probes of targets share: how a check is made of a trial, and what the checks are called."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from strongroom.errors import StrongroomError, TargetError
from strongroom.targets import ProbeCheck, ProbeResult
from strongroom.targets.errors import TargetUnavailable

DESTROYS = "remove a version for good"
"""What the check is called by which a credential is too much for everybody but who deletes old backups."""
OBJECT_LOCK = "the bucket has Object Lock"
UNUSED_LOCK = "write 'lock' into the target's section: without it who may delete can remove backups early"
"""What is advised where a server would lock what it is given, and nobody asks it to."""


def of_mode(path: str | Path) -> ProbeCheck:
    """Look whether others than the owner and its group may use a file or directory, or its group write."""
    try:
        return mode_check(Path(path).stat().st_mode)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        return ProbeCheck(what=_OTHERS, outcome=ProbeResult.NOT_SHOWN, detail=why)


def mode_check(mode: int) -> ProbeCheck:
    """Judge the mode of a file or directory."""
    mode = stat.S_IMODE(mode)
    open_to = [word for bit, word in _BITS.items() if mode & bit]
    if not open_to:
        return ProbeCheck(what=_OTHERS)
    detail = f"mode {mode:04o}: {', '.join(open_to)}; run chmod o=,g-w"
    return ProbeCheck(what=_OTHERS, outcome=ProbeResult.EXCESS, detail=detail)


_OTHERS = "others may not use it"
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


def may(what: str, attempt: Callable[[], object]) -> ProbeCheck:
    """Try what a report can do without, saying "unknown" in its place."""
    try:
        attempt()
    except StrongroomError as error:
        return ProbeCheck(
            what=what, outcome=ProbeResult.ADVICE, detail=f"{error.message}; reports then say 'unknown'"
        )
    return ProbeCheck(what=what)


def stamped(date: str | None, title: str) -> float:
    """Return the time that an HTTP reply says it was made at."""
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        raise TargetError(f"{title} does not say what time it is there") from None
