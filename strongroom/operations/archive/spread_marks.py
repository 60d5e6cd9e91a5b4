"""Marks on their way: the last word about a backup, or about what is held, to each target that lacks it.

A target that was away when a mark was set must not be alone one day with what the mark is about, and until
it has the mark, every command that reads it calls it unsound. So whatever puts heads on targets brings these
too, as they were signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Generic

from strongroom.container.marks import DELETION, HOLD, MAX_MARK, MAX_NUMBER, QUARANTINE, M, MarkKind
from strongroom.errors import StrongroomError
from strongroom.operations.archive.holds import recorded_holds
from strongroom.operations.archive.marks import MarksThere, last_word, newest_mark, put_mark
from strongroom.operations.archive.quarantine import recorded_marks
from strongroom.operations.errors import TargetUnsound
from strongroom.operations.services import Services
from strongroom.targets import Target

_PAGE = 200
EVERYWHERE = (HOLD.name,)
"""Kinds that every target is to have: a hold may be about what it will get."""


def spread_marks(services: Services, targets: Iterable[str]) -> None:
    """Bring the last word about each subject to those of some targets that answer and lack it.

    What fails now is done the next time. A mark on record that no target has heard is written, too.
    """
    asked = {name: services.target(name) for name in targets}
    store = services.store
    _Spread(services, asked, HOLD, recorded_holds(store)).bring()
    _Spread(services, asked, QUARANTINE, recorded_marks(store)).bring()
    _Spread(services, asked, DELETION, {}).bring()


class _Spread(Generic[M]):
    """Brings the marks of one kind to the targets that lack them."""

    def __init__(
        self,
        services: Services,
        targets: Mapping[str, Target],
        kind: MarkKind[M],
        recorded: Mapping[str, M],
    ) -> None:
        self._services = services
        self._targets = targets
        self._kind: MarkKind[M] = kind
        self._recorded: Mapping[str, M] = recorded
        self._places: dict[str, MarksThere[M]] = {}
        for name, target in targets.items():
            with suppress(StrongroomError):  # one that is away gets them when it is back
                self._places[name] = MarksThere(target, kind, trusted=services.signer_fingerprints)

    def bring(self) -> None:
        """Bring what counts to each target that is to have it and does not."""
        for folder, names in self._wanted():
            tops = {self._places[name].top(folder) for name in names}
            if folder in self._recorded or len(tops) > 1:  # else all have the same, and nothing is read
                with suppress(StrongroomError):
                    self._bring(folder, names)

    def _wanted(self) -> Iterator[tuple[str, list[str]]]:
        """Yield each folder, and which of the targets that answer are to have its mark."""
        folders = sorted(
            {*self._recorded, *(one for there in self._places.values() for one in there.folders)}
        )
        if self._kind.name in EVERYWHERE:
            yield from ((folder, list(self._places)) for folder in folders)
            return
        for at in range(0, len(folders), _PAGE):
            page = folders[at : at + _PAGE]
            for backup, replicas in self._services.store.replicas_of(page).items():
                names = [one.target for one in replicas] or self._unknown(backup)
                yield backup, [name for name in names if name in self._places]

    def _unknown(self, backup: str) -> Iterable[str]:
        """Return where a backup may lie that is on record with no target: another host may have made it."""
        if self._kind.name == QUARANTINE.name and self._services.store.backup(backup) is None:
            return self._places
        return ()

    def _bring(self, folder: str, names: Iterable[str]) -> None:
        marked = newest_mark(self._places.values(), self._kind, folder)
        mark = last_word(self._kind, marked, self._recorded.get(folder))
        if mark is None or mark.number == MAX_NUMBER or mark.state == "deleted":
            return  # a tombstone is about the target on which it lies
        lacking = [name for name in names if self._has(name, mark) is False]
        if lacking and mark != marked:
            self._write(mark, marked.number + 1 if marked else 1, lacking)
        elif lacking:
            self._copy(mark, lacking)

    def _has(self, name: str, mark: M) -> bool | None:
        """Tell whether a mark counts on a target; ``None`` if nobody can tell, for junk there."""
        try:
            return self._places[name].newest(mark.folder) == mark
        except TargetUnsound:
            return None

    def _copy(self, mark: M, lacking: Iterable[str]) -> None:
        name = self._kind.object_name(mark.folder, mark.number)
        having = next(one for one in self._places if self._has(one, mark))
        content = b"".join(self._targets[having].read(name, length=MAX_MARK + 1))
        for target in lacking:
            if name in self._places[target].names(mark.folder):  # anybody may have put something there
                self._write(mark, mark.number, [target])
                continue
            with suppress(StrongroomError):
                digest = hashlib.sha256(content).digest()
                self._targets[target].put(name, [content], size=len(content), sha256=digest)

    def _write(self, mark: M, number: int, lacking: Iterable[str]) -> None:
        """Sign a mark anew, if who is here may say what it says, and put it under the next free number."""
        if "control" not in self._kind.roles[mark.state]:
            return
        signer = self._services.signers("control")
        for target in lacking:
            with suppress(StrongroomError):
                taken = self._places[target].names(mark.folder)
                put_mark(self._targets[target], self._kind, mark, number, signer=signer, taken=taken)
