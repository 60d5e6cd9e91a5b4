"""What one prune does: which backups it marks, which marks it takes back, and which backups it deletes.

The control workers decide it, by their own configuration, and sign it. The prune workers look at every
backup again before they delete it (:mod:`.delete`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from strongroom.model import EVERY_POLICY, prepare
from strongroom.operations.archive.deletions import Places, counting, may_be_gone, read_deletions
from strongroom.operations.archive.spread import spread_marks
from strongroom.operations.retention.orphans import find_orphans
from strongroom.operations.retention.plan import RetentionPlan, plan_retention, safest_now
from strongroom.operations.retention.rules import RetentionRule
from strongroom.operations.retention.stock import Stock, take_stock
from strongroom.operations.services import Services
from strongroom.state.records import Run, RunStep

MOST = 500
"""Backups that one prune marks, and that it deletes: a run's record is small, and the next one goes on."""


class Doomed(Struct, frozen=True, kw_only=True):
    """A backup that no rule keeps, or what a dead run left: then it has no policy and no successor.

    ``targets`` hold some of it. ``keys`` are the wrapping keys that no other backup has. ``after`` is the end
    of the grace that another target's mark gives already.
    """

    backup: str
    why: str
    targets: tuple[str, ...]
    policy: str = ""
    successor: str = ""
    keys: tuple[str, ...] = ()
    after: str = ""


class ToPrune(Struct, frozen=True, kw_only=True):
    """The facts that a prune begins with.

    ``kept`` is how many backups are kept, ``waiting`` how many are marked and wait for the end of their
    grace, ``more`` how many the next prune has to see to. ``before`` is how many bytes each target holds.
    """

    mark: tuple[Doomed, ...]
    undelete: tuple[Doomed, ...]
    delete: tuple[Doomed, ...]
    kept: int
    waiting: int
    more: int
    away: Mapping[str, str]
    before: Mapping[str, int]


prepare(ToPrune)


def plan_prune(run: Run, step: RunStep, services: Services) -> ToPrune:
    """Judge what the targets show, and what is marked there already.

    Raises:
        TargetError: no target answers.
    """
    now = safest_now(services)
    spread_marks(services, services.targets)
    plan = plan_retention(services, now=now)
    stocks = take_stock(services)
    places = read_deletions(services)
    doomed = list(_doomed(run.spec.policy, plan, stocks))
    if run.spec.policy == EVERY_POLICY:
        doomed += (
            Doomed(backup=orphan.backup, why=orphan.why, targets=orphan.targets)
            for orphan in find_orphans(services, plan, stocks, places, now=now)
        )
    sorted_out = _Sorted(doomed, places, now)
    undelete = [] if _is_half_blind(plan, services) else list(_spared(run.spec.policy, plan, places))
    lists = (sorted_out.mark, undelete, sorted_out.delete)
    mark, undelete_now, delete = (tuple(islice(found, MOST)) for found in lists)
    return ToPrune(
        mark=mark,
        undelete=undelete_now,
        delete=delete,
        kept=sum(backup.judgement.keeps for backup in plan.backups),
        waiting=sorted_out.waiting,
        more=sum(max(0, len(found) - MOST) for found in lists),
        away=plan.away,
        before={name: stock.size for name, stock in stocks.items()},
    )


def _doomed(policy: str, plan: RetentionPlan, stocks: Mapping[str, Stock]) -> Iterator[Doomed]:
    for removal in plan.dropped:
        if policy in (EVERY_POLICY, removal.policy):
            there = {name for name, stock in stocks.items() if removal.backup in stock.backups}
            yield Doomed(
                backup=removal.backup,
                why=removal.judgement.why,
                # One that was killed while it deleted leaves containers without a manifest.
                targets=tuple(sorted(there | set(removal.targets))),
                policy=removal.policy,
                successor=removal.judgement.successor,
                keys=removal.keys,
            )


class _Sorted:
    """What no rule keeps, by what is to be done with it now."""

    def __init__(self, doomed: Iterable[Doomed], places: Places, now: float) -> None:
        self.mark: list[Doomed] = []
        self.delete: list[Doomed] = []
        self.waiting = 0
        for this_backup in doomed:
            mark = counting(places.values(), this_backup.backup)
            if may_be_gone(mark, now=now):
                self.delete.append(this_backup)
            elif mark is not None and mark.state == "marked":
                self.waiting += 1
                self._complete(this_backup, mark.after, places)
            else:
                self.mark.append(this_backup)

    def _complete(self, doomed: Doomed, after: str, places: Places) -> None:
        """Mark it on the targets that were away when it was marked, with the same end."""
        bare = tuple(
            name
            for name in doomed.targets
            if name in places
            and ((mark := places[name].newest(doomed.backup)) is None or mark.state != "marked")
        )
        if bare:
            self.mark.append(replace(doomed, targets=bare, after=after))


def _spared(policy: str, plan: RetentionPlan, places: Places) -> Iterator[Doomed]:
    """Yield the backups that are marked and that a rule keeps by now: a hold, another setting.

    What needs one will have done soon. Where a target did not hear that a mark was taken back, it is told.
    """
    for removal in plan.backups:
        if (
            removal.judgement.keeps
            and removal.judgement.rule is not RetentionRule.NEEDED
            and policy in (EVERY_POLICY, removal.policy)
            and (marked := _marked_on(removal.backup, places))
        ):
            mark = counting(places.values(), removal.backup)
            everywhere = mark is not None and mark.state != "undeleted"
            yield Doomed(
                backup=removal.backup,
                why=removal.judgement.why,
                targets=tuple(places) if everywhere else marked,
                policy=removal.policy,
            )


def _marked_on(backup: str, places: Places) -> tuple[str, ...]:
    """Return the targets whose own mark says that a backup is to go, or went."""
    newest = {name: place.newest(backup) for name, place in places.items()}
    return tuple(name for name, mark in newest.items() if mark is not None and mark.state != "undeleted")


def _is_half_blind(plan: RetentionPlan, services: Services) -> bool:
    """Tell whether a backup may be kept only because a target is away that mostly is not."""
    return not plan.away.keys().isdisjoint(_named(services, offline=False))


def media(services: Services) -> frozenset[str]:
    """Return the targets that are mostly away: only offline policies name them."""
    return _named(services, offline=True) - _named(services, offline=False)


def _named(services: Services, *, offline: bool) -> frozenset[str]:
    policies = (
        configured_policy
        for configured_policy in services.retention().values()
        if configured_policy.offline is offline
    )
    return frozenset(pin.name for policy in policies for pin in policy.spec.targets)
