"""Undoing a restore: what it replaced comes back, what it created goes, and what others changed stays.

Only what is still as the restore left it is touched: its digest and version are those on record. An undo is
put on record like a restore, so it goes on after an interruption, and can itself be undone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from strongroom.errors import SourceError, StrongroomError, UsageError
from strongroom.model import ListedSecret, Secret, Selection
from strongroom.operations.restore.batch import Progress, as_far, present, refusal_of, without_right
from strongroom.operations.restore.journal import (
    Journal,
    RestoreAccount,
    Restored,
    is_running,
    journals,
    parts_of,
)
from strongroom.operations.restore.plan import WRITES, Note, PlanEntry, RestoreAction
from strongroom.operations.restore.record import (
    KEY_NAME,
    Digest,
    Trace,
    Wrote,
    digest_under,
    done_in,
    key_file,
    line_of,
    records,
    spelled,
    traces_of,
)
from strongroom.operations.restore.restore import Undo, plan_restore, restore
from strongroom.sources import Destination
from strongroom.sources.batches import matches
from strongroom.system.errors import Conflict
from strongroom.system.lazy import batched

_AT_ONCE = 100
"""How many secrets are looked at between two entries of the account."""


class UndoContents(Protocol):
    """An opened undo file, or an opened file with a key of digests."""

    def secrets(self) -> Iterable[Secret]: ...


class Open(Protocol):
    """Opens a file of an undo folder."""

    def __call__(self, file: Path, /) -> UndoContents: ...


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
    recorded = any(records(part) for folder in chain for part in parts_of(folder))
    if there[run][1].counts.written and not recorded:
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


class Decided(Struct, frozen=True, kw_only=True):
    """What a plan has decided: what is written or removed, and what cannot be or stays, with the reason."""

    touches: frozenset[str]
    aside: Mapping[str, PlanEntry]


def decided(entries: Iterable[PlanEntry]) -> Decided:
    """Return what the entries of a plan come to."""
    touches, aside = set(), {}
    for entry in entries:
        if entry.action in _TOUCHES:
            touches.add(entry.to)
        elif entry.action in (RestoreAction.CANNOT, RestoreAction.STAY):
            aside[entry.to] = entry
    return Decided(touches=frozenset(touches), aside=aside)


_TOUCHES: Final = WRITES | {RestoreAction.REMOVE}


class TakeBack:
    """One undo of one restore.

    Args:
        open_file: opens undo files, and the files that hold the keys of digests.
        tried: what interrupted attempts at this undo were writing.
        plan: what is brought back or removed; all else is left. ``None``: there is no plan.
        selection: which secrets are meant. The tags of one that the restore replaced are those from before.
    """

    def __init__(
        self,
        what: Undoable,
        destination: Destination,
        open_file: Open,
        *,
        tried: frozenset[str] = frozenset(),
        plan: Decided | None = None,
        selection: Selection = Selection(),
    ) -> None:
        traces, done = traces_of(what.folders), done_in(what.undone_by)
        named = replace(selection, tags={})
        meant = {name: trace for name, trace in traces.items() if matches(named, ListedSecret(name, 0))}
        self._traces = {name: trace for name, trace in meant.items() if name not in done}
        self._selection = selection
        self._destination = destination
        self._kept = destination.kept
        self._layers = destination.layers()
        self._open = open_file
        self._tried = tried
        self._plan = plan
        self._digests: dict[Path, Digest | None] = {}
        self._created = sorted(name for name, trace in self._traces.items() if trace.created)
        self.already = len(meant) - len(self._traces)

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
        resting: dict[str, Secret] = {}
        removing: set[str] = set()
        for names in batched(self._created, _AT_ONCE):
            there, left, refused = self._removable(names)
            gone = [name for name in names if name not in {*there, *left, *refused}]
            resting |= {name: there.pop(name) for name in list(there) if there[name].type in self._layers}
            for action, some in ((RestoreAction.LEAVE, left), (RestoreAction.SAME, gone)):
                for name in some:
                    note(_entry(name, action))
            for name, error in refused.items():
                note(_entry(name, RestoreAction.CANNOT, why=error.message, code=error.code))
            counts = Restored(left=len(left), unchanged=len(gone), not_done=len(refused))
            done = done.plus(counts).plus(self._plan_removal(there, removing, note))
        for name, why in self._stays(resting, without=removing).items():
            note(_entry(name, RestoreAction.STAY, why=why))
            del resting[name]
        return done.plus(self._plan_removal(resting, removing, note))

    def _plan_removal(self, there: dict[str, Secret], removing: set[str], note: Note) -> Restored:
        """Say of what would be removed whether that may be, too."""
        lacking = without_right(list(there.values()), self._destination, removing=True)
        for name, error in lacking.items():
            note(_entry(name, RestoreAction.CANNOT, why=error.message, code=error.code))
        for name in (name for name in there if name not in lacking):
            removing.add(name)
            note(_entry(name, RestoreAction.REMOVE))
        return Restored(removed=len(there) - len(lacking), not_done=len(lacking))

    def _stays(self, there: Mapping[str, Secret], *, without: Collection[str] = ()) -> dict[str, str]:
        """Return what the destination never removes, with the reason."""
        if not there:
            return {}
        return dict(self._destination.stays(list(there.values()), without=without))

    def perform(self, account: RestoreAccount, undo: Undo, *, progress: Progress | None = None) -> None:
        """Bring back what was there, then remove what was not. What cannot be undone stops nothing else."""
        self._set_aside(account)
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
        for names in batched((name for name in self._created if not self._is_aside(name)), _AT_ONCE):
            self._remove(names, account, undo, below)
            account.lost(self._destination.losses())
            if progress is not None:
                progress(len(names))
        for resting in below.values():
            for names in batched(resting, _AT_ONCE):
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
                if trace is None or trace.folder / trace.wrote.kept != file or self._is_aside(secret.name):
                    continue
                if matches(self._selection, secret):
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
            self._require_known(trace)
            return False
        kept = self._kept(there)
        return (
            kept.current.value == self._kept(former).current.value
            or self._has_value_of(trace, kept)
            or self._is_half_marked(former, there)
        )

    def _require_known(self, trace: Trace) -> None:
        """Refuse to blame others for what nobody can tell: the key of the record's digests is not there."""
        if self._digest(trace.record) is None:
            raise SourceError(
                f"what the restore left of '{trace.wrote.name}' is not on record, so nobody can tell whether "
                "it was changed since"
            )

    def _is_planned(self, name: str) -> bool:
        return self._plan is None or spelled(name) in self._plan.touches

    def _is_aside(self, name: str) -> bool:
        return self._plan is not None and spelled(name) in self._plan.aside

    def _set_aside(self, account: RestoreAccount) -> None:
        for name, entry in (self._plan.aside if self._plan else {}).items():
            if name not in self._traces:
                continue  # done by an attempt before, which was interrupted
            if entry.action is RestoreAction.STAY:
                account.stay(name, entry.why)
            else:
                account.refuse(name, refusal_of(entry))

    def _is_half_marked(self, former: Secret, there: Secret) -> bool:
        """Say whether what is there stands for a version without a value, and is not yet marked as one."""
        if former.current.value is not None:
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
        self, names: Sequence[str]
    ) -> tuple[dict[str, Secret], list[str], dict[str, StrongroomError]]:
        """Return which are as the restore left them, which are not, and of which nobody can tell."""
        refused: dict[str, StrongroomError] = {}
        found = as_far(lambda some: present(self._destination, some), names, refused.__setitem__)
        there: dict[str, Secret] = {}
        left: list[str] = []
        for name in (name for name in names if name in found and matches(self._selection, found[name])):
            if self._is_planned(name) and self._is_as_left(self._traces[name], found[name]):
                there[name] = found[name]
            elif _has_value(found[name]):
                try:
                    self._require_known(self._traces[name])
                    left.append(name)
                except SourceError as error:
                    refused[name] = error
        return there, left, refused

    def _remove(
        self, names: Sequence[str], account: RestoreAccount, undo: Undo, below: Mapping[str, list[str]]
    ) -> None:
        """Remove what is still as the restore left it; what others rest on is put into ``below`` instead."""
        there, left, refused = self._removable(names)
        for name, error in refused.items():
            account.refuse(name, error)
        gone = len(names) - len(there) - len(left) - len(refused)
        for name in [name for name, secret in there.items() if secret.type in below]:
            below[there.pop(name).type].append(name)
        for name, why in self._stays(there).items():
            account.stay(name, why)
            del there[name]
        account.plan(Restored(unchanged=gone, left=len(left)), left=left)
        if there:
            self._remove_all({name: secret.current.number for name, secret in there.items()}, account, undo)

    def _remove_all(self, heads: Mapping[str, int], account: RestoreAccount, undo: Undo) -> None:
        kept = undo(list(heads))
        account.writing(list(heads), (line_of(_removal(name, head, kept)) for name, head in heads.items()))
        denied: dict[str, StrongroomError] = {}
        refused: dict[str, StrongroomError] = {}

        def remove(some: Sequence[str]) -> dict[str, bool]:
            tried = self._destination.delete_unchanged({name: heads[name] for name in some})
            return dict.fromkeys(tried, True)

        as_far(remove, list(heads), denied.__setitem__)
        again = as_far(lambda some: present(self._destination, some), list(heads), refused.__setitem__)
        still = {name: secret for name, secret in again.items() if _has_value(secret)}
        for name in sorted(still):
            refused[name] = denied.get(name) or _not_removed(name, still[name], heads[name])
        for name, error in refused.items():
            account.refuse(name, error)
        account.removed(sorted(heads.keys() - refused.keys()))


def _not_removed(name: str, there: Secret, head: int) -> StrongroomError:
    if there.current.number != head:
        return Conflict(f"somebody wrote to secret '{name}' while it was being removed")
    return SourceError(f"'{name}' is still there after it was removed")


def undone_before(before: Mapping[str, Trace], now: Mapping[str, Trace], account: RestoreAccount) -> Restored:
    """Count what an attempt did that was killed: what it brought to its end is not looked at again, and what
    it was cut off at is found in place."""
    told = {*account.left, *(undone.name for undone in account.not_done)}
    in_place = {name for name, trace in before.items() if trace.in_flight and now[name] == trace} - told
    did = [trace for name, trace in before.items() if name in in_place or not trace.in_flight]
    removed = sum(trace.wrote.removed for trace in did)
    created = sum(trace.created for trace in did)
    changed = len(did) - removed - created
    return Restored(created=created, changed=changed, removed=removed, unchanged=-len(in_place))


def _entry(name: str, action: RestoreAction, *, why: str = "", code: str = "") -> PlanEntry:
    return PlanEntry(name=spelled(name), to=spelled(name), action=action, why=why, code=code)


def _removal(name: str, head: int, kept: str) -> Wrote:
    return Wrote(name=name, expected=head, kept=kept, removed=True)


def _has_value(secret: Secret) -> bool:
    return any(version.value is not None for version in secret.versions)
