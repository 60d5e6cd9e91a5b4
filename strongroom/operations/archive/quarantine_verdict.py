"""Whether a backup is in quarantine: by its marks on several places, the signed heads there, and the record.

Junk among the marks of one place, or marks that are gone from it, make that place unsound and nothing else:
whoever may add objects to one target, or delete them, must not choose what is restored. The other places
decide, or the record of this installation. Where none of these can tell, nobody guesses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from strongroom.container.marks import QUARANTINE, QuarantineMark
from strongroom.errors import StrongroomError
from strongroom.operations.archive.marks import MarksThere, highest
from strongroom.operations.archive.quarantine_marks import Recorded, why_aside
from strongroom.operations.archive.read_on import AT_ONCE
from strongroom.targets.repaired import Objects

Place = MarksThere[QuarantineMark] | StrongroomError
Pins = frozenset[str]


class Verdict(NamedTuple):
    """Why a backup is not to be restored from; empty if it is. ``unseen``: since nobody can tell."""

    why: str = ""
    unseen: bool = False


class Standing:
    """What is known of each backup's quarantine, over several places.

    Args:
        pins: whose marks of a backup count.
        shows: tells whether a place shows a backup.
        due: the highest number of a backup's marks that the signed heads on the places know of.
        recorded: what the record here has in quarantine; ``on_record`` are the backups that it has at all.
        told: is given a place, a folder of marks there, and what is wrong with it.
    """

    def __init__(
        self,
        places: Mapping[str, Objects],
        *,
        pins: Callable[[str], Pins],
        shows: Callable[[str, str], bool],
        due: Callable[[str], int],
        recorded: Mapping[str, Recorded],
        on_record: frozenset[str],
        told: Callable[[str, str, str], None],
    ) -> None:
        self._places = places
        self._pins = pins
        self._shows = shows
        self._due = due
        self._recorded = recorded
        self._on_record = on_record
        self._told = told
        self._there: dict[Pins, dict[str, Place]] = {}
        self._verdicts: dict[str, Verdict] = {}

    def of(self, backup: str) -> Verdict:
        """Tell whether a backup is in quarantine."""
        if backup not in self._verdicts:
            self._verdicts[backup] = self._judge(backup)
        return self._verdicts[backup]

    def _judge(self, backup: str) -> Verdict:
        found = dict(self._newest(backup))
        failed = {name: one for name, one in found.items() if isinstance(one, StrongroomError)}
        marks = {name: one for name, one in found.items() if not isinstance(one, StrongroomError)}
        newest = highest(QUARANTINE, marks.values())
        seen = newest.number if newest is not None else 0
        due = max(seen, self._due(backup))
        folder = f"{QUARANTINE.prefix}{backup}/"
        unsound = {name: f"{one.code}: {one.message}" for name, one in failed.items()}
        for name, mark in marks.items():
            if (mark.number if mark is not None else 0) < due and self._shows(name, backup):
                unsound[name] = f"mark {due} was set there, and is not to be seen"
        for name, why in unsound.items():
            self._told(name, folder, why)
        recorded = self._recorded.get(backup)
        if (seen == due and marks) or recorded is not None or backup in self._on_record:
            return Verdict(why_aside(newest, recorded))
        said = "; ".join(f"{folder} on '{name}': {why}" for name, why in unsound.items())
        return Verdict(said or f"mark {due} of it was set, and is not to be seen", unseen=True)

    def _newest(self, backup: str) -> Iterator[tuple[str, QuarantineMark | StrongroomError | None]]:
        """Yield what each place has; what does not count there is told."""
        for name, place in self._marks(self._pins(backup)).items():
            if isinstance(place, StrongroomError):
                yield name, place
                continue
            try:
                yield name, place.newest(backup)
            except StrongroomError as error:
                yield name, error
            if junk := place.aside.get(f"{QUARANTINE.prefix}{backup}/"):
                self._told(name, f"{QUARANTINE.prefix}{backup}/", junk)

    def _marks(self, pins: Pins) -> dict[str, Place]:
        if pins not in self._there:
            with ThreadPoolExecutor(AT_ONCE) as threads:
                listed = threads.map(lambda objects: _list_marks(objects, pins), self._places.values())
                self._there[pins] = dict(zip(self._places, listed, strict=True))
        return self._there[pins]


def _list_marks(objects: Objects, pins: Pins) -> Place:
    try:
        return MarksThere(objects, QUARANTINE, trusted=pins)
    except StrongroomError as error:
        return error
