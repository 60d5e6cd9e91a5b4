"""What a command was asked about by name: sources, targets, policies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from strongroom.cli.terminal.output import in_line
from strongroom.errors import UsageError
from strongroom.words import nearest


def choose_named(wanted: Sequence[str], known: Iterable[str]) -> list[str]:
    """Return what was named, or all that is known. Raises UsageError for a name that is not."""
    names = list(known)
    if unknown := [name for name in wanted if name not in names]:
        raise UsageError(
            f"There is no {in_line(unknown[0])!r} in the configuration.", hint=nearest(unknown[0], names)
        )
    return list(wanted) or names
