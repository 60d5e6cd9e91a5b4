"""Which secrets of a backup a drill brings back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import TypeVar

from strongroom.model import Secret
from strongroom.operations.archive.failover import Replicated
from strongroom.operations.drills.facts import options_of
from strongroom.operations.errors import NothingSelected
from strongroom.operations.recovery_objective import DrillScope
from strongroom.operations.restore.restore import chosen
from strongroom.state.records import Run

Names = frozenset[str] | None
"""``None`` for every secret there is."""
T = TypeVar("T")


def names_of(run: Run, backup: Replicated) -> Names:
    """Return the names that a drill is about. Asked again it says the same, so no record has to name them.

    Raises:
        NothingSelected: the backup holds no such secret.
    """
    options = options_of(run)
    if options.drill is DrillScope.SINGLE:
        return frozenset({options.secret or _any(run, [row.name for row in backup.rows()], "a secret")})
    if options.drill is DrillScope.CATEGORY:
        tags = tags_of(run, backup)
        named = frozenset(row.name for row in backup.rows() if tags.items() <= row.tags.items())
        return named or _none("such a tag")
    return None


def tags_of(run: Run, backup: Replicated) -> dict[str, str]:
    """Return the tags that make the category of a drill; of any other drill none."""
    options = options_of(run)
    if options.drill is not DrillScope.CATEGORY:
        return {}
    return dict(options.tags) or dict([_any(run, _tags(backup), "a tag")])


def secrets_of(backup: Replicated, names: Names) -> Callable[[], Iterable[Secret]]:
    """Return what gives these secrets of a backup, anew each time."""
    if names is not None and len(names) == 1:  # as a person would: with a few ranged reads
        return lambda: chosen(backup, names=tuple(names))
    return lambda: (secret for secret in backup.secrets() if names is None or secret.name in names)


def _tags(backup: Replicated) -> list[tuple[str, str]]:
    return sorted({tag for row in backup.rows() for tag in row.tags.items()})


def _any(run: Run, choices: Sequence[T], what: str) -> T:
    """Return any of them: the same one whenever this run asks."""
    return Random(run.id).choice(choices) if choices else _none(what)  # noqa: S311 - no key is made of it


def _none(what: str) -> T:  # type: ignore[type-var]
    raise NothingSelected(
        f"The backup holds no secret with {what}, so nothing was rehearsed.",
        hint="A category is what has one tag: 'strongroom set NAME --tag KEY=VALUE'. Then back up again.",
    )
