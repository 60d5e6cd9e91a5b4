"""What an old key still opens: copies of a backup that a target has yet, and until when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from strongroom.cli.terminal.output import plural


def describe_remaining(copy: Mapping[str, Any]) -> str:
    """Say until when a backup that a key still opens is there, and what its target hides of it."""
    if not copy.get("reached", True):
        return "which was not reached: bring it and repeat; until then it opens as before"
    old = _old_versions(copy.get("old_versions", {}))
    if copy.get("deleted"):
        return f"where it is deleted, and hidden: {old}"
    return f"until {copy['until'] or 'it is deleted'}" + (f"; also {old}" if old else "")


def _old_versions(old: Mapping[str, Any]) -> str:
    """Say how many versions a target hides, and what ends them."""
    count = old.get("count", 0)
    if count < 0:
        return "old versions, of which this credential may not be told (docs/reference/targets.md)"
    locked = old.get("locked_until", "")
    held = {"": "", "unknown": ", their locks unknown"}.get(locked, f", locked until {locked}")
    ends = {"": "until somebody removes them", "unknown": "until a day that it does not tell"}
    goes = ends.get(old.get("until", ""), f"until {old.get('until')}")
    return f"{plural(count, 'old version')}{held}, {goes}" if count else ""
