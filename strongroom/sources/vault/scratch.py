"""What is made on a live server on purpose: mounts of drills, and values of secrets engines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from strongroom.errors import SourceError
from strongroom.model import SecretBytes
from strongroom.sources import Destination
from strongroom.sources.errors import SourceClosed, SourceUnavailable
from strongroom.sources.memory import Below
from strongroom.sources.vault.records import MOUNTS, MountInfo, explained
from strongroom.sources.vault.source import VaultSource
from strongroom.vault.answers import Denied, LoginRefused, NotVault, VaultError, VaultRefused
from strongroom.vault.client import Vault

# -- Mounts that drills make for themselves on a live server, and remove again ------------------
#
# A mount is a drill's if its path and its description both say so. A mount of that path which was there
# before is somebody else's: nothing is written to it, and it is not removed.


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
                self._vault.post(
                    "sys", "mounts", _path(run), body=body, happened=lambda: self._noted(run) is not None
                )
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

    def _mounts(self) -> Mapping[str, MountInfo]:
        with explained(self._name, "see which mounts there are", whole=True):
            return self._vault.get("sys", "mounts").read(MOUNTS).data


def _path(run: str) -> str:
    return f"{PREFIX}{run}"


def _note(run: str) -> str:
    return f"Scratch mount of Strongroom drill {run}; it goes when the drill ends"


# -- A secrets engine's endpoints that make and give a value, such as those of a database's static role


class SecretsEngine:
    """The endpoints for one secret.

    Args:
        vault: the server that has the engine.
        rotate: the path that is written to, and makes another value.
        read: the path that gives the value; empty if none does.
        field: the field of that answer.
    """

    def __init__(self, vault: Vault, *, rotate: str, read: str, field: str) -> None:
        self._vault = vault
        self._rotate = rotate.strip("/")
        self._read = read.strip("/")
        self._field = field

    def rotate(self) -> None:
        """Have the engine make another value. After a lost reply nobody knows whether it did."""
        with _explained(f"rotate '{self._rotate}'", "update"):
            answer = self._vault.post(*self._rotate.split("/"), body={})
        if not answer.found:
            raise SourceError(f"the Vault server has no '{self._rotate}'", hint=_PATHS)

    def read(self) -> SecretBytes | None:
        """Return the value that counts now; ``None`` if the engine keeps it to itself."""
        if not self._read:
            return None
        with _explained(f"read '{self._read}'", "read"):
            answer = self._vault.get(*self._read.split("/"))
            value = answer.data().get(self._field) if answer.found else None
        if not isinstance(value, str) or not value:
            raise SourceError(f"the Vault server has no '{self._field}' in '{self._read}'", hint=_PATHS)
        return SecretBytes(value.encode())


_PATHS = "Correct the rotator's paths in the configuration. Nothing was written."


@contextmanager
def _explained(doing: str, capability: str) -> Iterator[None]:
    """Say what failed while doing what. The server's own words are left out: they may quote values."""
    try:
        yield
    except Denied:
        raise SourceError(
            f"no right to {doing} (status 403)", hint=f"Give the login '{capability}' on that path."
        ) from None
    except VaultError as error:
        kind = SourceUnavailable if error.transient else SourceError
        if isinstance(error, LoginRefused | NotVault):
            kind = SourceClosed
        raise kind(f"the Vault server could not {doing}: {error.message}", hint=error.hint) from None
