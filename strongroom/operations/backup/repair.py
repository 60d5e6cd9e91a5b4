"""repair: bring replicas that were missed or damaged up again, from any good one."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, NamedTuple

from msgspec import Struct, field, structs

from strongroom.container.errors import DAMAGE, FormatError, MissingPiece
from strongroom.container.manifest import ContainerEntry, Manifest, parse_manifest
from strongroom.errors import ConfigError, StrongroomError
from strongroom.model import Role, prepare
from strongroom.operations.archive import shredding as shredding_record
from strongroom.operations.archive.coverage import lacking_on
from strongroom.operations.archive.deletions import deleted_from, forget_deleted
from strongroom.operations.archive.envelopes import bring_up, first_answer, wrapping_keys
from strongroom.operations.archive.index_files import IndexKeys
from strongroom.operations.archive.inventory import LOST, REPAIRED, in_a_file, why_lost
from strongroom.operations.archive.open import manifest_bytes
from strongroom.operations.archive.removal import left_unlocked, lock_replicas
from strongroom.operations.backup import outcome
from strongroom.operations.backup.commit import check_containers, place
from strongroom.operations.backup.order import MANIFEST, pieces_read
from strongroom.operations.backup.outcome import replica_outcome
from strongroom.operations.backup.verify import (
    REPORT,
    VERIFY,
    PlannedPieces,
    quorum_is_open,
    recorded_manifest,
    replica_facts,
    report_when_settled,
    spec_about,
)
from strongroom.operations.engine import integrity, run_log
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.integrity import TERMS
from strongroom.operations.engine.jobs import (
    Ending,
    Job,
    Result,
    StepAction,
    Where,
    read_facts,
    read_result,
    to_facts,
)
from strongroom.operations.engine.layout import container_name, manifest_name
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.spread import put_lists
from strongroom.operations.engine.submit import Submitted, submit
from strongroom.operations.evidence.ledger_heads import put_heads_at_end
from strongroom.state.errors import StateUnavailable
from strongroom.state.records import (
    Pool,
    Run,
    RunKind,
    RunStep,
    Spec,
    StepConsequence,
    StepKind,
    StepRow,
    StepState,
    Tally,
)
from strongroom.targets import Target
from strongroom.targets.reading import whole_copy

BY_RECORD = {"by_record": True}
"""Options of a repair that reads only what is on record as bad: it comes hourly, and reading costs money.
Of a replica of which verification named what is damaged, it reads no more than that."""


class ToVerify(Struct, frozen=True, kw_only=True):
    """The facts that a verification begins with: which targets hold the manifest, and why others could not be
    asked. These may hold it too."""

    plan: PlannedPieces
    manifest: str
    present: tuple[str, ...]
    unread: Mapping[str, str]


class ToRepair(Struct, frozen=True, kw_only=True):
    """The facts that a repair begins with: which replicas stay as they are on record, which targets do not
    answer or are not to have it any more, what is missing where, and what is read of a replica that is not
    read whole.

    ``idle``: there is nowhere to write anything, so nothing is read either.
    """

    plan: PlannedPieces
    manifest: str
    held: tuple[str, ...]
    away: tuple[str, ...]
    lacking: tuple[tuple[str, int], ...]
    idle: bool
    doubted: tuple[tuple[str, int], ...] = ()


class Repaired(Struct, frozen=True, kw_only=True):
    """A container that was copied from another target."""

    source: str = field(name="from")


class PublishedManifest(Struct, frozen=True, kw_only=True):
    """Which targets hold the manifest now, why others do not, and why a replica is not locked."""

    targets: tuple[str, ...]
    unplaced: Mapping[str, str]
    unlocked: Mapping[str, str]


prepare(ToVerify, ToRepair, Repaired, PublishedManifest)


def list_to_verify(run: Run, step: RunStep, services: Services) -> ToVerify:
    """Find the backup's manifest, and which targets hold it. The next steps compare the digests."""
    digest, manifest = _find_manifest(run, services)
    present: list[str] = []
    unread: dict[str, str] = {}
    for pin in run.spec.targets:
        try:
            target = services.target(pin.name)
            if whole_copy(target, manifest_name(run.spec.backup), sha256=bytes.fromhex(digest)) is not None:
                present.append(pin.name)
        except DAMAGE:
            continue
        except StrongroomError as error:
            unread[pin.name] = f"{error.code}: {run_log.error_text(error)}"
    return ToVerify(plan=_count_pieces(manifest), manifest=digest, present=tuple(present), unread=unread)


def list_to_repair(run: Run, step: RunStep, services: Services) -> ToRepair:
    """Find the backup's manifest, and by digest what each target lacks of it."""
    digest, manifest = _find_manifest(run, services)
    good = _good_on_record(run, services)
    others = [pin.name for pin in run.spec.targets if pin.name not in good]
    away = tuple(name for name in others if not _takes(services.target(name), manifest.backup_id, services))
    answering = [name for name in others if name not in away]
    looked = {
        name: _look_at(name, manifest, _read_lately(run, name, services), services) for name in answering
    }
    unlocked = run.spec.backup in left_unlocked(services.store)
    return ToRepair(
        plan=_count_pieces(manifest),
        manifest=digest,
        held=good,
        away=away,
        lacking=tuple((name, piece) for name, lacks in looked.items() for piece in lacks.lacking),
        doubted=tuple((name, piece) for name, lacks in looked.items() for piece in lacks.doubted),
        idle=not answering and not unlocked,
    )


def _count_pieces(manifest: Manifest) -> PlannedPieces:
    return PlannedPieces(pieces=len(manifest.containers))


def _find_manifest(run: Run, services: Services) -> tuple[str, Manifest]:
    """Return the manifest on record with its digest; without a catalog, the first validly signed one."""
    manifests, refusals = _read_manifests(run, services)
    digest = _choose_digest(run, manifests, refusals, services)
    return digest, parse_manifest(manifests[digest], trusted=services.signer_fingerprints)


def _good_on_record(run: Run, services: Services) -> tuple[str, ...]:
    """Return the replicas that are good on record, if that is to count."""
    if run.spec.options != BY_RECORD:
        return ()
    good = {replica.target for replica in services.store.replicas(run.spec.backup) if replica.good}
    return tuple(pin.name for pin in run.spec.targets if pin.name in good)


def _takes(target: Target, backup: str, services: Services) -> bool:
    """Tell whether a target answers, and nobody deleted the backup from it on purpose."""
    try:
        target.stat(manifest_name(backup))
    except StrongroomError:
        return False
    return not deleted_from(target, backup, trusted=services.signer_fingerprints, now=time.time())


def repair(run: Run, step: RunStep, services: Services) -> Repaired:
    """Copy one container to one target from another that has it whole.

    A target that does not answer is passed over. It is an error only if no target has the container whole:
    then the error of one that may answer later, if there is one.
    """
    target = integrity.check_target(run, step.target, services)
    target.stat(manifest_name(run.spec.backup))  # one that is away costs no reading of the others

    def find(other: Target) -> tuple[Target, str, ContainerEntry]:
        entry = recorded_manifest(run, other, services).containers[step.piece]
        name = container_name(run.spec.backup, entry.sha256)
        whole = whole_copy(other, name, sha256=bytes.fromhex(entry.sha256), most=entry.size)
        if whole is None:
            raise MissingPiece(f"no target has container {step.piece} of {run.spec.backup} whole")
        return other, whole, entry

    others = (services.target(pin.name) for pin in run.spec.targets if pin.name != step.target)
    other, whole, entry = first_answer(others, find, of=f"container {step.piece} of {run.spec.backup}")
    name = container_name(run.spec.backup, entry.sha256)
    place(target, name, partial(other.read, whole), size=entry.size, sha256=entry.sha256)
    return Repaired(source=other.name)


def publish(run: Run, step: RunStep, services: Services) -> PublishedManifest:
    """Write the manifest, last, on every target that now holds every container.

    Before it go the newest envelopes: without them a copy opens for keys that were rotated away.
    """
    integrity.check_time(run)
    facts = read_facts(run, ToRepair)
    digest = facts.manifest
    content = _read_manifests(run, services)[0][digest]
    _carry_envelopes(run, content, services)
    manifest = parse_manifest(content, trusted=services.signer_fingerprints)
    rows = services.store.rows(run.id, StepKind.REPAIR)
    if any(not row.state.settled for row in rows):
        raise StateUnavailable(f"the record shows copies of run {run.id} that have not ended")
    missed = {row.step.target for row in rows if row.state is not StepState.DONE}
    missed |= set(facts.away)
    whole = [pin.name for pin in run.spec.targets if pin.name not in missed]
    lists = services.signers(Role.CONTROL).lists
    refusals = {
        name: _place_manifest(services.target(name), manifest, content, digest, lists) for name in whole
    }
    written = [name for name, why in refusals.items() if why is None]
    return PublishedManifest(
        targets=tuple(written),
        unplaced={name: why for name, why in refusals.items() if why is not None},
        unlocked=lock_replicas(run, manifest, written, services),
    )


def _carry_envelopes(run: Run, content: bytes, services: Services) -> None:
    trusted = services.signer_fingerprints
    manifest = parse_manifest(content, trusted=trusted)
    targets = {pin.name: services.target(pin.name) for pin in run.spec.targets}
    indexes = IndexKeys(targets, trusted=trusted).of(manifest)
    keys = [*wrapping_keys(manifest), *(index_key.record.id for index_key in indexes)]
    bring_up(list(targets.values()), keys, trusted=trusted)


def _place_manifest(
    target: Target, manifest: Manifest, content: bytes, digest: str, lists: Mapping[str, bytes]
) -> str | None:
    """Place the manifest; say why it could not be, if so."""
    name = manifest_name(manifest.backup_id)
    try:
        check_containers(target, manifest)
        put_lists(target, lists)
        place(target, name, lambda: [content], size=len(content), sha256=digest)
    except StrongroomError as error:
        return f"{error.code}: {error.message}"
    return None


def _read_manifests(run: Run, services: Services) -> tuple[dict[str, bytes], dict[str, StrongroomError]]:
    """Return the validly signed manifests by their digests, and why a target gave none."""
    manifests: dict[str, bytes] = {}
    refusals: dict[str, StrongroomError] = {}
    for pin in run.spec.targets:
        try:
            content = manifest_bytes(
                services.target(pin.name), run.spec.backup, trusted=services.signer_fingerprints
            )
        except StrongroomError as error:
            refusals[pin.name] = error
        else:
            manifests.setdefault(hashlib.sha256(content).hexdigest(), content)
    return manifests, refusals


def _choose_digest(
    run: Run, manifests: dict[str, bytes], refusals: dict[str, StrongroomError], services: Services
) -> str:
    entry = services.store.backup(run.spec.backup)
    if entry is not None and entry.manifest_sha256 in manifests:
        return entry.manifest_sha256
    if entry is None and manifests:
        return next(iter(manifests))
    raise _explain_no_manifest(run, refusals)


def _explain_no_manifest(run: Run, refusals: dict[str, StrongroomError]) -> StrongroomError:
    """Return why there is no manifest: none is whole, or a target that may have it did not answer."""
    what = f"the manifest of {run.spec.backup}"
    away = {name: error for name, error in refusals.items() if not isinstance(error, (FormatError, *DAMAGE))}
    if not away:
        # If copies are there and do not count, their error says more than that the manifest is missing.
        unsound = next((error for error in refusals.values() if not isinstance(error, MissingPiece)), None)
        kind = MissingPiece if unsound is None else type(unsound)
        detail = "" if unsound is None else f": {unsound.message}"
        return kind(f"no target has {what} whole and validly signed{detail}")
    first = next((error for error in away.values() if error.transient), next(iter(away.values())))
    message = f"no target could be asked for {what}"
    if len(away) < len(run.spec.targets):
        message = f"no target that could be asked has {what} whole and validly signed; the others may"
    return type(first)(f"{message} ({', '.join(away)}: {first.message})", hint=first.hint)


class _ReplicaLacks(NamedTuple):
    """What a replica lacks; and what is doubted of it, unless all is."""

    lacking: list[int]
    doubted: list[int]


def _look_at(name: str, manifest: Manifest, known: frozenset[int], services: Services) -> _ReplicaLacks:
    """Read what is not known of a replica; of the rest see that it is there, in its size."""
    target = services.target(name)
    gone = _not_shown(target, manifest) if known else set[int]()
    lacking = [
        ref.piece
        for ref in manifest.containers
        if (ref.piece in gone if ref.piece in known else not _is_whole(target, manifest.backup_id, ref))
    ]
    doubted = {ref.piece for ref in manifest.containers if ref.piece not in known} | set(lacking)
    return _ReplicaLacks(lacking, sorted(doubted) if known else [])


def _not_shown(target: Target, manifest: Manifest) -> set[int]:
    try:
        return lacking_on(target, manifest)
    except StrongroomError:
        return {ref.piece for ref in manifest.containers}


def _read_lately(run: Run, target: str, services: Services) -> frozenset[int]:
    """Return the containers of a bad replica that were read not long ago, if that is to count: verification
    has named what is damaged. Where that is its manifest, or an envelope, all of it is read."""
    if run.spec.options != BY_RECORD:
        return frozenset()
    now, checks = time.time(), services.store.checks([run.spec.backup])
    known = pieces_read(checks, target, since=now - services.read_within, until=now)
    return known - {MANIFEST} if MANIFEST in known else frozenset()


def _is_whole(target: Target, backup: str, ref: ContainerEntry) -> bool:
    name = container_name(backup, ref.sha256)
    try:
        return whole_copy(target, name, sha256=bytes.fromhex(ref.sha256), most=ref.size) is not None
    except StrongroomError:
        return False


# -- The repair as a job: plan → repair × what lacks → commit → verify × N × targets → report ---


AT_ONCE = "* * * * *"
"""The times of a repair whose damage was found after its last turn. One that fails then waits as ever."""
DAY = 86_400.0


class RepairJob(Job):
    """Brings the bad replicas of a backup up again, from any good one."""

    first = RunStep(StepKind.PLAN)
    in_turn = True
    terms = TERMS
    actions: ClassVar[Mapping[StepKind, StepAction[Any]]] = {
        StepKind.PLAN: StepAction(list_to_repair, ToRepair, Pool.CONTROL),
        StepKind.REPAIR: StepAction(repair, Repaired, Pool.TRANSFER, tolerated=True, where=Where.THREAD),
        StepKind.COMMIT: StepAction(publish, PublishedManifest, Pool.CONTROL),
        StepKind.VERIFY: VERIFY,
    }

    def decide(self, run: Run, tally: Tally, step: RunStep, result: Result) -> StepConsequence:
        match result:
            case ToRepair(lacking=lacking, idle=idle):
                copies = tuple(RunStep(StepKind.REPAIR, piece, target) for target, piece in lacking)
                return StepConsequence(follow=copies or (REPORT if idle else RunStep(StepKind.COMMIT),))
            case PublishedManifest(targets=targets):
                facts = replica_facts(run)
                follow = tuple(
                    RunStep(StepKind.VERIFY, piece, name)
                    for name in targets
                    if name not in facts.held
                    for piece in facts.pieces_read(name)
                )
                return StepConsequence(
                    facts=to_facts(result, "unlocked", "unplaced"), follow=follow or (REPORT,)
                )
            case _ if step.kind is StepKind.REPAIR:
                busy = tally.unsettled(StepKind.REPAIR)
                return StepConsequence() if busy else StepConsequence(follow=(RunStep(StepKind.COMMIT),))
            case _:
                return report_when_settled(run, tally, step)

    def worth_a_pause(self, run: Run, tally: Tally, step: RunStep) -> bool:
        """A copy is never waited for: the repair comes again with the next slot."""
        return step.kind is StepKind.VERIFY and quorum_is_open(run, tally, step)

    def after_step(self, run: Run, step: RunStep, services: Services) -> None:
        """Bring the targets what tells of a backup, too: heads, trust lists, and marks."""
        put_heads_at_end(step, services, run.spec.backup)

    def record(self, run: Run, services: Services) -> Sequence[str]:
        bad = {replica.target for replica in services.store.replicas(run.spec.backup) if not replica.good}
        read = outcome.read_back(run, services, enter_unread=True)
        # Told first: who dies in between tells it again, and not never.
        # Leave an event of each replica that was bad and is good again: what was wrong, repaired from where.
        targets = bad & read.good
        rows = [row for row in services.store.rows(run.id, StepKind.REPAIR) if row.result]
        held = replica_facts(run).held
        for target in sorted(targets):
            mine = [row for row in rows if row.step.target == target]
            sources = {read_result(run, row.step, row.result, Repaired).source for row in mine}
            services.store.event(
                REPAIRED,
                run.id,
                backup=run.spec.backup,
                target=target,
                why=why_lost(services.store, run.spec.backup, target),
                containers=len(mine),
                sources=sorted(sources or held),  # a manifest alone is the same on all that hold it
            )
        return outcome.record_replicas(run, read, services)

    def left_behind(self, run: Run, rows: Sequence[StepRow]) -> str:
        return "what was good is untouched; what lacked may still lack"

    def outcome(self, run: Run, services: Services) -> Ending:
        read = outcome.read_back(run, services, enter_unread=True)
        return replica_outcome(run, read, services)

    def scheduled_entries(self, entry: Scheduled, services: Services) -> Iterator[Scheduled]:
        """Return an entry for each degraded backup. Whoever finds damage, its repair begins at once; what
        could not be repaired is tried again at the entry's times."""
        # When a replica of each backup was last found to be bad.
        events = services.store.happened(LOST, since=services.store.clock() - DAY)
        busy, found = under_way(services), {str(event.detail.get("backup")): event.at for event in events}
        for backup in degraded(services):
            if backup not in busy:
                scheduled_entry = entry.about(backup, options={"backup": backup})
                tried = services.store.newest_slot(scheduled_entry.name)
                again = tried is not None and found.get(backup, 0.0) > tried
                yield structs.replace(scheduled_entry, schedule=AT_ONCE) if again else scheduled_entry

    def scheduled_spec(self, entry: Scheduled, services: Services, due: float) -> Spec | None:
        """Return the repair of a backup. It goes by the record (``repair.BY_RECORD``).

        Backups of policies that are configured no more are left: nobody says where they belong.
        """
        with suppress(ConfigError):
            return spec_about(services, RunKind.REPAIR, entry.options["backup"], options=BY_RECORD)
        return None


JOB = RepairJob()


def submit_repair(services: Services, *, backup: str, request_id: str | None = None) -> Submitted:
    """Create a run that brings a backup's bad replicas up again."""
    return submit(services, spec_about(services, RunKind.REPAIR, backup), request_id=request_id)


def degraded(services: Services) -> list[str]:
    """Return the backups that have a bad replica, by the catalog, or one that could not be locked."""
    store = services.store
    if store.with_bad_replicas():
        forget_deleted(store, services.targets.values(), trusted=services.signer_fingerprints)
    shredding = shredding_record.shredded_backups(store, services.signer_fingerprints)
    unlocked = [backup for backup in left_unlocked(store) if store.backup(backup)]
    backups = dict.fromkeys((*store.with_bad_replicas(), *unlocked))
    repairable = (backup for backup in backups if backup not in shredding and _on_targets(services, backup))
    return sorted(repairable, reverse=True)


def _on_targets(services: Services, backup: str) -> bool:
    """Tell whether a policy made a backup. A file that a command wrote is made anew, not repaired."""
    entry = services.store.backup(backup)
    return entry is None or not in_a_file(entry)


def under_way(services: Services) -> set[str]:
    """Return the backups that are still being made, or repaired."""
    active = services.store.active()
    return {run.spec.backup if run.spec.kind is RunKind.REPAIR else run.id for run in active}
