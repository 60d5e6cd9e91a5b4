"""Where a drill restores into: a place that it makes, that nobody else uses, and that goes with it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from strongroom.errors import SourceError, StrongroomError
from strongroom.operations.drills.facts import LOCAL, options_of
from strongroom.operations.runs import process_lock
from strongroom.operations.services import Services
from strongroom.sources import ScratchPlace
from strongroom.sources.local import LocalStore
from strongroom.state.errors import RunNotFound
from strongroom.state.records import Run

FOLDER = "drills"


class LocalPlace:
    """Local stores below a folder, each sealed under a master key that goes with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self, run: str) -> LocalStore:
        """Return an empty store."""
        self.remove(run)
        return self.open(run)

    def open(self, run: str) -> LocalStore:
        """Return a drill's store."""
        return LocalStore(self._folder / run)

    def remove(self, run: str) -> None:
        """Delete a drill's store; its master key goes with it."""
        try:
            shutil.rmtree(self._folder / run)
        except FileNotFoundError:
            return
        except OSError as error:
            raise SourceError(
                f"the scratch store '{self._folder / run}' could not be removed: {error.strerror}",
                hint="It holds restored secrets, sealed, and their key: remove it by hand.",
            ) from None

    def left(self) -> Sequence[str]:
        """Return the runs whose stores are there."""
        return [path.name for path in sorted(self._folder.glob("*"))]


def place_of(run: Run, services: Services) -> ScratchPlace:
    """Return where a drill restores into.

    Raises:
        ConfigError: this process has no such place.
    """
    into = options_of(run).into
    return LocalPlace(services.state_dir / FOLDER) if into == LOCAL else services.scratch(into)


def remove_left(place: ScratchPlace, services: Services) -> None:
    """Remove what drills left whose process was killed.

    A drill that still goes on is left alone, and so is any that is not on this record: it may be another
    installation's, which uses the same server.
    """
    for run in _over(place.left(), services):
        with suppress(StrongroomError):  # the next drill tries again, and this one need not wait for it
            place.remove(run)


def _over(runs: Sequence[str], services: Services) -> Iterator[str]:
    for name in runs:
        with suppress(RunNotFound):
            ended = services.store.load(name).state.final
            if ended and not process_lock.status(services.state_dir, name).alive:
                yield name
