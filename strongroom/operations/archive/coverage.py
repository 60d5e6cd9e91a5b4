"""Whether a backup covers what somebody asks for, by what its manifest says was meant."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from msgspec import Struct

from strongroom.container.manifest import Manifest, ManifestSelection
from strongroom.model import Selection

ESCROW = "escrow"
"""The source of an escrow of an installation's keys, which is no backup of secrets."""

NO_VALUES = "it holds no values"
PART = "it holds only secrets"
"""How the words begin for a backup that was made of a part."""


class Asked(Struct, frozen=True, kw_only=True):
    """What is asked for of a backup.

    ``name`` is one secret, else ``selection`` counts. ``partial`` takes a backup of less than that.
    ``source`` is preferred where backups of several sources lie side by side.
    """

    values: bool = True
    selection: Selection = Selection()
    name: str = ""
    policy: str = ""
    backup: str = ""
    until: float | None = None
    source: str = ""
    partial: bool = False
    use_quarantined: bool = False

    @property
    def words(self) -> str:
        """What is asked for, for people."""
        what = f"the secret '{self.name}'" if self.name else _meant(self.selection)
        return f"{what}, with values" if self.values else what


def _meant(selection: Selection) -> str:
    limits = "; ".join(_limits(selection.include, selection.exclude, selection.tags))
    return f"secrets ({limits})" if limits else "every secret"


def _limits(include: object, exclude: object, tags: object) -> Iterator[str]:
    if isinstance(tags, dict) and tags:
        yield "tagged " + ", ".join(f"{key}={value}" for key, value in sorted(tags.items()))
    for word, patterns in (("named", include), ("not named", exclude)):
        if isinstance(patterns, tuple) and patterns:
            shown = ", ".join(f"'{pattern}'" for pattern in patterns[:3])
            yield f"{word} {shown}" + (f" and {len(patterns) - 3} more" if len(patterns) > 3 else "")


def limits_of(manifest: Manifest) -> str:
    """Say what a backup was limited to; nothing if it was made of everything."""
    return limits_on(manifest.selection)


def limits_on(chosen: ManifestSelection | Selection) -> str:
    """Say what a selection is limited to; nothing if it means everything."""
    return "; ".join(_limits(chosen.include, chosen.exclude, dict(chosen.tags)))


def lacks(manifest: Manifest, asked: Asked) -> str:
    """Say what a backup lacks of what is asked for; nothing if it covers that."""
    if manifest.source == ESCROW:
        return "it is an escrow of an installation's keys"
    if asked.values and not manifest.values:
        return NO_VALUES
    if asked.partial or _covers_asked(manifest.selection, asked):
        return ""
    return f"{PART} {limits_of(manifest)}"


def _covers_asked(selection: ManifestSelection, asked: Asked) -> bool:
    """Tell whether every secret that is asked for was meant when the backup was made.

    Of one secret nobody knows the tags before it is found, so a backup of a category may hold it.
    """
    return _holds_name(selection, asked.name) if asked.name else covers(selection, asked.selection)


def covers(selection: ManifestSelection | Selection, wanted: Selection) -> bool:
    """Tell whether a selection means all that another means, as far as patterns can tell."""
    tagged = all(wanted.tags.get(key) == value for key, value in selection.tags.items())
    return tagged and _included(selection, wanted) and _not_excluded(selection, wanted)


def _included(selection: ManifestSelection | Selection, wanted: Selection) -> bool:
    if not selection.include:
        return True
    return bool(wanted.include) and all(_within(pattern, selection.include) for pattern in wanted.include)


def _within(pattern: str, patterns: tuple[str, ...]) -> bool:
    """Tell whether all that a pattern matches is matched by one of others, as far as that can be told."""
    return pattern in patterns or (
        _is_plain(pattern) and any(fnmatchcase(pattern, broader) for broader in patterns)
    )


def _not_excluded(selection: ManifestSelection | Selection, wanted: Selection) -> bool:
    left_out = [pattern for pattern in selection.exclude if pattern not in wanted.exclude]
    plain = bool(wanted.include) and all(_is_plain(pattern) for pattern in wanted.include)
    return not left_out or (
        plain and not any(fnmatchcase(n, pattern) for n in wanted.include for pattern in left_out)
    )


def _holds_name(selection: ManifestSelection, name: str) -> bool:
    if selection.include and not any(fnmatchcase(name, pattern) for pattern in selection.include):
        return False
    return not any(fnmatchcase(name, pattern) for pattern in selection.exclude)


def _is_plain(pattern: str) -> bool:
    return not any(character in pattern for character in "*?[")
