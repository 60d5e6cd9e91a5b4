"""How the settings fit together: what the checks look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from strongroom.config.kinds import Misfit
from strongroom.config.model import DEFAULT_TARGETS, Settings
from strongroom.config.schema import KeyPath, did_you_mean, look_up


class Context(Struct, frozen=True, kw_only=True):
    """Settings made of what is valid, and what is known of the rest.

    ``raw`` has the tables as written, ``bad`` the paths that were left out because they
    are wrong by themselves: nothing that rests on them is reported.
    """

    settings: Settings
    raw: Mapping[str, Any]
    bad: frozenset[KeyPath]

    def is_bad(self, *path: str | int) -> bool:
        """Say whether something at, under or above this path was left out."""
        return any(path[: len(bad)] == bad[: len(path)] for bad in self.bad)

    def is_written(self, *path: str | int) -> bool:
        """Say whether somebody wrote a setting, right or wrong, rather than leave it to its default."""
        return look_up(self.raw, path) is not None

    def names(self, section: str) -> frozenset[str]:
        """Return every name in a table, the wrong entries' too."""
        written = self.raw.get(section)
        declared = frozenset(written) if isinstance(written, dict) else frozenset()
        return declared | frozenset(getattr(self.settings, section))

    def reference(self, key: KeyPath, name: str, section: str) -> Iterator[Misfit]:
        """Find a name that the table has not."""
        if (section,) not in self.bad and name not in self.names(section):
            singular = {"policies": "policy"}.get(section, section.removesuffix("s"))
            right = did_you_mean(name, self.names(section))
            if section == "targets" and name in DEFAULT_TARGETS:
                right += " It is a default directory, there only while no target is named: name it too."
            yield Misfit(key, f"there is no {singular} '{name}'", right)
