"""Marking, and deleting what was marked long enough ago; and keeping it after all."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.errors import FormatError, MissingPiece
from strongroom.container.manifest import Manifest
from strongroom.container.marks import DeletionMark
from strongroom.errors import StrongroomError, UsageError
from strongroom.model import EVERY_POLICY, Selection, prepare
from strongroom.operations.archive import holds
from strongroom.operations.archive.deletions import (
    Places,
    counting,
    make_mark,
    marks_on,
    may_be_gone,
    read_deletions,
    write_deletion,
)
from strongroom.operations.archive.envelopes import envelopes_prefix, wrapping_keys
from strongroom.operations.archive.quarantine import all_quarantined
from strongroom.operations.archive.removal import (
    BackupRemoval,
    Successors,
    keys_by_containers,
    locks_end,
    objects_of,
    remove_backup,
    why_set_aside,
)
from strongroom.operations.archive.shredding import shredded_backups
from strongroom.operations.archive.spread import spread_marks
from strongroom.operations.engine import integrity
from strongroom.operations.engine.jobs import read_facts
from strongroom.operations.engine.layout import manifest_name
from strongroom.operations.engine.services import Services
from strongroom.operations.retention.plan import (
    RetentionPlan,
    Stock,
    find_orphans,
    judging_targets,
    plan_retention,
    safest_now,
    size_of,
    take_stock,
)
from strongroom.operations.retention.rules import RetentionRule, needed_backups
from strongroom.state.records import Run, RunStep
from strongroom.targets import Target
from strongroom.targets.reading import ManifestListing, copies
from strongroom.times import rfc3339

# -- What one prune does: which backups it marks, which marks it takes back, and which backups it deletes
#
# The control workers decide it, by their own configuration, and sign it. The prune workers look at every
# backup again before they delete it (:mod:`.delete`).


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


# -- Marking, and deleting what was marked long enough ago: one target, by the workers who have that right
#
# Nobody is believed that a backup may go, neither the record nor the plan: before each one it is asked
# again whether it is marked and its grace is over, whether nothing holds or needs it, and whether what
# replaces it is there. The order makes a crash harmless: the manifest goes first, the tombstone comes last,
# and whoever goes on finds by the mark that the rest is to go too.


DAY = 86_400.0
LEAST_FOR_ORPHANS = DAY
"""A container that is being sealed anew has the id of an old backup, and is no orphan for long."""
PRUNED = "backup.pruned"


class UndeletedBackup(Struct, frozen=True, kw_only=True):
    """Why a backup stays on a target for now; ``until`` is when it can go, if that is known."""

    why: str
    until: str = ""


class Marked(Struct, frozen=True, kw_only=True):
    """What was marked on a target, what was let be, and for which backups neither could be written."""

    marked: tuple[str, ...]
    undeleted: tuple[str, ...]
    failed: Mapping[str, str]


class Deleted(Struct, frozen=True, kw_only=True):
    """What is gone from a target: these backups, so many objects of so many bytes.

    ``after`` is how many bytes the target holds then, ``left`` what stays.
    """

    backups: tuple[str, ...]
    objects: int
    freed: int
    after: int
    left: Mapping[str, UndeletedBackup]


prepare(UndeletedBackup, Marked, Deleted)


def mark(run: Run, step: RunStep, services: Services) -> Marked:
    """Mark on one target what no rule keeps, and let be what a rule keeps again."""
    target = integrity.check_target(run, step.target, services)
    facts = read_facts(run, ToPrune)
    now = max(time.time(), target.time() or 0.0)
    marks = [_marked(backup, run, services, now) for backup in facts.mark if target.name in backup.targets]
    spared = [
        make_mark(doomed.backup, "undeleted", reason=doomed.why, run=run.id)
        for doomed in facts.undelete
        if target.name in doomed.targets
    ]
    failed = {
        mark.backup_id: why
        for mark in (*marks, *spared)
        if (why := _write(target, mark, services)) is not None
    }
    return Marked(
        marked=tuple(mark.backup_id for mark in marks if mark.backup_id not in failed),
        undeleted=tuple(mark.backup_id for mark in spared if mark.backup_id not in failed),
        failed=failed,
    )


def _marked(doomed: Doomed, run: Run, services: Services, now: float) -> DeletionMark:
    policies = services.retention().values()
    grace = max((policy.grace_days for policy in policies), default=0.0) * DAY
    ends = now + (grace if doomed.policy else max(grace, LEAST_FOR_ORPHANS))
    return make_mark(
        doomed.backup, "marked", reason=doomed.why, after=doomed.after or rfc3339(ends), run=run.id
    )


def _write(target: Target, mark: DeletionMark, services: Services) -> str | None:
    """Write a mark unless an earlier attempt did; say why it could not be written, if so."""
    there = marks_on(target, trusted=services.signer_fingerprints, backup=mark.backup_id)
    known = there.newest(mark.backup_id)
    if known is not None and (known.state, known.run) == (mark.state, mark.run):
        return None
    return write_deletion(services, [target], mark).get(target.name)


# -- deleting ----------------------------------------------------------------------------------------


def delete(run: Run, step: RunStep, services: Services) -> Deleted:
    """Delete from one target what was marked long enough ago and what nothing keeps now."""
    target = integrity.check_target(run, step.target, services)
    deletion = _Deletion(target, services, run.id)
    for backup in read_facts(run, ToPrune).delete:
        if target.name in backup.targets:
            deletion.delete(backup)
    return Deleted(
        backups=tuple(deletion.gone),
        objects=deletion.objects,
        freed=deletion.freed,
        after=size_of(target),
        left=deletion.left,
    )


class _Deletion:
    """Deletes backups from one target, one after another."""

    def __init__(self, target: Target, services: Services, run: str) -> None:
        self._target = target
        self._services = services
        self._run = run
        self._trusted = services.signer_fingerprints
        self._successors = Successors(services)
        self.gone: list[str] = []
        self.objects = self.freed = 0
        self.left: dict[str, UndeletedBackup] = {}

    def delete(self, doomed: Doomed) -> None:
        """Delete a backup if nothing keeps it; note what stays, and why.

        Raises:
            StrongroomError: a target does not answer; the step is done again.
        """
        try:
            left = self._locked(doomed) or self._kept(doomed) or self._removed(doomed)
        except StrongroomError as error:
            if error.transient:
                raise
            left = UndeletedBackup(why=f"{error.code}: {error.message}")
        if left is not None:
            self.left[doomed.backup] = left

    def _kept(self, backup: Doomed) -> UndeletedBackup | None:
        """Say what keeps a backup, asked at this moment. What a person may say meanwhile is asked last."""
        replaced = self._unreplaced if backup.successor else self._made
        checks = (self._strange, self._needed, replaced, self._held, self._not_due)
        return next((UndeletedBackup(why=why) for check in checks if (why := check(backup))), None)

    def _now(self) -> float:
        """Return the earlier time of two clocks: one that runs ahead must end no grace and no hold."""
        return min(time.time(), self._target.time() or time.time())

    def _not_due(self, doomed: Doomed) -> str:
        """Say why it is not to be deleted yet, by the mark that counts, and by the one on this target."""
        now = self._now()
        own = marks_on(self._target, trusted=self._trusted, backup=doomed.backup).newest(doomed.backup)
        mark = counting(read_deletions(self._services, backup=doomed.backup).values(), doomed.backup)
        if mark is None or mark.state == "undeleted":
            return f"it is not marked any more: {mark.reason}" if mark else "it is not marked any more"
        early = [found for found in (mark, own) if found is not None and not may_be_gone(found, now=now)]
        return f"its grace lasts until {early[0].after}" if early else ""

    def _strange(self, backup: Doomed) -> str:
        known = not backup.policy or backup.policy in self._services.retention()
        return "" if known else f"there is no policy '{backup.policy}' here"

    def _held(self, doomed: Doomed) -> str:
        policy = self._services.retention().get(doomed.policy)
        if policy is not None and policy.legal_hold:
            return f"policy '{doomed.policy}' is held"
        own = self._manifest(doomed.backup)
        everything = holds.HoldSubject(backup=doomed.backup, policy=doomed.policy, selection=Selection())
        subject = holds.HoldSubject.of(own) if own else everything
        return holds.read_holds(self._services, now=self._now()).why(subject)

    def _needed(self, doomed: Doomed) -> str:
        return needed_backups(self._services, now=self._now()).get(doomed.backup, "")

    def _unreplaced(self, backup: Doomed) -> str:
        """Say what is wrong with what replaces it, on this target, or else on one that the policy names."""
        policy = self._services.retention()[backup.policy]
        named = {pin.name for pin in policy.spec.targets}
        places = [self._target.name] if self._target.name in named else sorted(named)
        reasons: list[str] = []
        for name in places:
            if not (why := self._not_whole(backup.successor, name)):
                break
            reasons.append(why)
        if len(reasons) == len(places):
            return reasons[0]
        if backup.successor in self._shredded:
            return f"{backup.successor}, which replaces it, is shredded, or to be"
        return why_set_aside(self._services, backup.successor, quarantined=self._quarantined)

    def _not_whole(self, successor: str, name: str) -> str:
        return self._successors.why_not_whole(successor, name)

    def _made(self, doomed: Doomed) -> str:
        """Say what makes of the leftovers of a run a backup after all. The targets have to answer."""
        names = sorted(judging_targets(self._target.name, self._services))
        showing = [
            name for name in names if copies(self._services.target(name), manifest_name(doomed.backup))
        ]
        return f"there is a manifest of it on {', '.join(showing)}" if showing else ""

    def _locked(self, doomed: Doomed) -> UndeletedBackup | None:
        names = [info.name for info in objects_of(self._target, doomed.backup, doomed.keys)]
        until = locks_end(self._target, names)
        return UndeletedBackup(why="it is locked", until=until) if until else None

    def _removed(self, doomed: Doomed) -> UndeletedBackup | None:
        removed = remove_backup(self._target, doomed.backup, self._keys(doomed), trusted=self._trusted)
        self.objects += removed.deleted
        self.freed += removed.freed
        if removed.left or removed.hidden > 0:
            return UndeletedBackup(why=removed.why, until=removed.until)
        return self._bury(doomed, removed)

    def _keys(self, doomed: Doomed) -> Iterable[str]:
        """Return the wrapping keys of which nothing else needs the envelopes."""
        if doomed.successor:
            return doomed.keys
        found = keys_by_containers(self._target, doomed.backup, trusted=self._trusted)
        found = frozenset(key for key in found if next(self._target.list(envelopes_prefix(key)), None))
        return found - self._used if found else ()

    @cached_property
    def _used(self) -> frozenset[str]:
        listing = ManifestListing(self._target)
        manifests = (listing.read(backup, trusted=None).manifest for backup in listing.backups)
        return frozenset(key for manifest in manifests for key in wrapping_keys(manifest))

    def _bury(self, doomed: Doomed, removed: BackupRemoval) -> UndeletedBackup | None:
        """Set the tombstone. The report forgets every replica that has one, whoever set it."""
        tombstone = make_mark(doomed.backup, "deleted", reason=doomed.why, run=self._run)
        if why := _write(self._target, tombstone, self._services):
            return UndeletedBackup(why=f"its tombstone could not be written: {why}")
        if removed.deleted:
            self._services.store.event(
                PRUNED,
                self._run,
                backup=doomed.backup,
                target=self._target.name,
                freed=removed.freed,
                why=doomed.why,
            )
        self.gone.append(doomed.backup)
        return None

    def _manifest(self, backup: str) -> Manifest | None:
        """Return its manifest; of one that is gone, or not believed, nobody knows what it was made of."""
        with suppress(FormatError):
            return ManifestListing(self._target).read(backup, trusted=self._trusted).manifest
        return None

    @cached_property
    def _quarantined(self) -> Mapping[str, str]:
        return all_quarantined(self._services)

    @cached_property
    def _shredded(self) -> frozenset[str]:
        return shredded_backups(self._services.store, self._trusted)


# -- undelete: a backup that is marked is not deleted after all, by any host, until a person lets it go


UNDELETED = "backup.undeleted"


class Undeleted(Struct, frozen=True, kw_only=True):
    """Which targets show the backup, and on which it could not be said that it stays, and why."""

    backup: str
    targets: tuple[str, ...]
    failed: Mapping[str, str]


def undelete(services: Services, backup: str, *, reason: str, by: str) -> Undeleted:
    """Take a deletion mark back, and hold the backup: the next prune would mark it again.

    A prune may be at work on it, so only what is there afterwards was kept.

    Raises:
        UsageError: it is not marked.
        MissingPiece: it is deleted already, everywhere, or was meanwhile.
    """
    mark = counting(read_deletions(services, backup=backup).values(), backup)
    if mark is None or mark.state == "undeleted":
        raise UsageError(
            f"Backup {backup} is not marked to be deleted. Nothing was changed.",
            hint=f"To keep it whatever its policy says: strongroom backups hold add --backup {backup} "
            "--reason TEXT",
        )
    if not _showing(services, backup):
        raise _gone(f"Backup {backup} was deleted on purpose, since {mark.at}", mark)
    failed = holds.hold(services, "backup", backup, reason=reason, by=by)
    undone = make_mark(backup, "undeleted", reason=reason, by=by)
    failed |= write_deletion(services, list(services.targets.values()), undone)
    services.store.event(UNDELETED, backup=backup, reason=reason, by=by)
    showing = _showing(services, backup)
    if not showing:
        raise _gone(f"Backup {backup} was deleted while its mark was taken back", mark)
    return Undeleted(backup=backup, targets=showing, failed=failed)


def _gone(what: str, mark: DeletionMark) -> MissingPiece:
    return MissingPiece(
        f"{what}, and no target that answers has it: {mark.reason}.",
        hint="If a target that may have it does not answer, repeat this when it does. Where a store "
        "keeps versions, its administrator may bring back what was deleted.",
    )


def _showing(services: Services, backup: str) -> tuple[str, ...]:
    return tuple(name for name, target in services.targets.items() if _shows(target, backup))


def _shows(target: Target, backup: str) -> bool:
    try:
        return bool(copies(target, manifest_name(backup)))
    except StrongroomError:
        return False
