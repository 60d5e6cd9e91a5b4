"""The jobs as the engine finds them: their real decisions, over what simulated workers do.

Each is a subclass of the real job. What a step does is replaced, and what comes of it, which reads targets;
``decide``, ``must_wait``, ``worth_a_pause`` and how each step is treated (``Action``) are the real ones.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import msgspec

from strongroom.container.errors import MissingPiece, VerificationFailed
from strongroom.container.manifest import Counts
from strongroom.container.signing import Receipt
from strongroom.errors import StrongroomError
from strongroom.model import EVERY_POLICY, Depth
from strongroom.operations.backup import order
from strongroom.operations.backup.capture import Captured
from strongroom.operations.backup.commit import Committed, Uploaded
from strongroom.operations.backup.name_index import Indexed, IndexFile, IndexUploaded, Vouched
from strongroom.operations.backup.order import MANIFEST
from strongroom.operations.backup.plan import BackupPlan, ListedPieces
from strongroom.operations.backup.repair import PublishedManifest, Repaired, ToRepair
from strongroom.operations.backup.scrub import ContainerPlace, ContainerReadBack, Slice, scope_of_run
from strongroom.operations.backup.verified_share import scope_of
from strongroom.operations.backup.verify import (
    PlannedPieces,
    Verified,
    complete_targets,
    missing_from_quorum,
    pieces_of,
)
from strongroom.operations.drills.facts import (
    DrillComparison,
    DrillPlan,
    Live,
    Picked,
    Proved,
    Rehearsed,
    TornDown,
)
from strongroom.operations.engine import jobs, steps
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.jobs import JOBS, Ending, ReportFacts, read_facts
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.steps import pools
from strongroom.operations.engine.submit import submit
from strongroom.operations.errors import QuorumNotMet
from strongroom.sources.errors import SourceUnavailable
from strongroom.state.records import Run, RunKind, RunState, RunStep, Spec, StepKind
from strongroom.system.errors import TargetFull
from strongroom.targets.errors import TargetUnavailable
from strongroom.times import rfc3339
from tests.simulation import prune
from tests.simulation.faults import REGIONS
from tests.simulation.installation import LOCKED_FOR, PINS, Backup, Copy

if TYPE_CHECKING:
    from tests.simulation.year import Year

Performed = Callable[["Year", Run, RunStep], msgspec.Struct]


@contextmanager
def simulated_jobs(year: Year) -> Iterator[None]:
    """Have the engine find simulated jobs while the block runs."""
    pools()  # kept from here on: it asks every job, and not all of them are simulated
    real = {kind: import_module(JOBS[kind]).JOB for kind in WORK}
    modules = {JOBS[kind]: SimpleNamespace(JOB=_simulated(kind, real[kind], year)) for kind in WORK}
    steps.pools()  # it asks every real job, once
    with patch.object(jobs, "import_module", modules.__getitem__):
        yield


def _simulated(kind: RunKind, real: Any, year: Year) -> Any:
    actions = {
        step: action._replace(perform=_performed(work, year))
        for step, work in WORK[kind].items()
        if (action := real.actions.get(step)) is not None
    }
    assert actions.keys() == real.actions.keys(), f"{kind.value} has steps that are not simulated"
    own = type(f"Simulated{type(real).__name__}", (Simulated, type(real)), {"actions": actions})()
    own.year = year
    return own


def _performed(work: Performed, year: Year) -> Any:
    def perform(run: Run, step: RunStep, services: Services) -> msgspec.Struct:
        year.strike(run, step, "before")
        try:
            result = work(year, run, step)
        except StrongroomError:
            raise
        except Exception as error:  # of the simulation: the engine would record it and go on
            raise Wrong from error
        year.strike(run, step, "after")
        return result

    return perform


class Wrong(BaseException):
    """The simulation itself is wrong."""


class Simulated:
    """What a job does besides its steps."""

    year: Year

    def outcome(self, run: Run, services: Services) -> Ending:
        own = OUTCOMES.get(run.spec.kind)
        ending: Ending = own(self.year, run) if own else super().outcome(run, services)  # type: ignore[misc]
        return ending

    def record(self, run: Run, services: Services) -> Sequence[str]:
        recorded = RECORDS.get(run.spec.kind)
        return recorded(self.year, run) if recorded else ()

    def after_step(self, run: Run, step: RunStep, services: Services) -> None:
        return

    def take_back(self, run: Run, step: RunStep, result: object, services: Services) -> None:
        return

    def sweep(self, run: Run, services: Services) -> dict[str, str]:
        self.year.placed.pop(run.id, None)
        return {}

    def conclude(self, run: Run, ending: Ending, services: Services) -> Ending:
        return ending

    def report_facts(self, run: Run, services: Services) -> ReportFacts:
        return (
            ReportFacts(started=_order_repairs(self.year, run))
            if run.spec.kind is RunKind.SCRUB
            else ReportFacts()
        )

    def scheduled_entries(self, entry: Scheduled, services: Services) -> Iterable[Scheduled]:
        return _repairs(self.year, entry) if entry.kind is RunKind.REPAIR else (entry,)

    def scheduled_spec(self, entry: Scheduled, services: Services, due: float) -> Spec | None:
        return SPECS[entry.kind](self.year, entry)


# -- backup --------------------------------------------------------------------------------------------------


def _plan(year: Year, run: Run, step: RunStep) -> BackupPlan:
    policy = year.installation.policies[run.spec.policy]
    if year.is_on("source away"):
        raise SourceUnavailable("the source does not answer")
    _need_stage(year)
    secrets = year.secrets_of(policy.name)
    plan = ListedPieces(pieces=policy.pieces, secrets=secrets, size=secrets * 100, chunks=(), name_key="")
    return BackupPlan(plan=plan, previous=None, trust=0)


def _need_stage(year: Year) -> None:
    if year.is_on("stage full"):
        raise TargetFull("the stage is full")


def _capture(year: Year, run: Run, step: RunStep) -> Captured:
    if year.is_on("source away"):
        raise SourceUnavailable("the source does not answer")
    _need_stage(year)
    return CAPTURED


CAPTURED = Captured(
    receipt=Receipt(
        run="",
        piece=0,
        sha256="",
        size=1,
        secrets=1,
        versions=1,
        first="",
        last="",
        wrapping_key="",
        container_signature="",
    ),
    signature="",
    staged="",
    vanished=0,
)


def _upload(year: Year, run: Run, step: RunStep) -> Uploaded:
    year.need_target(step.target, room=True)
    year.placed.setdefault(run.id, {}).setdefault(step.target, set()).add(step.piece)
    return Uploaded(created=True)


def _commit(year: Year, run: Run, step: RunStep) -> Committed:
    pieces = pieces_of(run)
    complete = complete_targets(run.spec, year.store.tally(run.id), pieces)
    there = tuple(name for name in complete if not year.is_on("target away", name))
    if lacking := missing_from_quorum(run.spec, there):
        raise QuorumNotMet(lacking)
    backup = year.installation.backups.get(run.id)
    if backup is None:
        secrets = run.facts["plan"]["secrets"]
        backup = Backup(run.id, run.spec.policy, run.created_at, pieces, secrets, {})
        year.installation.backups[run.id] = backup
        year.installation.recorded(backup)
    for name in there:
        sound = dict.fromkeys(range(pieces), True)
        copy = Copy(sound, locked_until=year.now + LOCKED_FOR if name in year.locking else 0.0)
        backup.copies.setdefault(name, copy)
    return Committed(
        manifest="m",
        targets=there,
        created=there,
        unplaced={name: "away" for name in complete if name not in there},
        counts=Counts(secrets=backup.secrets, versions=backup.secrets, size=backup.secrets * 100),
        unlocked={},
        left_out=(),
    )


def _verify(year: Year, run: Run, step: RunStep) -> Verified:
    backup = _backup_of(year, run)
    year.need_target(step.target)
    copy = backup.copies.get(step.target)
    if copy is None or not copy.manifest or step.piece not in copy.pieces:
        raise MissingPiece(f"container {step.piece} is not on {step.target}")
    if not copy.pieces[step.piece]:
        raise VerificationFailed(f"container {step.piece} on {step.target} is damaged")
    copy.check(step.piece, year.now)
    return VERIFIED


def _index(year: Year, run: Run, step: RunStep) -> Indexed:
    _need_stage(year)
    return Indexed(
        staged="index", files=(IndexFile(backup=run.id, sha256="", size=1, signer="", signature=""),)
    )


def _vouch(year: Year, run: Run, step: RunStep) -> Vouched:
    return Vouched(document="receipt")


def _upload_index(year: Year, run: Run, step: RunStep) -> IndexUploaded:
    year.need_target(step.target, room=True)
    return IndexUploaded(placed=1)


VERIFIED = Verified(depth=Depth.DIGEST, secrets=1, changed=0, missing=0, name_key="", aside=())


def _backup_of(year: Year, run: Run) -> Backup:
    name = run.spec.backup or run.id
    try:
        return year.installation.backups[name]
    except KeyError:
        raise MissingPiece(f"there is no backup {name}") from None


def _record(year: Year, run: Run) -> list[str]:
    """Enter what the run read back, as ``replica_verdicts`` does: what could not be asked stays as it was."""
    backup = year.installation.backups.get(run.spec.backup or run.id)
    if backup is None:
        return []
    for row in year.store.rows(run.id, StepKind.VERIFY):
        copy = backup.copies.get(row.step.target)
        if copy is not None and row.state.value == "missed" and "TargetUnavailable" not in (row.error or ""):
            copy.good = False
    tally = year.store.tally(run.id)
    for name in complete_targets(run.spec, tally, backup.pieces, kind=StepKind.VERIFY):
        if name in backup.copies:
            backup.copies[name].good, backup.copies[name].verified_at = True, year.now
            backup.copies[name].check(MANIFEST, year.now)
    year.installation.recorded(backup)
    return backup.good


def _replicas_outcome(year: Year, run: Run) -> Ending:
    backup = year.installation.backups.get(run.spec.backup or run.id)
    if backup is None or not backup.copies:
        return Ending(RunState.FAILED, "MissingPiece: there is no backup")
    if lacking := missing_from_quorum(run.spec, tuple(backup.copies)):
        return Ending(RunState.FAILED, f"QuorumNotMet: {lacking}")
    bad = year.installation.lacking(backup)
    return Ending(RunState.DEGRADED, f"{', '.join(bad)} lacks it") if bad else Ending(RunState.DONE)


# -- repair --------------------------------------------------------------------------------------------------


def _list_to_repair(year: Year, run: Run, step: RunStep) -> ToRepair:
    backup = _backup_of(year, run)
    away = tuple(pin.name for pin in run.spec.targets if year.is_on("target away", pin.name))
    held = tuple(name for name in backup.good if name not in away)
    bad = [name for name in year.installation.lacking(backup) if name not in away]
    lacking = tuple((name, piece) for name in bad for piece in range(backup.pieces))
    plan = PlannedPieces(pieces=backup.pieces)
    return ToRepair(plan=plan, manifest="m", held=held, away=away, lacking=lacking, idle=not bad)


def _repair(year: Year, run: Run, step: RunStep) -> Repaired:
    year.counts["containers repaired"] += 1
    backup = _backup_of(year, run)
    year.need_target(step.target, room=True)
    for name, copy in backup.copies.items():
        if name != step.target and copy.pieces.get(step.piece) and not year.is_on("target away", name):
            backup.copies.setdefault(step.target, Copy({}, manifest=False)).pieces[step.piece] = True
            return Repaired(source=name)
    raise MissingPiece(f"no target has a sound container {step.piece}")


def _publish(year: Year, run: Run, step: RunStep) -> PublishedManifest:
    backup = _backup_of(year, run)
    placed = [
        name
        for name, copy in backup.copies.items()
        if len(copy.pieces) == backup.pieces and not year.is_on("target away", name)
    ]
    for name in placed:
        backup.copies[name].manifest = True
    return PublishedManifest(targets=tuple(placed), unplaced={}, unlocked={})


# -- verification that covers --------------------------------------------------------------------------------


def _plan_slice(year: Year, run: Run, step: RunStep) -> Slice:
    away = {name: "it does not answer" for name in REGIONS if year.is_on("target away", name)}
    items = year.items(away)
    missing = [one for one in items if one.piece == MANIFEST and not year.copy_of(one).manifest]
    lost = {(one.backup, one.target) for one in missing}
    sample = random.Random(f"sample {year.seed} {run.created_at}").random
    terms = scope_of_run(run)
    due = order.due_checks(items, terms, now=run.created_at, draw=sample)
    chosen = [*missing, *(one for one in due if (one.backup, one.target) not in lost)]
    places = tuple(ContainerPlace(backup=one.backup, target=one.target, piece=one.piece) for one in chosen)
    going = tuple(sorted(year.installation.marked))
    return Slice(plan=PlannedPieces(pieces=len(places)), places=places, away=away, outside={}, going=going)


def _check(year: Year, run: Run, step: RunStep) -> ContainerReadBack:
    place = read_facts(run, Slice).places[step.piece]
    backup = year.installation.backups.get(place.backup)
    copy = backup.copies.get(place.target) if backup else None
    if backup is None or copy is None:
        return ContainerReadBack()
    year.need_target(place.target)
    there = (
        copy.is_there(backup.pieces)
        if place.piece == MANIFEST
        else copy.manifest and place.piece in copy.pieces
    )
    if not there:
        return ContainerReadBack(damage="MissingPiece: it is not there")
    if place.piece != MANIFEST and not copy.pieces[place.piece]:
        return ContainerReadBack(damage="Tampered: it is not what was written")
    return ContainerReadBack(depth=Depth.DIGEST)


def _looked(year: Year, run: Run) -> Iterator[tuple[ContainerPlace, ContainerReadBack, float]]:
    rows = [row for row in year.store.rows(run.id, StepKind.VERIFY) if row.result]
    places = read_facts(run, Slice).places if rows else ()
    for row in rows:
        yield places[row.step.piece], msgspec.convert(row.result, ContainerReadBack), row.finished_at or 0.0


def _record_slice(year: Year, run: Run) -> list[str]:
    for place, checked, at in _looked(year, run):
        backup = year.installation.backups.get(place.backup)
        if backup is None or place.target not in backup.copies:
            continue
        year.counts["containers read again"] += 1
        if checked.damage:
            year.counts["damaged containers found"] += 1
            backup.copies[place.target].good = False
            year.installation.recorded(backup)
        elif checked.depth:
            backup.copies[place.target].check(place.piece, at)
    return []


def _order_repairs(year: Year, run: Run) -> tuple[str, ...]:
    damaged = dict.fromkeys(place.backup for place, checked, _ in _looked(year, run) if checked.damage)
    busy = {one.spec.backup or one.id for one in year.store.active()}
    there = [year.installation.backups[name] for name in damaged if name in year.installation.backups]
    return tuple(
        submit(year.services, _about(RunKind.REPAIR, backup, year), request_id=f"{run.id} {backup.name}")[0]
        for backup in there
        if backup.name not in busy
    )


def _slice_outcome(year: Year, run: Run) -> Ending:
    damaged = [place.backup for place, checked, _ in _looked(year, run) if checked.damage]
    return Ending(RunState.DEGRADED, "damaged") if damaged else Ending(RunState.DONE)


# -- drill ---------------------------------------------------------------------------------------------------


def _drill_pick(year: Year, run: Run, step: RunStep) -> DrillPlan:
    backup = _backup_of(year, run)
    return DrillPlan(
        picked=Picked(
            backup=backup.name,
            created_at=rfc3339(backup.made_at),
            source="vault",
            secrets=backup.secrets,
            size=1,
            among=1,
            cut_off=(),
        )
    )


def _drill_prove(year: Year, run: Run, step: RunStep) -> Proved:
    return Proved(checks=(), seconds=1.0)


def _drill_restore(year: Year, run: Run, step: RunStep) -> Rehearsed:
    backup = _backup_of(year, run)
    there = [copy for name, copy in backup.copies.items() if not year.is_on("target away", name)]
    if not all(any(copy.pieces.get(piece) for copy in there) for piece in range(backup.pieces)):
        raise TargetUnavailable("no target that answers has all of it")
    return Rehearsed(
        backup=backup.name,
        created_at=rfc3339(backup.made_at),
        source="vault",
        tags={},
        expected=backup.secrets,
        secrets=backup.secrets,
        versions=1,
        not_done={},
        gave={},
        seconds=1.0,
    )


def _drill_compare(year: Year, run: Run, step: RunStep) -> DrillComparison:
    return DrillComparison(compared=1, differ=0, missing=0, stand_out=None, seconds=1.0)


def _drill_teardown(year: Year, run: Run, step: RunStep) -> TornDown:
    return TornDown(seconds=1.0)


def _drill_live(year: Year, run: Run, step: RunStep) -> Live:
    return Live(same=1, changed=0, missing=0, unread=0, seconds=1.0)


def _drill_outcome(year: Year, run: Run) -> Ending:
    return Ending(RunState.DONE if "drill-restore" in run.facts else RunState.FAILED)


# -- what is scheduled ---------------------------------------------------------------------------------------


def _about(kind: RunKind, backup: Backup, year: Year) -> Spec:
    pinned = year.installation.policies[backup.policy].spec
    return msgspec.structs.replace(pinned, kind=kind, backup=backup.name)


def _backup_spec(year: Year, entry: Scheduled) -> Spec:
    return year.installation.policies[entry.policy].spec


def _repairs(year: Year, entry: Scheduled) -> Iterator[Scheduled]:
    """Yield an entry for each backup of which a replica is not good by the record, as the real job does."""
    degraded = year.installation.degraded
    busy = {run.spec.backup or run.id for run in year.store.active()} if degraded else set()
    return (entry.about(name, options={"backup": name}) for name in degraded if name not in busy)


def _repair_spec(year: Year, entry: Scheduled) -> Spec | None:
    return _about(RunKind.REPAIR, year.installation.backups[entry.options["backup"]], year)


def _drill_spec(year: Year, entry: Scheduled) -> Spec | None:
    backup = year.installation.newest_verified(entry.policy)
    return None if backup is None else _about(RunKind.DRILL, backup, year)


def _prune_spec(year: Year, entry: Scheduled) -> Spec:
    return Spec(kind=RunKind.PRUNE, policy=EVERY_POLICY, targets=PINS)


def _slice_spec(year: Year, entry: Scheduled) -> Spec | None:
    if any(run.spec.kind is RunKind.SCRUB for run in year.store.active()):
        return None
    options = msgspec.to_builtins(scope_of(entry, year.now))
    return Spec(kind=RunKind.SCRUB, policy=EVERY_POLICY, targets=PINS, options=options)


WORK: Mapping[RunKind, Mapping[StepKind, Performed]] = {
    RunKind.BACKUP: {
        StepKind.PLAN: _plan,
        StepKind.CAPTURE: _capture,
        StepKind.UPLOAD: _upload,
        StepKind.COMMIT: _commit,
        StepKind.VERIFY: _verify,
        StepKind.INDEX: _index,
        StepKind.INDEX_RECEIPT: _vouch,
        StepKind.INDEX_UPLOAD: _upload_index,
    },
    RunKind.REPAIR: {
        StepKind.PLAN: _list_to_repair,
        StepKind.REPAIR: _repair,
        StepKind.COMMIT: _publish,
        StepKind.VERIFY: _verify,
    },
    RunKind.SCRUB: {
        StepKind.PLAN: _plan_slice,
        StepKind.VERIFY: _check,
    },
    RunKind.PRUNE: {
        StepKind.PLAN: prune.plan_step,
        StepKind.MARK: prune.mark_step,
        StepKind.DELETE: prune.delete_step,
    },
    RunKind.DRILL: {
        StepKind.PLAN: _drill_pick,
        StepKind.DRILL_PROVE: _drill_prove,
        StepKind.DRILL_RESTORE: _drill_restore,
        StepKind.DRILL_COMPARE: _drill_compare,
        StepKind.DRILL_TEARDOWN: _drill_teardown,
        StepKind.DRILL_LIVE: _drill_live,
    },
}

RECORDS: Mapping[RunKind, Callable[[Year, Run], Sequence[str]]] = {
    RunKind.BACKUP: _record,
    RunKind.REPAIR: _record,
    RunKind.SCRUB: _record_slice,
}

OUTCOMES: Mapping[RunKind, Callable[[Year, Run], Ending]] = {
    RunKind.BACKUP: _replicas_outcome,
    RunKind.REPAIR: _replicas_outcome,
    RunKind.SCRUB: _slice_outcome,
    RunKind.DRILL: _drill_outcome,
}

SPECS: Mapping[RunKind, Callable[[Year, Scheduled], Spec | None]] = {
    RunKind.BACKUP: _backup_spec,
    RunKind.REPAIR: _repair_spec,
    RunKind.SCRUB: _slice_spec,
    RunKind.PRUNE: _prune_spec,
    RunKind.DRILL: _drill_spec,
}
