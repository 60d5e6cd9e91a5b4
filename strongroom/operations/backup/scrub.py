"""scrub: read a slice of all replicas back, whoever made them and whenever, and have damage repaired."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, NamedTuple

import msgspec
from msgspec import Struct

from strongroom.container.errors import DAMAGE, MissingPiece, VerificationFailed
from strongroom.container.manifest import Manifest
from strongroom.container.marks import DELETION, DeletionMark
from strongroom.container.signing import ever_trusted
from strongroom.errors import CannotOpen, ConfigError, KeyServiceError, Refused, StrongroomError
from strongroom.keys.passphrase import unasked
from strongroom.model import EVERY_POLICY, Depth, prepare
from strongroom.operations.archive.coverage import lacking_on
from strongroom.operations.archive.deletions import forget_deleted
from strongroom.operations.archive.envelopes import describe_aside, wrapping_keys
from strongroom.operations.archive.inventory import put_damaged_on_record
from strongroom.operations.archive.shredding import shredded_backups
from strongroom.operations.backup.order import MANIFEST, MOST, DueContainer, Terms, due_checks, refresh
from strongroom.operations.backup.outcome import ReadBack, describe_with_code
from strongroom.operations.backup.repair import BY_RECORD, under_way
from strongroom.operations.backup.verified_share import (
    VerificationScope,
    items_on_record,
    replicas_on_record,
    scope_of,
)
from strongroom.operations.backup.verify import (
    PlannedPieces,
    ReadableTarget,
    check_envelope,
    deepest,
    held_manifest,
    read_container,
    spec_about,
)
from strongroom.operations.engine import integrity, run_log
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.integrity import pin_target
from strongroom.operations.engine.jobs import (
    Ending,
    Job,
    ReportFacts,
    Result,
    StepAction,
    Where,
    read_facts,
    read_result,
)
from strongroom.operations.engine.run_log import code_of
from strongroom.operations.engine.services import Services, openers
from strongroom.operations.engine.statements import NewestStatement, StatementsOn, merge_newest
from strongroom.operations.engine.submit import submit
from strongroom.state.errors import RecordRefused
from strongroom.state.records import (
    ContainerCheck,
    Pool,
    Run,
    RunKind,
    RunState,
    RunStep,
    Spec,
    StepConsequence,
    StepKind,
    StepRow,
    StepState,
    Tally,
)
from strongroom.system.process import uncollected
from strongroom.targets import Target
from strongroom.targets.reading import MOST_BYTES, ManifestListing, Paced, ReadOnce
from strongroom.words import plural, verb

# -- scrub: read a slice of all replicas back, whoever made them and whenever, and have damage repaired
#
# A slice is planned by the record alone (:mod:`strongroom.operations.backup.order`) and one listing of
# each target. A target is read one container after the other, paced, so its rate holds over all workers.


AT_ONCE = 8


class ContainerPlace(Struct, frozen=True, kw_only=True):
    """A container of a replica, or its manifest."""

    backup: str
    target: str
    piece: int

    @property
    def key(self) -> tuple[str, str]:
        """The replica that it is of: target and backup."""
        return self.target, self.backup

    @property
    def what(self) -> str:
        """What it is, in words."""
        return "its manifest" if self.piece == MANIFEST else f"its container {self.piece}"


class Slice(Struct, frozen=True, kw_only=True):
    """What a run reads, in order, target by target, and which targets could not be asked and why.

    Two things nobody verifies: the backups that are ``going``, for they are marked for deletion, and those
    that lie on each target and that the record does not know (``outside``: how many).
    """

    plan: PlannedPieces
    places: tuple[ContainerPlace, ...]
    away: Mapping[str, str]
    going: tuple[str, ...]
    outside: Mapping[str, int]


class ContainerReadBack(Struct, frozen=True, kw_only=True):
    """What came of reading one container back. ``depth``: it is whole, as deep as it could be read.
    ``damage``: it is not, and why. Neither: its backup is gone by now."""

    depth: Depth | None = None
    damage: str = ""
    aside: tuple[str, ...] = ()


prepare(Slice, ContainerReadBack)


def scope_of_run(run: Run) -> VerificationScope:
    """Return what a run is asked for."""
    return msgspec.convert(run.spec.options, VerificationScope)


def place_of(places: Sequence[ContainerPlace], step: RunStep) -> ContainerPlace:
    """Return what a step reads. A row can be edited: raises RecordRefused if it names nothing of the plan."""
    if not 0 <= step.piece < len(places) or places[step.piece].target != step.target:
        raise RecordRefused(f"step {step} was not planned")
    return places[step.piece]


# -- the plan ------------------------------------------------------------------------


class TargetContents(NamedTuple):
    """What a target shows: its backups, and the marks of those on record that are to be deleted."""

    backups: frozenset[str]
    marks: Mapping[str, DeletionMark]


def plan_slice(run: Run, step: RunStep, services: Services) -> Slice:
    """Choose what is read: what a target does not show comes first, then what is due."""
    scope = scope_of_run(run)
    forget_deleted(services.store, services.targets.values(), trusted=services.signer_fingerprints)
    shredded = shredded_backups(services.store, services.signer_fingerprints)
    # The record first: what is made meanwhile is not missed.
    held = replicas_on_record(services.store, without=shredded)
    replicas = [replica for replica in held if replica.policy not in scope.offline]
    looks, away = _look(run, frozenset(replica.backup for replica in replicas), services)
    # The backups that are marked for deletion, or deleted: they are left in peace.
    found = (NewestStatement[DeletionMark](newest=look.marks, aside={}) for look in looks.values())
    marks = merge_newest(DELETION, found).newest
    going = frozenset(backup for backup, mark in marks.items() if mark.state != "undeleted")
    there = [replica for replica in replicas if replica.target in looks and replica.backup not in going]
    items = items_on_record(services.store, there, now=run.created_at)
    chosen = _choose(items, looks, scope, now=run.created_at)
    return Slice(
        plan=PlannedPieces(pieces=len(chosen)),
        places=tuple(
            ContainerPlace(backup=container.backup, target=container.target, piece=container.piece)
            for container in chosen
        ),
        away=away,
        going=tuple(sorted(going)),
        outside=_outside(looks, services),
    )


def _look(
    run: Run, known: frozenset[str], services: Services
) -> tuple[dict[str, TargetContents], dict[str, str]]:
    """Look at all targets at once: one that is away must not delay the others."""
    names = [pin.name for pin in run.spec.targets]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        looked = list(threads.map(lambda name: _look_at(run, name, known, services), names))
    found = list(zip(names, looked, strict=True))
    away = {name: contents for name, contents in found if isinstance(contents, str)}
    return {name: contents for name, contents in found if isinstance(contents, TargetContents)}, away


def _look_at(run: Run, name: str, known: frozenset[str], services: Services) -> TargetContents | str:
    """Return what a target shows, or why it cannot be asked."""
    try:
        target = integrity.check_target(run, name, services)
        there = StatementsOn(target, DELETION, trusted=services.signer_fingerprints)
        marks = {
            backup: mark for backup in known.intersection(there.folders) if (mark := there.newest(backup))
        }
        return TargetContents(frozenset(ManifestListing(target).backups), marks)
    except StrongroomError as error:
        return f"{error.code}: {run_log.error_text(error)}"


def _outside(looks: Mapping[str, TargetContents], services: Services) -> dict[str, int]:
    """Count the backups on each target that the record does not know: nobody says what they are to be."""
    known = {run.id for run in services.store.active()} | {entry.backup for entry in services.store.backups()}
    outside = {name: len(look.backups - known) for name, look in looks.items()}
    return {name: count for name, count in outside.items() if count}


def _choose(
    items: Sequence[DueContainer], looks: Mapping[str, TargetContents], terms: Terms, *, now: float
) -> list[DueContainer]:
    missing = [
        container
        for container in items
        if container.piece == MANIFEST and container.backup not in looks[container.target].backups
    ]
    lost = {(container.backup, container.target) for container in missing[:MOST]}
    due = due_checks(items, terms, now=now, draw=random.SystemRandom().random)
    return [
        *missing[:MOST],
        *(container for container in due if (container.backup, container.target) not in lost),
    ]


# -- one container -------------------------------------------------------------------


@uncollected()
def check(run: Run, step: RunStep, services: Services) -> ContainerReadBack:
    """Read one container of a replica back, or its manifest, as deep as this process can.

    Damage is what was looked for, and no failure of the step. A target that does not answer is one.
    """
    place = place_of(read_facts(run, Slice).places, step)
    entry = services.store.backup(place.backup)
    if entry is None:
        return ContainerReadBack()
    own = integrity.check_target(run, place.target, services)
    target = Paced(own.name, own, scope_of_run(run).rate)
    try:
        # A key that is distrusted by now damages nothing: the very bytes on record are to lie there.
        trusted = ever_trusted(services.signer_fingerprints)
        manifest = held_manifest(target, place.backup, entry.manifest_sha256, trusted=trusted)
        if place.piece == MANIFEST:
            return _check_manifest(target, manifest, _others(run, own, services), services)
        return _check_container(run, place, target, manifest, services)
    except DAMAGE as error:
        return ContainerReadBack(damage=f"{error.code}: {error.message}")


def _others(run: Run, target: Target, services: Services) -> list[Target]:
    away = read_facts(run, Slice).away
    names = [pin.name for pin in run.spec.targets if pin.name != target.name and pin.name not in away]
    return [services.target(name) for name in names]


def _check_manifest(
    target: ReadableTarget, manifest: Manifest, others: Sequence[Target], services: Services
) -> ContainerReadBack:
    """Hold what a target shows of a backup to its manifest, by names and sizes, and look at all envelopes."""
    if lacking := lacking_on(target, manifest):
        of = plural(len(manifest.containers), "container")
        raise MissingPiece(f"{len(lacking):,} of {of} {verb(len(lacking), 'are')} missing")
    aside: dict[str, None] = {}
    for ref in wrapping_keys(manifest).values():
        aside |= dict.fromkeys(check_envelope(target, manifest, ref, others, services))
    return ContainerReadBack(depth=Depth.DIGEST, aside=tuple(aside))


def _check_container(
    run: Run, place: ContainerPlace, target: ReadableTarget, manifest: Manifest, services: Services
) -> ContainerReadBack:
    """Read a container as deep as the keys of this process allow. Its bytes come first: where nothing opens
    it, where a key service does not answer or a person would have to type a PIN, they were compared all the
    same."""
    ref = manifest.containers[place.piece]
    others = _others(run, services.target(place.target), services)
    aside = check_envelope(target, manifest, ref, others, services)
    depth = deepest(manifest, Depth.COMPARED if services.digest_key else Depth.OPENED)
    try:
        with unasked():
            opening = partial(openers, run.spec, services)
            once = ReadOnce(target, most=MOST_BYTES)
            read_container(once, manifest, ref, depth=depth, opening=opening, services=services)
    except (CannotOpen, ConfigError, KeyServiceError):
        depth = Depth.DIGEST
    return ContainerReadBack(depth=depth, aside=aside)


# -- The verification that covers, as a job: plan → verify, one container of each target at a time → report


SHOWN = 3
"""Damaged replicas that an outcome names; the catalog has all of them."""
REPORT = RunStep(StepKind.REPORT)


class ScrubJob(Job):
    """Reads a slice of all replicas back, and has what is damaged repaired.

    It has no ``terms``: it is about the backups of all policies, and goes by the record.
    """

    first = RunStep(StepKind.PLAN)
    in_turn = True
    reads = True
    actions: ClassVar[Mapping[StepKind, StepAction[Any]]] = {
        StepKind.PLAN: StepAction(plan_slice, Slice, Pool.CONTROL),
        StepKind.VERIFY: StepAction(
            check, ContainerReadBack, Pool.VERIFY, tolerated=True, where=Where.FORKED
        ),
    }

    def decide(self, run: Run, tally: Tally, step: RunStep, result: Result) -> StepConsequence:
        """Go on with the next container of the same target: one at a time, whoever the workers are."""
        if isinstance(result, Slice):
            first: dict[str, RunStep] = {}
            for number, place in enumerate(result.places):
                first.setdefault(place.target, RunStep(StepKind.VERIFY, number, place.target))
            return StepConsequence(follow=tuple(first.values()) or (REPORT,))
        if (following := _next_of(read_facts(run, Slice).places, step)) is not None:
            return StepConsequence(follow=(following,))
        return StepConsequence() if tally.unsettled(StepKind.VERIFY) else StepConsequence(follow=(REPORT,))

    def record(self, run: Run, services: Services) -> Sequence[str]:
        """Enter what was read, whole or damaged."""
        looked = _looked(run, services)
        services.store.put_checks(
            [_as_check(container, depth) for container in looked if (depth := container.checked.depth)]
        )
        _refresh_replicas(looked, services)
        # No more than the class: what an error says may name a secret, and an event must not.
        why = {
            key: f"{container.place.what}: {code_of(container.checked.damage)}"
            for key, container in _damaged(looked).items()
        }
        pieces = {
            key: {each.place.piece for each in looked if each.checked.damage and each.place.key == key}
            for key in why
        }
        put_damaged_on_record(services.store, why, pieces)
        return ()

    def report_facts(self, run: Run, services: Services) -> ReportFacts:
        return ReportFacts(started=tuple(_order_repairs(run, services)))

    def left_behind(self, run: Run, rows: Sequence[StepRow]) -> str:
        return "no backup was touched; what was not read is due with the next slice"

    def outcome(self, run: Run, services: Services) -> Ending:
        looked = _looked(run, services)
        aside = describe_aside((container.place.target, container.checked.aside) for container in looked)
        # Say what was not read back and why, by the first reason.
        away = read_facts(run, Slice).away
        rows = services.store.rows(run.id, StepKind.VERIFY)
        missed = {row.step.target: row.error or "" for row in rows if row.state is StepState.MISSED}
        unread = {**missed, **away}
        blemishes = (
            _describe_damage(looked),
            describe_with_code(ReadBack(unread=unread)) if unread else "",
            f"whole, but {aside}" if aside else "",
        )
        blemish = next(filter(None, blemishes), None)
        return Ending(RunState.DEGRADED, blemish) if blemish else Ending(RunState.DONE)

    def scheduled_spec(self, entry: Scheduled, services: Services, due: float) -> Spec | None:
        """Return the next slice, unless one is being read: two at once would read at twice the rate."""
        if any(run.spec.kind is RunKind.SCRUB for run in services.store.active()):
            return None
        return make_spec(services, scope_of(entry, due))


JOB = ScrubJob()


def make_spec(services: Services, scope: VerificationScope) -> Spec:
    """Return the spec of a slice: it is about every target but the media in a safe."""
    names = [name for name in services.targets if name not in scope.media]
    return Spec(
        kind=RunKind.SCRUB,
        policy=EVERY_POLICY,
        targets=tuple(pin_target(name, services.target(name)) for name in names),
        options=msgspec.to_builtins(scope),
    )


def _next_of(places: Sequence[ContainerPlace], step: RunStep) -> RunStep | None:
    rest = range(step.piece + 1, len(places))
    following = next((number for number in rest if places[number].target == step.target), None)
    return None if following is None else RunStep(StepKind.VERIFY, following, step.target)


# -- what came of it -------------------------------------------------------------------


class _ReadContainer(NamedTuple):
    """A container that was read, and when (epoch seconds)."""

    place: ContainerPlace
    checked: ContainerReadBack
    at: float


def _looked(run: Run, services: Services) -> list[_ReadContainer]:
    rows = [row for row in services.store.rows(run.id, StepKind.VERIFY) if row.result]
    places = read_facts(run, Slice).places if rows else ()
    return [_looked_at(run, row, places) for row in rows]


def _looked_at(run: Run, row: StepRow, places: Sequence[ContainerPlace]) -> _ReadContainer:
    checked = read_result(run, row.step, row.result, ContainerReadBack)
    return _ReadContainer(place_of(places, row.step), checked, row.finished_at or 0.0)


def _as_check(container: _ReadContainer, depth: Depth) -> ContainerCheck:
    place = container.place
    return ContainerCheck(
        backup=place.backup, target=place.target, piece=place.piece, depth=depth, checked_at=container.at
    )


def _refresh_replicas(looked: Sequence[_ReadContainer], services: Services) -> None:
    """Have the catalog know how each replica stands of which something was read."""
    store, touched = (
        services.store,
        {(container.place.backup, container.place.target) for container in looked},
    )
    backups = sorted({backup for backup, _ in touched})
    checks: dict[tuple[str, str], list[ContainerCheck]] = {}
    for container_check in store.checks(backups):
        checks.setdefault((container_check.backup, container_check.target), []).append(container_check)
    now = store.clock()
    for replica in (each for found in store.replicas_of(backups).values() for each in found):
        key = replica.backup, replica.target
        entry = store.backup(replica.backup) if key in touched else None
        if entry is None:
            continue
        refreshed = refresh(replica, entry.containers, checks.get(key, ()), now=now)
        if refreshed != replica:
            store.refresh_replica(replica, refreshed)


def _damaged(looked: Sequence[_ReadContainer]) -> dict[tuple[str, str], _ReadContainer]:
    """Return the damaged replicas, by target and backup, each with the first thing that was found."""
    found: dict[tuple[str, str], _ReadContainer] = {}
    for container in looked:
        if container.checked.damage:
            found.setdefault(container.place.key, container)
    return found


def _order_repairs(run: Run, services: Services) -> Iterator[str]:
    """Put the repair of each damaged backup on record, and yield its run. Asked again, it is the same one.

    A backup of a policy that is configured no more is left: nobody says where it belongs. Nothing is handed
    out here, since only a run's own steps are sent with it: the next reconcile takes it, or who drives.
    """
    busy, here = under_way(services), replace(services, hands_out=False)
    for backup in dict.fromkeys(backup for _, backup in _damaged(_looked(run, services))):
        if backup not in busy:
            with suppress(ConfigError, Refused):
                spec = spec_about(services, RunKind.REPAIR, backup, options=BY_RECORD)
                yield submit(here, spec, request_id=f"{run.id} {backup}")[0]


def _describe_damage(looked: Sequence[_ReadContainer]) -> str:
    found = [
        f"{backup} on {target}: {container.place.what}: {container.checked.damage}"
        for (target, backup), container in _damaged(looked).items()
    ]
    if not found:
        return ""
    more = f"; and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
    said = f"{plural(len(found), 'replica')} damaged ({'; '.join(found[:SHOWN])}{more})"
    return f"{VerificationFailed.__name__}: {said}; the repair of what can be repaired was ordered"
