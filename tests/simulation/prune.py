"""Deleting: the real plan, marks, grace and checks over simulated targets; and what must never be deleted.

Real are ``plan_prune``, ``mark``, ``delete`` and each of its checks, that of what replaces a backup included.
Simulated are what is listed, held and needed, what reading an object finds, how a mark is written, and the
deleting itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

from strongroom.container.errors import MissingPiece, Tampered
from strongroom.container.marks import DeletionMark
from strongroom.operations.archive import deletions, removal
from strongroom.operations.engine import integrity
from strongroom.operations.retention import delete, plan
from strongroom.operations.retention.delete import Doomed, UndeletedBackup
from strongroom.operations.retention.plan import PlannedRemoval, RetentionPlan, Stock
from strongroom.state.records import Run, RunStep
from strongroom.times import rfc3339
from tests.simulation import retention_model
from tests.simulation.faults import DAY, REGIONS
from tests.simulation.installation import Backup

if TYPE_CHECKING:
    from tests.simulation.year import Year

GRACE: Final = 7 * DAY
LAST_COPY: Final = "the last good copy is never deleted"


class Marks:
    """The deletion marks on one target, as ``StatementsOn`` gives them."""

    def __init__(self, newest: Mapping[str, DeletionMark]) -> None:
        self._newest = newest
        self.folders = list(newest)

    def newest(self, backup: str) -> DeletionMark | None:
        """Return the mark of a backup that counts here."""
        return self._newest.get(backup)


@contextmanager
def simulated_prune(year: Year) -> Iterator[None]:
    """Have the prune job look at, and delete from, the simulated targets."""
    clock = SimpleNamespace(time=year.host_clock)
    with ExitStack() as stack:
        for module, name, instead in (
            (delete, "plan_retention", lambda services, now: _plan(year, now)),
            (delete, "take_stock", lambda services: _stock(year)),
            (delete, "find_orphans", lambda *_, **__: []),
            (plan, "time", clock),
            (delete, "spread_marks", lambda services, targets: None),
            (delete, "read_deletions", lambda services, backup="": places(year)),
            (removal, "read_deletions", lambda services, backup: places(year)),
            (removal, "ManifestListing", lambda target: _Manifests(target, year)),
            (removal, "lacking_on", lambda target, manifest: _lacking(year, target.name, manifest)),
            (removal, "_read", lambda _, target, manifest, ref: _read(year, target.name, manifest, ref)),
            (delete, "marks_on", lambda target, trusted, backup: Marks(year.installation.marks[target.name])),
            (delete, "needed_backups", lambda services, now: year.needed()),
            (delete, "time", clock),
            (delete, "size_of", lambda target: 0),
            (delete, "_write", lambda target, mark, services: _write(year, target.name, mark)),
            (delete, "_Deletion", lambda target, services, run: Deletion(target, services, run, year)),
            (deletions, "time", clock),
            (integrity, "check_target", lambda run, name, services: _target(year, name)),
        ):
            stack.enter_context(patch.object(module, name, instead))
        yield


def places(year: Year) -> dict[str, Any]:
    """Return the marks on the targets that answer."""
    return {name: Marks(year.installation.marks[name]) for name in _answering(year)}


def _target(year: Year, name: str) -> Any:
    year.need_target(name)
    return SimpleNamespace(name=name, time=lambda: year.now)


def _plan(year: Year, now: float) -> RetentionPlan:
    judged = retention_model.judge(year, now=now)
    found, answering = year.installation.backups, _answering(year)
    return RetentionPlan(
        backups=tuple(
            PlannedRemoval(
                backup=one.backup,
                judgement=one,
                targets=tuple(name for name in found[one.backup].copies if name in answering),
                policy=found[one.backup].policy,
            )
            for one in judged
        ),
        away={name: "it does not answer" for name in REGIONS if year.is_on("target away", name)},
        troubles={},
        aside={},
    )


def _answering(year: Year) -> list[str]:
    return [name for name in REGIONS if not year.is_on("target away", name)]


def _stock(year: Year) -> dict[str, Stock]:
    backups = year.installation.backups.values()
    return {
        name: Stock(size=0, backups=frozenset(one.name for one in backups if name in one.copies))
        for name in _answering(year)
    }


def _write(year: Year, target: str, mark: DeletionMark) -> str | None:
    """Put a mark on a target; note since when a backup is marked, by the true time."""
    year.need_target(target)
    year.installation.marks[target][mark.backup_id] = year.installation.numbered(mark)
    if mark.state == "marked":
        year.installation.marked.setdefault(mark.backup_id, year.now)
        year.counts["marks"] += 1
    elif mark.state == "undeleted":
        year.installation.unmark(mark.backup_id, year.now)
    return None


class _Manifests:
    """What a target shows, as ``ManifestListing`` reads it."""

    def __init__(self, target: Any, year: Year) -> None:
        self._target, self._year = target, year

    def read(self, backup: str, *, trusted: object) -> Any:
        """Return the manifest of a backup."""
        del trusted
        self._year.need_target(self._target.name)
        copy = self._year.installation.copy_on(backup, self._target.name)
        if copy is None or not copy.manifest:
            raise MissingPiece(f"there is no manifest of {backup}")
        pieces = range(self._year.installation.backups[backup].pieces)
        containers = [SimpleNamespace(piece=piece) for piece in pieces]
        return SimpleNamespace(manifest=SimpleNamespace(backup_id=backup, containers=containers))


def _lacking(year: Year, target: str, manifest: Any) -> bool:
    return not year.shows(year.installation.backups[manifest.backup_id], target)


def _read(year: Year, target: str, manifest: Any, ref: Any) -> None:
    """Read a container, and enter what was found."""
    backup = year.installation.backups[manifest.backup_id]
    copy = backup.copies[target]
    if copy.pieces[ref.piece]:
        copy.check(ref.piece, year.now)
        return
    copy.good = False
    year.installation.recorded(backup)
    year.counts["rotten successors found"] += 1
    raise Tampered(f"container {ref.piece} is not the one that the manifest names")


class Deletion(delete._Deletion):
    """The real checks, in their order, over the simulated targets."""

    def __init__(self, target: Any, services: Any, run: str, year: Year) -> None:
        super().__init__(target, services, run)
        self._year = year
        self._quarantined = {}

    def _held(self, one: Doomed) -> str:
        return self._year.held().get(one.backup, "")

    def _locked(self, one: Doomed) -> UndeletedBackup | None:
        copy = self._year.installation.copy_on(one.backup, self._target.name)
        if copy is None or copy.locked_until <= self._year.now:
            return None
        return UndeletedBackup(why="it is locked", until=rfc3339(copy.locked_until))

    def _removed(self, one: Doomed) -> UndeletedBackup | None:
        if self._year.installation.copy_on(one.backup, self._target.name) is not None:
            backup = self._year.installation.backups[one.backup]
            check(self._year, backup, self._target.name)
            self._year.installation.remove(backup, self._target.name)
            self._year.counts["replicas deleted"] += 1
        _write(self._year, self._target.name, deletions.make_mark(one.backup, "deleted", reason=one.why))
        self.gone.append(one.backup)
        return None


def check(year: Year, backup: Backup, target: str) -> None:
    """Refuse to delete what is needed, held, locked, not marked for long enough, or the last of its kind."""
    rule = "nothing that is needed is deleted"
    what = f"{backup.name} on {target}"
    if backup.name in year.held() or backup.name in year.needed():
        raise year.broken(rule, f"{what} is held or needed")
    if backup.copies[target].locked_until > year.now:
        raise year.broken(rule, f"{what} is locked")
    if year.now - year.installation.marked.get(backup.name, year.now) < GRACE - 2:  # of whole seconds
        raise year.broken(rule, f"{what} was not marked for long enough")
    if backup.name in retention_model.kept(year, backup.policy):
        raise year.broken(rule, f"a rule keeps {what} by the true time")
    newer = [one for one in year.installation.of(backup.policy) if one.made_at > backup.made_at]
    if not any(one.is_verified and one.secrets >= 0.9 * backup.secrets for one in newer):
        raise year.broken(rule, f"no newer verified backup covers {what}")
    if not any(one.can_be_restored() for one in newer):
        raise year.broken(LAST_COPY, f"nothing newer than {what} can be restored")
    if not any(target in one.copies and one.copies[target].is_whole(one.pieces) for one in newer):
        raise year.broken(LAST_COPY, f"nothing newer than {what} is sound there")


# -- the steps -----------------------------------------------------------------------------------------------


def plan_step(year: Year, run: Run, step: RunStep) -> delete.ToPrune:
    return delete.plan_prune(run, step, year.services)


def mark_step(year: Year, run: Run, step: RunStep) -> delete.Marked:
    return delete.mark(run, step, year.services)


def delete_step(year: Year, run: Run, step: RunStep) -> delete.Deleted:
    return delete.delete(run, step, year.services)
