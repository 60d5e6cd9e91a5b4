"""The newest backup, and what it lacks out of earlier ones: each secret with its newest known value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from strongroom.container.errors import MissingPiece
from strongroom.model import Secret
from strongroom.operations.archive.live_comparison import Numbers, batches
from strongroom.operations.archive.salvage import Salvaged
from strongroom.operations.archive.shortfall import Earlier

Names = Callable[[], Iterable[tuple[str, str]]]
"""Gives each secret that is taken from an earlier backup, with that backup, anew each time."""


class Filled:
    """A backup and what is taken from earlier ones.

    Memory is bounded by a batch, and by a number for each secret that is taken from an earlier one.

    Args:
        backup: the newest.
        earlier: those before it.
        names: what is taken from which of them; all that the newest lacks, if left out.
    """

    def __init__(self, backup: Salvaged, earlier: Earlier, names: Names | None = None) -> None:
        self._backup = backup
        self._earlier = earlier
        self._names: Names = names or (
            lambda: ((missing_secret.name, missing_secret.backup) for missing_secret in earlier.missing())
        )
        self._opened: dict[str, Salvaged] = {}
        self._ids: list[str] = []
        self._of = Numbers()
        for name, backup_id in self._names():
            if backup_id not in self._ids:
                self._ids.append(backup_id)
            self._of.set(name, self._ids.index(backup_id))

    @property
    def backups(self) -> tuple[str, ...]:
        """The earlier backups that something is taken from."""
        return tuple(self._ids)

    def backup_of(self, name: str) -> str:
        """Return the earlier backup that a secret is taken from; empty if the newest has it."""
        number = self._of.get(name)
        return "" if number is None else self._ids[number]

    def opened(self, backup: str) -> Salvaged:
        """Return an earlier backup, opened once."""
        if backup not in self._opened:
            if backup not in self._earlier.choices:
                raise MissingPiece(f"backup {backup}, which some of the secrets are from, is not there")
            self._opened[backup] = Salvaged(self._earlier.open(backup))
        return self._opened[backup]

    def open_all(self) -> None:
        """Open each of them, so that a missing key is told before anything is written."""
        for backup in self._ids:
            self.opened(backup)

    def secrets(self) -> Iterator[Secret]:
        """Yield every secret of the newest, then what it lacks."""
        for secret in self._backup.secrets():
            if (
                self._of.get(secret.name) is None
            ):  # one that it has without a value, an earlier one has with it
                yield secret
        yield from self.taken()

    def taken(self) -> Iterator[Secret]:
        """Yield what is taken from earlier backups."""
        for batch in batches(self._names()):
            for backup, names in _by_backup(batch).items():
                opened = self.opened(backup)
                for secret in opened.some(names):
                    self._backup.came_from(secret.name, opened.manifest)
                    yield secret


def _by_backup(batch: Iterable[tuple[str, str]]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, backup in batch:
        found.setdefault(backup, []).append(name)
    return found
