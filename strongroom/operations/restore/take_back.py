"""Undoing a restore: what it replaced comes back, what it created goes, and what others changed stays.

Only what is still as the restore left it is touched: its digest and version are those on record. An undo is
put on record like a restore, so it goes on after an interruption, and can itself be undone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from strongroom.errors import StrongroomError, UsageError
from strongroom.model import Secret
from strongroom.operations.restore.journal import (
    Account,
    Journal,
    Restored,
    is_running,
    journals,
    parts_of,
)
from strongroom.operations.restore.plan import Action, Note, PlanEntry
from strongroom.operations.restore.record import (
    KEY_NAME,
    Digest,
    Trace,
    Wrote,
    digest_under,
    done_in,
    key_file,
    records,
    spelled,
    traces_of,
)
from strongroom.operations.restore.restore import (
    SLICE,
    Progress,
    Undo,
    as_far,
    plan_restore,
    present,
    restore,
    without_right,
)
from strongroom.sources import Destination, Layered, Lossy, RemovesUnchanged, Resuming
from strongroom.system.errors import Conflict


class Kept(Protocol):
    """An opened undo file, or an opened file with a key of digests."""

    def secrets(self) -> Iterable[Secret]: ...


class Open(Protocol):
    """Opens a file of an undo folder."""

    def __call__(self, file: Path, /) -> Kept: ...


class Undoable(Struct, frozen=True, kw_only=True):
    """A restore to undo: the folders of all that went on with one another, oldest first."""

    run: str
    journal: Journal
    folders: tuple[Path, ...]
    undone_by: tuple[Path, ...]


def undoable(undo: Path, run: str) -> Undoable:
    """Find a restore by its id, or the id of one that another went on with.

    Raises:
        UsageError: there is none, it is still at work, or it is not on record.
    """
    there = {folder.name: (folder, journal) for folder, journal in journals(undo)}
    if run not in there:
        raise UsageError(
            f"There is no restore '{run}' on record in {undo}.",
            hint="See which there are with 'strongroom restore undo --list', on the host that restored.",
        )
    while (later := there[run][1].continued_by) in there and later != run:
        run = later
    chain = _chain(run, there)
    if any(is_running(folder) for folder in chain):
        raise UsageError(
            f"Restore '{run}' is still at work.", hint="Wait for its end, or end it; then repeat."
        )
    if not any(records(part) for folder in chain for part in parts_of(folder)):
        raise UsageError(
            f"Restore '{run}' did not put on record what it wrote.",
            hint="Nothing was changed. docs/how-to/undo-a-restore.md says how its undo files are restored.",
        )
    _refuse_brought_back(run, there)
    by = [name for folder in chain for name in there[folder.name][1].undone_by if name in there]
    return Undoable(
        run=run,
        journal=there[run][1],
        folders=tuple(part for folder in chain for part in parts_of(folder)),
        undone_by=tuple(there[name][0] for name in by),
    )


def _refuse_brought_back(run: str, there: Mapping[str, tuple[Path, Journal]]) -> None:
    """Refuse to undo what was undone, and then brought back: its versions are those of that last run."""
    for name in there[run][1].undone_by:
        again = there[name][1].undone_by if name in there else ()
        if again and again[-1] in there:
            raise UsageError(
                f"Restore '{run}' was undone by '{name}', and that was undone by '{again[-1]}'.",
                hint=f"Nothing was changed. Undo the last one: strongroom restore undo {again[-1]}",
            )


def _chain(run: str, there: Mapping[str, tuple[Path, Journal]]) -> list[Path]:
    before = [name for name, (_, journal) in there.items() if journal.continued_by == run and name != run]
    return [*(folder for name in before for folder in _chain(name, there)), there[run][0]]


class TakeBack:
    """One undo of one restore.

    Args:
        open_file: opens undo files, and the files that hold the keys of digests.
        tried: what interrupted attempts at this undo were writing.
        only: what a plan brings back or removes; all else is left. ``None``: there is no plan.
    """

    def __init__(
        self,
        what: Undoable,
        destination: Destination,
        open_file: Open,
        *,
        tried: frozenset[str] = frozenset(),
        only: frozenset[str] | None = None,
    ) -> None:
        traces, done = traces_of(what.folders), done_in(what.undone_by)
        self._traces = {name: trace for name, trace in traces.items() if name not in done}
        self._destination = destination
        self._kept = destination.kept if isinstance(destination, Lossy) else _whole
        self._layers = destination.layers() if isinstance(destination, Layered) else ()
        self._open = open_file
        self._tried = tried
        self._only = only
        self._digests: dict[Path, Digest | None] = {}
        self._created = sorted(name for name, trace in self._traces.items() if trace.created)
        self.already = len(traces) - len(self._traces)

    @property
    def total(self) -> int:
        """How many secrets the restore wrote, of which no undo has brought back any."""
        return len(self._traces)

    def plan(self, note: Note) -> Restored:
        """Say what would be done; write nothing."""
        done = plan_restore(
            self._former,
            self._destination,
            overwrite=True,
            note=lambda planned: note(replace(planned, newer=None)),  # no side of these is a backup
            guard=self._may_replace,
            tried=self._tried,
        )
        for names in _slices(self._created):
            there, left, refused = self._removable(names, None)
            gone = [name for name in names if name not in {*there, *left, *refused}]
            lacking = without_right(list(there.values()), self._destination, removing=True)
            for name, error in lacking.items():
                note(_entry(name, Action.CANNOT, why=error.message, code=error.code))
                del there[name]
            for action, some in ((Action.REMOVE, there), (Action.LEAVE, left), (Action.SAME, gone)):
                for name in some:
                    note(_entry(name, action))
            done = done.plus(Restored(removed=len(there), left=len(left), unchanged=len(gone)))
        return done

    def perform(self, account: Account, undo: Undo, *, progress: Progress | None = None) -> None:
        """Bring back what was there, then remove what was not."""
        restore(
            self._former,
            self._destination,
            overwrite=True,
            undo=undo,
            progress=progress,
            account=account,
            tried=self._tried,
            guard=self._may_replace,
        )
        below: dict[str, list[str]] = {kind: [] for kind in reversed(self._layers)}
        for names in _slices(self._created):
            self._remove(names, account, undo, below)
            account.lost(self._destination.losses())
            if progress is not None:
                progress(len(names))
        for resting in below.values():
            for names in _slices(resting):
                self._remove(names, account, undo, {})
                account.lost(self._destination.losses())

    # -- what was there before -----------------------------------------------------

    def _former(self) -> Iterator[Secret]:
        """Yield each secret as it was. Of one that is still there only what was current goes on top: its
        older versions are below."""
        replaced = {trace.folder / trace.wrote.kept for trace in self._traces.values() if trace.wrote.kept}
        for file in sorted(replaced):
            for secret in self._open(file).secrets():
                trace = self._traces.get(secret.name)
                if trace is not None and trace.folder / trace.wrote.kept == file:
                    yield secret if trace.wrote.removed else replace(secret, versions=secret.versions[-1:])

    def _may_replace(self, former: Secret, there: Secret | None) -> bool:
        """Say whether what is there is what the restore left."""
        trace = self._traces[former.name]
        if not self._is_planned(former.name):
            return False
        if there is None or trace.wrote.removed:
            return trace.wrote.removed and (there is None or not _has_value(there))
        if self._is_as_left(trace, there):
            return True
        if not (trace.in_flight or former.name in self._tried):
            return False
        kept = self._kept(there)
        return (
            kept.current.value == self._kept(former).current.value
            or self._has_value_of(trace, kept)
            or self._is_half_marked(former, there)
        )

    def _is_planned(self, name: str) -> bool:
        return self._only is None or spelled(name) in self._only

    def _is_half_marked(self, former: Secret, there: Secret) -> bool:
        """Say whether what is there stands for a version without a value, and is not yet marked as one."""
        if former.current.value is not None or not isinstance(self._destination, Resuming):
            return False
        last = replace(former.current, number=there.current.number)
        goal = replace(former, versions=(*there.versions[:-1], last))
        return self._destination.is_unfinished(goal, there, tried=True)

    def _is_as_left(self, trace: Trace, there: Secret) -> bool:
        digest = self._digest(trace.record)
        kept = self._kept(there)
        if digest is None or not trace.wrote.digest or digest(kept)[0] != trace.wrote.digest:
            return False
        return trace.in_flight or trace.wrote.version == kept.current.number

    def _has_value_of(self, trace: Trace, kept: Secret) -> bool:
        digest = self._digest(trace.record)
        return digest is not None and bool(trace.wrote.value) and digest(kept)[1] == trace.wrote.value

    def _digest(self, record: Path) -> Digest | None:
        if record not in self._digests:
            sealed = key_file(record)
            held = self._open(sealed).secrets() if sealed.exists() else ()
            value = next((secret.current.value for secret in held if secret.name == KEY_NAME), None)
            self._digests[record] = digest_under(value.reveal()) if value else None
        return self._digests[record]

    # -- what was not there --------------------------------------------------------

    def _removable(
        self, names: Sequence[str], account: Account | None
    ) -> tuple[dict[str, Secret], list[str], set[str]]:
        """Return which are as the restore left them, which are not, and which cannot be read."""
        refused: set[str] = set()

        def note(name: str, error: StrongroomError) -> None:
            refused.add(name)
            if account is not None:
                account.refuse(name, error)

        found = as_far(lambda some: present(self._destination, some), names, note)
        planned = {name: secret for name, secret in found.items() if self._is_planned(name)}
        mine = {name for name, secret in planned.items() if self._is_as_left(self._traces[name], secret)}
        there = {name: found[name] for name in names if name in mine}
        left = [n for n in names if n in found and n not in mine and _has_value(found[n])]
        return there, left, refused

    def _remove(
        self, names: Sequence[str], account: Account, undo: Undo, below: Mapping[str, list[str]]
    ) -> None:
        """Remove what is still as the restore left it; what others rest on is put into ``below`` instead."""
        there, left, refused = self._removable(names, account)
        gone = len(names) - len(there) - len(left) - len(refused)
        for name in [name for name, secret in there.items() if secret.type in below]:
            below[there.pop(name).type].append(name)
        account.plan(Restored(unchanged=gone, left=len(left)), left=left)
        if not there:
            return
        heads = {name: secret.current.number for name, secret in there.items()}
        kept = undo(list(there))
        account.writing(list(there), (_removal(name, heads[name], kept) for name in there))
        removed = set(_remove_unchanged(self._destination, heads))
        again = present(self._destination, removed)
        stayed = sorted(name for name, secret in again.items() if _has_value(secret))
        for name in sorted(there.keys() - removed):
            account.refuse(name, Conflict(f"somebody wrote to secret '{name}' while it was being removed"))
        account.plan(Restored(left=len(stayed)), left=stayed)
        account.removed(sorted(removed.difference(stayed)))


def _remove_unchanged(destination: Destination, heads: Mapping[str, int]) -> Iterable[str]:
    """Remove what is still of these versions. Servers remove without check-and-set, so the last look at
    them comes just before."""
    if isinstance(destination, RemovesUnchanged):
        return destination.delete_unchanged(heads)
    now = destination.heads(list(heads))
    same = [name for name, head in heads.items() if now.get(name) == head]
    destination.delete(same)
    return same


def _entry(name: str, action: Action, *, why: str = "", code: str = "") -> PlanEntry:
    return PlanEntry(name=spelled(name), to=spelled(name), action=action, why=why, code=code)


def _slices(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), SLICE):
        yield names[start : start + SLICE]


def _removal(name: str, head: int, kept: str) -> Wrote:
    return Wrote(name=name, expected=head, kept=kept, removed=True)


def _has_value(secret: Secret) -> bool:
    return any(version.value is not None for version in secret.versions)


def _whole(secret: Secret) -> Secret:
    return secret
