"""Mounts that drills make for themselves on a live server, and remove again.

A mount is a drill's if its path and its description both say so. A mount of that path which was there
before is somebody else's: nothing is written to it, and it is not removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from strongroom.errors import SourceError
from strongroom.sources import Destination
from strongroom.sources.below import Below
from strongroom.sources.vault.explain import explained
from strongroom.sources.vault.records import MOUNTS, MountInfo
from strongroom.sources.vault.source import VaultSource
from strongroom.vault.client import Vault
from strongroom.vault.failures import VaultRefused

PREFIX: Final = "strongroom-drill-"


class ScratchMounts:
    """The mounts of drills on one server."""

    def __init__(self, vault: Vault, *, name: str) -> None:
        self._vault = vault
        self._name = name

    def make(self, run: str) -> Destination:
        """Make an empty KV mount, version 2."""
        self.remove(run)
        body = {"type": "kv", "options": {"version": "2"}, "description": _note(run)}
        with explained(self._name, "make a mount for the drill", writing=True, whole=True):
            try:
                self._vault.post("sys", "mounts", _path(run), body=body, happened=lambda: self._is_there(run))
            except VaultRefused:
                if self._noted(run) is None:
                    raise
        self._require_own(run)
        return self.open(run)

    def open(self, run: str) -> Destination:
        """Return the mount of a run as a destination."""
        folder = f"{_path(run)}/"
        return Below(VaultSource(self._vault, name=self._name, mounts=(folder,), system=False), folder)

    def remove(self, run: str) -> None:
        """Remove the mount of a run, with all that it holds."""
        if self._noted(run) is None:
            return
        self._require_own(run)
        with explained(self._name, "remove the mount of the drill", whole=True):
            self._vault.delete("sys", "mounts", _path(run))

    def left(self) -> Sequence[str]:
        """Return the runs whose mounts are there."""
        runs = [path.removeprefix(PREFIX).rstrip("/") for path in self._mounts() if path.startswith(PREFIX)]
        return sorted(run for run in runs if self._noted(run) == _note(run))

    def _require_own(self, run: str) -> None:
        if self._noted(run) != _note(run):
            raise SourceError(
                f"'{self._name}' has a mount '{_path(run)}/' that this drill did not make",
                hint="Nothing was written to it, and it stays. Find out whose it is, then drill again.",
            )

    def _noted(self, run: str) -> str | None:
        """Return what the mount of a run says that it is; ``None`` if there is none."""
        info = self._mounts().get(f"{_path(run)}/")
        return None if info is None else info.description

    def _is_there(self, run: str) -> bool:
        return self._noted(run) is not None

    def _mounts(self) -> Mapping[str, MountInfo]:
        with explained(self._name, "see which mounts there are", whole=True):
            return self._vault.get("sys", "mounts").read(MOUNTS).data


def _path(run: str) -> str:
    return f"{PREFIX}{run}"


def _note(run: str) -> str:
    return f"Scratch mount of Strongroom drill {run}; it goes when the drill ends"
