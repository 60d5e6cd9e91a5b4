"""What deleting leaves behind: targets that keep versions hide objects, and may give them back."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from strongroom.targets import Target
from strongroom.targets.resilient import bare


@runtime_checkable
class Hiding(Protocol):
    """A target whose deletes may only hide."""

    def purge(self, prefix: str) -> int | None:
        """Remove for good all that was or is under ``prefix``; return how many objects stay,
        ``None`` if that cannot be told."""
        ...


def purge(target: Target, prefix: str) -> int | None:
    """Remove for good what lies or is hidden under a prefix; return how much stays, if that is known.

    Where deletes hide nothing, nothing stays.
    """
    inner = bare(target)
    return inner.purge(prefix) if isinstance(inner, Hiding) else 0
