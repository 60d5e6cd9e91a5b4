"""Which secrets a selection means: patterns on the name, and tags."""

from __future__ import annotations

from fnmatch import fnmatchcase

from strongroom.model import ListedSecret, Secret, Selection


def matches(selection: Selection, item: ListedSecret | Secret) -> bool:
    """Say whether ``selection`` means ``item``.

    Raises:
        ValueError: the selection has tags, and the entry was listed without them. Taking
            that for "no match" would leave secrets out of a backup in silence.
    """
    return _named(selection, item.name) and _tagged(selection, item)


def _named(selection: Selection, name: str) -> bool:
    if selection.include and not any(fnmatchcase(name, pattern) for pattern in selection.include):
        return False
    return not any(fnmatchcase(name, pattern) for pattern in selection.exclude)


def _tagged(selection: Selection, item: ListedSecret | Secret) -> bool:
    if not selection.tags:
        return True
    if item.tags is None:
        raise ValueError("a selection by tags needs entries that were listed with their tags")
    tags = item.tags
    return all(tags.get(key) == value for key, value in selection.tags.items())
