"""Statements on their way: what was said while a target was away, to each that lacks it, as it was signed.

A target that was away when a mark was set must not be alone one day with what the mark is about, and until
it has the mark, every command that reads it calls it unsound. An incident and a recovery have to be there
wherever somebody goes on with them. So whatever puts heads on targets brings these too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Generic

from strongroom.container.marks import DELETION, HOLD, MAX_NUMBER, QUARANTINE, M, MarkKind
from strongroom.errors import StrongroomError
from strongroom.model import Role
from strongroom.operations.archive.cases import INCIDENT, Places, spread_cases
from strongroom.operations.archive.holds import recorded_holds
from strongroom.operations.archive.quarantine import recorded_marks
from strongroom.operations.archive.recoveries import RECOVERY
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.statements import StatementsOn, last_word, newest_on, put_checked, put_mark
from strongroom.operations.errors import TargetUnsound
from strongroom.system.lazy import batched
from strongroom.targets import Target

_PAGE = 200
EVERYWHERE = (HOLD.name,)
"""Kinds that every target is to have: a hold may be about what it will get."""


def spread_statements(services: Services, targets: Iterable[str]) -> None:
    """Bring the last word about each subject, and every case, to those of some targets that lack it.

    What fails now is done the next time. A mark on record that no target has heard is written, too.
    """
    asked = {name: services.target(name) for name in targets}
    spread_marks(services, asked)
    trusted, signer = services.signer_fingerprints, services.signers(Role.CONTROL)
    spread_cases(Places(targets=asked, trusted=trusted, store=services.store), INCIDENT, signer)
    spread_cases(Places(targets=asked, trusted=trusted), RECOVERY, signer)


def spread_marks(services: Services, asked: Mapping[str, Target]) -> None:
    """Bring the last word about each subject to those of some targets that answer and lack it."""
    store = services.store
    _Marks(services, asked, HOLD, recorded_holds(store)).bring()
    _Marks(services, asked, QUARANTINE, recorded_marks(store)).bring()
    _Marks(services, asked, DELETION, {}).bring()


class _Marks(Generic[M]):
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
        self._places: dict[str, StatementsOn[M]] = {}
        for name, target in targets.items():
            with suppress(StrongroomError):  # one that is away gets them when it is back
                self._places[name] = StatementsOn(target, kind, trusted=services.signer_fingerprints)

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
            {*self._recorded, *(folder for there in self._places.values() for folder in there.folders)}
        )
        if self._kind.name in EVERYWHERE:
            yield from ((folder, list(self._places)) for folder in folders)
            return
        for page in batched(folders, _PAGE):
            for backup, replicas in self._services.store.replicas_of(page).items():
                names = [replica.target for replica in replicas] or self._unknown(backup)
                yield backup, [name for name in names if name in self._places]

    def _unknown(self, backup: str) -> Iterable[str]:
        """Return where a backup may lie that is on record with no target: another host may have made it."""
        if self._kind.name == QUARANTINE.name and self._services.store.backup(backup) is None:
            return self._places
        return ()

    def _bring(self, folder: str, names: Iterable[str]) -> None:
        marked = newest_on(self._places.values(), self._kind, folder)
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
        having = next(place for place in self._places if self._has(place, mark))
        content = b"".join(self._targets[having].read(name, length=self._kind.most + 1))
        for target in lacking:
            if name in self._places[target].names(mark.folder):  # anybody may have put something there
                self._write(mark, mark.number, [target])
                continue
            with suppress(StrongroomError):
                put_checked(self._targets[target], name, content)

    def _write(self, mark: M, number: int, lacking: Iterable[str]) -> None:
        """Sign a mark anew, if who is here may say what it says, and put it under the next free number."""
        if Role.CONTROL not in self._kind.says[mark.state]:
            return
        signer = self._services.signers(Role.CONTROL)
        for target in lacking:
            with suppress(StrongroomError):
                taken = self._places[target].names(mark.folder)
                put_mark(self._targets[target], self._kind, mark, number, signer=signer, taken=taken)
