"""What retention would remove, where, and why the rest is kept. Nothing is changed by a plan."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from itertools import repeat

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.manifest import Manifest, SignedManifest
from strongroom.errors import StrongroomError
from strongroom.model import Depth, Selection
from strongroom.operations.archive import holds
from strongroom.operations.archive.coverage import AHEAD, Asked, BackupPlace, made_at
from strongroom.operations.archive.deletions import Places, counting, may_be_gone
from strongroom.operations.archive.envelopes import wrapping_keys
from strongroom.operations.archive.quarantine import quarantined_on_record
from strongroom.operations.archive.removal import locks_end, objects_of
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.archive.shredding import shredded_backups
from strongroom.operations.backup.order import SKEW, pieces_read
from strongroom.operations.backup.verify import missing_from_quorum
from strongroom.operations.engine.integrity import OLDEST
from strongroom.operations.engine.layout import EMERGENCY, containers_prefix, manifest_name
from strongroom.operations.engine.services import ConfiguredPolicy, Services
from strongroom.operations.engine.statements import AT_ONCE as READ_AT_ONCE
from strongroom.operations.retention.rules import Candidate, Judgement, RetentionRule, judge, needed_backups
from strongroom.state.records import ContainerCheck, Replica, Spec, TargetPin
from strongroom.system.lazy import batched
from strongroom.targets import Target
from strongroom.times import RUN_ID, rfc3339

# -- What retention would remove, where, and why the rest is kept. Nothing is changed by a plan ---
#
# The targets are asked, and not the database alone: what they show is judged. From the record comes only how
# deep a replica was read back and when, so where that was lost, or where verification has stopped, nothing is
# removed until it has been round again. Of a target that does not answer nothing is removed, and what only it
# could vouch for is kept.


_WINDOW = 64
"""Backups that are looked at before the next manifests are read."""
ANY = Asked(values=False, partial=True)


class Removal(Struct, frozen=True, kw_only=True):
    """What would be removed of a backup from one target. ``left`` says why it stays there for now."""

    target: str
    objects: int
    size: int
    left: str = ""


class PlannedRemoval(Struct, frozen=True, kw_only=True):
    """A backup, what is to become of it, and which targets show it.

    What cannot be read has no policy and no time. ``keys`` are the wrapping keys that no other backup has.
    """

    backup: str
    judgement: Judgement
    targets: tuple[str, ...]
    policy: str = ""
    source: str = ""
    created_at: str = ""
    secrets: int = 0
    size: int = 0
    keys: tuple[str, ...] = ()
    removals: tuple[Removal, ...] = ()


class RetentionPlan(Struct, frozen=True, kw_only=True):
    """What is kept and what would be removed, newest first.

    ``away`` says why a target could not be looked at, ``troubles`` what is wrong with one, ``aside`` which
    objects pose as marks and are none.
    """

    backups: tuple[PlannedRemoval, ...]
    away: Mapping[str, str]
    troubles: Mapping[str, str]
    aside: Mapping[str, str]

    @property
    def dropped(self) -> tuple[PlannedRemoval, ...]:
        """Those that no rule keeps."""
        return tuple(backup for backup in self.backups if not backup.judgement.keeps)

    def of(self, policy: str | None) -> RetentionPlan:
        """Return what it says of one policy's backups; all of it without one."""
        return replace(
            self, backups=tuple(backup for backup in self.backups if policy in (None, backup.policy))
        )

    def freed(self) -> dict[str, int]:
        """Return the bytes that would be freed on each target now."""
        total: Counter[str] = Counter()
        for removal in (
            removal for backup in self.dropped for removal in backup.removals if not removal.left
        ):
            total[removal.target] += removal.size
        return dict(total)


class _ReadableBackup(Struct, frozen=True, kw_only=True):
    """A backup with a readable manifest, and the targets that show all of it.

    ``digest`` is that of its manifest on record, ``previous`` what it says of the newest before it.
    """

    candidate: Candidate
    created_at: str
    digest: str | None
    previous: str | None
    whole: tuple[str, ...]
    keys: frozenset[str]


def plan_retention(services: Services, *, now: float) -> RetentionPlan:
    """Judge every backup that the targets show.

    Raises:
        TargetError: no target answers.
    """
    survey = _Survey(services, now)
    found = {backup.candidate.backup: backup for backup in _date(list(survey.look()), now)}
    candidates = [backup.candidate for backup in found.values()]
    held = holds.read_holds(services, now=now)
    judgements = judge(
        candidates,
        {name: policy.keep for name, policy in survey.policies.items()},
        needed=needed_backups(services, now=now)
        | {candidate.backup: candidate.aside for candidate in candidates if candidate.aside},
        held=dict(_held(candidates, held, survey.policies)),
        now=now,
    )
    chooser = survey.chooser
    return RetentionPlan(
        backups=(*_unreadable(chooser), *_plan(judgements, found, survey)),
        away={name: f"{error.code}: {error.message}" for name, error in chooser.away.items()},
        troubles={
            **chooser.troubles,
            **{name: f"its holds: {why}" for name, why in held.unread.items() if name not in chooser.away},
        },
        aside={**chooser.marks_aside, **held.aside},
    )


def safest_now(services: Services) -> float:
    """Return the earlier of this host's time and the database's: a clock that is ahead ages no backup."""
    return min(time.time(), services.store.clock())


# -- looking -----------------------------------------------------------------------------------------


class _Survey:
    """Looks at every backup that the targets show.

    Raises:
        TargetError: none of them answers.
    """

    def __init__(self, services: Services, now: float) -> None:
        self.services = services
        self.now = now
        self.policies = services.retention()
        self.chooser = Chooser(
            [BackupPlace(name, partial(services.target, name)) for name in services.targets],
            trusted=services.signer_fingerprints,
            quarantined=quarantined_on_record(services.store),
            # Shredding removes what is left of these by itself; they open for nobody, and so replace nothing.
            gone=shredded_backups(services.store, services.signer_fingerprints),
        )
        if self.chooser.away and not self.chooser.listings:
            raise next(iter(self.chooser.away.values()))

    def look(self) -> Iterator[_ReadableBackup]:
        """Yield each backup with a readable manifest."""
        listed = self.chooser.listed(ANY)
        with ThreadPoolExecutor(READ_AT_ONCE) as threads:
            for window in batched(listed, _WINDOW):
                backups = [signed.manifest.backup_id for signed, _ in window]
                rows = self.services.store.replicas_of(backups)
                digests = self.services.store.digests(backups)
                checks: dict[str, list[ContainerCheck]] = {}
                for check in self.services.store.checks(backups):
                    checks.setdefault(check.backup, []).append(check)
                yield from threads.map(self._see, window, repeat(rows), repeat(digests), repeat(checks))

    def _describe_stale(
        self, terms: Spec, manifest: Manifest, checks: Sequence[ContainerCheck], whole: Sequence[str]
    ) -> str:
        """Say since when no quorum of whole replicas was read, if that is too long ago.

        Without verification nobody knows what became of what was once read (invariant 1).
        """
        since = self.now - self.services.read_within
        pieces = {entry.piece for entry in manifest.containers}
        fresh = [
            name for name in whole if pieces <= pieces_read(checks, name, since=since, until=self.now + SKEW)
        ]
        lacks = missing_from_quorum(terms, tuple(fresh)) is not None
        return f"not read since {rfc3339(since)} on as many targets as its policy asks for" if lacks else ""

    def _see(
        self,
        listed: tuple[SignedManifest, bool],
        rows: Mapping[str, Sequence[Replica]],
        digests: Mapping[str, str],
        checks: Mapping[str, Sequence[ContainerCheck]],
    ) -> _ReadableBackup:
        signed, believed = listed
        manifest = signed.manifest
        policy = self.policies.get(manifest.policy)
        foreign = _describe_foreign(signed, self.services.installation(), believed=believed)
        places = (
            []
            if foreign or policy is None
            else [shown_replica.name for shown_replica in self.chooser.replicas(signed)[0]]
        )
        terms = _terms(policy.spec, manifest) if policy else None
        verified = _verified(terms, rows.get(manifest.backup_id, ()), places) if terms else None
        known = checks.get(manifest.backup_id, ())
        why = self.chooser.why_quarantined(manifest.backup_id)
        chosen = manifest.selection
        return _ReadableBackup(
            candidate=Candidate(
                backup=manifest.backup_id,
                policy=manifest.policy,
                source=manifest.source,
                created_at=made_at(manifest),
                values=manifest.values,
                selection=Selection(include=chosen.include, exclude=chosen.exclude, tags=chosen.tags),
                secrets=manifest.counts.secrets,
                size=manifest.counts.size,
                whole=terms is not None and missing_from_quorum(terms, tuple(places)) is None,
                verified=verified,
                stale=self._describe_stale(terms, manifest, known, places) if terms and verified else "",
                aside=f"it is in quarantine {why}" if why else "",
                foreign=foreign,
            ),
            created_at=manifest.created_at,
            digest=digests.get(manifest.backup_id),
            previous=manifest.previous,
            whole=tuple(places),
            keys=frozenset(wrapping_keys(manifest)),
        )


def _date(readable_backups: Sequence[_ReadableBackup], now: float) -> Iterator[_ReadableBackup]:
    """Tell which backups are older by their date than the one that was the newest when they were made.

    A clock that was put back makes new backups look old, and so the first that a rule would drop.
    """
    by_digest = {readable.digest: readable.candidate for readable in readable_backups if readable.digest}
    for backup in readable_backups:
        before = by_digest.get(backup.previous) if backup.previous else None
        if before is not None and backup.candidate.created_at + AHEAD < before.created_at <= now + AHEAD:
            why = f"it was made after {before.backup}, which is dated later, so a clock was wrong"
            yield replace(backup, candidate=replace(backup.candidate, misdated=why))
        else:
            yield backup


def _describe_foreign(signed: SignedManifest, installation: str, *, believed: bool) -> str:
    if signed.fingerprint == installation:
        return ""
    return f"installation {signed.fingerprint} made it" + ("" if believed else ", which is not trusted here")


def _terms(spec: Spec, manifest: Manifest) -> Spec:
    """Return the policy's terms of now, which replicas on targets that it named earlier meet as well."""
    named = {pin.name for pin in spec.targets}
    earlier = (
        TargetPin(
            name=pin.name, address=pin.address, region=pin.region, provider=pin.provider, counts=pin.counts
        )
        for pin in manifest.targets
        if pin.name not in named
    )
    return replace(spec, targets=(*spec.targets, *earlier))


def _verified(terms: Spec, rows: Iterable[Replica], whole: Sequence[str]) -> Depth | None:
    """Return how deep replicas that are whole and meet the policy's quorum were read back."""
    order = list(Depth)
    good = {
        row.target: order.index(row.verified)
        for row in rows
        if row.good and row.verified is not None and row.target in whole
    }
    for level, depth in reversed(list(enumerate(order))):
        deep = tuple(name for name, reached in good.items() if reached >= level)
        if missing_from_quorum(terms, deep) is None:
            return depth
    return None


# -- what keeps --------------------------------------------------------------------------------------


def _held(
    candidates: Iterable[Candidate], held: holds.Holds, policies: Mapping[str, ConfiguredPolicy]
) -> Iterator[tuple[str, str]]:
    for candidate in candidates:
        policy = policies.get(candidate.policy)
        subject = holds.HoldSubject(
            backup=candidate.backup, policy=candidate.policy, selection=candidate.selection
        )
        if why := held.why(subject):
            yield candidate.backup, why
        elif policy is not None and policy.legal_hold:
            yield (
                candidate.backup,
                f"policy {candidate.policy} is held by its legal_hold: {policy.legal_hold}",
            )


# -- the plan ----------------------------------------------------------------------------------------


def _unreadable(chooser: Chooser) -> Iterator[PlannedRemoval]:
    for passed in chooser.passed:
        yield PlannedRemoval(
            backup=passed.backup,
            judgement=Judgement(
                backup=passed.backup, keeps=True, rule=RetentionRule.UNREADABLE, why=passed.why
            ),
            targets=tuple(chooser.showing(passed.backup)),
        )


def _plan(
    judgements: Iterable[Judgement], found: Mapping[str, _ReadableBackup], survey: _Survey
) -> Iterator[PlannedRemoval]:
    used = Counter(key for backup in found.values() for key in backup.keys)
    for judgement in judgements:
        readable_backup = found[judgement.backup]
        candidate = readable_backup.candidate
        planned = PlannedRemoval(
            backup=candidate.backup,
            judgement=judgement,
            targets=tuple(survey.chooser.showing(candidate.backup)),
            policy=candidate.policy,
            source=candidate.source,
            created_at=readable_backup.created_at,
            secrets=candidate.secrets,
            size=candidate.size,
            keys=tuple(sorted(key for key in readable_backup.keys if used[key] == 1)),
        )
        if not judgement.keeps:
            removals = _removals(planned, found[judgement.successor], survey)
            planned = replace(planned, removals=tuple(removals))
        yield planned


def _removals(planned: PlannedRemoval, successor: _ReadableBackup, survey: _Survey) -> Iterator[Removal]:
    """Yield what would be removed, target by target.

    A target that the policy names keeps it until it has the successor too. One that the policy names no more
    will never have that.
    """
    named = {pin.name for pin in survey.policies[planned.policy].spec.targets}
    for name in planned.targets:
        waits = name in named and name not in successor.whole
        left = f"{planned.judgement.successor} is not whole there" if waits else ""
        yield _removal(planned, survey.services.target(name), left)


def _removal(planned: PlannedRemoval, target: Target, left: str) -> Removal:
    try:
        objects = list(objects_of(target, planned.backup, planned.keys))
        locked = locks_end(target, [manifest_name(planned.backup)])
    except StrongroomError as error:
        return Removal(target=target.name, objects=0, size=0, left=f"{error.code}: {error.message}")
    return Removal(
        target=target.name,
        objects=len(objects),
        size=sum(info.size for info in objects),
        left=left or (f"locked until {locked}" if locked else ""),
    )


# -- What lies on the targets, by one listing of each: bytes in all, and which backups have objects where


AT_ONCE = 8
FOLDERS = (containers_prefix("")[:-1], EMERGENCY)
"""In these each backup has a folder of its own, named by its id."""


class Stock(Struct, frozen=True, kw_only=True):
    """What a target holds: ``size`` bytes, and of which backups there is more than a manifest."""

    size: int
    backups: frozenset[str]


def take_stock(services: Services) -> Mapping[str, Stock]:
    """List every target that answers, all at once."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        found = zip(services.targets, threads.map(_stock, services.targets.values()), strict=True)
        return {name: stock for name, stock in found if stock is not None}


def size_of(target: Target) -> int:
    """Return how many bytes all objects of a target have."""
    return sum(info.size for info in target.list())


def _stock(target: Target) -> Stock | None:
    size, backups = 0, set[str]()
    try:
        for info in target.list():
            size += info.size
            folder = next((start for start in FOLDERS if info.name.startswith(start)), None)
            if folder is not None:
                backups.add(info.name.removeprefix(folder).partition("/")[0])
    except StrongroomError:
        return None
    return Stock(size=size, backups=frozenset(backups))


# -- Orphans: objects of a run that no manifest names, on any target. Nothing opens them, and they cost
# money
#
# Judged as a run's own sweep does it (:mod:`strongroom.operations.backup.outcome`), without its record: by
# the targets. A manifest that cannot be believed keeps everything, a target that is away keeps what it
# might have the manifest of, and nothing is an orphan that a run may still be making. What the catalog
# knows is none either: its manifests were lost or stolen, and whoever has a copy of one brings it back with
# what is left.


ORPHAN = "a run left it that made no backup"


class Orphan(Struct, frozen=True, kw_only=True):
    """A run, or a deletion, that left objects on targets of which no manifest tells."""

    backup: str
    why: str
    targets: tuple[str, ...]


def find_orphans(
    services: Services, plan: RetentionPlan, stocks: Mapping[str, Stock], places: Places, *, now: float
) -> Iterator[Orphan]:
    """Yield what runs left that are too old to make a backup any more (``run_integrity.OLDEST``).

    So is what a prune left that was killed on the last target: its mark says that it is to go.
    """
    known = {removal.backup for removal in plan.backups}
    known |= {run.id for run in services.store.active()}
    known |= set(shredded_backups(services.store, services.signer_fingerprints))
    asked = {name for name in stocks if judging_targets(name, services) <= stocks.keys()}
    found = sorted(set().union(*(stocks[name].backups for name in asked)) - known)
    recorded = services.store.digests(found)
    for backup in found:
        there = [name for name, stock in stocks.items() if backup in stock.backups]
        mark = counting(places.values(), backup)
        unfinished = mark.reason if mark is not None and may_be_gone(mark, now=now) else ""
        unmade = backup not in recorded and _age(backup, now) > OLDEST
        if set(there) <= asked and (unfinished or unmade):
            yield Orphan(backup=backup, why=unfinished or ORPHAN, targets=tuple(there))


def judging_targets(target: str, services: Services) -> frozenset[str]:
    """Return the targets that may have the manifest of what lies on one: all that share a policy with it."""
    policies = [{pin.name for pin in policy.spec.targets} for policy in services.retention().values()]
    return frozenset({target}.union(*(names for names in policies if target in names)))


def _age(backup: str, now: float) -> float:
    """Return the age of what is called as a run is, by that name; anything else is as young as can be."""
    match = RUN_ID.fullmatch(backup)
    try:
        made = datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC) if match else None
    except ValueError:
        made = None
    return now - made.timestamp() if made is not None else 0.0
