"""Recorded failures, turned back into typed errors for whoever waits for a run."""

from __future__ import annotations

import re

from strongroom import errors

_RECORDED = re.compile(r"^(?:\S+: )?(?P<code>[A-Za-z]+): (?P<message>.*)$", re.DOTALL)


def typed(recorded: str | None) -> errors.StrongroomError | None:
    """Return the error that a run recorded as ``step: Code: message``, if it is one of ours."""
    match = _RECORDED.match(recorded or "")
    kind = getattr(errors, match["code"], None) if match else None
    if match is None or not isinstance(kind, type) or not issubclass(kind, errors.StrongroomError):
        return None
    return kind(match["message"])
