"""What the checks look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from msgspec import Struct

from strongroom.config.model import Settings
from strongroom.config.problems import KeyPath, did_you_mean


class Finding(NamedTuple):
    """What does not fit: the key, what is wrong with it, and what would be right."""

    key: KeyPath
    what: str
    right: str


class Found(Struct, frozen=True, kw_only=True):
    """Settings made of what is valid, and what is known of the rest.

    ``declared`` has the names in each table as written, ``bad`` the paths that were taken
    out because they are wrong by themselves: nothing that rests on them is reported.
    """

    settings: Settings
    declared: Mapping[str, frozenset[str]]
    bad: frozenset[KeyPath]

    def is_bad(self, *path: str | int) -> bool:
        """Say whether something at, under or above this path was taken out."""
        return any(path[: len(bad)] == bad[: len(path)] for bad in self.bad)

    def names(self, section: str) -> frozenset[str]:
        """Return every name in a table, the wrong entries' too."""
        return self.declared.get(section, frozenset()) | frozenset(getattr(self.settings, section))

    def reference(self, key: KeyPath, name: str, section: str) -> Iterator[Finding]:
        """Find a name that the table has not."""
        if (section,) not in self.bad and name not in self.names(section):
            singular = {"policies": "policy"}.get(section, section.removesuffix("s"))
            right = did_you_mean(name, self.names(section))
            yield Finding(key, f"there is no {singular} '{name}'", right)
