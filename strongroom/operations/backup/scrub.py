"""scrub: read a slice of all replicas back, whoever made them and whenever, and have damage repaired.

A slice is planned by the record alone (:mod:`strongroom.operations.verification.order`) and one listing of
each target. A target is read one container after the other, paced, so its rate holds over all workers.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import msgspec
from msgspec import Struct

from strongroom.container.errors import DAMAGE, MissingPiece
from strongroom.container.manifest import Manifest
from strongroom.container.marks import DELETION, DeletionMark
from strongroom.container.signing import ever_trusted
from strongroom.errors import CannotOpen, ConfigError, KeyServiceError, StrongroomError
from strongroom.keys.prompting import unasked
from strongroom.model import Depth, prepare
from strongroom.operations import recorded_errors, run_integrity
from strongroom.operations.archive.choice import lacking_on
from strongroom.operations.archive.deletions import forget_deleted
from strongroom.operations.archive.envelopes import wrapping_keys
from strongroom.operations.backup.facts import PlannedPieces
from strongroom.operations.backup.verify import (
    ReadableTarget,
    check_envelope,
    deepest,
    held_manifest,
    read_container,
)
from strongroom.operations.identities import openers
from strongroom.operations.runs.job import read_facts
from strongroom.operations.services import Services
from strongroom.operations.shredding.record import shredded_backups
from strongroom.operations.statements import NewestStatement, StatementsOn, merge_newest
from strongroom.operations.verification.coverage import VerificationScope, items_on_record
from strongroom.operations.verification.order import MANIFEST, MOST, DueContainer, Terms, due_checks
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run, RunStep
from strongroom.system.gc_pause import uncollected
from strongroom.targets import Target
from strongroom.targets.manifest_listing import ManifestListing
from strongroom.targets.paced import Paced
from strongroom.targets.read_once import ReadOnce
from strongroom.targets.repaired import MOST_BYTES
from strongroom.words import plural, verb

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
    items = items_on_record(services.store, without=shredded, offline=frozenset(scope.offline))
    looks, away = _look(run, frozenset(item.backup for item in items), services)
    going = _going(looks)
    there = [item for item in items if item.target in looks and item.backup not in going]
    chosen = _choose(there, looks, scope, now=run.created_at)
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
        target = run_integrity.check_target(run, name, services)
        there = StatementsOn(target, DELETION, trusted=services.signer_fingerprints)
        marks = {
            backup: mark for backup in known.intersection(there.folders) if (mark := there.newest(backup))
        }
        return TargetContents(frozenset(ManifestListing(target).backups), marks)
    except StrongroomError as error:
        return f"{error.code}: {recorded_errors.error_text(error)}"


def _going(looks: Mapping[str, TargetContents]) -> frozenset[str]:
    """Return the backups that are marked for deletion, or deleted: they are left in peace."""
    found = (NewestStatement[DeletionMark](newest=look.marks, aside={}) for look in looks.values())
    marks = merge_newest(DELETION, found).newest
    return frozenset(backup for backup, mark in marks.items() if mark.state != "undeleted")


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
    own = run_integrity.check_target(run, place.target, services)
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
